"""Workers that are waited for: whether they are there, and what is told meanwhile."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from facility.crew import Crew
from facility.display import Line
from facility.roster import Roster
from facility.wording import counted

LOOK = 0.2
EXPLAIN = 15.0
"""Seconds after which it is told what workers wait for."""


def settled(crews: Mapping[str, Crew], workers: Iterable[Mapping[str, Any]]) -> bool:
    """Whether each pool has the workers that were asked for, and no more than those.

    Parameters
    ----------
    workers
        What the scheduler tells of each of its workers.
    """
    here = Counter(str(worker["name"]).partition("-")[0] for worker in workers)
    return all(
        here[name] >= crew.bounds.minimum and (here[name] <= crew.bounds.maximum or crew.kept)
        for name, crew in crews.items()
    )


@contextlib.asynccontextmanager
async def told(
    name: str,
    crews: Mapping[str, Crew],
    roster: Roster,
    explain: Callable[[], object],
) -> AsyncIterator[None]:
    """Tell how many workers of a Dask cluster are there while something waits for them.

    Parameters
    ----------
    name
        Of the Dask cluster.
    roster
        Knows who is there.
    explain
        Says what they wait for.
    """
    line = Line()

    def state() -> tuple[str, int, int]:
        wanted = sum(crew.bounds.clip(crew.target) for crew in crews.values())
        found = len(roster.workers)
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
