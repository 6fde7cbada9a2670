"""What became of every event: processed, failed or not reached, and what it took."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facility.analysis.inputs.cut_bookkeepers import Weights, total
from facility.analysis.inputs.plan import Plan
from facility.analysis.results.record import NOT_ASKED, STATES, Record, State, slow_unpickling
from facility.system.private_files import write_readable
from facility.table import Table
from facility.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from facility.analysis.results.skim import SkimFile

SHOWN = 20
"""Failed chunks that are shown; all of them are in `Report.failures` and in the JSON."""


@dataclass
class Report:
    """The account of a run.

    Attributes
    ----------
    records
        One for each chunk, in the order of the plan; two for one that was cut in two because
        memory ran short.
    skipped
        One sentence for each input that was left out before the run, whose events are not known.
    plan_hash
        Runs with the same one add the same results in the same order.
    started
        Seconds since 1970.
    seconds
        From the first chunk to the sum.
    interrupted
        Whether it was stopped before its end.
    metadata
        What the processor saw as `events.metadata` of each dataset: cross-section, luminosity.
    full_workers
        Workers that were ended since the processor kept more and more memory in them.
    skims
        Files that were written of the events that are in the result.
    pickled
        Bytes of the processor as it was sent.
    """

    records: list[Record]
    skipped: tuple[str, ...]
    plan_hash: str
    started: float
    seconds: float = 0.0
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    full_workers: int = 0
    skims: "list[SkimFile]" = field(default_factory=list)
    pickled: int = 0

    @classmethod
    def of(cls, plan: Plan, started: float) -> "Report":
        """Begin the account of a plan."""
        records = [Record(chunk) for chunk in plan.chunks]
        records += [Record(chunk, NOT_ASKED) for chunk in plan.beyond]
        datasets = list(plan.metadata)
        if plan.beyond:
            records.sort(key=lambda record: datasets.index(record.chunk.dataset))
        return cls(records, plan.skipped, plan.hash, started, metadata=plan.metadata)

    def events(self, state: State | None = None) -> int:
        """Number of events in a state, or of all."""
        return sum(r.chunk.events for r in self.records if state in (None, r.state))

    @property
    def total(self) -> int:
        """Number of events of the input."""
        return self.events()

    @property
    def processed(self) -> int:
        """Number of events that are in the result."""
        return self.events("processed")

    @property
    def failed(self) -> int:
        """Number of events that could not be processed."""
        return self.events("failed")

    @property
    def not_reached(self) -> int:
        """Number of events that were not tried to the end."""
        return self.events("not reached")

    @property
    def not_asked(self) -> int:
        """Number of events that `maxchunks` left out."""
        return self.events(NOT_ASKED)

    @property
    def complete(self) -> bool:
        """Whether every event of every input is in the result."""
        return not self.skipped and all(record.state == "processed" for record in self.records)

    @property
    def exact(self) -> bool:
        """Whether sums are those of any other run of this plan to the last bit.

        Else chunks were cut because memory ran short, and sums of floats may differ in the
        order of their terms: by less than 1e-12 of their value.
        """
        return not any(record.cut for record in self.records)

    @property
    def rate(self) -> float:
        """Events per second, without those that come from a checkpoint."""
        fresh = sum(
            r.chunk.events for r in self.records if r.state == "processed" and not r.restored
        )
        return fresh / self.seconds if self.seconds else 0.0

    def so_far(self) -> tuple[int, int, int, int]:
        """Events that ended, events and bytes of those that were read now, and failed chunks."""
        ended = [r for r in self.records if r.state not in ("not reached", NOT_ASKED)]
        fresh = [record for record in ended if not record.restored]
        return (
            sum(record.chunk.events for record in ended),
            sum(record.chunk.events for record in fresh),
            sum(record.bytes for record in fresh),
            sum(record.state == "failed" for record in ended),
        )

    def by_pool(self) -> dict[str, tuple[int, int]]:
        """Events and bytes that the workers of each pool have read; names of others tell none."""
        found: dict[str, tuple[int, int]] = {}
        for record in self.records:
            pool, _, number = str(record.worker or "").rpartition("-")
            if record.state == "processed" and not record.restored and number.isdecimal():
                events, size = found.get(pool, (0, 0))
                found[pool] = events + record.chunk.events, size + record.bytes
        return found

    def unbalanced(self) -> list[str]:
        """Compare with the files' own counts.

        Returns
        -------
        list of str
            One sentence for each file of which an event is in no chunk or in two; empty for any
            plan that this package makes.
        """
        problems = []
        for (dataset, path), records in self._groups(lambda r: (r.chunk.dataset, r.chunk.path)):
            at = 0
            for start, stop in sorted((r.chunk.start, r.chunk.stop) for r in records):
                if start != at:
                    problems.append(f"{path} ({dataset}): events {at} to {start} count wrongly")
                at = stop
            entries = records[0].chunk.entries
            if at != entries:
                problems.append(f"{path} ({dataset}): {at:,} of {counted(entries, 'event')}")
        return problems

    @property
    def datasets(self) -> Table:
        """Events, bytes and seconds by dataset."""
        return self._table("dataset", lambda r: (r.chunk.dataset,))

    def weights(self, dataset: str) -> Weights:
        """Sums of weights of those files of a dataset that were processed whole.

        A file counts once, however many chunks it has and however often they were tried; one of
        which an event is not in the result counts not at all.
        """
        return total(
            weights
            for (name, _), records in self._groups(lambda r: (r.chunk.dataset, r.chunk.path))
            if name == dataset and (weights := _weights(records)) is not None
        )

    @property
    def weighted(self) -> Table:
        """Sums of weights by dataset, the files that they are of, and those without any."""
        rows = []
        for (name,), of_it in self._groups(lambda r: (r.chunk.dataset,)):
            files = [list(part) for _, part in groupby(of_it, lambda r: r.chunk.path)]
            counted = sum(_weights(records) is not None for records in files)
            rows.append((name, *self.weights(name), counted, len(files) - counted))
        columns = ("dataset", "events", "sum of weights", "of squares", "files", "not counted")
        return Table(columns, tuple(rows), "no input")

    @property
    def files(self) -> Table:
        """Events, bytes and seconds by file."""
        return self._table("dataset, file", lambda r: (r.chunk.dataset, r.chunk.path))

    @property
    def workers(self) -> Table:
        """What each worker processed."""
        done = [r for r in self.records if r.worker and not r.restored]
        names = sorted({str(r.worker) for r in done})
        groups = [(name, [r for r in done if r.worker == name]) for name in names]
        rows = tuple((name, *_sums(records, STATES)) for name, records in groups)
        return Table(("worker", *_columns(STATES)), rows, "no worker has processed anything")

    @property
    def failures(self) -> Table:
        """Chunks that failed, and why."""
        rows = tuple(
            (r.chunk.dataset, r.chunk.path, f"{r.chunk.start}..{r.chunk.stop}", r.tries, r.worker,
             r.error)
            for r in self.records if r.state == "failed"
        )  # fmt: skip
        return Table(("dataset", "file", "events", "tries", "worker", "error"), rows, "no failures")

    @property
    def outputs(self) -> Table:
        """Skims by dataset and name: files, events, size, and the folder."""
        groups: dict[tuple[str, str], list[SkimFile]] = {}
        for file in self.skims:
            groups.setdefault((file.dataset, file.name), []).append(file)
        rows = tuple(
            (dataset, name, len(files), sum(file.events for file in files),
             round(sum(file.bytes for file in files) / 1e6, 3), str(Path(files[0].path).parent))
            for (dataset, name), files in groups.items()
        )  # fmt: skip
        columns = ("dataset", "skim", "files", "events", "MB", "folder")
        return Table(columns, rows, "nothing was written")

    @property
    def retried(self) -> Table:
        """Chunks that were tried again, and why: each failure but the last of those that failed."""
        rows = tuple(
            (r.chunk.dataset, r.chunk.path, f"{r.chunk.start}..{r.chunk.stop}", r.tries, r.state,
             text)
            for r in self.records for text in r.setbacks
        )  # fmt: skip
        columns = ("dataset", "file", "events", "tries", "state", "error")
        return Table(columns, rows, "nothing was tried again")

    @property
    def read_plainly(self) -> list[str]:
        """One sentence for each reason why chunks were read as coffea's Runner reads."""
        reasons = Counter(r.plainly for r in self.records if r.plainly is not None)
        return [
            f"{number:,} of {counted(len(self.records), 'chunk')} read as coffea's Runner reads, "
            f"which takes longer: {reason}"
            for reason, number in reasons.items()
        ]

    @property
    def without_events(self) -> list[str]:
        """One sentence for each dataset that adds nothing, since it has no events."""
        told = []
        for (dataset,), records in self._groups(lambda r: (r.chunk.dataset,)):
            if all(record.nothing for record in records):
                told.append(
                    f"dataset {dataset!r} has no events, and nothing of it is in the result: the "
                    f"processor gives none for no events ({records[0].nothing})"
                )
        return told

    @property
    def advice(self) -> list[str]:
        """One sentence for each reason why it took longer than it need: empty for most runs."""
        return [*self.read_plainly, *slow_unpickling(self.records, self.pickled)]

    def to_json(self) -> str:
        """Give everything that the report holds as JSON."""
        states = (*STATES, NOT_ASKED)
        totals = {state.replace(" ", "_"): self.events(state) for state in states}
        return json.dumps(
            {
                "events": {"total": self.total, **totals},
                "complete": self.complete,
                "interrupted": self.interrupted,
                "plan": self.plan_hash,
                "exact": self.exact,
                "full_workers": self.full_workers,
                "started": datetime.fromtimestamp(self.started, UTC).isoformat(),
                "seconds": self.seconds,
                "events_per_second": self.rate,
                "skipped": list(self.skipped),
                "notes": [*self.notes, *self.without_events, *self.advice],
                "datasets": list(self.datasets),
                "weights": list(self.weighted),
                "metadata": self.metadata,
                "outputs": [
                    {key: value for key, value in asdict(file).items() if key != "part"}
                    for file in self.skims
                ],
                "chunks": [asdict(record) for record in self.records],
            },
            indent=1,
            default=str,
        )

    def save(self, path: str | Path) -> Path:
        """Write the JSON to a file."""
        return write_readable(Path(path), self.to_json().encode())

    def plot(self) -> "Figure":
        """Draw which worker did what and when, and how fast it went."""
        from facility.analysis.results.timeline import timeline

        return timeline(self.records, self.summary())

    def summary(self) -> str:
        """Tell in one line how it went."""
        text = f"{self.processed:,} of {counted(self.total, 'event')} processed"
        text += f" in {self.seconds:.1f} s"
        if self.rate:
            text += f" ({self.rate:,.0f} events/s)"
        text += "".join(
            f", {self.events(state):,} {state}" for state in STATES[1:] if self.events(state)
        )
        if self.not_asked:
            text += f", {self.not_asked:,} not asked for (maxchunks)"
        if self.skipped:
            text += f", {counted(len(self.skipped), 'input')} left out"
        again = sum(bool(record.setbacks) for record in self.records)
        if again:
            text += f", {counted(again, 'chunk')} tried again"
        if self.full_workers:
            ended = counted(self.full_workers, "worker")
            text += f", {ended} ended because the processor had filled the memory"
        if not self.exact:
            parts = sum(record.cut is not None for record in self.records)
            cut = counted(parts, "part of a chunk", "parts of chunks")
            text += f", {cut} cut for lack of memory (sums equal within 1e-12)"
        return text + (", interrupted" if self.interrupted else "")

    def __str__(self) -> str:
        parts = [self.summary(), str(self.datasets)]
        parts += [str(self.outputs)] if self.skims else []
        failures = self._shown()
        parts += [str(failures)] if failures else []
        parts += [f"left out: {text}" for text in self.skipped[:SHOWN]]
        return "\n".join([*parts, *self.notes, *self.without_events, *self.advice])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [f"<p>{escape(self.summary())}</p>", self.datasets._repr_html_()]
        parts += [self.outputs._repr_html_()] if self.skims else []
        failures = self._shown()
        parts += [failures._repr_html_()] if failures else []
        lines = [f"left out: {text}" for text in self.skipped[:SHOWN]]
        lines += [*self.notes, *self.without_events, *self.advice]
        return "".join([*parts, *(f"<p>{escape(text)}</p>" for text in lines)])

    def _shown(self) -> Table:
        failures = self.failures
        return Table(failures.columns, failures.rows[:SHOWN])

    def _table(self, by: str, key: Callable[[Record], tuple[str, ...]]) -> Table:
        states = (*STATES, NOT_ASKED) if self.not_asked else STATES
        rows = tuple((*name, *_sums(records, states)) for name, records in self._groups(key))
        return Table((*by.split(", "), *_columns(states)), rows, "no input")

    def _groups(
        self, key: Callable[[Record], tuple[str, ...]]
    ) -> Iterator[tuple[Any, list[Record]]]:
        # A plan lists its datasets and files one after the other.
        return ((name, list(records)) for name, records in groupby(self.records, key))


def _columns(states: tuple[State, ...]) -> tuple[str, ...]:
    return ("events", *states, "MB", "seconds")


def _weights(records: list[Record]) -> Weights | None:
    """Sums of weights of a file whose chunks were all processed."""
    whole = all(record.state == "processed" for record in records)
    return next((r.weights for r in records if r.weights is not None), None) if whole else None


def _sums(records: list[Record], states: tuple[State, ...]) -> tuple[object, ...]:
    events = [sum(r.chunk.events for r in records if r.state == state) for state in states]
    megabytes = round(sum(r.bytes for r in records) / 1e6, 3)
    return (sum(events), *events, megabytes, round(sum(r.seconds for r in records), 3))
