"""Workers on which nothing goes on, and pools that have none: a run would wait for ever.

Dask pauses a worker above 80 % of its memory until it holds less. Of memory that user code leaks
nothing ever comes back. A pool whose workers are lost again and again gets no more of them.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

from distributed import Client, Future

PATIENCE = 10.0
"""Seconds without news after which paused workers are looked for, and between two looks."""
DATA = 0.3
"""Part of its memory that a worker's data may take: one that is full of data waits for its disk."""


class NoWorkersError(Exception):
    """There are no workers, and no more are started."""


def check_pool(client: Client, pool: str | None) -> None:
    """See that there are workers, or will be, where this process keeps the Dask cluster.

    Raises
    ------
    NoWorkersError
        With what to do.
    """
    stopped = getattr(client.cluster, "stopped", None)
    if callable(stopped) and (reason := stopped(pool)):
        raise NoWorkersError(reason)


def gathered(client: Client, futures: list[Future[Any]], pool: str | None) -> list[Any]:
    """Fetch results, as `Client.gather` does, which waits for those that were lost meanwhile.

    Raises
    ------
    NoWorkersError
        There are no workers that could make them again, and no more are started.
    """
    loop: Any = client.loop
    wanted = client.gather(futures, asynchronous=True)
    work = asyncio.run_coroutine_threadsafe(wanted, loop.asyncio_loop)
    while True:
        try:
            found: list[Any] = work.result(PATIENCE)
        except TimeoutError:
            if work.done():
                raise
            check_pool(client, pool)
        else:
            return found


class PausedWorkers:
    """Looks after the workers of a run while no news comes from them.

    Parameters
    ----------
    pool
        In which the run takes place; None for that of untagged work.
    """

    def __init__(self, client: Client, pool: str | None = None) -> None:
        self._client, self._pool = client, pool
        self._quiet_since = time.monotonic()

    def heard(self) -> None:
        """Take note that a chunk or a sum has ended."""
        self._quiet_since = time.monotonic()

    def paused(self) -> list[str]:
        """Return the addresses of workers that are paused and at no work, if it is time to look.

        Raises
        ------
        NoWorkersError
            There are none, and no more are started.
        """
        if time.monotonic() - self._quiet_since < PATIENCE:
            return []
        self.heard()
        check_pool(self._client, self._pool)
        with suppress(OSError):  # the loop finds out by itself that the scheduler is lost
            scheduler: Any = self._client.scheduler
            workers = self._client.sync(scheduler.identity, n_workers=-1)["workers"]
            return [
                address
                for address, worker in workers.items()
                if worker["status"] == "paused"
                and not worker["metrics"].get("executing")
                and worker["metrics"].get("managed_bytes", 0) < DATA * worker["memory_limit"]
            ]
        return []

    def end(self, workers: list[str]) -> None:
        """End workers, in whose place others come."""
        with suppress(OSError):
            self._client.run(_leave, workers=workers, on_error="ignore")


def _leave() -> None:
    import os

    os._exit(1)
