"""`facility.run` on real Dask clusters, and what goes wrong: files, workers, schedulers, people."""

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import BaseSchema, PHYSLITESchema
from distributed import Client
from hist import Hist, storage
from hist import axis as axes

import facility
from facility import FilesetError, RequestError, RunError, cluster
from facility.analysis.files.chunk import TOLD
from facility.analysis.inputs.fileset import Fileset, SkippedFilesWarning, fileset
from facility.analysis.reading.physlite import PhysliteSchema
from facility.analysis.run import MetadataWarning, PartialResultsWarning, PlainReadingWarning
from facility.analysis.runner.checkpoint import CheckpointWarning
from facility.analysis.samples.physlite_files import write_files
from facility.analysis.samples.zpeak import ZPeak
from facility.deploy.cluster import PooledCluster
from tests.local.pools import executions, until

SMALL = {"cpu": "100m", "memory": "600Mi", "maxWorkers": 4}
POOLS = {"pools": {"cpu": {**SMALL, "default": True}, "arm": SMALL}}
FILES, EVENTS, CHUNK = 3, 4_000, 1_000
CHUNKS = FILES * EVENTS // CHUNK


class Weighted(processor.ProcessorABC):  # type: ignore[misc]
    """Sums of floats, whose last bits depend on the order, and a mark for each execution.

    `trouble` is what happens in the chunk that `at` names.
    """

    def __init__(
        self, folder: Path, trouble: str = "", at: tuple[int, int] = (1, 2_000), pause: float = 0.0
    ) -> None:
        self.folder, self.trouble, self.at, self.pause = str(folder), trouble, at, pause

    def process(self, events: Any) -> Any:
        data = events.metadata
        name = f"{data['filename'].split('._')[1][:6]}-{data['entrystart']}"
        again = any(Path(self.folder).glob(f"{name}.*"))
        (Path(self.folder) / f"{name}.{time.time_ns()}").touch()
        time.sleep(self.pause)
        here = name == f"{self.at[0]:06d}-{self.at[1]}"
        if self.trouble == "flaky" and not again:
            raise OSError("Operation expired")
        if self.trouble == "exit" and here:
            os._exit(7)
        if (self.trouble == "bug" and here) or self.trouble == "bug everywhere":
            raise ValueError(f"no such trigger in {name}")
        if self.trouble == "none" and here:
            return None
        if self.trouble == "shape" and here:
            return {"sum": {"other": 1}}
        if self.trouble == "lock":
            return {"sum": threading.Lock()}
        pt = ak.flatten(events.Muons.pt)
        histogram = Hist(axes.Regular(20, 0, 1e5), storage=storage.Weight())
        histogram.fill(pt, weight=np.asarray(pt, dtype=float) ** 0.3)
        return {"pt": histogram, "sum": float(np.sum(np.asarray(pt, float) ** 0.7)), "n": len(pt)}

    def postprocess(self, accumulator: Any) -> Any:
        return {**accumulator, "final": True} if "n" in accumulator else accumulator


