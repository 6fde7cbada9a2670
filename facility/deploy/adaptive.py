"""Demand of each pool -> target of each pool.

Pure functions of numbers; `facility.scheduler.demand` takes the numbers and
`facility.deploy.controller` acts on the targets.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from facility.request.bounds import DOWN_AFTER, TARGET_DURATION, Bounds

FULL_MEMORY = 0.6
"""Fraction of the workers' memory in use above which a pool doubles, as in
distributed's `Scheduler.adaptive_target`."""


@dataclass(frozen=True)
class Demand:
    """What waits for a pool and what its workers do (seconds, bytes)."""

    waiting: int = 0
    waiting_s: float = 0.0
    longest_s: float = 0.0
    processing: int = 0
    occupancy_s: float = 0.0
    nbytes: int = 0
    memory: int = 0
    workers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def desired(demand: Demand, threads: int) -> int:
    """Return how many workers a demand is worth, before any bounds.

    Parameters
    ----------
    threads
        Threads of one worker of the pool.
    """
    tasks = demand.waiting + demand.processing
    if not tasks:
        return 0
    # A task that has run for long already says more than the average, which
    # is a guess until the first of its kind has finished.
    waiting_s = max(demand.waiting_s, demand.waiting * demand.longest_s)
    slots = math.ceil((demand.occupancy_s + waiting_s) / TARGET_DURATION)
    workers = max(1, math.ceil(min(slots, tasks) / threads))
    if demand.nbytes > FULL_MEMORY * demand.memory > 0:
        workers = max(workers, 2 * len(demand.workers))
    return workers


class Follower:
    """Follows the demand of one pool: up at once, down when it has stayed low."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int]] = deque()

    def target(self, now: float, demand: Demand, bounds: Bounds, threads: int) -> int:
        """Return the number of workers to have now.

        Parameters
        ----------
        now
            Monotonic time in seconds.
        """
        self._recent.append((now, desired(demand, threads)))
        while self._recent[0][0] < now - DOWN_AFTER:
            self._recent.popleft()
        return bounds.clip(max(workers for _, workers in self._recent))
