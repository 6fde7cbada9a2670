"""Which workers a task may run on.

A task that carries a pool's tag runs in that pool. A task without one runs in
the pools that take untagged work, and nowhere else: distributed alone sends
it to any worker.

Three things differ from setting restrictions in a plugin's `update_graph`:

- Untagged tasks keep distributed's own queue, since they stay unrestricted:
  the set of valid workers is narrowed where it is asked for (`valid_workers`),
  and workers of other pools are not offered to the queue.
- Tagged tasks, which distributed never queues, wait here (`_held`) until a
  worker of their pool has a free slot. Otherwise the first worker that joins
  gets all of them, and takes all of them down when it dies.
- P2P shuffles ask where their outputs may go when they start, not when their
  graph arrives, so that pools may scale in between.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import dask
from distributed.collections import HeapSet
from distributed.metrics import time
from distributed.scheduler import DEFAULT_EXTENSIONS, WorkerState
from distributed.shuffle import ShuffleSchedulerPlugin
from distributed.shuffle._core import barrier_key

from facility import names
from facility.scheduler.relied_on import refuse_others
from facility.scheduler.replacement import ReplacingScheduler

if TYPE_CHECKING:
    from dask.typing import Key
    from distributed.scheduler import Recs, TaskState


@dataclass(frozen=True)
class Route:
    """What routing needs to know of one pool of this Dask cluster."""

    name: str
    default: bool = False
    scarce: bool = False
    architecture: str = ""
    maximum: int = 0
    """Workers the pool may have now; 0 means that the Dask cluster lacks it."""
    wanted: int = 0
    """Workers that its owner wants now."""


def untagged_pools(routes: Iterable[Route], chosen: Iterable[str] | None) -> frozenset[str]:
    """Pools that run tasks without a tag.

    `chosen` by the user, else the default pool, else those that are not
    scarce, of one architecture, else the scarce ones likewise.
    """
    present = [route for route in routes if route.maximum > 0]
    if chosen is not None:
        return frozenset(chosen)
    candidates = (
        [route for route in present if route.default]
        or [route for route in present if not route.scarce]
        or present
    )
    return frozenset(
        route.name for route in candidates if route.architecture == candidates[0].architecture
    )


@dataclass
class Routes:
    """The pools of this Dask cluster and the workers in each."""

    declared: dict[str, Route] = field(default_factory=dict)
    chosen: frozenset[str] | None = None
    untagged: frozenset[str] = frozenset()
    members: dict[str, set[WorkerState]] = field(default_factory=dict)
    protecting: bool = False
    """Whether there is a pool that untagged tasks must keep off."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Read the settings that `facility.scheduler.pooled` documents."""
        chosen = settings.get("untagged")
        routes = cls(chosen=None if chosen is None else frozenset(chosen))
        routes.declare(settings.get("pools", []))
        return routes

    def declare(self, pools: Iterable[Mapping[str, Any]]) -> None:
        """Take note of the pools and their present bounds."""
        self.declared = {pool["name"]: Route(**pool) for pool in pools}
        self.untagged = untagged_pools(self.declared.values(), self.chosen)
        present = {route.name for route in self.declared.values() if route.maximum > 0}
        # A pool scaled to 0 protects its workers until the last has left.
        occupied = {name for name, workers in self.members.items() if workers}
        self.protecting = bool((present | occupied) - self.untagged)

    def pool_of(self, worker: WorkerState) -> str | None:
        """Pool of a worker, from the tag that it advertises."""
        return tagged_pool(worker.resources)


def tagged_pool(resources: Mapping[str, float] | None) -> str | None:
    """Return the pool that a mapping of Dask resources names, if any."""
    for resource in resources or ():
        if resource.startswith(names.TAG_PREFIX):
            return resource.removeprefix(names.TAG_PREFIX)
    return None


