"""Runs that go on while their user looks at what they have."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coffea.processor import ProcessorABC

import facility
from facility import RequestError, RunError, RunInterrupted, cluster
from facility.analysis import start
from facility.analysis.inputs.fileset import Fileset, fileset
from facility.analysis.samples.physlite_files import write_files
from facility.deploy.cluster import PooledCluster
from tests.local.pools import POOLS, until

EVENTS, CHUNK = 6_000, 200


class Slow(ProcessorABC):  # type: ignore[misc]
    """Counts events, slowly until there is a file named `quick`; fails in one chunk if asked to."""

    def __init__(self, folder: Path, bad: bool = False) -> None:
        self.folder, self.bad = str(folder), bad

    def process(self, events: Any) -> Any:
        if self.bad and events.metadata["entrystart"] == CHUNK:
            raise ValueError("no such trigger")
        while not (Path(self.folder) / "quick").exists():
            time.sleep(0.2)
            break
        return {"n": len(events)}

    def postprocess(self, accumulator: Any) -> Any:
        return {**accumulator, "final": True}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Fileset:
    return fileset(write_files(tmp_path_factory.mktemp("files"), 1, EVENTS))


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(1, config=POOLS) as made:
        yield made


def test_what_there_is_can_be_seen_at_any_time(
    c: PooledCluster, files: Fileset, tmp_path: Path
) -> None:
    going = start(Slow(tmp_path), files, c, chunksize=CHUNK)
    until(lambda: going.report.processed > 3 * CHUNK)
    assert not going.done
    first = going.partial()
    assert 3 * CHUNK <= first["n"] < EVENTS
    assert first["final"]
    until(lambda: going.report.processed > first["n"] + 2 * CHUNK)
    assert going.partial()["n"] > first["n"]
    assert "goes on: " in repr(going)
    assert "events/s" in repr(going)
    assert "Goes on" in going._repr_html_()
    (tmp_path / "quick").touch()
    results, report = going.result()
    assert results == {"n": EVENTS, "final": True} == going.partial()
    assert report.complete
    assert going.done
    assert "ended: " in repr(going)


def test_an_end_that_is_asked_for(c: PooledCluster, files: Fileset, tmp_path: Path) -> None:
    going = start(Slow(tmp_path), files, c, chunksize=CHUNK)
    until(lambda: going.report.processed > 3 * CHUNK)
    going.stop()
    with pytest.raises(RunInterrupted) as caught:
        going.result()
    assert caught.value.report.interrupted
    assert 0 < caught.value.results["n"] == going.partial()["n"] < EVENTS


def test_what_fails_is_told_where_the_result_is_asked_for(
    c: PooledCluster, files: Fileset, tmp_path: Path
) -> None:
    (tmp_path / "quick").touch()
    going = start(Slow(tmp_path, bad=True), files, c, chunksize=CHUNK)
    with pytest.raises(RunError, match="no such trigger"):
        going.result()
    assert going.partial()["n"] == EVENTS - CHUNK


def test_results_that_cannot_be_added_so_far(
    c: PooledCluster, files: Fileset, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"

    def odd(events: Any) -> Any:
        while events.metadata["entrystart"] >= 2 * CHUNK and not go_on.exists():
            time.sleep(0.02)
        return {"n": 1} if events.metadata["entrystart"] else 1.0

    going = start(odd, files, c, chunksize=CHUNK)
    until(lambda: going.report.processed > CHUNK)
    with pytest.raises(RunError, match="so far cannot be added"):
        going.partial()
    go_on.touch()
    with pytest.raises(RunError, match="cannot be added"):
        going.result()


def test_mistakes_are_told_before_it_begins(c: PooledCluster, files: Fileset) -> None:
    with pytest.raises(RequestError, match="did you mean chunksize=?"):
        start(len, files, c, chunk_size=1)
    with pytest.raises(RequestError, match="chunksize"):
        start(len, files, c, chunksize=0)
    assert facility.run(len, files, c, progress=False)[0] == EVENTS
