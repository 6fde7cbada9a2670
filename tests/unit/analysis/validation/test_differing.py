"""Columns of all shapes, and which of their events differ."""

from typing import Any

import awkward as ak
import numpy as np
import pytest
from coffea.processor import column_accumulator
from hist import Hist

from facility.analysis.validation.columns import column_of
from facility.analysis.validation.differing import Tolerance, differing, kind_of, leaves

NAN, INF = float("nan"), float("inf")
EXACTLY = Tolerance()


def bad(a: Any, b: Any, tolerance: Tolerance = EXACTLY) -> dict[str, list[int]]:
    """Events that differ, by column."""
    first, second = (leaves("c", column_of(x)) for x in (a, b))
    assert first.keys() == second.keys()
    return {
        name: np.flatnonzero(differing(first[name], second[name], tolerance).events).tolist()
        for name in first
    }


@pytest.mark.parametrize(
    ("a", "b", "events"),
    [
        ([1.0, NAN, -0.0], [1.0, NAN, 0.0], []),
        ([1.0, NAN, 2.0], [1.0, 1.0, NAN], [1, 2]),
        ([INF, INF, -INF], [INF, -INF, 1.0], [1, 2]),
        ([[1.0, NAN], [], [3.0]], [[1.0, NAN], [2.0], [3.5]], [1, 2]),
        ([[[1.0]], [[2.0, 3.0], [4.0]]], [[[1.0]], [[2.0], [3.0, 4.0]]], [1]),
        ([[], []], [[], [1.0]], [1]),
        ([[1, None], [None], [3]], [[1, None], [2], [3]], [1]),
        ([None, [1]], [None, [1]], []),
        ([None, [1]], [[1], None], [0, 1]),
        ([None, None], [None, 1.0], [1]),
        (["a", "b"], ["a", "c"], [1]),
        ([["a"], ["b", "b"]], [["a"], ["b"]], [1]),
        ([b"a", b"b"], [b"a", b"c"], [1]),
        ([True, False], [True, True], [1]),
        ([1, "a", [2.0]], [1, "b", [NAN]], [1, 2]),
        ([1 + 2j, 1j], [1 + 2j, 2j], [1]),
        ([], [], []),
        (np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]]), [1]),
        (np.array([2**60, 2**60]), np.array([2**60, 2**60 + 1]), [1]),
        (np.array([2**63, 1], "u8"), np.array([2**63 + 1, 1], "u8"), [0]),
        (np.array(["2026", "NaT"], "M8[s]"), np.array(["2026", "NaT"], "M8[s]"), []),
        (np.array(["2026", "NaT"], "M8[s]"), np.array(["2026", "2025"], "M8[s]"), [1]),
        (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 7], mask=[0, 1]), []),
        (np.array(["a", None], object), np.array(["a", "b"], object), [1]),
        (np.array(["a", "bb"]), np.array(["a", "bc"]), [1]),
        (ak.str.to_categorical(ak.Array(["a", "b"])), ["a", "c"], [1]),
        (np.arange(3, dtype="f4"), np.arange(3, dtype="f8"), []),
    ],
)  # fmt: skip
def test_events_that_differ(a: Any, b: Any, events: list[int]) -> None:
    assert bad(a, b) == {"c": events}
    assert bad(b, a) == {"c": events}


def test_each_field_of_objects_is_a_column() -> None:
    a = [[{"pt": 1.0, "of": [1, 2]}], [], [{"pt": 2.0, "of": []}]]
    b = [[{"pt": 1.0, "of": [1, 3]}], [], [{"pt": 2.5, "of": []}]]
    assert bad(a, b) == {"c.pt": [2], "c.of": [0]}


def test_a_tolerance_is_relative_or_absolute() -> None:
    a, b = [1.0, 1e6, 0.0], [1.0 + 1e-7, 1e6 + 10, 1e-12]
    assert bad(a, b) == {"c": [0, 1, 2]}
    assert bad(a, b, Tolerance(1e-6)) == {"c": [1, 2]}
    assert bad(a, b, Tolerance(1e-6, 1e-9)) == {"c": [1]}
    assert bad(a, b, Tolerance(0, 11)) == {"c": []}
    assert bad([[1.0], []], [[1.0 + 1e-7], [1.0]], Tolerance(1e-6)) == {"c": [1]}
    assert bad([1.0, "a"], [1.0 + 1e-7, "a"], Tolerance(1e-6)) == {"c": []}


def test_by_how_much() -> None:
    found = differing(ak.Array([[1.0, 2.0], [4.0]]), ak.Array([[1.5, 2.0], [4.0]]), EXACTLY)
    assert found.absolute.tolist() == [0.5, 0.0]
    assert found.relative.tolist() == pytest.approx([1 / 3, 0.0])
    missing = differing(ak.Array([[1.0], [4.0]]), ak.Array([[1.0], []]), EXACTLY)
    assert missing.absolute.tolist() == [0.0, INF]


def test_what_is_a_column() -> None:
    assert column_of(column_accumulator(np.arange(3))).to_list() == [0, 1, 2]
    assert column_of([[1], []]).to_list() == [[1], []]
    for other in (3, 2.5, np.float64(1), "text", None, Hist.new.Reg(2, 0, 1).Double(), {1}):
        assert column_of(other) is None
    assert column_of([Hist.new.Reg(2, 0, 1).Double()]) is None


def test_types_of_values() -> None:
    assert kind_of(ak.Array([[1.0, None], []])) == "float64"
    assert kind_of(ak.Array([["a"]])) == "string"
    assert kind_of(ak.Array([[], []])) == ""
    assert kind_of(ak.Array(np.zeros((2, 3), "f4"))) == "float32"