class RoutedScheduler(ReplacingScheduler):
    """A scheduler that keeps tasks in their pools."""

    def __init__(self, routes: Routes, **arguments: Any) -> None:
        refuse_others()
        self.routes = routes
        self._held: dict[str, HeapSet[TaskState]] = {}
        self._open: dict[str, set[WorkerState]] = {}
        super().__init__(extensions=_extensions(), **arguments)

    # Which workers are in which pool.

    def declare(self, pools: Iterable[Mapping[str, Any]]) -> None:
        """Take note of the pools' present bounds, and act on what they change."""
        before = (self.routes.untagged, self.routes.protecting)
        self.routes.declare(pools)
        if (self.routes.untagged, self.routes.protecting) == before:
            return
        for ws in list(self.workers.values()):
            self.check_idle_saturated(ws)
        stimulus_id = f"facility-declare-{time()}"
        self.transitions({ts.key: "processing" for ts in self.unrunnable}, stimulus_id)
        self.stimulus_queue_slots_maybe_opened(stimulus_id=stimulus_id)

    def wanted(self) -> int:
        """Return how many workers the owner wants."""
        return sum(route.wanted for route in self.routes.declared.values())

    def _clear_task_state(self) -> None:
        """Forget all tasks, also those that wait here."""
        super()._clear_task_state()
        self._held.clear()

    def check_idle_saturated(self, ws: WorkerState, occ: float = -1.0) -> None:
        """Offer a worker's free slots to its own pool's tasks only."""
        super().check_idle_saturated(ws, occ)
        pool = self.routes.pool_of(ws)
        if pool is None:
            return
        members = self.routes.members.setdefault(pool, set())
        with_slot = self._open.setdefault(pool, set())
        with_slot.discard(ws)
        if self.workers.get(ws.address) is not ws:
            members.discard(ws)
            return
        members.add(ws)
        if ws in self.idle_task_count:
            with_slot.add(ws)
        if self.routes.protecting and pool not in self.routes.untagged:
            self.idle_task_count.discard(ws)

    def open_workers(self, pool: str) -> set[WorkerState]:
        """Find running workers of a pool with a free slot."""
        workers = self._open.get(pool)
        if not workers:
            return set()
        gone = {ws for ws in workers if self.workers.get(ws.address) is not ws}
        workers -= gone
        return workers & self.running

    def pool_workers(self, pool: str) -> set[WorkerState]:
        """Workers of a pool, in whatever state."""
        members = self.routes.members.get(pool)
        if not members:
            return set()
        members -= {ws for ws in members if self.workers.get(ws.address) is not ws}
        return members

    def untagged_workers(self) -> set[WorkerState]:
        """Find running workers that take untagged tasks."""
        found = set().union(*(self.pool_workers(pool) for pool in self.routes.untagged))
        return found & self.running

    # Where a task may go.

    def valid_workers(self, ts: "TaskState") -> set[WorkerState] | None:
        """Keep untagged tasks off the pools that do not take them."""
        valid = super().valid_workers(ts)
        # A task with a restriction of the user's own, a GPU for example, says
        # itself where it can run.
        if (
            valid is not None
            or not self.routes.protecting
            or ts.worker_restrictions
            or ts.host_restrictions
            or ts.resource_restrictions
        ):
            return valid
        return self.untagged_workers()

    def decide_worker_rootish_queuing_disabled(self, ts: "TaskState") -> WorkerState | None:
        """Choose among the allowed workers where distributed would take any."""
        if self.routes.protecting:
            return self.decide_worker_non_rootish(ts)
        return super().decide_worker_rootish_queuing_disabled(ts)

    def decide_worker_non_rootish(self, ts: "TaskState") -> WorkerState | None:
        """Let wide groups of tagged tasks wait for a free slot of their pool."""
        pool = tagged_pool(ts.resource_restrictions)
        if pool is None or not self._is_wide(ts, pool):
            return super().decide_worker_non_rootish(ts)
        candidates = self.open_workers(pool)
        if candidates:
            candidates &= self.valid_workers(ts) or set()
        if not candidates:
            self._held.setdefault(pool, HeapSet(key=_priority)).add(ts)
            return None
        return min(candidates, key=lambda ws: len(ws.processing) / ws.nthreads)

    def _is_wide(self, ts: "TaskState", pool: str) -> bool:
        """Whether a tagged task is one of many alike (distributed's `is_rootish`)."""
        group = ts.group
        threads = sum(ws.nthreads for ws in self.pool_workers(pool))
        return (
            not ts.worker_restrictions
            and not ts.host_restrictions
            and not ts.actor
            and ts._queueable
            and len(group) > threads * 2
            and len(group.dependencies) < self.rootish_tg_threshold
            and sum(map(len, group.dependencies)) < self.rootish_tg_dependencies_threshold
        )

    # When a waiting task may start.

    def _prune(self, pool: str) -> "HeapSet[TaskState]":
        held = self._held.setdefault(pool, HeapSet(key=_priority))
        while held and held.peek().state != "no-worker":
            held.pop()
        return held

    def bulk_schedule_unrunnable_after_adding_worker(self, ws: WorkerState) -> "Recs":
        """Leave tasks that wait for a slot to `stimulus_queue_slots_maybe_opened`."""
        waiting = {ts for held in self._held.values() for ts in held}
        recommendations: Recs = {}
        for ts in sorted(self.unrunnable.keys() - waiting, key=_priority, reverse=True):
            valid = self.valid_workers(ts)
            if valid is None or ws in valid:
                recommendations[ts.key] = "processing"
        return recommendations

    def stimulus_queue_slots_maybe_opened(self, *, stimulus_id: str) -> None:
        """Fill free slots by priority, from distributed's queue and from the held tasks."""
        full: set[str] = set()
        while True:
            ready: list[tuple[TaskState, str | None]] = []
            if self.queued and self.idle_task_count and "" not in full:
                ready.append((self.queued.peek(), None))
            for pool in self._held.keys() - full:
                held = self._prune(pool)
                if held and self.open_workers(pool):
                    ready.append((held.peek(), pool))
            if not ready:
                return
            ts, source = min(ready, key=lambda pair: _priority(pair[0]))
            if source is not None:
                self._held[source].pop()
            self.transitions({ts.key: "processing"}, stimulus_id)
            if ts.state in ("no-worker", "queued"):
                full.add(source or "")

    # What a submission says.

    def _create_taskstate_from_graph(self, **kwargs: Any) -> dict[str, float]:
        """Move tasks that have not started to the pool of their latest submission."""
        annotations = kwargs["global_annotations"] or {}
        pool = annotations.get(names.POOL_ANNOTATION)
        moved = []
        if pool is not None:
            for key in kwargs["dsk"]:
                ts = self.tasks.get(key)
                if (
                    ts is not None
                    and ts.state in ("waiting", "no-worker", "queued")
                    and tagged_pool(ts.resource_restrictions) != pool
                ):
                    _route(ts, pool, replace=True)
                    moved.append(ts)
        metrics = super()._create_taskstate_from_graph(**kwargs)
        self.transitions(
            {ts.key: "released" for ts in moved if ts.state in ("no-worker", "queued")},
            kwargs["stimulus_id"],
        )
        return metrics

    def _apply_annotations(
        self,
        tasks: "Iterable[TaskState]",
        annotations_by_type: "dict[str, dict[Key, Any]]",
        global_annotations: dict[str, Any] | None = None,
    ) -> "set[Key]":
        """Route by what is said where a graph is submitted, not where it was built.

        Fusion keeps or drops what layers say by accident.
        """
        tasks = list(tasks)
        annotations_by_type.pop(names.POOL_ANNOTATION, None)
        annotated = super()._apply_annotations(tasks, annotations_by_type, global_annotations)
        pool = (global_annotations or {}).get(names.POOL_ANNOTATION)
        if pool is not None:
            for ts in tasks:
                _route(ts, pool, replace=False)
        return annotated

    async def scatter(
        self,
        data: dict[Any, Any],
        workers: Iterable[str] | None,
        client: str,
        broadcast: bool = False,
        timeout: float = 2,
    ) -> "list[Key]":
        """Send data, like untagged tasks, to the pools that take them."""
        if workers is None and self.routes.protecting:
            workers = [ws.address for ws in self.untagged_workers()] or None
        return await super().scatter(data, workers, client, broadcast, timeout)


