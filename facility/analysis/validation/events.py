"""Put the events of two runs side by side, and compare their columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np

from facility.analysis.files.chunk import Chunk
from facility.analysis.inputs.plan import Plan
from facility.analysis.validation.columns import PIECES
from facility.analysis.validation.differing import (
    Differing,
    Tolerance,
    differing,
    kind_of,
    leaves,
    shown,
)
from facility.analysis.validation.outcome import Alignment, ColumnDifference, EventDifference
from facility.analysis.validation.rows import (
    Bad,
    ChunkColumns,
    Rows,
    entries_of,
    joined,
    numbered_rows,
    same_numbers,
    shared_rows,
)

SHOWN = 20
"""Events that differ, of which all columns that do are shown."""
Find = Callable[[str], Tolerance]


@dataclass
class EventComparison:
    """Columns of two runs, chunk by chunk.

    Parameters
    ----------
    pools
        Names of both.
    find
        Gives the tolerance of a column by its name.
    """

    pools: tuple[str, str]
    find: Find
    columns: dict[str, ColumnDifference] = field(default_factory=dict)
    first: list[EventDifference] = field(default_factory=list)
    values: dict[str, tuple[list[Any], list[Any]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    differing: int = 0
    events: int = 0

    def compare(self, plan: Plan, results: tuple[Any, Any]) -> None:
        """Compare everything that two runs of one plan have returned."""
        sides = [sorted((result or {}).get(PIECES, {}).items()) for result in results]
        spans: tuple[dict[Any, list[Any]], dict[Any, list[Any]]] = ({}, {})
        for side, pieces in zip(spans, sides, strict=True):
            for span, piece in pieces:
                side.setdefault(span[:3], []).append((span, piece))
        for chunk in plan.chunks:
            if not chunk.events:
                continue
            of_it = [
                self._of(chunk, side, pool) for side, pool in zip(spans, self.pools, strict=True)
            ]
            if of_it[0] is not None and of_it[1] is not None:
                self._chunk(chunk, of_it[0], of_it[1])

    def _of(self, chunk: Chunk, side: Mapping[Any, list[Any]], pool: str) -> ChunkColumns | None:
        """Find what a run has of a chunk; each of its events exactly once, or a problem."""
        held = [
            (span, piece)
            for span, piece in side.get((chunk.dataset, chunk.path, chunk.tree), [])
            if chunk.start <= span.start and span.stop <= chunk.stop
        ]
        at = chunk.start
        for span, _ in held:
            if span.start != at:
                break
            at = span.stop
        if at != chunk.stop or sum(span.stop - span.start for span, _ in held) != chunk.events:
            self.problems.append(f"{chunk}: {pool} has not each of its events exactly once")
            return None
        return joined(held)

    def _chunk(self, chunk: Chunk, a: ChunkColumns, b: ChunkColumns) -> None:
        self.events += chunk.events
        if not same_numbers(a.numbers, b.numbers):
            self.problems.append(
                f"{chunk}: the file's run and event numbers differ in {' and '.join(self.pools)}, "
                "so these are not the same events; its columns are not compared"
            )
            return
        bad = Bad()
        entries = entries_of(chunk, a.numbers)
        for name in [*a.columns, *(name for name in b.columns if name not in a.columns)]:
            if name in a.columns and name in b.columns:
                self._column(name, a, b, Rows(chunk, a.numbers, entries, bad))
            else:
                self._alone(name, self.pools[name not in a.columns])
        for name, events in bad.columns.items():
            self.columns[name].differing += len(events)
        differing = set().union(*bad.columns.values())
        for event in sorted(differing)[: max(0, SHOWN - self.differing)]:
            self.first += bad.told[event]
        self.differing += len(differing)

    def _column(self, name: str, a: ChunkColumns, b: ChunkColumns, rows: Rows) -> None:
        """Compare one column of a chunk, its rows put side by side as well as is known."""
        pair, chunk = (a.columns[name], b.columns[name]), rows.chunk
        length = min(len(column) for column in pair)
        places = np.arange(length), np.arange(length)
        if all(len(column) == chunk.events for column in pair):
            rows.keys = [(int(entry), 0, 0) for entry in places[0]]
        elif (numbered := numbered_rows(name, a, b)) is not None:
            rows.aligned = "event number"
            rows.keys, *both = shared_rows(*numbered)
            places = both[0], both[1]
            self._missing(name, numbered, rows)
        else:
            rows.aligned = "position"
            rows.keys = [(0, 0, position) for position in range(length)]
            if len(pair[0]) != len(pair[1]):
                one, other = (
                    f"{len(column):,} in {pool}"
                    for column, pool in zip(pair, self.pools, strict=True)
                )
                told = f"{chunk}: the numbers of values differ, {one} and {other}"
                self._known(name, rows.aligned).problems.append(told)
        first, second = (leaves(name, column) for column in pair)
        for leaf in [*first, *(leaf for leaf in second if leaf not in first)]:
            if leaf not in first or leaf not in second:
                self._alone(leaf, self.pools[leaf not in first])
                continue
            known = self._known(leaf, rows.aligned)
            known.events += len({rows.event_of(key) for key in rows.keys})
            self._keep(leaf, first[leaf], second[leaf])
            self._types(known, first[leaf], second[leaf])
            x, y = first[leaf][places[0]], second[leaf][places[1]]
            self._note(known, differing(x, y, known.tolerance), (x, y), rows)

    def _note(
        self, known: ColumnDifference, found: Differing, pair: tuple[Any, Any], rows: Rows,
    ) -> None:  # fmt: skip
        """Take down which events of a column differ."""
        known.absolute = max(known.absolute, float(found.absolute.max(initial=0)))
        known.relative = max(known.relative, float(found.relative.max(initial=0)))
        bad = np.flatnonzero(found.events).tolist()
        # Of the first events that differ in anything, none is beyond the first of its own column.
        told = set(sorted({rows.event(row) for row in bad})[:SHOWN])
        for row in bad:
            event = rows.event(row)
            rows.differ(known.name, event)
            if event in told:
                values = shown(pair[0][row]), shown(pair[1][row])
                size = float(found.absolute[row]), float(found.relative[row])
                rows.tell(event, rows.difference(known.name, rows.keys[row], values, size))

    def _missing(self, name: str, numbered: tuple[list[Any], list[Any]], rows: Rows) -> None:
        """Note rows of events that one run has alone."""
        self._known(name, "event number")
        for which in (0, 1):
            others = set(numbered[1 - which])
            for key in (key for key in numbered[which] if key not in others):
                event = rows.event_of(key)
                rows.differ(name, event)
                values = ("there", "missing") if which == 0 else ("missing", "there")
                rows.tell(event, rows.difference(name, key, values, (np.inf, np.inf)))

    def _known(self, name: str, aligned: Alignment) -> ColumnDifference:
        known = self.columns.setdefault(name, ColumnDifference(name, tolerance=self.find(name)))
        if aligned != "entry":
            known.aligned = aligned
        return known

    def _alone(self, name: str, pool: str) -> None:
        known, told = self._known(name, "entry"), f"only {pool} returns it"
        if told not in known.problems:
            known.problems.append(told)

    def _types(self, known: ColumnDifference, a: ak.Array, b: ak.Array) -> None:
        kinds = kind_of(a), kind_of(b)
        if all(kinds) and kinds[0] != kinds[1] and not any(known.tolerance):
            told = f"{kinds[0]} in {self.pools[0]}, {kinds[1]} in {self.pools[1]}"
            if told not in known.problems:
                known.problems.append(told)

    def _keep(self, name: str, a: ak.Array, b: ak.Array) -> None:
        """Keep the numbers of a column for its histogram."""
        kept = self.values.setdefault(name, ([], []))
        for values, column in zip(kept, (a, b), strict=True):
            if kind_of(column).startswith(("int", "uint", "float", "bool")):
                values.append(ak.to_numpy(ak.drop_none(ak.flatten(column, axis=None))))


def machines(results: Any) -> str:
    """Name the architectures of the workers of a run."""
    pieces = (results or {}).get(PIECES, {}).values()
    return " and ".join(sorted({piece.machine for piece in pieces})) or "no worker"
