"""What became of every index of a burst: done, failed and why, tried again, core-hours."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from facility.batch.burst_pods import UNKNOWN, PodLedger, PodRecord
from facility.batch.bursts import OFFSET
from facility.table import Table
from facility.wording import counted

State = Literal["done", "failed", "runs", "waits", "not reached"]
STATES: tuple[State, ...] = ("done", "failed", "runs", "waits", "not reached")
SHOWN = 20
"""Indices that are shown; all of them are in the JSON."""


def indices(text: str) -> set[int]:
    """Read what a Job's status lists: ``0-3,7``."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


@dataclass(frozen=True)
class IndexRecord:
    """What became of one index.

    Attributes
    ----------
    index
        In the whole burst.
    tries
        Pods that were started for it.
    setbacks
        Why each that was seen ended without success, those of infrastructure in brackets.
    core_hours
        Of all its pods that were seen.
    """

    index: int
    job: str
    state: State
    tries: int
    setbacks: tuple[str, ...]
    core_hours: float


@dataclass(frozen=True)
class BurstAccount:
    """What became of every index of a burst.

    Attributes
    ----------
    over
        Whether nothing will happen any more.
    problems
        What Kubernetes says of Jobs that it ended, or that are gone.
    """

    name: str
    indices: tuple[IndexRecord, ...]
    over: bool
    problems: tuple[str, ...] = ()

    def count(self, state: State) -> int:
        """Indices in a state."""
        return sum(record.state == state for record in self.indices)

    @property
    def retried(self) -> int:
        """Indices that were tried more than once."""
        return sum(record.tries > 1 for record in self.indices)

    @property
    def core_hours(self) -> float:
        """Core-hours of all pods that were seen."""
        return sum(record.core_hours for record in self.indices)

    @property
    def complete(self) -> bool:
        """Whether every index is done."""
        return self.count("done") == len(self.indices)

    @property
    def reasons(self) -> Table:
        """Why pods ended without success, and how many indices failed by it in the end."""
        pods = Counter(text for record in self.indices for text in record.setbacks)
        last = Counter(r.setbacks[-1] for r in self.indices if r.state == "failed" and r.setbacks)
        rows = tuple((text, number, last[text]) for text, number in pods.most_common())
        return Table(("why", "pods", "indices failed"), rows, "no pod has failed")

    @property
    def failures(self) -> Table:
        """The first indices that failed, and why."""
        rows = tuple(
            (r.index, r.job, r.tries, "; ".join(r.setbacks) or UNKNOWN)
            for r in self.indices
            if r.state == "failed"
        )
        return Table(("index", "Job", "tries", "why"), rows[:SHOWN], "no index has failed")

    def summary(self) -> str:
        """Tell in one line how far it is."""
        parts = [f"{self.count(state):,} {state}" for state in STATES[1:] if self.count(state)]
        parts += (
            [f"{counted(self.retried, 'index', 'indices')} tried again"] if self.retried else []
        )
        text = f"{self.count('done'):,} of {counted(len(self.indices), 'index', 'indices')} done"
        return ", ".join([text, *parts, f"{self.core_hours:,.2f} core-hours"])

    def to_json(self) -> str:
        """Give everything as JSON."""
        totals = {state.replace(" ", "_"): self.count(state) for state in STATES}
        return json.dumps(
            {
                "burst": self.name,
                "over": self.over,
                **totals,
                "retried": self.retried,
                "core_hours": self.core_hours,
                "problems": list(self.problems),
                "indices": [asdict(record) for record in self.indices],
            },
            indent=1,
        )

    def __str__(self) -> str:
        parts = [self.summary(), *self.problems]
        parts += [str(self.reasons)] if self.reasons.rows else []
        parts += [str(self.failures)] if self.failures.rows else []
        return "\n".join(parts)


def account(
    name: str, asked: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]],
    ledger: PodLedger,
) -> BurstAccount:  # fmt: skip
    """Say what became of every index.

    Parameters
    ----------
    asked
        The Jobs as they were asked for.
    found
        The Jobs as they are now.
    """
    there = {each["metadata"]["name"]: each for each in found}
    records: list[IndexRecord] = []
    problems = []
    over = True
    for job in asked:
        title = job["metadata"]["name"]
        now = there.get(title)
        ended = _ended(now)
        over = over and ended is not None
        if ended:
            problems.append(f"{title}: {ended}")
        records += _records(job, now, ended is not None, ledger)
    return BurstAccount(name, tuple(records), over, tuple(problems))


def _ended(job: Mapping[str, Any] | None) -> str | None:
    """Say why a Job has ended, with nothing where all went well or indices failed; else None."""
    if job is None:
        return "it is gone: somebody has deleted it"
    for condition in job.get("status", {}).get("conditions", ()):
        if condition.get("status") != "True":
            continue
        if condition["type"] == "Complete":
            return ""
        if condition["type"] == "Failed":
            if condition.get("reason") == "FailedIndexes":
                return ""
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return None


def _records(
    asked: Mapping[str, Any], now: Mapping[str, Any] | None, over: bool, ledger: PodLedger
) -> Iterator[IndexRecord]:
    title, spec = asked["metadata"]["name"], asked["spec"]
    offset = int(asked["metadata"]["annotations"][OFFSET])
    status = (now or {}).get("status", {})
    done = indices(status.get("completedIndexes", ""))
    failed = indices(status.get("failedIndexes", ""))
    pods: dict[int, list[PodRecord]] = {}
    for pod in ledger.of(title):
        pods.setdefault(pod.index, []).append(pod)
    for index in range(spec["completions"]):
        mine = pods.get(index, [])
        state: State = "not reached"
        if index in done or any(pod.succeeded for pod in mine):
            state = "done"
        elif index in failed:
            state = "failed"
        elif not over and any(pod.started and pod.ended is None for pod in mine):
            state = "runs"
        elif not over:
            state = "waits"
        before = max((pod.failures + pod.ignored + 1 for pod in mine), default=0)
        setbacks = tuple(
            f"[{pod.ending.reason}]" if pod.ending.infrastructure else pod.ending.reason
            for pod in mine
            if pod.ending is not None
        )
        hours = sum(pod.core_seconds for pod in mine) / 3600
        tries = max(len(mine), before, int(state in ("done", "failed")))
        yield IndexRecord(offset + index, title, state, tries, setbacks, hours)
