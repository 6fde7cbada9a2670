"""The workers of one pool of a Dask cluster: wanted, started, joined, lost.

No process and no connection is touched here; `facility.deploy.controller` does what a
`Plan` says.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from facility.config import Pool
from facility.deploy.adaptive import Demand, Follower
from facility.request.bounds import Bounds
from facility.request.checked_request import Ended, PoolRequest
from facility.wording import counted

FAILED_STARTS = 5
"""Workers lost before they joined, within `LOSS_WINDOW`, after which no more are started."""
LOSSES = 30
"""The same of workers that had joined: distributed fails a task that killed four of them, so
that a handful of bad tasks must not end a pool."""
LOSS_WINDOW = 60.0
"""Seconds."""
JOIN_SECONDS = 120.0
"""Seconds after which a worker that has not joined counts as lost."""
ABSENT_SECONDS = 10.0
"""Seconds in which a worker that its scheduler closed has to end by itself."""


@dataclass
class Group:
    """Worker processes that come and go together."""

    members: set[str]
    started: float
    joined: set[str] = field(default_factory=set)
    absent: dict[str, float] = field(default_factory=dict)
    """Since when the scheduler has lacked workers that had joined."""


@dataclass(frozen=True)
class Plan:
    """What to do for a pool now, in groups."""

    start: int = 0
    retire: int = 0
    idle_only: bool = False


@dataclass
class PoolState:
    """The workers of one pool, and what is wanted of them."""

    request: PoolRequest
    adapting: bool = False
    groups: dict[str, Group] = field(default_factory=dict)
    retiring: int = 0
    """Groups that are being retired; which ones, the scheduler decides."""
    force: bool = False
    demand: Demand = field(default_factory=Demand)
    target: int = 0
    """Workers wanted now."""
    kept: str | None = None
    """Why a group could not be retired."""
    no_room: str | None = None
    broken: str | None = None
    lost: int = 0
    last_loss: Ended | None = None
    told: set[str] = field(default_factory=set)
    _losses: deque[tuple[float, bool]] = field(default_factory=deque)
    _follower: Follower = field(default_factory=Follower)
    _started: int = 0

    def __post_init__(self) -> None:
        self.adapting = self.bounds.adapts
        self.target = self.bounds.minimum

    @property
    def pool(self) -> Pool:
        """The pool's description."""
        return self.request.pool

    @property
    def bounds(self) -> Bounds:
        """How many workers the pool may have."""
        return self.request.bounds

    @property
    def joined(self) -> int:
        """Workers that the scheduler has."""
        return sum(len(group.joined) for group in self.groups.values())

    def rescale(self, bounds: Bounds, *, force: bool = False) -> None:
        """Set new bounds; a pool that gave up tries again."""
        self.request = replace(self.request, bounds=bounds)
        self.adapting = bounds.adapts
        self.force = force
        self.broken = self.kept = None
        self._losses.clear()
        self.told.clear()

    def plan(self, now: float) -> Plan:
        """Compare what is wanted with what there is."""
        if self.adapting:
            self.target = self._follower.target(now, self.demand, self.bounds, self.pool.threads)
        else:
            self.target = self.bounds.minimum
        wanted = math.ceil(self.target / self.pool.processes)
        present = len(self.groups)
        # Groups that are being retired count until the last of them has left:
        # they leave one by one, and none of them is to be replaced.
        if self.broken or present == wanted or (present > wanted and self.retiring):
            return Plan()
        if present < wanted:
            self.kept = None
            return Plan(start=wanted - present)
        return Plan(retire=present - wanted, idle_only=self.adapting)

    def new_group(self, now: float) -> tuple[str, list[str]]:
        """Name a new group and its workers."""
        name = f"{self.pool.name}-{self._started}"
        self._started += 1
        count = self.pool.processes
        members = [name] if count == 1 else [f"{name}-{index}" for index in range(count)]
        self.groups[name] = Group(set(members), now)
        return name, members

    def observe(
        self, demand: Demand, now: float, unplaced: Collection[str] = frozenset()
    ) -> list[str]:
        """Take note of what the scheduler has; workers that should end.

        These reached no scheduler in time, or the scheduler gave them up.

        Parameters
        ----------
        unplaced
            Workers that wait for a place to run, whose time to join has not begun.
        """
        self.demand = demand
        present: Collection[str] = demand.workers
        overdue = []
        for group in self.groups.values():
            group.joined |= group.members & set(present)
            for member in group.members:
                if member in present:
                    group.absent.pop(member, None)
                    continue
                since, patience = group.started, JOIN_SECONDS
                if member in group.joined:
                    since, patience = group.absent.setdefault(member, now), ABSENT_SECONDS
                elif member in unplaced:
                    since = group.started = now
                if now - since > patience:
                    overdue.append(member)
        return overdue

    def await_anew(self, now: float) -> None:
        """Begin the time to join again: workers had to wait for what is sent to them."""
        for group in self.groups.values():
            group.started = now

    def dismiss(self, members: Iterable[str]) -> list[str]:
        """Forget workers that were asked to leave for others to come; those that there were."""
        return [member for member in members if self._forget(member) is not None]

    def _forget(self, member: str) -> bool | None:
        """Take a worker out of its group; whether it had joined, None where there is none."""
        for name, group in list(self.groups.items()):
            if member in group.members:
                joined = member in group.joined
                group.members.discard(member)
                group.joined.discard(member)
                group.absent.pop(member, None)
                if not group.members:
                    del self.groups[name]
                return joined
        return None

    def lose(self, ended: Ended, now: float) -> None:
        """Take note of a worker that ended by itself."""
        joined = self._forget(ended.name)
        if joined is None or ended.orderly:
            return
        self.lost += 1
        self.last_loss = ended
        self._losses.append((now, joined))
        while self._losses[0][0] < now - LOSS_WINDOW:
            self._losses.popleft()
        failed_starts = sum(not had_joined for _, had_joined in self._losses)
        # The workers of a group may all be lost at once.
        size = self.pool.processes
        if failed_starts >= FAILED_STARTS * size or len(self._losses) >= max(
            LOSSES * size, 2 * self.target
        ):
            self.broken = (
                f"{counted(len(self._losses), 'worker was', 'workers were')} lost within "
                f"{LOSS_WINDOW:.0f} s (the last one {ended.how})"
            )
        if ended.final:
            self.broken = f"worker {ended.name} {ended.how}"

    def missing(self, now: float) -> list[tuple[str, str]]:
        """Name new workers for groups that lost some of theirs: (group, worker)."""
        found: list[tuple[str, str]] = []
        if self.broken:
            return found
        for name, group in self.groups.items():
            for _ in range(self.pool.processes - len(group.members)):
                member = f"{name}-{self._started}r"
                self._started += 1
                group.members.add(member)
                group.started = now
                found.append((name, member))
        return found


def pool_states(requests: Mapping[str, PoolRequest]) -> dict[str, PoolState]:
    """Return a pool_state for each pool."""
    return {name: PoolState(request) for name, request in requests.items()}


def routes(members: Iterable[PoolState]) -> list[dict[str, Any]]:
    """Describe the pools for the scheduler, as fields of its `Route`."""
    return [
        {
            "name": pool_state.pool.name,
            "default": pool_state.pool.default,
            "scarce": pool_state.pool.scarce,
            "architecture": pool_state.pool.architecture or "",
            "maximum": pool_state.bounds.maximum,
            "wanted": pool_state.target,
        }
        for pool_state in members
    ]
