"""Sums of weights: of a real file, and how a run accounts for them; good-run lists."""

import json
from pathlib import Path

import numpy as np
import pytest
import uproot

from facility import RequestError
from facility.analysis import good_runs
from facility.analysis.files.chunk import Chunk
from facility.analysis.inputs.cut_bookkeepers import Weights, total, weights
from facility.analysis.inputs.plan import Plan
from facility.analysis.results.record import Receipt
from facility.analysis.results.report import Report


def test_the_sums_of_a_real_file_are_those_that_it_holds(
    rntuple_physlite: Path, real_physlite: Path
) -> None:
    with uproot.open(rntuple_physlite) as file:
        found = weights(file)
        branches = file["MetaData"]["CutBookkeepersAux."]
        names = list(branches["CutBookkeepersAux.name"].array(library="np")[0])
        place = names.index("AllExecutedEvents")
        by_hand = [
            branches[f"CutBookkeepersAux.{column}"].array(library="np")[0][place]
            for column in ("nAcceptedEvents", "sumOfEventWeights", "sumOfEventWeightsSquared")
        ]
    assert found == Weights(*by_hand)
    assert found == Weights(100, 81567.26385498047, 66538438.676134706)
    with uproot.open(real_physlite) as file:
        assert weights(file) is None  # this copy has no MetaData


def test_a_file_counts_once_and_only_whole() -> None:
    places = [("mc", "a"), ("mc", "a"), ("mc", "b"), ("mc", "b"), ("mc", "c"), ("data", "d")]
    chunks = tuple(
        Chunk(i, dataset, path, "t", 5 * (i % 2) * (path in "ab"), 10 if i % 2 else 5, "u", 1, 10)
        for i, (dataset, path) in enumerate(places)
    )
    report = Report.of(Plan(chunks, {"mc": {"xsec_pb": 1.5}, "data": {}}), 0.0)
    for i in (0, 2, 4):
        report.records[i].take(Receipt("w", 0.0, 1.0, 1, Weights(10, 0.1 * (i + 1), 2.0)))
    for i in (0, 1, 2, 4, 5):
        report.records[i].state = "processed"
    report.records[3].state = "failed"
    # Of b an event is missing, d has none; trying a's first chunk again changes nothing.
    report.records[0].take(Receipt("v", 9.0, 1.0, 1, Weights(10, 0.1, 2.0)))
    assert report.weights("mc") == total([Weights(10, 0.1, 2.0), Weights(10, 0.5, 2.0)])
    assert report.weights("data") == Weights(0, 0.0, 0.0)
    assert [(row["files"], row["not counted"]) for row in report.weighted] == [(2, 1), (0, 1)]
    told = json.loads(report.to_json())
    assert told["metadata"]["mc"] == {"xsec_pb": 1.5}
    assert told["weights"][0]["events"] == 20


def test_the_order_of_files_changes_no_bit() -> None:
    parts = [Weights(1, x, x) for x in (1e16, 1.0, -1e16, 0.1)]
    assert total(parts) == total(reversed(parts)) == Weights(4, 1.1, 1.1)


XML = """<?xml version="1.0"?><!DOCTYPE LumiRangeCollection SYSTEM "x.dtd">
<LumiRangeCollection><NamedLumiRange><Name>n</Name>
<LumiBlockCollection><Run>358031</Run><LBRange Start="10" End="20"/><LBRange Start="30" End="30"/>
</LumiBlockCollection>
<LumiBlockCollection><Run>358096</Run><LBRange Start="1" End="2"/></LumiBlockCollection>
</NamedLumiRange></LumiRangeCollection>"""
JSON = '{"358031": [[10, 20], [30, 30]], "358096": [[1, 2]]}'


@pytest.mark.parametrize("text", [XML, JSON])
def test_good_runs(tmp_path: Path, text: str) -> None:
    (tmp_path / "list").write_text(text)
    good = good_runs(tmp_path / "list")
    runs = np.array([358031] * 5 + [358096] * 2 + [1], dtype=np.uint32)
    blocks = np.array([9, 10, 20, 21, 30, 2, 10, 10], dtype=np.uint32)
    assert list(good(runs, blocks)) == [False, True, True, False, True, True, False, False]
    assert good(runs[:0], blocks[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<a><b></a>", "neither"),
        ("[1]", "neither"),
        ('{"1": [[5, 2]]}', "ends before it begins"),
        ('{"1": [7]}', "neither"),
        ("{}", "has no run"),
        ("<html></html>", "has no run"),
        (None, "No such file"),
    ],
)
def test_bad_lists(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "list").write_text(text)
    with pytest.raises(RequestError, match=told):
        good_runs(tmp_path / "list")
