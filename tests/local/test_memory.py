"""Chunks for which memory is too short: cut in two, told, and equal within 1e-12."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

import facility
from facility import RunError, cluster
from facility.analysis.inputs.fileset import Fileset, fileset
from facility.analysis.run import PartialResultsWarning
from facility.analysis.samples.physlite_files import write_files
from facility.deploy.cluster import PooledCluster

SMALL = {"cpu": "100m", "memory": "600Mi", "maxWorkers": 2}
POOLS = {"pools": {"cpu": {**SMALL, "default": True}}}
EVENTS, CHUNK = 16_000, 8_000


class Hungry:
    """DistributedReduction floats; what it takes grows with the events of a chunk.

    Parameters
    ----------
    most
        Events above which memory does not do.
    how
        ``error`` as numpy tells it, ``take`` to take more than a worker has, ``die`` at once.
    only
        Event of the only chunks for which that is so.
    """

    def __init__(self, most: int, how: str, only: int | None = None) -> None:
        self.most, self.how, self.only = most, how, only

    def __call__(self, events: Any) -> dict[str, float]:
        start, stop = events.metadata["entrystart"], events.metadata["entrystop"]
        here = self.only is None or start <= self.only < stop
        if here and stop - start > self.most:
            if self.how == "error":
                np.empty(2**50)
            if self.how == "die":
                os._exit(9)
            taken = []
            for _ in range(200):
                taken.append(np.ones(5 * 2**20))
                time.sleep(0.05)
        pt = np.asarray(ak.flatten(events.Muons.pt), float)
        return {"sum": float(np.sum(pt**0.7)), "n": len(events)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Fileset:
    return fileset(write_files(tmp_path_factory.mktemp("files"), 1, EVENTS))


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(2, config=POOLS) as made:
        yield made


@pytest.fixture(scope="module")
def reference(c: PooledCluster, files: Fileset) -> dict[str, float]:
    found, report = run(c, files, Hungry(EVENTS, "error"))
    assert report.exact
    return dict(found)


def run(place: Any, files: Any, analysis: Any, **more: Any) -> tuple[Any, Any]:
    return facility.run(analysis, files, place, chunksize=CHUNK, progress=False, **more)


def same(found: dict[str, float], reference: dict[str, float]) -> bool:
    return found["n"] == reference["n"] and abs(found["sum"] / reference["sum"] - 1) < 1e-12


def test_what_numpy_refuses_is_done_in_parts(
    c: PooledCluster, files: Fileset, reference: dict[str, float], tmp_path: Path
) -> None:
    found, report = run(c, files, Hungry(3_000, "error"), checkpoint=tmp_path / "kept")
    assert same(found, reference)
    assert report.complete
    assert not report.exact
    assert not report.unbalanced()
    assert [record.chunk.events for record in report.records] == [2_000] * 8
    assert all("MemoryError" in str(record.cut) for record in report.records)
    assert "8 parts of chunks cut for lack of memory (sums equal within 1e-12)" in str(report)
    # They are kept as parts, and nothing is done twice.
    again, report = run(c, files, Hungry(3_000, "error"), checkpoint=tmp_path / "kept")
    assert again == found
    assert all(record.restored and record.cut for record in report.records)


@pytest.mark.parametrize("how", [pytest.param("take", marks=pytest.mark.long), "die"])
def test_a_chunk_that_ends_its_worker_is_done_in_parts(
    files: Fileset, reference: dict[str, float], how: str
) -> None:
    with cluster(2, config=POOLS) as c:
        found, report = run(c, files, Hungry(5_000, how, only=1))
    assert same(found, reference)
    assert report.complete
    assert [record.chunk.events for record in report.records] == [4_000, 4_000, 8_000]
    assert "also when it ran alone" in str(report.records[0].cut)


def test_what_no_part_has_memory_for_is_all_that_is_lost(c: PooledCluster, files: Fileset) -> None:
    with pytest.warns(PartialResultsWarning, match=r"events 1,000 to 2,000: .*MemoryError"):
        found, report = run(c, files, Hungry(0, "error", only=1_500), on_error="skip")
    assert (report.failed, report.processed) == (1_000, EVENTS - 1_000)
    assert found["n"] == EVENTS - 1_000
    assert not report.unbalanced()
    with pytest.raises(RunError, match="MemoryError"):
        run(c, files, Hungry(0, "error", only=1_500))
