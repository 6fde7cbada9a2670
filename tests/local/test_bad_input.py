"""Files and processors that are not what they should be, and what is told of them."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema, NanoAODSchema
from coffea.processor import ProcessorABC

import facility
from facility import FilesetError, RunError, cluster
from facility.analysis.inputs.fileset import Fileset, SkippedFilesWarning, fileset
from facility.analysis.run import PartialResultsWarning
from facility.analysis.samples.physlite_files import write_files
from facility.analysis.samples.zpeak import ZPeak
from facility.deploy.cluster import PooledCluster
from tests.truncation import forty

SMALL = {"cpu": "100m", "memory": "600Mi", "maxWorkers": 4}
POOLS = {"pools": {"cpu": {**SMALL, "default": True}}}
EVENTS, CHUNK = 12_000, 1_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Fileset:
    return fileset(write_files(tmp_path_factory.mktemp("files"), 1, EVENTS))


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(2, config=POOLS) as made:
        yield made


def run(c: PooledCluster, files: Any, analysis: Any, **more: Any) -> tuple[Any, Any]:
    return facility.run(analysis, files, c, progress=False, **more)


# Files.


def test_a_real_file_cut_off_at_forty_offsets(
    c: PooledCluster, real_physlite: Path, tmp_path: Path
) -> None:
    content = real_physlite.read_bytes()
    offsets = forty(real_physlite)
    assert len(offsets) == 40
    paths = [tmp_path / f"cut-{at:07d}.root" for at in offsets]
    for path in [*paths, tmp_path / "whole.root"]:
        shutil.copy(real_physlite, path)
    before = fileset(tmp_path)
    for path, at in zip(paths, offsets, strict=True):
        path.write_bytes(content[:at])
    # As they are found: each is named, and the good one is left.
    with pytest.raises(FilesetError) as caught:
        fileset(tmp_path)
    assert len(caught.value.problems) == 40
    assert all("truncated" in problem for problem in caught.value.problems)
    with pytest.warns(SkippedFilesWarning, match="40 inputs"):
        left = fileset(tmp_path, on_error="skip")
    assert left.total == 100
    # As they become while the run goes on: each is told, or was read whole nevertheless.
    with pytest.warns(PartialResultsWarning):
        found, report = run(c, before, ZPeak(), on_error="skip", retries=0)
    assert not report.unbalanced()
    assert report.processed + report.failed == report.total == 4_100
    states = {Path(row["file"]).name: row["processed"] for row in report.files}
    assert states["whole.root"] == 100
    done = report.processed // 100
    assert report.failed > 3_000
    alone = run(c, tmp_path / "whole.root", ZPeak())[0]["mass"].values(flow=True)
    assert np.array_equal(found["mass"].values(flow=True), done * alone)


def test_a_web_page_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.root").write_text("\n<!DOCTYPE html><html><body>Sign in</body></html>")
    with pytest.raises(FilesetError, match=r"a\.root is a web page .* not a ROOT file"):
        fileset(tmp_path / "a.root")


def test_folders_without_files(tmp_path: Path) -> None:
    (tmp_path / "a.root").mkdir()
    with pytest.raises(FilesetError, match=r"a\.root"):
        fileset([tmp_path / "a.root"])
    with pytest.raises(FilesetError, match=r"a\.root"):
        fileset({"data": {"files": {str(tmp_path / "a.root"): "CollectionTree"}}})


@pytest.mark.parametrize(
    ("schema", "told"), [(NanoAODSchema, "missing event ID fields"), (BaseSchema, "Electrons")]
)
def test_a_schema_that_does_not_fit(
    c: PooledCluster, files: Fileset, schema: Any, told: str
) -> None:
    with pytest.warns(PartialResultsWarning, match=told):
        _, report = run(c, files, ZPeak(), schema=schema, chunksize=EVENTS, on_error="skip")
    assert report.failed == EVENTS
    with pytest.raises(RunError, match=told):
        run(c, files, ZPeak(), schema=schema, chunksize=EVENTS)


def test_physlite_asked_of_a_flat_file(c: PooledCluster, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "flat.root") as file:
        file.mktree("CollectionTree", {"x": np.float64}).extend({"x": np.arange(100.0)})
    with pytest.raises(RunError, match="Electrons"):
        run(c, tmp_path / "flat.root", ZPeak())


# Processors.


class Late(ProcessorABC):  # type: ignore[misc]
    """Reads a branch for the first time in its sixth chunk."""

    def process(self, events: Any) -> Any:
        found = float(ak.sum(events.Muons.pt, axis=None))
        if events.metadata["entrystart"] >= 5 * CHUNK:
            found += float(ak.sum(events.Jets.pt, axis=None))
        return {"sum": found}

    def postprocess(self, accumulator: Any) -> Any:
        return accumulator


def test_a_branch_that_is_first_read_in_the_sixth_chunk(c: PooledCluster, files: Fileset) -> None:
    found, report = run(c, files, Late(), chunksize=CHUNK)
    assert report.complete
    assert len(report.records) == 12
    [path] = files.events
    arrays = uproot.open(path)["CollectionTree"].arrays(
        ["AnalysisMuonsAuxDyn.pt", "AnalysisJetsAuxDyn.pt"]
    )
    muons = float(ak.sum(arrays["AnalysisMuonsAuxDyn.pt"], axis=None))
    jets = float(ak.sum(arrays["AnalysisJetsAuxDyn.pt"][5 * CHUNK :], axis=None))
    assert found["sum"] == pytest.approx(muons + jets, rel=1e-5)


class Leaking:
    """Keep some memory for ever in each chunk."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes

    def __call__(self, events: Any) -> int:
        kept = sys.__dict__.setdefault("kept_by_this_test", [])
        kept.append(np.ones(self.megabytes * 2**20 // 8))
        return len(events)


@pytest.mark.long
def test_a_leak_that_dask_pauses_workers_for_is_not_waited_for(files: Fileset) -> None:
    with cluster(2, config=POOLS) as c:
        found, report = run(c, files, Leaking(30), chunksize=300)
    assert found == EVENTS
    assert report.complete
    assert report.full_workers > 0
    assert "ended because the processor had filled the memory" in report.summary()


@pytest.mark.timeout(400)
def test_a_leak_that_ends_workers_again_and_again_loses_no_sum(files: Fileset) -> None:
    with cluster(2, config=POOLS) as c:
        found, report = run(c, files, Leaking(100), chunksize=1_500)
        lost = sum(int(str(row["lost"])) for row in c.pools)
    assert found == EVENTS
    assert report.complete
    assert lost > 0


# Workers.

DEATH = {"DASK_DISTRIBUTED__WORKER__PRELOAD": "['import os; os._exit(3)']"}


def test_a_pool_without_workers_is_not_waited_for(files: Fileset) -> None:
    pools = {"pools": {"cpu": {**SMALL, "default": True, "env": DEATH}}}
    with cluster(2, wait=0, config=pools) as c:
        with pytest.raises(RunError, match="no more are started: cpu: no more workers") as caught:
            run(c, files, lambda events: {"n": len(events)})
        assert caught.value.report.processed == 0
        assert "ended with exit code 3" in str(caught.value)
        assert "c.logs('cpu')" in str(caught.value)


def test_a_pool_that_loses_its_last_worker_ends_the_run(files: Fileset, tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    def ends_after_three(events: Any) -> Any:
        import os
        import time
        from pathlib import Path

        start = events.metadata["entrystart"]
        if start >= 3 * CHUNK:
            # Once something is kept; from then on each new worker ends as it starts.
            while not list(Path(kept).glob("*.chunk")):
                time.sleep(0.1)
            Path(tmp_path, "end").touch()
            os._exit(1)
        return {"n": len(events)}

    mark = tmp_path / "end"
    check = f'import os; os.path.exists("{mark}") and os._exit(3)'
    env = {"DASK_DISTRIBUTED__WORKER__PRELOAD": repr([check])}
    pools = {"pools": {"cpu": {**SMALL, "default": True, "env": env}}}
    with (
        cluster(1, config=pools) as c,
        pytest.raises(RunError, match="no more are started: cpu: no more") as caught,
    ):
        run(c, files, ends_after_three, chunksize=CHUNK, checkpoint=kept, retries=0)
    assert "Run it again with the same checkpoint, and it goes on from there" in str(caught.value)
    # What had been fetched when the worker ended is kept; what had not is lost with it.
    processed = caught.value.report.processed
    assert 0 < processed <= 3 * CHUNK
    assert caught.value.results["n"] == processed
