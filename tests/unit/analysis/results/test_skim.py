"""Skims: what may be in one, their names, and the sums of what was written."""

import pickle
from pathlib import Path
from typing import Any

import awkward as ak
import pytest

from facility.analysis import Skim
from facility.analysis.files.chunk import Chunk
from facility.analysis.results.report import Report
from facility.analysis.results.skim import SkimFile, Written, folder_of, stem, store, written
from facility.analysis.runner.reduction import add

CHUNK = Chunk(3, "mc", "/data/DAOD.x._01.pool.root.1", "tree", 0, 10, "uuid", 100, 10)
EVENTS = ak.Array(
    [
        {"met": 1.0, "Jets": [{"pt": 1.0, "eta": 0.5, "n": [1, 2]}], "Info": {"run": 5}},
        {"met": 2.0, "Jets": [], "Info": {"run": 6}},
    ]
)


def test_columns_of_events() -> None:
    skim = Skim(EVENTS, ["met", "Jets.pt", "Jets.n", "Info.run"])
    assert skim.events == 2
    assert list(skim.columns) == ["met", "Jets", "Info"]
    assert skim.columns["Jets"].tolist() == [[{"pt": 1.0, "n": [1, 2]}], []]
    assert skim.columns["Info"].tolist() == [{"run": 5}, {"run": 6}]
    assert list(Skim(EVENTS).columns) == ["met", "Jets", "Info"]
    assert Skim({"x": [1, 2, 3]}).events == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([],), "made of events or of a mapping"),
        ((EVENTS, "met"), "columns is a list of names, not 'met'"),
        ((EVENTS, ["mett"]), "there is no column 'mett'"),
        ((EVENTS, ["Jets.m"]), "there is no column 'Jets.m'"),
        ((EVENTS, ["met.x"]), "there is no column 'met.x'"),
        ((EVENTS, []), "of equal length, not none"),
        (({"a": [1], "b": [1, 2]},), r"of equal length, not \{'a': 1, 'b': 2\}"),
    ],
)
def test_columns_that_cannot_be(arguments: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Skim(*arguments)


def test_names_and_formats_that_cannot_be() -> None:
    for name in ("a/b", "..", ".x", "a b"):
        with pytest.raises(ValueError, match="the name of a skim becomes a folder's"):
            Skim(EVENTS, name=name)
    with pytest.raises(ValueError, match="'parquet' or 'root', not 'csv'"):
        Skim(EVENTS, format="csv")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"facility\.run\(\.\.\., output=folder\)"):
        pickle.dumps(Skim(EVENTS))


def test_names_of_files() -> None:
    assert stem(CHUNK).startswith("DAOD.x._01.pool_0-10_")
    copy = Chunk(3, "mc", "/copy/DAOD.x._01.pool.root.1", "tree", 0, 10, "uuid", 100, 10)
    assert stem(CHUNK) != stem(copy)
    again = Chunk(9, *tuple(vars(CHUNK).values())[1:9], turn=2, at="root://elsewhere//x")
    assert stem(CHUNK) == stem(again)
    names = [folder_of(name) for name in ("mc/one", "../x", ".", "mc20_13TeV:x")]
    assert names == ["mc_one", "_x", "_", "mc20_13TeV_x"]


def test_skims_are_found_wherever_they_stand(tmp_path: Path) -> None:
    class Counts(dict[str, Any]):
        pass

    result = Counts(n=2, all={"a": [1, Skim(EVENTS, ["met"], name="a")]}, b=(Skim({"x": [1]}),))
    kept = store(result, CHUNK, None, "run-1")
    assert kept is result
    stored = store(result, CHUNK, str(tmp_path), "run-1")
    assert type(stored) is Counts
    assert isinstance(result["b"][0], Skim)
    assert [file.name for file in written(stored)] == ["a", ""]
    assert all(Path(file.part).exists() for file in written(stored))
    assert pickle.loads(pickle.dumps(stored["b"]))[0].events == 1
    both = add([{"s": stored["b"][0]}, {"s": Written()}, {"s": stored["all"]["a"][1]}])
    assert both["s"].events == 3
    assert repr(both["s"]).startswith("<3 events in 2 files, 0.0 MB>")
    assert written(5) == written(None) == written("text") == []
    with pytest.raises(TypeError):
        both["s"] + 1


def test_the_report_lists_what_was_written() -> None:
    report = Report([], (), "hash", 0.0)
    assert "skim" not in str(report)
    place = ("/o/mc/a/x.parquet", "/o/mc/a/.x.part", "mc", "a", "/in.root", 0, 10)
    report.skims = [SkimFile(*place, 5, 1_000_000), SkimFile(*place, 7, 500_000)]
    assert [tuple(row.values()) for row in report.outputs] == [("mc", "a", 2, 12, 1.5, "/o/mc/a")]
    assert "/o/mc/a" in str(report)
    assert "/o/mc/a" in report._repr_html_()
    assert '"events": 7' in report.to_json()
    assert ".x.part" not in report.to_json()
