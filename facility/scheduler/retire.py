"""Taking workers out of a Dask cluster without running anything twice.

`Scheduler.retire_workers` returns at once while a task still runs, and the
task then runs again elsewhere; it moves results to any worker, scarce ones
included. Here a worker first gets no new tasks, gives back those that it has
not begun, finishes the others within a grace period, and then its results go
to workers of its own pool, else to the default pool.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes
from distributed.active_memory_manager import ActiveMemoryManagerExtension, RetireWorker
from distributed.core import Status
from distributed.metrics import time
from distributed.scheduler import WorkerState

from facility.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed.active_memory_manager import Suggestion

    from facility.scheduler.routing import RoutedScheduler

POLL = 0.05


class RetireInPool(RetireWorker):
    """distributed's policy for a worker that leaves, with a say in who inherits."""

    __slots__ = ("heirs",)

    def __init__(self, address: str, heirs: set[WorkerState]) -> None:
        super().__init__(address)
        self.heirs = heirs

    def run(self) -> "Iterator[Suggestion]":  # type: ignore[override]
        """Replay distributed's suggestions, with our candidates in those to replicate."""
        suggestions = super().run()
        answer: WorkerState | None = None
        while True:
            try:
                suggestion = suggestions.send(answer)
            except StopIteration:
                return
            if suggestion.op == "replicate":
                suggestion = suggestion._replace(candidates=set(self.heirs))
            answer = yield suggestion


