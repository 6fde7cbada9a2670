"""Files without events, in which nothing is wrong: as skims of few events often are."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import cloudpickle
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import BaseSchema, NanoAODSchema
from hist import Hist
from hist import axis as axes

from facility.analysis.files.chunk import Chunk
from facility.analysis.files.rootfile import inspect
from facility.analysis.inputs.fileset import fileset
from facility.analysis.inputs.plan import plan
from facility.analysis.reading import file_cache
from facility.analysis.reading.file_cache import ChangedFileError, Settings
from facility.analysis.reading.physlite import PhysliteSchema
from facility.analysis.results.record import Receipt
from facility.analysis.results.report import Report
from facility.analysis.runner.process_chunk import ChunkError, process_chunk
from facility.analysis.samples.physlite_files import write_files


@pytest.fixture(autouse=True)
def no_file_stays_open() -> Iterator[None]:
    yield
    file_cache.close_files()


def tree(path: Path, events: int = 0) -> Path:
    with uproot.recreate(path) as file:
        columns = {"x": "float64", "pt": "var * float32"}
        made = file.mktree("Events", columns)
        if events:
            pt = ak.Array([[1.0, 2.0]] * events)
            made.extend({"x": np.arange(float(events)), "pt": ak.values_astype(pt, "float32")})
    return path


def ntuple(path: Path) -> Path:
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", {"x": "float64", "pt": "var * float32"})
    return path


def process(chunk: Chunk, function: Any, schema: Any = BaseSchema, **more: Any) -> Any:
    settings = bytes(cloudpickle.dumps(Settings(schema, **more)))
    packed, took = process_chunk(chunk, {}, bytes(cloudpickle.dumps(function)), settings, "topic")
    return pickle.loads(packed), took


def count(events: Any) -> Any:
    made = Hist(axes.Regular(5, 0, 10)).fill(ak.flatten(events.pt))
    return {events.metadata["dataset"]: {"pt": made, "n": len(events), "x": ak.sum(events.x)}}


@pytest.mark.parametrize("write", [tree, ntuple])
def test_a_file_without_events_is_a_good_one(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "none.root")
    assert inspect(str(path), "Events")[:3] == (str(path), 0, None)
    for _ in range(2):  # the second time from what is known
        found = fileset(path, treename="Events", progress=False)
        assert found == {"data": {"files": {str(path): "Events"}, "metadata": {}}}
        assert (found.events, found.total, found.skipped) == ({str(path): 0}, 0, ())
    [chunk] = plan(found, 100).chunks
    assert (chunk.start, chunk.stop, chunk.events, chunk.entries) == (0, 0, 0, 0)
    assert Report.of(plan(found, 100), 0.0).unbalanced() == []


@pytest.mark.parametrize("write", [tree, ntuple])
def test_its_result_is_that_of_coffeas_runner(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "none.root")
    [chunk] = plan(fileset(path, treename="Events", progress=False), 100).chunks
    found, took = process(chunk, count)
    runner = processor.Runner(processor.IterativeExecutor(status=False), schema=BaseSchema)
    assert found == runner({"data": [str(path)]}, count, treename="Events")
    assert found["data"]["pt"].sum() == found["data"]["n"] == 0
    assert (took.nothing, took.plainly) == (None, None)


@pytest.mark.parametrize(
    "function",
    [
        lambda events: events.x[0],
        lambda events: events.no_such_column,
        lambda events: None,
        lambda events: {"n": 1 / len(events)},
    ],
)
def test_a_processor_that_needs_events_adds_nothing(tmp_path: Path, function: Any) -> None:
    files = [tree(tmp_path / "none.root"), tree(tmp_path / "some.root", 4)]
    none, some = plan(fileset(files, treename="Events", progress=False), 100).chunks
    found, took = process(none, function)
    assert found is None
    assert took.nothing is not None
    if "no_such_column" in function.__code__.co_names or not function.__code__.co_names:
        # With events it is a mistake, as ever.
        with pytest.raises(ChunkError):
            process(some, function)
    else:
        assert process(some, function)[1].nothing is None


def test_trouble_with_the_file_itself_is_no_excuse(tmp_path: Path) -> None:
    [chunk] = plan(fileset(tree(tmp_path / "none.root"), treename="Events"), 100).chunks

    def lost(events: Any) -> None:
        raise OSError("Operation expired")

    def short(events: Any) -> None:
        raise MemoryError

    def leaves(events: Any) -> None:
        raise SystemExit

    for function, reason in ((lost, "Operation expired"), (short, "MemoryError"),
                             (leaves, "SystemExit")):  # fmt: skip
        with pytest.raises(ChunkError, match=reason):
            process(chunk, function)
    tree(Path(chunk.path), 4)
    with pytest.raises(ChunkError, match=ChangedFileError.__name__):
        process(chunk, count)


def test_a_tree_without_branches(public_files: Path) -> None:
    path = public_files / "uproot-issue261.root"
    [chunk] = plan(fileset(path, treename="events", progress=False), 100).chunks
    for schema in (BaseSchema, NanoAODSchema, PhysliteSchema):
        found, took = process(chunk, lambda events: {"n": ak.sum(events.Muons.pt)}, schema)
        assert (found, took.nothing is None) == (None, False)
        assert process(chunk, len, schema)[0] in (0, None)


def test_the_weights_of_a_skim_without_events_count(rntuple_physlite: Path) -> None:
    # A part without events of a tree with some, in a file whose MetaData holds CutBookkeepers.
    [chunk] = plan(fileset(rntuple_physlite, treename="##Params", progress=False), 100).chunks
    none = Chunk(0, "mc", chunk.path, chunk.tree, 0, 0, chunk.uuid, chunk.size, chunk.entries)
    for function in (len, lambda events: events[0]):
        took = process(none, function, weights=True)[1]
        assert took.weights is not None
        assert took.weights.events == 100


def test_the_account_of_datasets_without_events(tmp_path: Path) -> None:
    none, some = tree(tmp_path / "none.root"), tree(tmp_path / "some.root", 4)
    sources = {"some": [none, some], "none": none, "empty": none}
    report = Report.of(plan(fileset(sources, treename="Events", progress=False), 100), 0.0)
    why = "IndexError: out of range"
    for record in report.records:
        nothing = record.chunk.events == 0 and record.chunk.dataset != "empty"
        record.take(Receipt("w", 0.0, 1.0, 1, nothing=why if nothing else None))
        record.state = "processed"
    assert report.complete
    assert report.unbalanced() == []
    rows = [(row["dataset"], Path(str(row["file"])).name, row["events"]) for row in report.files]
    assert rows == [("some", "none.root", 0), ("some", "some.root", 4), ("none", "none.root", 0),
                    ("empty", "none.root", 0)]  # fmt: skip
    [told] = report.without_events
    assert told.startswith("dataset 'none' has no events")
    assert why in told
    assert told in str(report)
    assert report.plot() is not None
    # A file whose events are none may still not have been read.
    report.records[0].state = "failed"
    assert (report.failed, report.complete) == (0, False)


def test_empty_physlite(tmp_path: Path) -> None:
    [path] = write_files(tmp_path, 1, 50, progress=False)
    with uproot.open(path) as file, uproot.recreate(tmp_path / "none.root") as made:
        names = {b.name: b for b in file["CollectionTree"].branches}
        kinds = {"float": "var * float32", "std::vector<float>": "var * float32"}
        wanted = {n: kinds[b.typename] for n, b in names.items() if b.typename in kinds}
        made.mktree("CollectionTree", wanted)
    [chunk] = plan(fileset(tmp_path / "none.root", progress=False), 100).chunks
    found, took = process(chunk, lambda events: len(events), PhysliteSchema)
    assert (found, took.nothing) == (0, None)
