"""How much work waits for each pool, and what its workers do.

The numbers are those of distributed's `Scheduler.adaptive_target`, taken for
each pool instead of for all workers together.
"""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from distributed.core import Status

from facility.scheduler.routing import RoutedScheduler, tagged_pool

if TYPE_CHECKING:
    from distributed.scheduler import TaskState, WorkerState

SAMPLE = 100
"""Waiting tasks of a pool whose expected durations are looked up."""


def demand(scheduler: RoutedScheduler) -> dict[str, dict[str, Any]]:
    """Describe every pool that has workers, work or a declaration.

    Returns
    -------
    dict
        For each pool: ``waiting`` tasks that no worker has yet and their
        expected ``waiting_s`` (seconds), the ``longest_s`` that a running task
        has taken so far (seconds), ``processing`` tasks and their
        ``occupancy_s`` (seconds), ``nbytes`` of results of ``memory`` (bytes),
        and ``workers``, by name.
    """
    waiting: dict[str, list[TaskState]] = {}
    first = next((p for p in scheduler.routes.declared if p in scheduler.routes.untagged), None)
    for ts in scheduler.unrunnable:
        pool = tagged_pool(ts.resource_restrictions) or _serving(scheduler, ts) or first
        if pool is not None:
            waiting.setdefault(pool, []).append(ts)
    pools = {*scheduler.routes.declared, *waiting, *scheduler.routes.members}
    found = {pool: _pool(scheduler, pool, waiting.get(pool, ())) for pool in pools}
    if first is not None and scheduler.queued:
        queued = found[first]
        queued["waiting"] += len(scheduler.queued)
        queued["waiting_s"] += _expected(scheduler, scheduler.queued, len(scheduler.queued))
    return found


def _serving(scheduler: RoutedScheduler, ts: "TaskState") -> str | None:
    """Pool whose workers supply what an untagged task asks for, a GPU for example."""
    if not ts.resource_restrictions:
        return None
    for ws in scheduler.valid_workers(ts) or ():
        return scheduler.routes.pool_of(ws)
    return None


def _pool(scheduler: RoutedScheduler, pool: str, waiting: "Iterable[TaskState]") -> dict[str, Any]:
    tasks = list(waiting)
    workers = scheduler.pool_workers(pool)
    return {
        "waiting": len(tasks),
        "waiting_s": _expected(scheduler, tasks, len(tasks)),
        "longest_s": max((s for ws in workers for s in ws.executing.values()), default=0.0),
        "processing": sum(len(ws.processing) for ws in workers),
        "occupancy_s": sum(ws.occupancy for ws in workers),
        "nbytes": sum(ws.nbytes for ws in workers),
        "memory": sum(ws.memory_limit for ws in workers),
        "workers": {str(ws.name): _worker(ws) for ws in workers},
    }


def _worker(ws: "WorkerState") -> dict[str, Any]:
    return {
        "address": ws.address,
        "threads": ws.nthreads,
        "processing": len(ws.processing),
        "results": len(ws.has_what),
        "nbytes": ws.nbytes,
        "running": ws.status == Status.running,
    }


def _expected(scheduler: RoutedScheduler, tasks: "Iterable[TaskState]", count: int) -> float:
    """Sum up the expected duration of all `tasks` in seconds, from a sample of them."""
    durations = [scheduler._get_prefix_duration(ts.prefix) for ts in islice(tasks, SAMPLE)]
    return sum(durations) / len(durations) * count if durations else 0.0
