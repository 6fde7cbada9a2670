"""Pods of a burst: how long each ran, how it ended, and whose fault that was."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from facility.batch.bursts import cores_of

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
"""Annotations of a pod: its index, and how often the index failed before, by whose fault."""
JOB_NAME = "batch.kubernetes.io/job-name"
UNKNOWN = "Kubernetes has told no reason"


@dataclass(frozen=True)
class Ending:
    """How a pod has ended without success.

    Attributes
    ----------
    reason
        In a few words: ``exit code 1``, ``out of memory``, ``preempted``.
    infrastructure
        Whether it was no fault of the payload, so that the try does not count.
    """

    reason: str
    infrastructure: bool


@dataclass
class PodRecord:
    """What was seen of a pod.

    Attributes
    ----------
    started, ended
        Seconds since 1970 at which its containers began, and ended; None before.
    failures, ignored
        How often its index had failed before it.
    """

    job: str
    index: int
    cores: float
    started: float | None = None
    ended: float | None = None
    succeeded: bool = False
    ending: Ending | None = None
    failures: int = 0
    ignored: int = 0
    seen: float = 0.0

    @property
    def core_seconds(self) -> float:
        """Cores requested, times how long it ran as far as it was seen."""
        if self.started is None:
            return 0.0
        return self.cores * max(0.0, (self.ended or self.seen) - self.started)


@dataclass
class PodLedger:
    """All pods of a burst that were ever seen: those that are deleted take their account along."""

    pods: dict[str, PodRecord] = field(default_factory=dict)

    def see(self, pods: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take in what there is now; one that is gone before it ended was deleted.

        Parameters
        ----------
        now
            Seconds since 1970.
        """
        there = {}
        for pod in pods:
            record = pod_record(pod, now)
            if record is not None:
                there[str(pod["metadata"]["uid"])] = record
        for uid, record in self.pods.items():
            if uid not in there and not record.succeeded and record.ending is None:
                record.ending, record.ended = Ending("pod deleted", False), now
        self.pods |= there

    def of(self, job: str) -> Iterator[PodRecord]:
        """Pods of a Job, in the order in which they were seen."""
        return (record for record in self.pods.values() if record.job == job)


def pod_record(pod: Mapping[str, Any], now: float) -> PodRecord | None:
    """Read a pod of an Indexed Job; None for any other."""
    metadata, status = pod["metadata"], pod.get("status", {})
    notes, labels = metadata.get("annotations", {}), metadata.get("labels", {})
    job = labels.get(JOB_NAME)
    if job is None or INDEX not in notes:
        return None
    ended = [
        state
        for each in status.get("containerStatuses", ())
        if (state := each.get("state", {}).get("terminated"))
    ]
    over = status.get("phase") in ("Succeeded", "Failed")
    running = [
        state
        for each in status.get("containerStatuses", ())
        if (state := each.get("state", {}).get("running"))
    ]
    starts = [_seconds(state.get("startedAt")) for state in (*ended, *running)]
    ends = [_seconds(state.get("finishedAt")) for state in ended]
    # Where a node is gone nobody tells when it ended.
    last = max((x for x in ends if x is not None), default=now) if over else None
    return PodRecord(
        job=str(job),
        index=int(notes[INDEX]),
        cores=cores_of(pod.get("spec", {})),
        started=min((x for x in starts if x is not None), default=None),
        ended=last,
        succeeded=status.get("phase") == "Succeeded",
        ending=ending_of(pod) if status.get("phase") == "Failed" else None,
        failures=int(notes.get(FAILURES, 0)),
        ignored=int(notes.get(IGNORED, 0)),
        seen=now,
    )


def ending_of(pod: Mapping[str, Any]) -> Ending:
    """Say why a pod has failed, and whose fault it was."""
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return Ending(_disruption(condition), True)
    for each in status.get("containerStatuses", ()):
        state = each.get("state", {}).get("terminated") or {}
        if state.get("reason") == "OOMKilled":
            return Ending("out of memory", False)
        if state.get("exitCode") and pod["metadata"].get("deletionTimestamp"):
            return Ending("pod deleted", False)
        if state.get("exitCode"):
            return Ending(f"exit code {state['exitCode']}", False)
    reason = status.get("reason") or UNKNOWN
    message = f": {status['message']}" if status.get("message") else ""
    return Ending(f"{reason}{message}", False)


def _disruption(condition: Mapping[str, Any]) -> str:
    known = {
        "PreemptionByScheduler": "preempted",
        "DeletionByTaintManager": "its node did not answer, or was tainted",
        "EvictionByEvictionAPI": "evicted, as from a drained node",
        "DeletionByPodGC": "its node is gone",
        "TerminationByKubelet": "ended by its node, which was short of something or shut down",
    }
    reason = str(condition.get("reason") or UNKNOWN)
    return known.get(reason, reason)


def _seconds(text: str | None) -> float | None:
    return None if not text else datetime.fromisoformat(text).timestamp()
