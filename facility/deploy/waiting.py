"""Workers that are waited for: whether they are there, and what is told meanwhile."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from facility.backend import Backend
from facility.deploy.pool_state import PoolState
from facility.deploy.worker_list import WorkerList
from facility.errors import ClusterFailedError, ClusterTimeoutError
from facility.progress import Line
from facility.wording import counted

LOOK = 0.2
EXPLAIN = 15.0
"""Seconds after which it is told what workers wait for."""


async def answer(
    start: "asyncio.Future[dict[str, Any]]", timeout: float, explain: Callable[[str], object]
) -> dict[str, Any]:
    """Wait for a scheduler, `timeout` seconds at most; what it answers.

    Raises
    ------
    ClusterTimeoutError
    """
    began = time.monotonic()
    done, _ = await asyncio.wait([start], timeout=timeout)
    if done:
        return start.result()
    start.cancel()
    raise ClusterTimeoutError(
        f"Waited {time.monotonic() - began:.0f} s for the scheduler; nothing is left running. "
        f"{explain('was starting')}\nAsk for more time with timeout=."
    )


async def insist(
    call: Callable[[], Awaitable[None]], backend: Backend, since: float, timeout: float
) -> None:
    """Call a scheduler, again where the way to it is not open yet or no more.

    Parameters
    ----------
    since, timeout
        Begin of the start, by the monotonic clock, and the seconds that it may take.

    Raises
    ------
    ClusterFailedError
        The scheduler has ended.
    ClusterTimeoutError
    """
    while True:
        try:
            return await while_it_runs(call, backend)
        except OSError as error:
            if how := backend.scheduler_ended():
                if backend.scheduler_closed_orderly():
                    how = "was asked to close"
                raise ClusterFailedError(
                    f"It ended while it started: its scheduler {how}."
                ) from error
            if time.monotonic() - since > timeout:
                raise ClusterTimeoutError(
                    f"The scheduler runs and cannot be reached: {error!r}. Nothing is left running."
                ) from error


async def while_it_runs(call: Callable[[], Awaitable[None]], backend: Backend) -> None:
    """Call a scheduler, and give up as soon as it has ended.

    By itself distributed tries for many seconds to reach what does not listen any more.

    Raises
    ------
    OSError
        There is no answer, or the scheduler has ended.
    """
    attempt = asyncio.ensure_future(call())
    try:
        while not (await asyncio.wait([attempt], timeout=LOOK))[0]:
            if how := backend.scheduler_ended():
                raise ConnectionError(f"the scheduler {how}")
        await attempt
    finally:
        attempt.cancel()


async def until(
    there: Callable[[], bool],
    check: Callable[[], None],
    since: float,
    timeout: float,
    what: Callable[[], str],
) -> None:
    """Wait until something is there.

    Parameters
    ----------
    check
        Raises where that is not to be expected any more.
    since, timeout
        Begin of the wait, by the monotonic clock, and its seconds.
    what
        Says what was waited for.

    Raises
    ------
    ClusterTimeoutError
    """
    while not there():
        check()
        elapsed = time.monotonic() - since
        if elapsed > timeout:
            raise ClusterTimeoutError(f"Waited {elapsed:.0f} s for {what()}")
        await asyncio.sleep(0.01)


def settled(pool_states: Mapping[str, PoolState], workers: Iterable[Mapping[str, Any]]) -> bool:
    """Whether each pool has the workers that were asked for, and no more than those.

    Parameters
    ----------
    workers
        What the scheduler tells of each of its workers.
    """
    here = Counter(str(worker["name"]).partition("-")[0] for worker in workers)
    return all(
        here[name] >= state.bounds.minimum and (here[name] <= state.bounds.maximum or state.kept)
        for name, state in pool_states.items()
    )


@contextlib.asynccontextmanager
async def told(
    name: str,
    pool_states: Mapping[str, PoolState],
    worker_list: WorkerList,
    explain: Callable[[], object],
) -> AsyncIterator[None]:
    """Tell how many workers of a Dask cluster are there while something waits for them.

    Parameters
    ----------
    name
        Of the Dask cluster.
    worker_list
        Knows who is there.
    explain
        Says what they wait for.
    """
    line = Line()

    def state() -> tuple[str, int, int]:
        wanted = sum(state.bounds.clip(state.target) for state in pool_states.values())
        found = len(worker_list.workers)
        there = f"{found} of {counted(wanted, 'worker')}" if wanted else "its scheduler starts"
        if found > wanted:
            there = f"{counted(found - wanted, 'worker')} to leave"
        seconds = time.monotonic() - line.began
        return f"Dask cluster {name}: {there}, {seconds:.0f} s", found, wanted

    async def tell() -> None:
        while True:
            await asyncio.sleep(LOOK)
            if line.due():
                late = time.monotonic() - line.began > EXPLAIN
                line.tell(*state(), details=str(explain()) if late else "")

    telling = asyncio.ensure_future(tell())
    outcome = "not ready"
    try:
        yield
        outcome = "ready"
    finally:
        telling.cancel()
        text, found, wanted = state()
        line.end(f"{text}: {outcome}", found, wanted)
