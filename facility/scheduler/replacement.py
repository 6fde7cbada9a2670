"""A scheduler whose workers are replaced by their owner, and not by nannies.

distributed's own calls to start workers again ask the nanny of each, a process beside it. Here the
owner, who has started the workers, learns which of them were asked to leave, and starts others.
"""

import asyncio
from time import monotonic
from typing import Any, Literal, NoReturn

from distributed.diagnostics.plugin import InstallPlugin, SchedulerPlugin, UploadDirectory
from distributed.protocol.pickle import loads
from distributed.scheduler import Scheduler

KNOWN = 60.0
"""Seconds for which an owner is told of workers that were asked to leave."""
POLL = 0.05
NO_NANNY = (
    "The workers of this Dask cluster have no nannies, so nothing can be registered or run there: "
    "no NannyPlugin, such as Environ or UploadDirectory, no PipInstall or CondaInstall with "
    "restart_workers=True, no nanny=True. Instead: environment variables belong into the pool's "
    "`env` in pools.yaml; modules beside the notebook or script are on the workers already, and "
    "c.send_code() sends them again after a change; packages belong into the image or environment; "
    "and for all else a WorkerPlugin's setup runs in each worker, also in those that come later."
)


class ReplacingScheduler(Scheduler):
    """A scheduler that has its workers replaced.

    Attributes
    ----------
    dismissed
        Names of workers that were asked to leave for others to come, and when (monotonic, seconds).
    """

    def __init__(self, **arguments: Any) -> None:
        self.dismissed: dict[str, float] = {}
        super().__init__(**arguments)

    def wanted(self) -> int:
        """Return how many workers the owner wants."""
        raise NotImplementedError

    def attended(self) -> bool:
        """Whether an owner is there who can start workers."""
        raise NotImplementedError

    def just_dismissed(self) -> list[str]:
        """Name the workers that were asked to leave, for as long as owners need to learn of it."""
        since = monotonic() - KNOWN
        self.dismissed = {name: when for name, when in self.dismissed.items() if when > since}
        return list(self.dismissed)

    async def restart(
        self,
        *,
        client: str | None = None,
        timeout: float = 30,
        wait_for_workers: bool = True,
        stimulus_id: str,
    ) -> None:
        """Forget all tasks, and have all workers replaced."""
        self._check_attended()
        await super().restart(
            client=client,
            timeout=timeout,
            wait_for_workers=wait_for_workers,
            stimulus_id=stimulus_id,
        )

    async def restart_workers(
        self,
        workers: list[str] | None = None,
        *,
        client: str | None = None,
        timeout: float = 30,
        wait_for_workers: bool = True,
        on_error: Literal["raise", "return"] = "raise",
        stimulus_id: str,
    ) -> dict[str, Literal["OK", "removed", "timed out"]]:
        """Have workers replaced, and wait until as many are there as before.

        Of an adapting pool there may be fewer, where it has no need of more.
        """
        if stimulus_id.startswith("check-worker-ttl"):
            # These were not asked to leave, but have been lost.
            return await super().restart_workers(
                workers, client=client, wait_for_workers=wait_for_workers, stimulus_id=stimulus_id
            )
        self._check_attended()
        asked = list(self.workers) if workers is None else workers
        if unknown := [each for each in asked if each not in self.workers]:
            there = ", ".join(str(ws.name) for ws in self.workers.values()) or "none"
            raise ValueError(f"There is no worker {', '.join(unknown)}; there are {there}.")
        before = len(self.workers)
        self.dismissed |= {str(self.workers[each].name): monotonic() for each in asked}
        self.log_event(
            ["all", *([client] if client else [])], {"action": "restart-workers", "workers": asked}
        )
        leaving = (
            self.remove_worker(each, expected=True, close=True, stimulus_id=stimulus_id)
            for each in asked
        )
        await asyncio.gather(*leaving)
        deadline = monotonic() + timeout
        while wait_for_workers and len(self.workers) < min(before, self.wanted()):
            if monotonic() > deadline:
                if on_error == "return":
                    return dict.fromkeys(asked, "timed out")
                raise TimeoutError(
                    f"The workers have left, and after {timeout:.0f} s {len(self.workers)} of "
                    f"{before} are there again; more may come. c.explain() says what they wait for."
                )
            await asyncio.sleep(POLL)
        return dict.fromkeys(asked, "OK")

    def _check_attended(self) -> None:
        if not self.attended():
            raise RuntimeError(
                "The workers cannot be replaced, since the process is gone, or does not answer, "
                "that started this Dask cluster. Start another one with cluster(...)."
            )

    def identity(self, n_workers: int = -1) -> dict[str, Any]:
        """Say who has workers replaced: clients refuse to ask where nobody has."""
        found = super().identity(n_workers)
        for worker in found["workers"].values():
            worker["nanny"] = self.address
        return found

    # What would have no effect.

    async def broadcast(self, *, nanny: bool = False, **arguments: Any) -> dict[str, Any]:
        """Refuse to ask nannies; without any, distributed says that all is well."""
        if nanny:
            _refuse()
        return await super().broadcast(**arguments)

    async def register_nanny_plugin(
        self, comm: None, plugin: bytes, name: str, idempotent: bool
    ) -> NoReturn:
        """Refuse it."""
        _refuse()

    async def register_scheduler_plugin(
        self,
        plugin: bytes | SchedulerPlugin,
        name: str | None = None,
        *,
        idempotent: bool,
    ) -> None:
        """Refuse those that are for nannies, before they begin with something else."""
        found = plugin if isinstance(plugin, SchedulerPlugin) else loads(plugin)
        uploads = isinstance(found, UploadDirectory) and found.mode != "scheduler"
        if uploads or (isinstance(found, InstallPlugin) and found.restart_workers):
            _refuse()
        await super().register_scheduler_plugin(found, name, idempotent=idempotent)


def _refuse() -> NoReturn:
    raise NotImplementedError(NO_NANNY)