class Drain:
    """Retires groups of workers of one pool."""

    def __init__(self, scheduler: "RoutedScheduler") -> None:
        self.scheduler = scheduler

    async def retire(
        self,
        groups: list[list[str]],
        count: int,
        grace: float,
        idle_only: bool = False,
        force: bool = False,
    ) -> dict[str, Any]:
        """Retire `count` of the groups, those with the least to lose first.

        Parameters
        ----------
        groups
            Names of the workers of each group.
        grace
            Seconds in which running tasks may finish.
        idle_only
            Leave groups alone that have something to do.
        force
            Do not wait for running tasks: they run again elsewhere.

        Returns
        -------
        dict
            ``retired``: indices into `groups`; ``kept``: pairs of the index of
            a group that has to stay and why.
        """
        found = [self._workers(group) for group in groups]
        order = sorted(range(len(groups)), key=lambda index: self._cost(found[index]))
        if idle_only:
            order = [index for index in order if not self._is_working(found[index])]
        chosen = order[:count]
        kept: dict[int, str] = {}
        # Nobody inherits from one that leaves at the same time; where nobody
        # else is left, the group with the most results stays.
        leaving = {ws for index in chosen for ws in found[index]}
        if chosen and any(ws.has_what and not self._heirs(ws, leaving) for ws in leaving):
            last = max(chosen, key=lambda index: sum(ws.nbytes for ws in found[index]))
            chosen.remove(last)
            leaving -= set(found[last])
            kept[last] = _holding(found[last])
        reasons = await asyncio.gather(
            *(self._retire(found[index], leaving, 0.0 if force else grace) for index in chosen)
        )
        outcome = dict(zip(chosen, reasons, strict=True))
        return {
            "retired": [index for index, reason in outcome.items() if reason is None],
            "kept": [
                (index, reason) for index, reason in (outcome | kept).items() if reason is not None
            ],
        }

    def _workers(self, group: Iterable[str]) -> list[WorkerState]:
        addresses = (self.scheduler.aliases.get(name) for name in group)
        return [self.scheduler.workers[address] for address in addresses if address]

    def _cost(self, workers: Sequence[WorkerState]) -> tuple[bool, int, int]:
        return (
            self._is_working(workers),
            sum(len(ws.processing) for ws in workers),
            sum(ws.nbytes for ws in workers),
        )

    def _is_working(self, workers: Iterable[WorkerState]) -> bool:
        return any(ws.processing for ws in workers) or self._is_shuffling(workers)

    def _is_shuffling(self, workers: Iterable[WorkerState]) -> bool:
        """Whether a P2P shuffle would start again without these workers."""
        shuffles: Any = self.scheduler.extensions["shuffle"]
        addresses = {ws.address for ws in workers}
        return any(
            not addresses.isdisjoint(shuffle.participating_workers)
            for shuffle in shuffles.active_shuffles.values()
        )

    async def _retire(
        self, workers: list[WorkerState], leaving: set[WorkerState], grace: float
    ) -> str | None:
        """Retire one group; the reason where it has to stay."""
        if actors := sum(len(ws.actors) for ws in workers):
            return f"it holds {counted(actors, 'actor')}, which cannot be moved"
        stimulus_id = f"facility-drain-{time()}"
        deadline = time() + grace
        # Outputs of a shuffle are bound to its workers, which have to take them.
        while time() < deadline and self._is_shuffling(self._present(workers)):
            await asyncio.sleep(POLL)
        for ws in self._present(workers):
            self._set_status(ws, Status.closing_gracefully, stimulus_id)
            self._give_back(ws)
        while time() < deadline and self._is_working(self._present(workers)):
            await asyncio.sleep(POLL)
        reasons = await asyncio.gather(
            *(self._move_results(ws, leaving) for ws in self._present(workers))
        )
        if reason := next(filter(None, reasons), None):
            for ws in self._present(workers):
                self._set_status(ws, Status.running, stimulus_id)
            return reason
        for ws in self._present(workers):
            await self.scheduler.remove_worker(
                ws.address, expected=True, close=True, stimulus_id=stimulus_id
            )
        return None

    def _present(self, workers: Iterable[WorkerState]) -> list[WorkerState]:
        return [ws for ws in workers if self.scheduler.workers.get(ws.address) is ws]

    def _set_status(self, ws: WorkerState, status: Status, stimulus_id: str) -> None:
        """Set a worker's status on both sides, as `Scheduler.retire_workers` does."""
        self.scheduler.handle_worker_status_change(status, ws, stimulus_id)
        self.scheduler.stream_comms[ws.address].send(
            {"op": "worker-status-change", "status": status.name, "stimulus_id": stimulus_id}
        )

    def _give_back(self, ws: WorkerState) -> None:
        """Take back the tasks that a worker has not begun.

        Work stealing asks the worker, so that none runs twice; a thief that is
        no worker makes it hand the task to the scheduler.
        """
        stealing: Any = self.scheduler.extensions.get("stealing")
        if stealing is None:
            return
        nobody = WorkerState(
            address="tls://127.0.0.1:0",
            status=Status.closed,
            pid=0,
            name="nobody",
            memory_limit=0,
            nthreads=1,
            local_directory="",
            nanny=None,
            server_id="nobody",
            scheduler=self.scheduler,
        )
        for ts in list(ws.processing):
            stealing.move_task_request(ts, ws, nobody)

    async def _move_results(self, ws: WorkerState, leaving: set[WorkerState]) -> str | None:
        """Copy what only this worker holds to its heirs; the reason where none can."""
        heirs = self._heirs(ws, leaving)
        policy = RetireInPool(ws.address, heirs)
        mover = ActiveMemoryManagerExtension(
            self.scheduler, policies={policy}, register=False, start=True, interval=0.2
        )
        try:
            mover.run_once()
            while not policy.done():
                await asyncio.sleep(POLL)
        finally:
            mover.stop()
        return _holding([ws]) if policy.no_recipients else None

    def _heirs(self, ws: WorkerState, leaving: set[WorkerState]) -> set[WorkerState]:
        scheduler = self.scheduler
        pool = scheduler.routes.pool_of(ws)
        own = scheduler.pool_workers(pool) if pool is not None else set()
        candidates = (own & scheduler.running) - leaving
        if candidates:
            return candidates
        declared = scheduler.routes.declared
        defaults = {name for name, route in declared.items() if route.default}
        found = set().union(*(scheduler.pool_workers(name) for name in defaults))
        return (found & scheduler.running) - leaving


def _holding(workers: Iterable[WorkerState]) -> str:
    """Say which results keep a group alive."""
    results = {ts for ws in workers for ts in ws.has_what}
    size = format_bytes(sum(ts.get_nbytes() for ts in results))
    return f"holds {counted(len(results), 'result')}, {size}, that no other worker can take"
