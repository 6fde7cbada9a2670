"""Rights that the hub gives itself in a user's namespace."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from facility.errors import KubernetesError

RIGHTS_SECONDS = 20.0
"""Seconds until a right that the hub has given itself must be known everywhere."""
T = TypeVar("T")


class Rights:
    """Rights that have just been given, and which take a moment to be known."""

    def __init__(self) -> None:
        self.given = time.monotonic()

    async def wait_for(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, again while it is refused for want of rights.

        Raises
        ------
        KubernetesError
            Where it is refused for another reason, or still after `RIGHTS_SECONDS`.
        """
        while True:
            try:
                return await call()
            except KubernetesError as error:
                late = time.monotonic() - self.given > RIGHTS_SECONDS
                lacking = re.search("cannot (patch|list)", error.message)
                if error.status != 403 or lacking is None or late:
                    raise
                await asyncio.sleep(0.2)
