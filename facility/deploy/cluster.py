"""The object that `cluster` returns: what the user holds of a Dask cluster.

A subclass of distributed's `Cluster`: `SpecCluster` drops the last spec
of any pool and retires workers by address only. It holds the `Controller`; the
controller, which the event loop keeps alive, does not hold it, so that losing the
last reference ends the Dask cluster.
"""

import logging
import sys
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from dask.base import annotate
from distributed.core import Status
from distributed.utils import NoOpAwaitable, sync

from facility import names
from facility.deploy import exits, explain
from facility.deploy.controller import Controller
from facility.deploy.pool_state import PoolState
from facility.deploy.widget import DrawnCluster
from facility.errors import ClusterFailedError, RequestError
from facility.request.bounds import Bounds
from facility.request.checked_request import Count, Limit, rescaled
from facility.request.dask_words import no_method, no_pool, shown
from facility.system.logs import SHOWN
from facility.system.signals import carried_through
from facility.table import Table, Text

if TYPE_CHECKING:
    from distributed.security import Security

logger = logging.getLogger("facility")


MOST_LOGS, LEAST_LOG = 1_000_000, 4_000
"""Bytes that are shown of all workers of a pool, and of each however many there are."""


class RoutingWarning(UserWarning):
    """Tasks are routed to a pool that has no workers."""


@dataclass
class Adapting:
    """A pool that adapts, as the widget and the JupyterLab panel see it."""

    minimum: int
    maximum: int
    periodic_callback: bool = True
    """Whether it still does."""

    def stop(self) -> None:
        """Say that the pool no longer adapts; what follows fixes its number."""
        self.periodic_callback = False


