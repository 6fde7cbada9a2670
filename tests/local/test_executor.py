"""`facility.Executor` under coffea's own Runner."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from coffea import processor

import facility
from facility import RequestError, RunError, cluster
from facility.analysis.reading.physlite import PhysliteSchema
from facility.analysis.run import PartialResultsWarning
from facility.analysis.samples.physlite_files import write_files
from facility.deploy.cluster import PooledCluster

SMALL = {"cpu": "100m", "memory": "600Mi", "maxWorkers": 2}
POOLS = {"pools": {"cpu": {**SMALL, "default": True}}}
CHUNK = 1_000


class Sums(processor.ProcessorABC):  # type: ignore[misc]
    """A sum of floats, whose last bits depend on the order; `trouble` is in the third chunk."""

    def __init__(self, folder: Path, trouble: str = "") -> None:
        self.folder, self.trouble = str(folder), trouble

    def process(self, events: Any) -> Any:
        data = events.metadata
        name = f"{Path(data['filename']).name}-{data['entrystart']}"
        (Path(self.folder) / f"{name}.{time.time_ns()}").touch()
        if data["entrystart"] == 2_000 and "000000" in name:
            tries = len(list(Path(self.folder).glob(f"{name}.*")))
            if self.trouble == "exit" or (self.trouble == "exit once" and tries == 1):
                os._exit(7)
            if self.trouble == "gone" or (self.trouble == "flaky" and tries < 3):
                raise OSError("Operation expired")
            if self.trouble == "bug":
                raise ValueError("no such trigger")
        return {"sum": float(np.sum(np.asarray(ak.flatten(events.Muons.pt), float) ** 0.7))}

    def postprocess(self, accumulator: Any) -> Any:
        return {**accumulator, "final": True}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    paths = write_files(tmp_path_factory.mktemp("files"), 2, 4_000)
    return {"data": [str(path) for path in paths]}


@pytest.fixture
def c() -> Iterator[PooledCluster]:
    with cluster(2, config=POOLS) as made:
        yield made


def run(executor: Any, files: Any, analysis: Any, **more: Any) -> Any:
    runner = processor.Runner(
        executor,
        schema=PhysliteSchema,
        chunksize=CHUNK,
        savemetrics=True,
        metadata_cache={},
        **more,
    )
    return runner(files, processor_instance=analysis, treename="CollectionTree")


def test_a_runner_gives_the_same_bits_whatever_happens(
    c: PooledCluster, files: dict[str, list[str]], tmp_path: Path
) -> None:
    alone, metrics = run(processor.IterativeExecutor(status=False), files, Sums(tmp_path))
    found = {}
    for trouble in ("", "flaky", "exit once"):
        marks = tmp_path / f"marks {trouble}"
        marks.mkdir()
        executor = facility.Executor(c, status=False, retries=1)
        found[trouble], told = run(executor, files, Sums(marks, trouble))
        assert told["entries"] == metrics["entries"] == 8_000
        looked, processed = executor.reports
        assert looked.complete
        assert processed.complete
        assert len(processed.records) == 8
    assert found["flaky"]["sum"].hex() == found["exit once"]["sum"].hex() == found[""]["sum"].hex()
    assert found[""]["final"]
    assert found[""]["sum"] == pytest.approx(alone["sum"], rel=1e-14)


def test_what_fails_is_blamed_alone(
    c: PooledCluster, files: dict[str, list[str]], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"events 2,000 to 3,000: the workers that ran it died"):
        run(
            facility.Executor(c, status=False, retries=0),
            files,
            Sums(tmp_path, "exit"),
        )
    with pytest.raises(RunError, match="no such trigger") as caught:
        run(
            facility.Executor(c, status=False, retries=0),
            files,
            Sums(tmp_path, "bug"),
        )
    assert (caught.value.report.processed, caught.value.report.failed) == (7_000, 1_000)
    with pytest.warns(PartialResultsWarning, match="1,000 failed"):
        left, _ = run(
            facility.Executor(c, status=False, retries=0), files, Sums(tmp_path, "gone"),
            skipbadfiles=True,
        )  # fmt: skip
    assert left["final"]


def test_a_place_that_cannot_be_used() -> None:
    with pytest.raises(RequestError) as caught:
        facility.Executor(42, retries=-1)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 2
