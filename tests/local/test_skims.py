"""Skims that a run writes: what is in them, and what goes wrong while they are written."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from distributed import Client, LocalCluster

import facility
from facility import RequestError, RunError, RunInterrupted, cluster
from facility.analysis import Skim
from facility.analysis.inputs.fileset import Fileset, fileset
from facility.analysis.run import PartialResultsWarning
from facility.analysis.samples.physlite_files import write_files
from facility.deploy.cluster import PooledCluster
from tests.local.pools import until

POOLS = {"pools": {"cpu": {"cpu": "100m", "memory": "900Mi", "maxWorkers": 4, "default": True}}}
FILES, EVENTS, CHUNK = 2, 4_000, 1_000
CHUNKS = FILES * EVENTS // CHUNK


class Select:
    """Write the events with muons; `trouble` happens in the chunk of the second file at 2000."""

    def __init__(self, marks: Path, trouble: str = "", **skim: Any) -> None:
        self.marks, self.trouble, self.skim = str(marks), trouble, skim

    def __call__(self, events: Any) -> Any:
        data = events.metadata
        name = f"{data['filename'].split('._')[1][:6]}-{data['entrystart']}"
        (Path(self.marks) / f"{name}.{time.time_ns()}").touch()
        here = name == "000001-2000"
        good = events[ak.num(events.Muons.pt) > 0]
        columns = {
            "run": good.EventInfo.runNumber,
            "event": good.EventInfo.eventNumber,
            "Muons": ak.zip({"pt": good.Muons.pt, "eta": good.Muons.eta}),
        }
        if self.trouble == "large" and here:
            # It takes seconds to write and is the same in each try.
            columns["noise"] = np.random.default_rng(1).random((len(good), 4_000))
        if self.trouble == "none" and here:
            good = events[ak.num(events.Muons.pt) > 99]
            columns = {"event": good.EventInfo.eventNumber}
        skims = {"muons": Skim(columns, **self.skim)}
        if self.trouble == "memory" and data["entrystop"] - data["entrystart"] > 2_000:
            np.empty(2**50)
        if self.trouble == "half":
            # The first skim is written before the second one cannot be.
            skims["deep"] = Skim({"x": ak.Array([[[1.0]], [[2.0]]])}, name="b", format="root")
        if self.trouble == "full" and here:
            import resource

            # What a full disk does: the system refuses to write more.
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
        if self.trouble == "slow":
            time.sleep(0.4)
        if self.trouble == "bug" and here:
            raise ValueError("no such trigger")
        return {"n": len(good), "skims": skims}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Fileset:
    return fileset({"mc/one": write_files(tmp_path_factory.mktemp("files"), FILES, EVENTS)})


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(2, config=POOLS) as made:
        yield made


@pytest.fixture(scope="module")
def expected(files: Fileset) -> list[int]:
    found: list[int] = []
    for path in files.events:
        with uproot.open(path) as file:
            tree = file["CollectionTree"]
            muons = tree["AnalysisMuonsAuxDyn.pt"].array()
            found += tree["EventInfoAuxDyn.eventNumber"].array()[ak.num(muons) > 0].tolist()
    return sorted(found)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def run(c: PooledCluster, files: Fileset, analysis: Any, output: Any, **more: Any) -> Any:
    options = {"chunksize": CHUNK, "progress": False, **more}
    return facility.run(analysis, files, c, output=output, **options)


def content(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def events_in(paths: list[Path]) -> list[int]:
    found: list[int] = []
    for path in paths:
        if path.suffix == ".root":
            with uproot.open({path: "CollectionTree"}) as tree:
                found += tree["event"].array().tolist()
        else:
            found += ak.from_parquet(path).event.tolist()
    return sorted(found)


def all_is_there(folder: Path, results: Any, report: Any, expected: list[int]) -> None:
    """Check that folder, results and report tell the same: no event is missing or twice."""
    paths = content(folder)
    assert events_in(paths) == expected
    assert sorted(results["skims"]["muons"].paths) == [str(path) for path in paths]
    assert sorted(file.path for file in report.skims) == [str(path) for path in paths]
    assert sum(file.events for file in report.skims) == results["n"] == len(expected)
    assert all(Path(file.path).stat().st_size == file.bytes for file in report.skims)


# Good runs.


@pytest.mark.parametrize("form", ["parquet", "root"])
def test_a_file_for_each_chunk_and_all_of_them_in_the_report(
    c: PooledCluster, files: Fileset, expected: list[int], marks: Path, tmp_path: Path, form: Any
) -> None:
    results, report = run(c, files, Select(marks, format=form, name="mu"), tmp_path / "out")
    all_is_there(tmp_path / "out", results, report, expected)
    assert len(report.skims) == CHUNKS
    assert {path.parent for path in content(tmp_path / "out")} == {tmp_path / "out/mc_one/mu"}
    [row] = report.outputs
    assert (row["dataset"], row["skim"], row["files"]) == ("mc/one", "mu", CHUNKS)
    told = json.loads(report.to_json())["outputs"]
    assert sum(file["events"] for file in told) == len(expected)
    assert {(file["source"], file["start"]) for file in told} == {
        (r.chunk.path, r.chunk.start) for r in report.records
    }
    # What was written can be analysed in turn.
    if form == "root":
        found, _ = facility.run(
            lambda events: float(ak.sum(events.Muons_pt)), tmp_path / "out/mc_one/mu", c,
            schema=BaseSchema, progress=False,
        )  # fmt: skip
    else:
        tables = [ak.from_parquet(path) for path in content(tmp_path / "out")]
        found = sum(float(ak.sum(table.Muons.pt)) for table in tables)
    whole, _ = facility.run(lambda e: float(ak.sum(e.Muons.pt)), files, c, progress=False)
    assert found == pytest.approx(whole)


def test_columns_of_real_events(c: PooledCluster, real_physlite: Path, tmp_path: Path) -> None:
    def select(events: Any) -> Any:
        good = events[ak.num(events.Electrons.pt) > 0]
        names = ["Electrons.pt", "Electrons.eta", "EventInfo.eventNumber"]
        return [Skim(good, names), Skim(good, names, name="tree", format="root", tree="small")]

    results, _ = run(c, fileset(real_physlite), select, tmp_path)
    table, tree = results
    found = ak.from_parquet(table.paths[0])
    assert found.fields == ["Electrons", "EventInfo"]
    with uproot.open({tree.paths[0]: "small"}) as same:
        assert same["Electrons_pt"].array().tolist() == found.Electrons.pt.tolist()
        assert same["nElectrons"].array().tolist() == ak.num(found.Electrons.eta).tolist()
        assert (
            same["EventInfo_eventNumber"].array().tolist() == found.EventInfo.eventNumber.tolist()
        )
    assert table.events == tree.events == len(found) > 0


def test_a_chunk_without_events_has_no_file(
    c: PooledCluster, files: Fileset, marks: Path, tmp_path: Path
) -> None:
    results, report = run(c, files, Select(marks, "none"), tmp_path / "out")
    assert len(content(tmp_path / "out")) == len(report.skims) == CHUNKS - 1
    assert results["skims"]["muons"].events == results["n"]


# Failures.


def test_a_worker_killed_while_it_writes(
    files: Fileset, expected: list[int], marks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    began: list[Path] = []
    with cluster(2, config=POOLS) as c:
        children = c._controller.backend.members  # type: ignore[attr-defined]

        def kill() -> None:
            until(lambda: began.extend(out.rglob(".*000001*_2000-3000_*.part")) or began)
            # Whichever of the two it is: the other one's chunk is tried again too.
            for member in list(children.values()):
                member.child.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        results, report = run(c, files, Select(marks, "large"), out, retries=0)
        killer.join()
    assert began
    all_is_there(out, results, report, expected)
    assert report.complete
    assert max(record.tries for record in report.records) > 1


def test_a_lost_client_and_going_on(
    c: PooledCluster, files: Fileset, expected: list[int], marks: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "out", tmp_path / "kept"

    def interrupt() -> None:
        until(lambda: len(list(folder.glob("*.chunk"))) > 2)
        os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=interrupt)
    killer.start()
    with pytest.raises(RunInterrupted) as caught:
        run(c, files, Select(marks, "slow"), out, checkpoint=folder)
    killer.join()
    partial = caught.value.report
    assert 0 < partial.processed < partial.total
    assert events_in(content(out)) == sorted(set(events_in(content(out)))) != expected
    assert {file.path for file in partial.skims} == {
        str(p) for p in content(out) if p.suffix == ".parquet"
    }
    # Without the checkpoint the folder is refused, with it the rest is written.
    with pytest.raises(RequestError, match=r"skims that this run has not written \(.*parquet"):
        run(c, files, Select(marks, "slow"), out)
    gone = Path(partial.skims[0].path)
    gone.unlink()
    results, report = run(c, files, Select(marks, "slow"), out, checkpoint=folder)
    all_is_there(out, results, report, expected)
    assert gone.exists()
    assert 0 < sum(record.restored for record in report.records) < CHUNKS


def test_chunks_that_were_cut_for_lack_of_memory(
    c: PooledCluster, files: Fileset, expected: list[int], marks: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "out", tmp_path / "kept"
    for again in (False, True):
        results, report = run(
            c, files, Select(marks, "memory"), out, checkpoint=folder, chunksize=EVENTS
        )
        assert {record.restored for record in report.records} == {again}
        assert not report.exact
        all_is_there(out, results, report, expected)
    assert len(report.skims) == 2 * FILES


def test_a_client_killed_before_names_were_given(
    c: PooledCluster, files: Fileset, expected: list[int], marks: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "out", tmp_path / "kept"
    results, report = run(c, files, Select(marks), out, checkpoint=folder)
    for file in report.skims:  # as it was before the last step
        Path(file.path).replace(file.part)
    again, report = run(c, files, Select(marks), out, checkpoint=folder)
    assert all(record.restored for record in report.records)
    all_is_there(out, again, report, expected)
    assert again["skims"]["muons"].paths == results["skims"]["muons"].paths


def test_a_failed_try_leaves_nothing(
    c: PooledCluster, files: Fileset, marks: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="SkimError: the skim cannot be written as root"):
        run(c, files, Select(marks, "half"), tmp_path / "out")
    assert content(tmp_path / "out") == []


def test_a_disk_that_fills_up_is_told(files: Fileset, marks: Path, tmp_path: Path) -> None:
    with cluster(1, config=POOLS) as c, pytest.raises(RunError) as caught:
        run(c, files, Select(marks, "full"), tmp_path / "out")
    report = caught.value.report
    assert "cannot be written (File too large): make room in" in str(caught.value)
    assert {record.tries for record in report.records if record.state == "failed"} == {1}
    kept = content(tmp_path / "out")
    assert len(kept) == len(report.skims) == sum(r.state == "processed" for r in report.records)
    assert events_in(kept) == events_in([Path(file.path) for file in report.skims])


def test_events_that_fail_are_in_no_skim(
    c: PooledCluster, files: Fileset, expected: list[int], marks: Path, tmp_path: Path
) -> None:
    with pytest.warns(PartialResultsWarning, match="no such trigger"):
        results, report = run(c, files, Select(marks, "bug"), tmp_path / "out", on_error="skip")
    found = events_in(content(tmp_path / "out"))
    assert set(found) < set(expected)
    assert len(found) == results["n"] == results["skims"]["muons"].events
    assert len(report.skims) == CHUNKS - 1


def test_skims_that_somebody_removed_meanwhile(
    c: PooledCluster, files: Fileset, marks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def remove() -> None:
        until(lambda: list(out.rglob(".*.part")))
        next(out.rglob(".*.part")).unlink()

    remover = threading.Thread(target=remove)
    remover.start()
    with pytest.raises(RunError, match=r"of what was written, 1 skim cannot be found \(.*parquet"):
        run(c, files, Select(marks, "slow"), out)
    remover.join()


def test_calls_that_cannot_write(
    c: PooledCluster, files: Fileset, marks: Path, tmp_path: Path
) -> None:
    def twice(events: Any) -> Any:
        return [Skim({"a": [1]}, name="x"), Skim({"b": [1]}, name="x")]

    with pytest.raises(RequestError, match="is an address; give a folder that workers share"):
        run(c, files, Select(marks), "root://eos//skims")
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="is not writable: Not a directory"):
        run(c, files, Select(marks), tmp_path / "file")
    with pytest.raises(RunError, match="a Skim is written by facility.run"):
        run(c, files, Select(marks), None)
    with pytest.raises(RunError, match="two skims are called 'x'"):
        run(c, files, twice, tmp_path / "o")
    with pytest.raises(RunError, match="there is no column 'Muons.ptt'"):
        run(c, files, lambda e: Skim(e, ["Muons.ptt"]), tmp_path / "o")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can hide a folder from a process")
def test_a_folder_that_workers_do_not_see(files: Fileset, marks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as place:
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", place.scheduler_address]
        hidden = f"mount -t tmpfs none {out} && exec {' '.join(worker)} --no-nanny --no-dashboard"
        child = subprocess.Popen(["unshare", "--mount", "sh", "-c", hidden], cwd=tmp_path)
        try:
            with Client(place) as client:
                client.wait_for_workers(1, timeout=60)
                with pytest.raises(RequestError) as told:
                    facility.run(Select(marks), files, client, output=out, progress=False)
        finally:
            child.terminate()
            child.wait(30)
    assert f"workers cannot write to {out} (they do not see it)" in str(told.value)
    assert content(out) == []


def test_flat_ntuples(c: PooledCluster, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "flat.root") as file:
        file.mktree("tree", {"x": np.float64}).extend({"x": np.arange(3_000.0)})
    results, _ = facility.run(
        lambda e: {"skim": Skim(e[e.x > 999], format="root")}, tmp_path / "flat.root", c,
        schema=BaseSchema, treename="tree", output=tmp_path / "out", progress=False,
    )  # fmt: skip
    with uproot.open({results["skim"].paths[0]: "tree"}) as tree:
        assert tree["x"].array().tolist() == np.arange(1_000.0, 3_000.0).tolist()
