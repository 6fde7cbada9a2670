"""What came of a validation: which columns differ, in how many events, and by how much."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

from facility.analysis.results.comparison import DRAWN, Comparison
from facility.analysis.results.report import Report
from facility.analysis.validation.differing import Tolerance
from facility.analysis.validation.page import items, page, picture, wide
from facility.system.private_files import write_readable
from facility.table import Table
from facility.wording import counted

Alignment = Literal["entry", "event number", "position"]


@dataclass
class ColumnDifference:
    """How one column differs.

    Attributes
    ----------
    name
        Keys on the way to it, joined with ``/``, and fields of records, with ``.``.
    events
        Events that have it; values, where it is compared by position.
    differing
        How many of them differ by more than the tolerance.
    absolute, relative
        The largest difference of two numbers, within the tolerance or not; a relative one is to
        the larger of the two. Infinite where one has nothing to be compared with.
    aligned
        How values of both were put side by side: by the event's entry in the file, by run and
        event number, or by their position in the column of a chunk.
    tolerance
        What it was compared with: the largest absolute and relative difference that is none.
    problems
        Sentences where the columns differ as a whole: one has it alone, the types differ.
    """

    name: str
    events: int = 0
    differing: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    aligned: Alignment = "entry"
    tolerance: Tolerance = field(default_factory=Tolerance)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it is the same in both, within the tolerance."""
        return not self.differing and not self.problems


@dataclass(frozen=True)
class EventDifference:
    """One column of one event that differs.

    Attributes
    ----------
    entry
        Number of the event in its file, from 0; None where only a position is known.
    run, event
        Run and event number, where the file has them.
    where
        What to look for where `entry` is None.
    first, second
        What it is in both, cut off where it is long.
    """

    column: str
    dataset: str
    path: str
    entry: int | None
    run: int | None
    event: int | None
    where: str
    first: str
    second: str
    absolute: float
    relative: float


@dataclass(frozen=True)
class Validation:
    """One processor in two pools, event by event.

    Attributes
    ----------
    pools
        Names of both.
    machines
        Architectures of the workers of both, as Python names them.
    events
        Events that were compared.
    columns
        One for each column, in the order in which the processor returns them.
    first
        The first events that differ, with each of their columns that does.
    differing
        How many events differ in any column.
    results
        What the processor returns beside columns: histograms and numbers.
    histograms
        Of columns, from both, by name.
    problems
        Sentences of what is wrong beside: an event that is not in both, a tolerance of no column.
    plan_hash
        Names the files and chunks, which are the same in both.
    reports
        Accounts of both runs.
    """

    pools: tuple[str, str]
    machines: tuple[str, str]
    events: int
    columns: tuple[ColumnDifference, ...]
    first: tuple[EventDifference, ...]
    differing: int
    results: Comparison
    histograms: dict[str, tuple[Any, Any]]
    problems: tuple[str, ...]
    plan_hash: str
    reports: tuple[Report, Report]

    @property
    def ok(self) -> bool:
        """Whether everything is the same, within the tolerances."""
        return not self.problems and self.results.ok and all(column.ok for column in self.columns)

    @property
    def table(self) -> Table:
        """A row for each column."""
        columns = (
            "column", "ok", "events", "differ", "absolute", "relative", "compared by", "tolerance",
        )  # fmt: skip
        rows = tuple(
            (c.name, c.ok, f"{c.events:,}", f"{c.differing:,}", f"{c.absolute:.3g}",
             f"{c.relative:.3g}", c.aligned, _told(c.tolerance))
            for c in self.columns
        )  # fmt: skip
        return Table(columns, rows, "the processor returns no columns")

    @property
    def first_events(self) -> Table:
        """The first events that differ: run and event number, entry, values in both."""
        columns = ("run", "event", "entry", "column", *self.pools, "absolute", "relative", "file")
        rows = tuple(
            (e.run, e.event, e.where if e.entry is None else str(e.entry), e.column, e.first,
             e.second, f"{e.absolute:.3g}", f"{e.relative:.3g}",
             f"{Path(e.path).name} ({e.dataset})")
            for e in self.first
        )  # fmt: skip
        return Table(columns, rows, "no event differs")

    def summary(self) -> str:
        """Tell in one line how it ended."""
        bad = [column.name for column in self.columns if not column.ok]
        both = " and ".join(
            f"{pool} ({machine})" for pool, machine in zip(self.pools, self.machines, strict=True)
        )
        text = f"{both}: {counted(self.events, 'event')}, {counted(len(self.columns), 'column')}"
        if self.ok:
            return f"{text}: all equal within the tolerances"
        parts = []
        if bad:
            events = counted(self.differing, "event")
            parts.append(f"{counted(len(bad), 'column differs', 'columns differ')} in {events}")
        others = sum(not item.ok for item in self.results.items)
        others += len(self.results.only_a) + len(self.results.only_b)
        if others:
            parts.append(counted(others, "histogram or number differs",
                                 "histograms and numbers differ"))  # fmt: skip
        parts += [counted(len(self.problems), "further problem")] if self.problems else []
        return f"{text}: {', '.join(parts)}"

    def sentences(self) -> Iterator[str]:
        """Say what no table says."""
        yield from self.problems
        for column in self.columns:
            yield from (f"{column.name}: {problem}" for problem in column.problems)
        for names, pool in zip((self.results.only_a, self.results.only_b), self.pools, strict=True):
            yield from (f"{name}: only in {pool}" for name in names)
        yield from (f"{item.name}: {item.problem}" for item in self.results.items if item.problem)

    def save(self, path: str | Path) -> Path:
        """Write it as one page of HTML that needs nothing else, pictures included."""
        wrong, drawn = list(self.sentences()), self.results.histograms[:DRAWN]
        columns = [(name, *pair) for name, pair in self.histograms.items()]
        sections = [("What is wrong", items(wrong))] if wrong else []
        sections.append(("Columns", wide(self.table)))
        if self.first:
            sections.append(("First events that differ", wide(self.first_events)))
        if self.results.items:
            sections.append(("Histograms and numbers", wide(self.results.table)))
        if drawn:
            told = picture("Histograms of the processor", self.pools, drawn)
            sections.append(("Histograms, and their ratios", told))
        if columns:
            told = picture("Histograms of columns", self.pools, columns)
            sections.append(("Columns as histograms, and their ratios", told))
        for pool, report in zip(self.pools, self.reports, strict=True):
            sections.append((f"The run in {pool}", report._repr_html_()))
        sections.append(("Plan", f"<p>Files and chunks of both: {escape(self.plan_hash)}.</p>"))
        verdict = f"{'Equal' if self.ok else 'Different'}. {self.summary()}."
        title = f"{self.pools[1]} against {self.pools[0]}"
        return write_readable(Path(path), page(title, self.ok, verdict, sections).encode())

    def __str__(self) -> str:
        parts = [self.summary(), str(self.table)]
        parts += [str(self.first_events)] if self.first else []
        parts += [str(self.results.table)] if self.results.items else []
        return "\n".join([*parts, *self.sentences()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [f"<p>{escape(self.summary())}</p>", self.table._repr_html_()]
        parts += [self.first_events._repr_html_()] if self.first else []
        parts += [self.results.table._repr_html_()] if self.results.items else []
        return "".join([*parts, *(f"<p>{escape(text)}</p>" for text in self.sentences())])


def _told(tolerance: Tolerance) -> str:
    if not any(tolerance):
        return "exactly"
    absolute = f", absolute {tolerance.absolute:g}" if tolerance.absolute else ""
    return f"relative {tolerance.relative:g}{absolute}"