class PooledCluster(DrawnCluster):
    """A private Dask cluster with one or more pools of workers.

    Made by `facility.cluster`; closed by ``close()``, by leaving a ``with``
    block, by losing the last reference to it, and at the interpreter's exit.
    """

    def __init__(
        self,
        controller: Controller,
        limits: Mapping[str, Limit],
        *,
        asynchronous: bool = False,
    ) -> None:
        self._controller = controller
        self._limits = limits
        super().__init__(asynchronous=asynchronous, quiet=True, name=controller.name)
        default = controller.pools[controller.request.config.default.name]
        if default.adapting:
            self._adaptive = Adapting(default.bounds.minimum, default.bounds.maximum)
        exits.watch(controller)
        weakref.finalize(self, controller.abandon).atexit = False

    @staticmethod
    def say(sentence: str) -> None:
        """Tell the user something that no exception tells."""
        logger.warning(sentence)

    # What distributed's base class keeps as attributes stands in the controller.

    @property
    def security(self) -> "Security":
        """What a client needs to connect; `Client(c)` takes it from here."""
        return self._controller.backend.security

    @property
    def status(self) -> Status:
        """Whether the Dask cluster runs, is closed or has failed."""
        return self._controller.status

    @status.setter
    def status(self, status: Status) -> None:
        """Ignore what the base class sets: the controller knows."""

    @property
    def scheduler_info(self) -> Any:
        """The scheduler's description of itself and its workers."""
        return self._controller.worker_list.info

    @scheduler_info.setter
    def scheduler_info(self, info: Any) -> None:
        """Take what the base class has asked for; at first there is nothing to ask."""
        if info.get("address"):
            self._controller.worker_list.info = info

    @property
    def scheduler_comm(self) -> Any:
        """Connection to the scheduler, None before the start."""
        return self._controller.scheduler

    @scheduler_comm.setter
    def scheduler_comm(self, comm: None) -> None:
        """Ignore what the base class sets."""

    @property
    def workers(self) -> dict[str, str]:
        """Workers that have been started, with their pools."""
        if self._over:
            return {}
        return {
            member: name
            for name, pool_state in self._controller.pools.items()
            for group in pool_state.groups.values()
            for member in group.members
        }

    # Start and end.

    def start(self) -> None:
        """Start in another thread's event loop, and wait for it."""
        self._loop_runner.start()
        try:
            self.sync(self._controller.start)
        except BaseException:
            # Ctrl-C too: what has been started must not stay.
            with carried_through(self._controller.backend.hurry):
                self.sync(self._controller.close)
                self._loop_runner.stop()
            raise

    def __await__(self) -> Generator[Any, None, Self]:
        # A client that connects awaits it too, and needs no workers for that.
        connecting = sys._getframe(1).f_globals.get("__name__") == "distributed.client"

        async def started() -> Self:
            await self._controller.start()
            if not connecting:
                await self._controller.settle()
            return self

        return started().__await__()

    async def __aenter__(self) -> Self:
        await self._controller.start()
        return self

    async def _close(self) -> None:
        for callback in self.periodic_callbacks.values():
            callback.stop()
        await self._controller.close()
        self._draw_anew()

    def close(self, timeout: float | None = None) -> Any:
        """End the Dask cluster: its workers, its scheduler, its files.

        Ctrl-C hastens it, and counts when it is done.
        """
        if self.asynchronous or self._controller.over:
            return super().close(timeout)
        with carried_through(self._controller.backend.hurry):
            super().close(timeout)
            self._loop_runner.stop()
        return None

    def __getattr__(self, name: str) -> NoReturn:
        """Say what there is instead of a method that Dask's other classes have."""
        raise AttributeError(no_method(name), name=name, obj=self)

    def __del__(self, _warn: object = None) -> None:
        """Leave it to the finalizer; the base class would warn."""

    # Routing.

    @contextmanager
    def on(self, pool: str) -> Iterator[None]:
        """Route to a pool what is submitted or computed in this block.

        Collections built in the block and computed outside go where untagged
        work goes. For threads, which do not inherit the block, use `route`.

        Raises
        ------
        RequestError
            Where there is no such pool.
        """
        self._check_route(pool, "on")
        # dask.dataframe says that it ignores annotations; it does when a
        # collection is built, and not when it is computed, which counts here.
        warnings.filterwarnings("ignore", "Dask annotations .*'pool'", UserWarning)
        with annotate(**{names.POOL_ANNOTATION: pool}):
            yield

    def route(self, pool: str) -> dict[str, Any]:
        """Return arguments of `submit`, `map` and `compute` that route to a pool.

        Raises
        ------
        RequestError
            Where there is no such pool.
        """
        self._check_route(pool, "route")
        return {"resources": {names.pool_tag(pool): 1}}

    def _crew(self, pool: object, call: str, goal: str) -> PoolState:
        pool_state = self._controller.pools.get(pool) if isinstance(pool, str) else None
        if pool_state is None:
            unknown = no_pool(pool, self._controller.request.config)
            raise RequestError(f"{call}({shown(pool)}) cannot {goal}", [unknown])
        return pool_state

    def _check_route(self, pool: str, call: str) -> None:
        if not self._crew(pool, call, "route").bounds.maximum:
            warnings.warn(
                f"pool {pool} has no workers in this Dask cluster, so what is routed to it waits: "
                f"c.scale({pool}=1) or c.adapt({pool}=(0, 2)) starts some",
                RoutingWarning,
                stacklevel=5,
            )

    # Scaling.

    def scale(self, n: int | None = None, *more: object, force: bool = False, **pools: int) -> Any:
        """Set fixed numbers of workers; other pools stay as they are.

        Idle workers leave first; the others take no new tasks, finish what they
        run within their pool's ``grace``, and pass on the results they hold.

        Parameters
        ----------
        n
            Workers of the default pool; Dask's ``n_workers`` is the same.
        force
            Do not wait for running tasks: they run again elsewhere.
        **pools
            Workers of each pool.

        Returns
        -------
        None
            In an asynchronous one something to await, as Dask's own do. Workers come later:
            ``await c`` waits for them.

        Raises
        ------
        RequestError
            With everything that is wrong with the call.
        """
        self._rescale((n, *more), pools, "scale", force=force)
        return NoOpAwaitable() if self.asynchronous else None

    def adapt(  # type: ignore[override]
        self,
        minimum: int | None = None,
        maximum: float | None = None,
        *more: object,
        **pools: Count,
    ) -> Adapting:
        """Let pools follow their own demand between a minimum and a maximum.

        Parameters
        ----------
        minimum, maximum
            Of the default pool; by default 0 and all there is, as with ``math.inf``.
        **pools
            (minimum, maximum) of each pool.

        Raises
        ------
        RequestError
            With everything that is wrong with the call.
        """
        bounds = self._rescale((minimum, maximum, *more), pools, "adapt")
        default = self._controller.request.config.default
        return Adapting(*_ends(bounds.get(default.name) or next(iter(bounds.values()))))

    def _rescale(
        self,
        numbers: Sequence[object],
        words: Mapping[str, object],
        call: Literal["scale", "adapt"],
        *,
        force: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> dict[str, Bounds]:
        if self.status not in (Status.starting, Status.running):
            raise ClusterFailedError(f"{call} comes too late: {self.explain()}")
        config = self._controller.request.config
        bounds, notes = rescaled(config, self._limits, numbers, words, call=call)
        for note in notes:
            (say or self.say)(note)
        if config.default.name in bounds:
            new = bounds[config.default.name]
            if self._adaptive:
                self._adaptive.stop()
            self._adaptive = Adapting(*_ends(new)) if new.adapts else None

        async def rescale() -> None:
            self._controller.rescale(bounds, force=force)

        if self.called_from_running_loop:
            self._controller.rescale(bounds, force=force)
        else:
            assert self.loop is not None
            sync(self.loop, rescale)
        return bounds

    # Code.

    def send_code(self) -> Any:
        """Have workers see your folder as it is now, and import your own modules anew.

        It is what lies beside the notebook or script. On Kubernetes workers get it at the start,
        and now what has changed since; on this machine they see it where it lies, and import its
        modules once. Reload them here too (``importlib.reload``), so that both sides agree.

        Returns
        -------
        Text
            What was sent, and what was left out; to be awaited in an asynchronous one.

        Raises
        ------
        ClusterFailedError
            Where the Dask cluster does not run.
        """
        if self.status != Status.running:
            raise ClusterFailedError(f"send_code comes too late: {self.explain()}")
        return self.sync(self._controller.sending.send_folder, self._controller.scheduler)

    @property
    def environment(self) -> Table:
        """What workers were sent of this process's packages and folder, what was not, and why."""
        return self._controller.sending.table()

    # Words.

    @property
    def pools(self) -> Table:
        """The pools of this Dask cluster, what each has, and which of your folders it has not."""
        return explain.table(self._controller.pools.values(), self._controller.backend.absent)

    def explain(self) -> Text:
        """Say what runs, what is missing, why, and what to do."""
        return self._controller.explain()

    def stopped(self, pool: str | None = None) -> str | None:
        """Say why there are no workers, of a pool or at all, and no more are started."""
        pools = self._controller.pools
        return explain.stopped([pools[pool]] if pool in pools else pools.values())

    def logs(self, pool: str | None = None) -> Text:
        """Return the end of what the workers of a pool have printed, lost ones included.

        Parameters
        ----------
        pool
            Name of a pool; without it, the scheduler's log.

        Raises
        ------
        RequestError
            Where there is no such pool.
        """
        if pool is None:
            return Text(self._controller.backend.logs())
        pool_state = self._crew(pool, "logs", "be shown")
        members = sorted({name for group in pool_state.groups.values() for name in group.members})
        if pool_state.last_loss is not None:
            members.append(pool_state.last_loss.name)
        most = max(LEAST_LOG, min(SHOWN, MOST_LOGS // max(1, len(members))))
        parts = [f"--- {name}\n{self._controller.backend.logs(name, most)}" for name in members]
        return Text("\n".join(parts) or f"pool {pool} has had no workers yet")


def _ends(bounds: Bounds) -> tuple[int, int]:
    return bounds.minimum, bounds.maximum
