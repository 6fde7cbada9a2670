"""Waiting that its user may have cut short, by Ctrl-C while something is being ended."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

LOOK = 0.1


class Hurry:
    """Whether its user is in a hurry.

    Attributes
    ----------
    on
        Set from a signal handler.
    """

    def __init__(self) -> None:
        self.on = False

    async def unless(self, work: Awaitable[Any], seconds: float = 0.0) -> None:
        """Wait for something; in a hurry for some seconds at most, and then give it up."""
        task = asyncio.ensure_future(work)
        until: float | None = None
        try:
            while not task.done() and (until is None or time.monotonic() < until):
                await asyncio.wait([task], timeout=LOOK)
                if self.on and until is None:
                    until = time.monotonic() + seconds
        finally:
            task.cancel()
        if task.done():
            task.result()
