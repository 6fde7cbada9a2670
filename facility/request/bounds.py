"""How many workers a pool may have, and how quickly it follows its demand."""

from dataclasses import dataclass

TARGET_DURATION = 5.0
"""Seconds in which a pool should be able to do what waits for it; distributed's
own default for adaptive clusters (``distributed.adaptive.target-duration``)."""
DOWN_AFTER = 10.0
"""Seconds for which less must be enough before a pool shrinks."""


@dataclass(frozen=True)
class Bounds:
    """How many workers a pool may have.

    A pool with different bounds adapts between them; one with equal bounds is
    fixed.
    """

    minimum: int
    maximum: int

    @property
    def adapts(self) -> bool:
        """Whether the pool follows its demand."""
        return self.minimum < self.maximum

    def clip(self, workers: int) -> int:
        """Return the nearest number of workers within the bounds."""
        return max(self.minimum, min(self.maximum, workers))

    def __str__(self) -> str:
        return f"{self.minimum} to {self.maximum}" if self.adapts else str(self.minimum)
