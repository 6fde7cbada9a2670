"""Which rows of two runs belong together, and what is told of those that differ."""

import pickle
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest

from facility.analysis.files.chunk import Chunk
from facility.analysis.inputs.plan import Plan, first_events
from facility.analysis.validation.columns import PIECES, EventColumns, Piece, Span, column_of
from facility.analysis.validation.differing import Tolerance
from facility.analysis.validation.events import SHOWN, EventComparison

N = 100


def chunk(start: int = 0, stop: int = N, index: int = 0, dataset: str = "data") -> Chunk:
    return Chunk(index, dataset, "/a.root", "T", start, stop, "uuid", 1, stop)


def result(columns: dict[str, Any], start: int = 0, stop: int = N, **more: Any) -> dict[str, Any]:
    """Return what a run returns of one chunk."""
    numbers = np.full(stop - start, 7), np.arange(start, stop) + 1_000
    packed = pickle.dumps({name: column_of(value) for name, value in columns.items()})
    piece = Piece(packed, more.get("numbers", numbers), "x86_64")
    return {PIECES: {Span("data", "/a.root", "T", start, stop): piece}}


def compared(a: Any, b: Any, **tolerances: Tolerance) -> EventComparison:
    found = EventComparison(("cpu", "arm"), lambda name: tolerances.get(name, Tolerance()))
    found.compare(Plan((chunk(),), {"data": {}}), (a, b))
    return found


def changed(values: Any, at: int, by: float = 1.0) -> Any:
    other = np.array(values)
    other[at] += by
    return other


def test_one_event_and_no_other() -> None:
    x = np.arange(N) * 1.5
    found = compared(result({"x": x, "y": x}), result({"x": changed(x, 42), "y": x}))
    assert [(c.name, c.events, c.differing, c.ok) for c in found.columns.values()] == [
        ("x", N, 1, False),
        ("y", N, 0, True),
    ]
    [event] = found.first
    assert (event.run, event.event, event.entry) == (7, 1042, 42)
    assert (event.first, event.second, event.absolute) == ("63.0", "64.0", 1.0)
    assert found.differing == 1
    assert found.problems == []


def test_a_selection_is_compared_by_event_number() -> None:
    """An event that one alone selects is named, and moves no other."""
    numbers = np.arange(1_000, 1_000 + N, 2)
    mine = {"s/eventNumber": numbers, "s/x": numbers * 2.0}
    keep = numbers != 1_010
    others = {name: values[keep] for name, values in mine.items()}
    found = compared(result(mine), result(others))
    assert {c.name: (c.differing, c.aligned) for c in found.columns.values()} == {
        "s/eventNumber": (1, "event number"),
        "s/x": (1, "event number"),
    }
    assert {(e.run, e.event, e.entry, e.first, e.second) for e in found.first} == {
        (7, 1010, 10, "there", "missing")
    }
    assert found.differing == 1


def test_several_rows_of_one_event_are_taken_in_their_order() -> None:
    mine = {"event": np.array([1, 1, 2]), "x": np.array([1.0, 2.0, 3.0])}
    others = {"event": np.array([2, 1, 1]), "x": np.array([3.0, 1.0, 2.5])}
    found = compared(result(mine), result(others))
    assert found.columns["x"].differing == 1
    assert [(e.column, e.event, e.first, e.second) for e in found.first] == [("x", 1, "2.0", "2.5")]


def test_a_column_without_numbers_is_compared_by_position() -> None:
    found = compared(result({"x": [1.0, 2.0, 3.0]}), result({"x": [1.0, 2.5]}))
    assert found.columns["x"].aligned == "position"
    assert found.columns["x"].differing == 1
    assert found.columns["x"].problems == [
        "/a.root, events 0 to 100: the numbers of values differ, 3 in cpu and 2 in arm"
    ]
    assert found.first[0].where == "value 1 of events 0 to 100"


def test_a_column_that_one_alone_returns() -> None:
    x = np.arange(N)
    found = compared(result({"x": x, "y": x}), result({"x": x, "z": x}))
    told = {c.name: c.problems for c in found.columns.values()}
    assert told == {"x": [], "y": ["only cpu returns it"], "z": ["only arm returns it"]}


def test_a_field_that_one_alone_has() -> None:
    mine = ak.zip({"pt": np.arange(N), "eta": np.arange(N)})
    found = compared(result({"m": mine}), result({"m": mine[["pt"]]}))
    assert {c.name: c.problems for c in found.columns.values()} == {
        "m.pt": [],
        "m.eta": ["only cpu returns it"],
    }


def test_types_have_to_be_the_same_without_a_tolerance() -> None:
    x = np.arange(N)
    pair = result({"x": x.astype("f4")}), result({"x": x.astype("f8")})
    assert compared(*pair).columns["x"].problems == ["float32 in cpu, float64 in arm"]
    assert compared(*pair, x=Tolerance(1e-6)).columns["x"].ok


def test_events_of_other_numbers_are_not_compared() -> None:
    x = np.arange(N)
    other = result({"x": x}, numbers=(np.full(N, 7), np.arange(N)))
    found = compared(result({"x": x}), other)
    assert "run and event numbers differ in cpu and arm" in found.problems[0]
    assert not found.columns


def test_a_chunk_that_memory_had_cut_is_joined() -> None:
    x = np.arange(N) * 1.0
    whole, first, second = (
        result({"x": x[start:stop]}, start, stop) for start, stop in ((0, N), (0, 40), (40, N))
    )
    halves = {PIECES: {**second[PIECES], **first[PIECES]}}
    assert compared(whole, halves).columns["x"].ok
    missing = compared(whole, first)
    assert missing.problems == [
        "/a.root, events 0 to 100: arm has not each of its events exactly once"
    ]
    twice = {PIECES: {**whole[PIECES], **second[PIECES]}}
    assert len(compared(whole, twice).problems) == 1


def test_a_run_without_any_result() -> None:
    assert len(compared(result({"x": np.arange(N)}), None).problems) == 1


def test_the_first_events_are_told_and_all_are_counted() -> None:
    x = np.arange(N) * 1.0
    found = compared(result({"x": x, "y": x}), result({"x": x + 1, "y": changed(x, 3)}))
    assert found.differing == N
    assert found.columns["x"].differing == N
    assert sorted({e.entry for e in found.first if e.entry is not None}) == list(range(SHOWN))
    assert [e.entry for e in found.first if e.column == "y"] == [3]


def test_the_first_events_of_each_dataset() -> None:
    chunks = tuple(
        replace(chunk(start, start + 40, index), dataset=dataset)
        for index, (dataset, start) in enumerate((d, s) for d in "ab" for s in (0, 40, 80))
    )
    cut = first_events(Plan(chunks, {"a": {}, "b": {}}), 60)
    assert [(c.index, c.dataset, c.start, c.stop) for c in cut.chunks] == [
        (0, "a", 0, 40), (1, "a", 40, 60), (2, "b", 0, 40), (3, "b", 40, 60),
    ]  # fmt: skip
    assert cut.events + sum(c.events for c in cut.beyond) == 240


def test_two_things_of_one_name_are_refused() -> None:
    import cloudpickle

    events = ak.Array({"x": np.arange(3)})
    made = EventColumns(cloudpickle.dumps(lambda events: {"a/b": events.x, "a": {"b": events.x}}))
    with pytest.raises(TypeError, match="two things that are called 'a/b'"):
        made.process(events)
