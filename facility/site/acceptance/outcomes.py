"""Whether each job of a trial has ended as it should, once, and none is lost. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facility.site.acceptance.manifests import NAME
from facility.site.acceptance.plan import End, Fault, PlannedJob

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Parameters
    ----------
    planned
        What it was to be.
    end
        How it has ended; None where it has not, or is lost.
    pods, done
        Pods that it had, and those of them that did their work.
    lost
        Whether Kubernetes knows no such job.
    why
        What Kubernetes says.
    """

    planned: PlannedJob
    end: End | None
    pods: int
    done: int
    lost: bool
    why: str

    @property
    def twice(self) -> bool:
        """Whether its work was done more than once."""
        return self.done > 1

    @property
    def right(self) -> bool:
        """Whether it has ended as it should."""
        return self.end is self.planned.end and not self.twice and not self.lost


def ended(job: Object) -> End | None:
    """Say how a Job has ended, None where it has not."""
    for condition in job["status"].get("conditions", ()):
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return End.DONE if condition["type"] == "Complete" else End.FAILED
    return None


def outcomes(
    plan: Sequence[PlannedJob], jobs: Iterable[Object], pods: Mapping[str, Object]
) -> list[Outcome]:
    """Compare what was planned with what there is.

    Parameters
    ----------
    plan
        All jobs.
    jobs
        Jobs that Kubernetes has.
    pods
        Each pod that was ever seen, by its uid, as it was seen last.
    """
    known = {job["metadata"]["name"]: job for job in jobs}
    had, did = Counter[str](), Counter[str]()
    for pod in pods.values():
        name = pod["metadata"]["labels"].get(NAME, "")
        had[name] += 1
        did[name] += pod["status"]["phase"] == "Succeeded"
    return [
        Outcome(
            planned=each,
            end=ended(known[each.name]) if each.name in known else None,
            pods=had[each.name],
            # A pod that nobody looked at in time counts all the same.
            done=max(did[each.name], _succeeded(known.get(each.name))),
            lost=each.name not in known,
            why=_why(known.get(each.name)),
        )
        for each in plan
    ]


def by_fault(found: Iterable[Outcome]) -> dict[Fault, Counter[str]]:
    """Count the jobs of each fault: all, those that are right, lost, twice, or without an end."""
    counts: dict[Fault, Counter[str]] = {}
    for each in found:
        of = counts.setdefault(each.planned.fault, Counter())
        of["jobs"] += 1
        of["right"] += each.right
        of["lost"] += each.lost
        of["twice"] += each.twice
        of["no end"] += each.end is None and not each.lost
    return counts


def _succeeded(job: Object | None) -> int:
    return int(job["status"].get("succeeded", 0)) if job else 0


def _why(job: Object | None) -> str:
    if job is None:
        return "Kubernetes knows no such Job"
    said = [
        f"{each['type']}: {each.get('message') or each.get('reason', '')}"
        for each in job["status"].get("conditions", ())
        if each["status"] == "True"
    ]
    return "; ".join(said) or "it has not ended"