def _priority(ts: "TaskState") -> Any:
    return ts.priority


def _route(ts: "TaskState", pool: str, *, replace: bool) -> None:
    """Add a pool's tag to a task's own resources (which may name another pool)."""
    named = tagged_pool(ts.resource_restrictions)
    if named is not None and not replace:
        return
    kept = {
        resource: amount
        for resource, amount in (ts.resource_restrictions or {}).items()
        if not resource.startswith(names.TAG_PREFIX)
    }
    ts.resource_restrictions = {**kept, names.pool_tag(pool): 1}


class RoutedShuffle(ShuffleSchedulerPlugin):
    """distributed's P2P shuffles, kept to workers where their barrier may run."""

    scheduler: RoutedScheduler

    def _calculate_worker_for(self, spec: Any) -> dict[Any, str]:
        """Pin the outputs of a shuffle to workers.

        distributed takes the barrier's worker restrictions, or every worker; with a
        protected pool the latter hangs. They are set for this one calculation, since
        a restriction that stays would outlive the workers that it names.
        """
        barrier = self.scheduler.tasks[barrier_key(spec.id)]
        valid = self.scheduler.valid_workers(barrier)
        if barrier.worker_restrictions or not valid:
            return super()._calculate_worker_for(spec)
        barrier.worker_restrictions = {ws.address for ws in valid}
        try:
            return super()._calculate_worker_for(spec)
        finally:
            barrier.worker_restrictions = set()


def _extensions() -> dict[str, Any]:
    """Return distributed's own extensions as it chooses them, with our shuffle."""
    found = {**DEFAULT_EXTENSIONS, "shuffle": RoutedShuffle}
    if not dask.config.get("distributed.scheduler.work-stealing"):
        found.pop("stealing", None)
    return found