def bits(result: Any) -> tuple[bytes, str, int]:
    view = result["pt"].view(flow=True)
    return view.value.tobytes() + view.variance.tobytes(), result["sum"].hex(), result["n"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Fileset:
    return fileset(write_files(tmp_path_factory.mktemp("files"), FILES, EVENTS))


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(2, config=POOLS) as made:
        yield made


@pytest.fixture(scope="module")
def reference(
    c: PooledCluster, files: Fileset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, str, int]:
    result, report = run(c, files, Weighted(tmp_path_factory.mktemp("marks")))
    assert report.complete
    assert result["final"]
    return bits(result)


def run(place: Any, files: Any, analysis: Any, **more: Any) -> tuple[Any, Any]:
    return facility.run(analysis, files, place, chunksize=CHUNK, progress=False, **more)


def balanced(report: Any) -> bool:
    total = report.processed + report.failed + report.not_reached
    return not report.unbalanced() and total == report.total


# Good runs.


def test_the_bins_are_those_of_coffea_in_one_process(c: PooledCluster, files: Fileset) -> None:
    found, report = run(c, files, ZPeak())
    runner = processor.Runner(
        processor.IterativeExecutor(status=False), schema=PhysliteSchema, chunksize=CHUNK
    )
    alone = runner(files, ZPeak())
    assert np.array_equal(found["mass"].values(flow=True), alone["mass"].values(flow=True))
    assert found["events"] == alone["events"] == {"data": files.total}
    assert report.processed == report.total == files.total
    assert balanced(report)
    assert len(report.records) == CHUNKS
    assert all(r.worker and r.bytes and r.seconds and r.tries == 1 for r in report.records)
    assert json.loads(report.to_json())["complete"]


def test_a_function_of_flat_events(c: PooledCluster, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "flat.root") as file:
        file.mktree("tree", {"x": np.float64}).extend({"x": np.arange(10_000.0)})
    found, report = run(
        c,
        {"flat": str(tmp_path / "flat.root")},
        lambda events: {events.metadata["sample"]: float(np.sum(events.x))},
        schema=BaseSchema,
        treename="tree",
        metadata={"sample": "ramp"},
    )
    assert found == {"ramp": 49_995_000.0}
    assert [row["dataset"] for row in report.datasets] == ["flat"]


def test_files_without_events_are_read_and_stop_nothing(c: PooledCluster, tmp_path: Path) -> None:
    for name, size in (("some", 3_000), ("none", 0), ("zero", 0)):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            tree = file.mktree("tree", {"x": np.float64})
            if size:
                tree.extend({"x": np.arange(float(size))})
    sources = {"data": [tmp_path / "some.root", tmp_path / "none.root"],
               "signal": tmp_path / "zero.root"}  # fmt: skip

    def count(events: Any) -> Any:
        made = Hist(axes.Regular(10, 0, 3_000)).fill(events.x)
        skim = facility.analysis.Skim({"x": events.x}, format="root")
        return {events.metadata["dataset"]: {"x": made, "n": len(events), "skim": skim}}

    def first(events: Any) -> Any:
        return {events.metadata["dataset"]: float(events.x[0])}

    more: dict[str, Any] = {"schema": BaseSchema, "treename": "tree", "weights": True}
    kept: dict[str, Any] = {"checkpoint": tmp_path / "kept", "output": tmp_path / "skims"}
    for _ in range(2):
        found, report = run(c, sources, count, **kept, **more)
        assert (found["data"]["n"], found["signal"]["n"]) == (3_000, 0)
        assert (found["data"]["x"].sum(), found["signal"]["x"].sum()) == (3_000, 0)
        assert (found["data"]["skim"].events, found["signal"]["skim"].paths) == (3_000, [])
        assert report.complete
        assert balanced(report)
        assert [row["events"] for row in report.files] == [3_000, 0, 0]
        assert report.without_events == []
    assert all(record.restored for record in report.records)

    # A run of nothing else, and a processor that cannot do without events.
    found, report = run(c, sources["signal"], count, output=tmp_path / "nothing", **more)
    assert found["data"]["x"].sum() == report.total == report.failed == 0
    assert report.complete
    with pytest.warns(PartialResultsWarning, match="dataset 'signal' has no events, and nothing"):
        found, report = run(c, sources, first, **more)
    assert found == {"data": 0.0 + 1_000.0 + 2_000.0}
    assert report.complete
    with pytest.warns(PartialResultsWarning, match="dataset 'data' has no events"):
        found, report = run(c, sources["signal"], first, **more)
    assert found is None


def test_real_physlite_twice_without_a_word_in_the_logs(
    c: PooledCluster, real_physlite: Path
) -> None:
    found, report = run(c, {"a": real_physlite, "b": str(real_physlite)}, ZPeak())
    assert found["events"] == {"a": 100, "b": 100}
    assert [row["processed"] for row in report.datasets] == [100, 100]
    assert "Skipping" not in c.logs("cpu")


def test_physlite_in_an_rntuple(c: PooledCluster, rntuple_physlite: Path) -> None:
    """The same processor as for a TTree; electrons by hand beside it."""

    def process(events: Any) -> Any:
        good = events.Electrons[events.Electrons.pt > 20e3]
        return {"events": len(events), "pt": float(ak.sum(good.pt)), "z": ZPeak().process(events)}

    found, report = facility.run(
        process, rntuple_physlite, c, treename="EventData", chunksize=50, progress=False
    )
    with uproot.open(rntuple_physlite) as file:
        pt = file["EventData"]["AnalysisElectronsAuxDyn:pt"].array()
    assert found["events"] == found["z"]["events"]["data"] == report.processed == 100
    assert found["pt"] == pytest.approx(float(ak.sum(pt[pt > 20e3])), rel=1e-6)
    assert report.read_plainly == []
    with pytest.raises(RunError, match=r"PhysliteSchema, the default of facility\.run, can"):
        run(c, rntuple_physlite, ZPeak(), treename="EventData", schema=PHYSLITESchema)


def test_a_module_beside_the_script_goes_along(
    c: PooledCluster, files: Fileset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cuts_beside.py").write_text(
        "SMALLEST = 20e3\ndef hard(pt): return pt > SMALLEST\n"
    )
    (tmp_path / "analysis_beside.py").write_text(
        "import awkward as ak\nimport cuts_beside\n"
        "def count(events): return int(ak.sum(cuts_beside.hard(events.Muons.pt)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from analysis_beside import count  # type: ignore[import-not-found]

    assert run(c, files, count)[0] > 0


class Keeping(processor.ProcessorABC):  # type: ignore[misc]
    """Fills what it was made with, and returns that."""

    def __init__(self, corrections: Any = None) -> None:
        self.filled = Hist(axes.Regular(1, 0, 1e9))
        self.corrections = corrections

    def process(self, events: Any) -> Any:
        factor = 1 if self.corrections is None else int(self.corrections.result()[0])
        self.filled.fill(np.asarray(ak.num(events.Muons)), weight=factor)
        return self.filled

    def postprocess(self, accumulator: Any) -> Any:
        return accumulator


def test_what_a_processor_keeps_is_not_counted_twice(
    c: PooledCluster, files: Fileset, tmp_path: Path
) -> None:
    """Nor what it kept when it ran before on the same workers, nor in a checkpoint."""
    expected = files.total
    for checkpoint in (None, tmp_path, tmp_path):
        found, report = run(c, files, Keeping(), checkpoint=checkpoint)
        assert found.sum(flow=True) == expected
        assert report.advice == []
    with Client(c) as client:
        corrections = client.scatter(np.full(1_000, 2), broadcast=True)
        found, _ = run(client, files, Keeping(corrections))
    assert found.sum(flow=True) == 2 * expected


def test_a_quick_look_at_some_chunks(c: PooledCluster, files: Fileset, tmp_path: Path) -> None:
    """Which the account tells; numbers may be NumPy's."""
    two = {"one": {"files": files["data"]["files"]}, "two": {"files": files["data"]["files"]}}
    found, report = facility.run(
        lambda events: {"n": len(events)}, two, c, chunksize=np.int64(CHUNK), maxchunks=5.0,
        retries=np.int8(3), progress=False, checkpoint=tmp_path / "kept",
    )  # fmt: skip
    assert found == {"n": 10 * CHUNK}
    assert (report.processed, report.not_asked) == (10 * CHUNK, 2 * files.total - 10 * CHUNK)
    assert report.total == 2 * files.total
    assert not report.complete
    assert not report.unbalanced()
    assert f"{report.not_asked:,} not asked for (maxchunks)" in report.summary()
    assert [row["not asked"] for row in report.datasets] == [files.total - 5 * CHUNK] * 2
    assert json.loads(report.to_json())["events"]["not_asked"] == report.not_asked
    assert [record.chunk.dataset for record in report.records] == ["one"] * CHUNKS + [
        "two"
    ] * CHUNKS
    # What it has looked at is known to the whole run.
    found, report = facility.run(
        lambda events: {"n": len(events)}, two, c, chunksize=1e3, progress=False,
        checkpoint=tmp_path / "kept",
    )  # fmt: skip
    assert found == {"n": 2 * files.total}
    assert report.complete
    assert sum(record.restored for record in report.records) == 10


def test_metadata_with_the_names_of_chunks_own(c: PooledCluster, files: Fileset) -> None:
    """The processor sees the user's, as with coffea, and the account goes by its own."""
    mine = {name: f"my {name}" for name in TOLD}

    def process(events: Any) -> Any:
        seen = {events.metadata[name] for name in mine}
        return {"seen": seen, "n": len(events), "muons": int(ak.sum(ak.num(events.Muons)))}

    plain, _ = run(c, files, process)
    with pytest.warns(MetadataWarning, match="'data' have dataset and filename and .* fileuuid"):
        found, report = run(c, files, process, metadata=mine)
    assert found == {**plain, "seen": set(mine.values())}
    assert {record.chunk.dataset for record in report.records} == {"data"}
    assert balanced(report)
    # Told to be what it is.
    run(c, files, process, metadata={"dataset": "data"})


def test_arguments_of_coffeas_runner_are_answered(c: PooledCluster, files: Fileset) -> None:
    given = {"skipbadfiles": True, "xrootdtimeout": 300, "format": "root", "chunk_size": 5}
    with pytest.raises(RequestError) as caught:
        run(c, files, ZPeak(), retries=True, maxchunks=0, **given)
    text = str(caught.value)
    assert 'skipbadfiles= is not an argument of facility.run: on_error="skip"' in text
    assert 'uproot_options={"timeout": seconds}' in text
    assert "chunk_size= is not an argument of facility.run; did you mean chunksize=?" in text
    assert "retries=True is not a number" in text
    assert "maxchunks=0 is not a number of chunks from 1 on" in text
    fields = {field.name for field in dataclasses.fields(processor.Runner)}
    for name in fields - {"schema", "chunksize", "maxchunks"}:
        with pytest.raises(RequestError, match=f"{name}= is not an argument of facility.run: "):
            run(c, files, ZPeak(), **{name: None})
    with pytest.raises(RequestError, match="zzz= is not an .*; its arguments are processor, "):
        facility.analysis.start(ZPeak(), files, c, zzz=1)


def test_lists_of_coffea_add_up(c: PooledCluster, files: Fileset) -> None:
    found, _ = run(
        c, files, lambda events: {"n": processor.list_accumulator([events.metadata["entrystart"]])}
    )
    assert found == {"n": [CHUNK * n for n in range(4)] * FILES}


def test_a_missing_file_of_the_users_is_told_at_once(c: PooledCluster, files: Fileset) -> None:
    with pytest.raises(RunError, match=r"FileNotFoundError: .* '/nowhere/weights\.json'") as caught:
        run(c, files, lambda events: open("/nowhere/weights.json"))  # noqa: PTH123, SIM115
    assert {record.tries for record in caught.value.report.records} <= {0, 1}


def test_a_processor_that_exits_is_told_and_ends_no_worker(
    c: PooledCluster, files: Fileset
) -> None:
    before = set(c.scheduler_info["workers"])

    def process(events: Any) -> Any:
        if events.metadata["entrystart"] == 2_000:
            sys.exit("no such trigger")
        return {"n": len(events)}

    with pytest.raises(RunError, match="SystemExit: no such trigger") as caught:
        run(c, files, process)
    assert caught.value.results == {"n": files.total - FILES * CHUNK}
    assert "in process" in str(caught.value)
    assert set(c.scheduler_info["workers"]) == before
    assert caught.value.report.failed == FILES * CHUNK


def test_a_pool_and_other_numbers_of_workers(
    reference: tuple[bytes, str, int], files: Fileset, tmp_path: Path
) -> None:
    with cluster(cpu=1, arm=1, config=POOLS) as c, Client(c) as client:
        found, report = run(c, files, Weighted(tmp_path), pool="arm")
        assert {row["worker"] for row in report.workers} == {"arm-0"}
        assert bits(found) == reference
        assert run(client, files, Weighted(tmp_path), pool="cpu")[1].records[0].worker == "cpu-0"
        with pytest.raises(RequestError, match="there is no pool 'amr'"):
            run(c, files, Weighted(tmp_path), pool="amr")


def test_without_a_dask_cluster_it_starts_and_closes_one(files: Fileset) -> None:
    found, report = run(None, files, ZPeak())
    assert found["events"] == {"data": files.total}
    assert report.complete
    assert len(facility.clusters()) == 0


def test_sums_of_weights_count_once_a_file(
    c: PooledCluster, rntuple_physlite: Path, tmp_path: Path
) -> None:
    # A small tree of a real file whose MetaData holds CutBookkeepers: 4 events, in 2 chunks.
    sources = {"mc": {"files": str(rntuple_physlite), "metadata": {"xsec_pb": 2.5}}}

    def flaky(events: Any) -> float:
        mark = tmp_path / str(events.metadata["entrystart"])
        if not mark.exists():
            mark.touch()
            raise OSError("Operation expired")
        return float(len(events) * events.metadata["xsec_pb"])

    options: dict[str, Any] = {"schema": BaseSchema, "treename": "##Params", "progress": False}
    for _ in range(2):
        found, report = facility.run(
            flaky, sources, c, chunksize=2, weights=True, checkpoint=tmp_path / "kept", **options
        )
        assert found == 10.0
        assert report.weights("mc") == (100, 81567.26385498047, 66538438.676134706)
        assert report.metadata["mc"]["xsec_pb"] == 2.5
    assert [record.restored for record in report.records] == [True, True]
    [row] = facility.run(lambda events: len(events), sources, c, **options)[1].weighted
    assert (row["files"], row["not counted"]) == (0, 1)


def test_another_uproot_is_told_of_once_and_changes_no_bin(
    c: PooledCluster, files: Fileset
) -> None:
    def process(events: Any) -> Any:
        return ZPeak().process(events)

    def older() -> None:
        from uproot.source.cursor import Cursor

        from facility.analysis.reading import relied_on

        theirs = Cursor.move_to
        Cursor.move_to = lambda self, place: theirs(self, place)
        relied_on.differing.cache_clear()

    quick, report = run(c, files, process)
    assert report.read_plainly == []
    with cluster(1, config=POOLS) as other, other.get_client() as client:
        client.run(older)
        with pytest.warns(PlainReadingWarning) as told:
            plain, report = run(client, files, process)
    assert np.array_equal(plain["mass"].values(flow=True), quick["mass"].values(flow=True))
    assert len(told) == 1
    assert f"{CHUNKS} of {CHUNKS} chunks read as coffea's Runner" in str(told[0].message)
    reason = "Cursor.move_to takes (self, place) and not (self, index)"
    assert reason in str(report)
    assert reason in json.loads(report.to_json())["notes"][0]


# Failures.


def test_reading_errors_that_pass_are_not_seen_in_the_result(
    c: PooledCluster, reference: tuple[bytes, str, int], files: Fileset, tmp_path: Path
) -> None:
    found, report = run(c, files, Weighted(tmp_path, "flaky"))
    assert bits(found) == reference
    assert report.complete
    assert {record.tries for record in report.records} == {2}
    assert len(list(tmp_path.iterdir())) == 2 * CHUNKS


def test_a_chunk_that_kills_its_worker_is_the_only_one_lost(files: Fileset, tmp_path: Path) -> None:
    with cluster(2, config=POOLS) as c, pytest.warns(PartialResultsWarning, match="ran alone"):
        found, report = run(c, files, Weighted(tmp_path, "exit"), on_error="skip")
    assert (report.processed, report.failed) == (files.total - CHUNK, CHUNK)
    assert balanced(report)
    [bad] = [record for record in report.records if record.state == "failed"]
    assert bad.chunk.path.endswith("000001.pool.root.1")
    assert bad.chunk.start == 2_000
    assert bad.tries > 2
    assert str(bad.worker).startswith("cpu-")
    assert found["n"] > 0


def test_a_bug_in_some_events_is_told_at_the_end(
    c: PooledCluster, files: Fileset, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"no such trigger in 000001-2000 \(tried 1x\)") as caught:
        run(c, files, Weighted(tmp_path, "bug"))
    assert "test_run.py" in str(caught.value)
    assert caught.value.results["n"] > 0
    assert caught.value.report.failed == CHUNK
    assert "no such trigger" in str(caught.value.report)


def test_a_bug_everywhere_stops_the_run(c: PooledCluster, files: Fileset, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such trigger") as caught:
        run(c, files, Weighted(tmp_path, "bug everywhere"))
    assert caught.value.results is None
    assert balanced(caught.value.report)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [("none", "returned None"), ("shape", "cannot be added"), ("lock", "cannot be added|pickle")],
)
def test_results_that_cannot_be_used(
    c: PooledCluster, files: Fileset, tmp_path: Path, trouble: str, told: str
) -> None:
    with pytest.raises(RunError, match=told):
        run(c, files, Weighted(tmp_path, trouble))


def test_truncated_and_damaged_files(c: PooledCluster, files: Fileset, tmp_path: Path) -> None:
    good, cut, hole = (
        tmp_path / "a._000000.root",
        tmp_path / "b._000001.root",
        tmp_path / "c._000002.root",
    )
    content = Path(next(iter(files.events))).read_bytes()
    good.write_bytes(content)
    cut.write_bytes(content[: len(content) // 2])
    begin, end = len(content) // 8, len(content) // 2
    hole.write_bytes(content[:begin] + bytes(end - begin) + content[end:])
    marks = tmp_path / "marks"
    marks.mkdir()
    with pytest.raises(FilesetError, match="truncated"):
        run(c, tmp_path, Weighted(marks))
    with (
        pytest.warns(SkippedFilesWarning, match="truncated"),
        pytest.warns(PartialResultsWarning, match=r"c\._000002\.root, events 0 to 1,000"),
    ):
        found, report = run(c, tmp_path, Weighted(marks), on_error="skip", retries=1)
    assert [str(cut) in text for text in report.skipped] == [True]
    states = {row["file"]: row["processed"] for row in report.files}
    assert states[str(good)] == EVENTS
    assert states[str(hole)] == 0
    assert balanced(report)
    assert found["n"] > 0


def test_files_that_change_or_that_workers_do_not_see(c: PooledCluster, tmp_path: Path) -> None:
    paths = write_files(tmp_path, 2, 1_000)
    found = fileset(tmp_path)
    write_files(tmp_path, 1, 2_000, seed=5)
    with pytest.raises(RunError, match="has changed since"):
        run(c, found, ZPeak(), retries=0)
    paths[-1].unlink()
    with pytest.raises(FilesetError, match="workers do not see"):
        run(c, found, ZPeak())


def test_killed_workers_change_no_bit(
    reference: tuple[bytes, str, int], files: Fileset, tmp_path: Path
) -> None:
    with cluster(2, config=POOLS) as c:
        children = c._controller.backend.members  # type: ignore[attr-defined]

        def kill() -> None:
            until(lambda: len(list(tmp_path.iterdir())) > 4)
            next(iter(children.values())).child.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        found, report = run(c, files, Weighted(tmp_path, pause=0.2))
        killer.join()
    assert report.complete
    assert bits(found) == reference
    assert len(list(tmp_path.iterdir())) > CHUNKS


# Checkpoints.


def test_a_lost_scheduler_and_going_on(
    reference: tuple[bytes, str, int], c: PooledCluster, files: Fileset, tmp_path: Path
) -> None:
    marks, folder = tmp_path / "marks", tmp_path / "checkpoint"
    marks.mkdir()
    with cluster(2, config=POOLS) as doomed:

        def kill() -> None:
            until(lambda: len(list(folder.glob("*.chunk"))) > 3)
            doomed._controller.backend._scheduler.process.kill()  # type: ignore[attr-defined]

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(RunError, match="Run it again with the same checkpoint") as caught:
            run(doomed, files, Weighted(marks, pause=0.2), checkpoint=folder)
        killer.join()
    report = caught.value.report
    assert 0 < report.processed < report.total
    assert report.not_reached == report.total - report.processed
    assert caught.value.results["n"] > 0
    kept = {
        (record.chunk.path, record.chunk.start)
        for record in report.records
        if record.state == "processed"
    }
    for mark in marks.iterdir():
        mark.unlink()
    found, report = run(c, files, Weighted(marks, pause=0.2), checkpoint=folder)
    assert bits(found) == reference
    assert kept <= {(r.chunk.path, r.chunk.start) for r in report.records if r.restored}
    assert len(list(marks.iterdir())) == sum(not record.restored for record in report.records)
    assert all(executions(marks, mark.stem) == 1 for mark in marks.iterdir())
    # What was changed is not taken from there.
    run(c, files, Weighted(marks, pause=0.0), checkpoint=folder)
    assert len(list(marks.iterdir())) > CHUNKS


def test_a_checkpoint_on_a_disk_that_fills_up(
    c: PooledCluster, reference: tuple[bytes, str, int], files: Fileset, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file may grow to 100 bytes: the system refuses the rest, as a full disk does.
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))
    try:
        with pytest.warns(CheckpointWarning, match="not complete") as told:
            found, report = run(c, files, Weighted(marks), checkpoint=tmp_path / "kept")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, ignored)
    assert bits(found) == reference
    assert report.complete
    assert len(told) == 1
    assert list((tmp_path / "kept").iterdir()) == []


# People.

STOPPED = """
import sys, time, warnings
import facility
from facility.analysis.inputs.fileset import fileset

def slow(events):
    import time
    time.sleep(0.3)
    return len(events)

if __name__ == "__main__":
    pools = {"pools": {"cpu": {"cpu": "100m", "memory": "600Mi", "maxWorkers": 2, "default": True}}}
    with facility.cluster(2, config=pools) as c:
        try:
            facility.run(slow, sys.argv[1], c, chunksize=200)
        except facility.RunInterrupted as stopped:
            print(stopped.results, stopped.report.processed, stopped.report.not_reached,
                  stopped.report.interrupted, stopped.report.unbalanced())
"""


def test_ctrl_c_gives_what_was_done(files: Fileset, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(STOPPED))
    folder = str(Path(next(iter(files.events))).parent)
    child = subprocess.Popen(
        [sys.executable, script, folder],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert child.stderr
    try:
        # Of progress, after 2 s; on a busy machine the first lines tell of no event yet.
        while not re.search(r"[1-9][\d,]* events/s", child.stderr.readline()):
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=60)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 0, errors
    # What stands in the end is how it ended, and not how far it was.
    assert re.search(r" events processed in .*, interrupted$", errors.splitlines()[-1])
    results, processed, rest, interrupted, unbalanced = out.split()
    assert results == processed
    assert int(processed) > 0
    assert int(processed) + int(rest) == files.total
    assert (interrupted, unbalanced) == ("True", "[]")


def test_calls_that_cannot_be_granted(c: PooledCluster, files: Fileset, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        run(42, files, ZPeak, on_error="ignore", retries=-1, schema=None)
    assert len(caught.value.problems) == 5
    lock = threading.Lock()
    with pytest.raises(RequestError, match="cannot be sent"):
        run(c, files, lambda events: lock)
    with pytest.raises(FilesetError, match="list of files is empty"):
        run(c, [], ZPeak())
