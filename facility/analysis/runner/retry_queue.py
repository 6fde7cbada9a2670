"""Which chunk is next: new ones, those whose pause after an error is over, suspects alone."""

import heapq
from collections import deque
from collections.abc import Iterable

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a chunk is tried again; each pause is twice the last."""


class RetryQueue:
    """Chunks that are to be given to the Dask cluster.

    Parameters
    ----------
    chunks
        Their numbers, in the order in which they go.

    Attributes
    ----------
    alone
        The suspect that runs now, with nothing beside it.
    """

    def __init__(self, chunks: Iterable[int]) -> None:
        self._waiting = deque(chunks)
        self._delayed: list[tuple[float, int]] = []
        self._suspects: deque[int] = deque()
        self.alone: int | None = None

    def add(self, chunk: int) -> None:
        """Put a chunk at the end."""
        self._waiting.append(chunk)

    def delay(self, chunk: int, tries: int, now: float) -> None:
        """Let a chunk pause after it was tried, longer each time."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1))
        heapq.heappush(self._delayed, (now + pause, chunk))

    def suspect(self, chunk: int) -> None:
        """Keep a chunk until it can run alone, since its workers died, perhaps of another one."""
        self._suspects.append(chunk)

    def ended(self, chunk: int) -> bool:
        """Take note that a chunk is no longer at work.

        Returns
        -------
        bool
            Whether it ran alone.
        """
        if self.alone != chunk:
            return False
        self.alone = None
        return True

    def next(self, now: float, at_work: int, width: int) -> int | None:
        """Return the chunk to start now.

        Parameters
        ----------
        at_work, width
            Chunks at work, and how many there may be.

        Returns
        -------
        int or None
            None to wait. A suspect comes when nothing else is left and nothing is at work.
        """
        while self._delayed and self._delayed[0][0] <= now:
            self._waiting.appendleft(heapq.heappop(self._delayed)[1])
        if self.alone is not None:
            return None
        if self._waiting:
            return self._waiting.popleft() if at_work < width else None
        if self._suspects and not at_work and not self._delayed:
            self.alone = self._suspects.popleft()
            return self.alone
        return None

    def pause(self, now: float, longest: float) -> float:
        """Seconds until a pause is over, at most `longest`."""
        if not self._delayed:
            return longest
        return min(longest, max(0.01, self._delayed[0][0] - now))
