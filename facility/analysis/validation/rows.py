"""Which event each row of a column is of, and which rows of two runs belong together."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np

from facility.analysis.files.chunk import Chunk
from facility.analysis.validation.columns import Piece, Span
from facility.analysis.validation.differing import kind_of
from facility.analysis.validation.outcome import Alignment, EventDifference

RUNS = ("runNumber", "run", "run_number")
EVENTS = ("eventNumber", "event", "event_number")
"""What columns of run and event numbers are called that stand beside others."""


@dataclass(frozen=True)
class ChunkColumns:
    """What one run has of a chunk, joined where memory had it cut."""

    columns: Mapping[str, ak.Array]
    numbers: tuple[Any, Any] | None


@dataclass
class Bad:
    """What differs in a chunk: events by column, and details of the first ones."""

    columns: dict[str, set[Any]] = field(default_factory=dict)
    told: dict[Any, list[EventDifference]] = field(default_factory=dict)


@dataclass
class Rows:
    """Which event each row of a column is of.

    Attributes
    ----------
    keys
        Of each row: its place in the chunk where rows are `aligned` by entry, else run, event and
        turn in the event, or position.
    """

    chunk: Chunk
    numbers: tuple[Any, Any] | None
    entries: Mapping[tuple[int, int], int]
    bad: Bad
    aligned: Alignment = "entry"
    keys: list[tuple[int, int, int]] = field(default_factory=list)

    def event(self, row: int) -> tuple[int, int, int]:
        """Tell the event of a row from others of the chunk, and sort by it."""
        return self.event_of(self.keys[row])

    def event_of(self, key: tuple[int, int, int]) -> tuple[int, int, int]:
        """Tell the event of a key from others of the chunk."""
        if self.aligned == "position":
            return self.chunk.stop, 0, key[2]
        entry = self._entry(key)
        return (self.chunk.stop, *key[:2]) if entry is None else (entry, 0, 0)

    def _entry(self, key: tuple[int, int, int]) -> int | None:
        if self.aligned == "entry":
            return self.chunk.start + key[0]
        return self.entries.get((key[0], key[1])) if self.aligned == "event number" else None

    def differ(self, column: str, event: Any) -> None:
        """Note that an event differs in a column."""
        self.bad.columns.setdefault(column, set()).add(event)
        self.bad.told.setdefault(event, [])

    def tell(self, event: Any, difference: EventDifference) -> None:
        """Keep the details of it."""
        self.bad.told[event].append(difference)

    def difference(
        self, column: str, key: tuple[int, int, int], values: tuple[str, str],
        size: tuple[float, float],
    ) -> EventDifference:  # fmt: skip
        """Describe how a row differs."""
        chunk, entry = self.chunk, self._entry(key)
        run: int | None = None
        event: int | None = None
        where = f"value {key[2]:,} of events {chunk.start:,} to {chunk.stop:,}"
        if self.aligned == "event number":
            run, event, where = key[0] or None, key[1], "by event number"
        if entry is not None and self.numbers is not None:
            run, event = (int(part[entry - chunk.start]) for part in self.numbers)
        return EventDifference(
            column, chunk.dataset, chunk.path, entry, run, event, where, *values, *size
        )


def joined(held: list[tuple[Span, Piece]]) -> ChunkColumns:
    """Join the pieces of a chunk, in the order of their events."""
    parts = [piece.columns() for _, piece in held]
    columns = dict(parts[0])
    if len(parts) > 1:
        names = dict.fromkeys(name for part in parts for name in part)
        columns = {
            name: ak.concatenate([part[name] for part in parts if name in part]) for name in names
        }
    numbers = [piece.numbers for _, piece in held]
    known = [pair for pair in numbers if pair is not None]
    if len(known) < len(numbers):
        return ChunkColumns(columns, None)
    runs, events = (np.concatenate(each) for each in zip(*known, strict=True))
    return ChunkColumns(columns, (runs, events))


def same_numbers(a: tuple[Any, Any] | None, b: tuple[Any, Any] | None) -> bool:
    """Whether run and event numbers of both are the same."""
    if a is None or b is None:
        return a is b
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def numbered_rows(
    name: str, a: ChunkColumns, b: ChunkColumns
) -> tuple[list[Any], list[Any]] | None:
    """Number the rows of a column by the event numbers that stand beside it in both."""
    keys = [row_keys(name, side.columns) for side in (a, b)]
    return None if keys[0] is None or keys[1] is None else (keys[0], keys[1])


def row_keys(name: str, columns: Mapping[str, ak.Array]) -> list[tuple[int, int, int]] | None:
    """Give each row of a column the run and event number beside it, and its turn in the event."""
    group = name[: name.rfind("/") + 1]
    event = _beside(group, EVENTS, columns, len(columns[name]))
    if event is None:
        return None
    run = _beside(group, RUNS, columns, len(columns[name]))
    runs = [0] * len(event) if run is None else run
    turns: Counter[tuple[int, int]] = Counter()
    keys = []
    for pair in zip(runs, event, strict=True):
        keys.append((*pair, turns[pair]))
        turns[pair] += 1
    return keys


def _beside(
    group: str, names: tuple[str, ...], columns: Mapping[str, ak.Array], length: int
) -> list[int] | None:
    for name in names:
        column = columns.get(group + name)
        if column is None or len(column) != length or column.ndim != 1:
            continue
        if kind_of(column).startswith(("int", "uint")) and not ak.any(ak.is_none(column)):
            return [int(number) for number in ak.to_list(column)]
    return None


def shared_rows(a: list[Any], b: list[Any]) -> tuple[list[Any], Any, Any]:
    """Find the rows of both that belong together: their keys, and their places in each."""
    there = {key: place for place, key in enumerate(b)}
    pairs = [(key, place, there[key]) for place, key in enumerate(a) if key in there]
    first, second = ([pair[which] for pair in pairs] for which in (1, 2))
    return [pair[0] for pair in pairs], np.asarray(first, int), np.asarray(second, int)


def entries_of(chunk: Chunk, numbers: tuple[Any, Any] | None) -> dict[tuple[int, int], int]:
    """Find each event's entry by its run and event number, where those are of one event alone.

    Run 0 stands for whatever run, for columns beside which only the event number stands.
    """
    if numbers is None:
        return {}
    runs, events = (np.asarray(part).tolist() for part in numbers)
    times = Counter([*zip(runs, events, strict=True), *((0, event) for event in events)])
    return {
        key: chunk.start + place
        for place, (run, event) in enumerate(zip(runs, events, strict=True))
        for key in ((run, event), (0, event))
        if times[key] == (2 if run == 0 else 1)
    }
