"""Chunks that are cut in two, and the sums of their parts."""

import pickle
from itertools import pairwise

import cloudpickle
import pytest

from facility.analysis.files.chunk import PARTS, SMALLEST_PART, Chunk, halves
from facility.analysis.runner.chunk_splits import ChunkSplits
from facility.analysis.runner.reduction import MergeError


def chunk(index: int, events: int = 100_000, **more: int) -> Chunk:
    return Chunk(index, "data", "a.root", "tree", 7, 7 + events, "uuid", 1, 10**6, **more)


def packed(value: object) -> bytes:
    return bytes(cloudpickle.dumps(value))


def test_halves_hold_each_event_once_until_they_are_too_small() -> None:
    parts = [chunk(0, 100_001)]
    for _ in range(PARTS):
        parts = [half for part in parts for half in halves(part) or ()]
    assert len(parts) == 2**PARTS
    assert (parts[0].start, parts[-1].stop) == (7, 100_008)
    assert all(a.stop == b.start for a, b in pairwise(parts))
    assert halves(parts[0]) is None
    assert halves(chunk(0, 2 * SMALLEST_PART - 1)) is None
    assert halves(chunk(0, 2 * SMALLEST_PART)) is not None


def test_parts_of_parts_make_up_their_chunk_in_order() -> None:
    cuts = ChunkSplits([chunk(0), chunk(1)])
    assert cuts.cut(1) == (2, 3)
    assert cuts.cut(3) == (4, 5)
    assert [cuts.chunks[index].index for index in range(6)] == list(range(6))
    assert cuts.know(5, packed(["c"])) is None
    assert cuts.know(2, packed(["a"])) is None
    assert cuts.know(4, packed(["b"])) == 1
    assert pickle.loads(cuts.sums[1] or b"") == ["a", "b", "c"]
    found = {0: ["x"], 2: ["a"], 4: ["b"], 5: ["c"]}
    assert cuts.joined(found) == {0: ["x"], 1: ["a", "b", "c"]}
    assert cuts.joined({5: ["c"]}) == {1: ["c"]}


def test_parts_that_failed_add_nothing() -> None:
    cuts = ChunkSplits([chunk(0)])
    cuts.cut(0)
    assert cuts.know(1, None) is None
    assert cuts.know(2, packed(3)) == 0
    assert pickle.loads(cuts.sums[0] or b"") == 3
    cuts = ChunkSplits([chunk(0)])
    cuts.cut(0)
    cuts.know(1, None)
    assert cuts.know(2, None) == 0
    assert cuts.sums == {0: None}


def test_parts_that_do_not_add() -> None:
    cuts = ChunkSplits([chunk(0)])
    cuts.cut(0)
    cuts.know(1, packed({"a": 1}))
    with pytest.raises(MergeError):
        cuts.know(2, packed(3.0))


def test_a_chunk_that_is_too_small_stays_whole() -> None:
    assert ChunkSplits([chunk(0, 1_999)]).cut(0) is None
    assert ChunkSplits([chunk(0, cuts=PARTS)]).cut(0) is None
