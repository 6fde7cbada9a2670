"""What routing relies on in distributed, beyond what it documents.

distributed would never ask a method of ours that it no longer knows by that name, and tasks would
run in pools that they are to keep off. So a scheduler refuses to start with another distributed.
"""

from functools import cache
from importlib.metadata import version

from facility.private_api import PrivateApi, problems

SCHEDULER = "distributed.scheduler:Scheduler"
GRAPH = (
    "self, start=, dsk=, keys=, ordered=, client=, annotations_by_type=, global_annotations=, "
    "stimulus_id=, submitting_task=, span_metadata=, user_priority=, actors=, fifo_timeout=, code="
)
OVERRIDDEN = {
    f"{SCHEDULER}._apply_annotations": "self, tasks, annotations_by_type, global_annotations",
    f"{SCHEDULER}._clear_task_state": "self",
    f"{SCHEDULER}._create_taskstate_from_graph": GRAPH,
    f"{SCHEDULER}.bulk_schedule_unrunnable_after_adding_worker": "self, ws",
    f"{SCHEDULER}.check_idle_saturated": "self, ws, occ",
    f"{SCHEDULER}.decide_worker_non_rootish": "self, ts",
    f"{SCHEDULER}.decide_worker_rootish_queuing_disabled": "self, ts",
    f"{SCHEDULER}.scatter": "self, data, workers, client, broadcast, timeout",
    f"{SCHEDULER}.stimulus_queue_slots_maybe_opened": "self, stimulus_id=",
    f"{SCHEDULER}.valid_workers": "self, ts",
    "distributed.shuffle:ShuffleSchedulerPlugin._calculate_worker_for": "self, spec",
}
ROUTING = (
    *(PrivateApi(name, parameters, overridden=True) for name, parameters in OVERRIDDEN.items()),
    PrivateApi(f"{SCHEDULER}.transitions", "self, recommendations, stimulus_id"),
    PrivateApi("distributed.collections:HeapSet", "key="),
    PrivateApi("distributed.scheduler:DEFAULT_EXTENSIONS"),
    PrivateApi("distributed.scheduler:TaskState._queueable"),
    PrivateApi("distributed.scheduler:TaskState.host_restrictions"),
    PrivateApi("distributed.scheduler:TaskState.resource_restrictions"),
    PrivateApi("distributed.scheduler:TaskState.worker_restrictions"),
    PrivateApi("distributed.shuffle._core:barrier_key", "shuffle_id"),
)


@cache
def refuse_others() -> None:
    """Refuse to start with a distributed that would not ask where tasks may run.

    Raises
    ------
    RuntimeError
    """
    if found := problems(ROUTING):
        raise RuntimeError(
            f"distributed {version('distributed')} cannot keep tasks in their pools: "
            f"{'; '.join(found)}. Install the release that this package asks for, as "
            "`pip install facility` does."
        )
