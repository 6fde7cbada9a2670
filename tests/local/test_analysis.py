"""The analysis on a real Dask cluster: what is set up on its workers, and the same results."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from coffea import processor
from distributed import Client

from facility import cluster
from facility.analysis.inputs.fileset import Fileset, fileset
from facility.analysis.reading.physlite import GC_THRESHOLD, PhysliteSchema, prepare
from facility.analysis.samples.physlite_files import bring_examples, example_files, write_files
from facility.analysis.samples.zpeak import ZPeak
from facility.deploy.cluster import PooledCluster
from tests.local.pools import until

SMALL = {"cpu": "500m", "memory": "800Mi", "maxWorkers": 2, "default": True}
OWN_PROCESSOR = """
from facility.analysis.samples.zpeak import ZPeak

class Higher(ZPeak):
    def __init__(self):
        super().__init__(min_pt=40e3)
"""


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(1, config={"pools": {"cpu": SMALL}}) as made:
        yield made


@pytest.fixture(scope="module")
def client(c: PooledCluster) -> Iterator[Client]:
    with Client(c) as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Fileset:
    return fileset(write_files(tmp_path_factory.mktemp("files"), 3, 5_000))


def run(executor: processor.executor.ExecutorBase, files: Fileset, analysis: Any) -> dict[str, Any]:
    return processor.Runner(executor, schema=PhysliteSchema, chunksize=2_000)(files, analysis)


def test_a_dask_cluster_gives_what_one_process_gives(client: Client, files: Fileset) -> None:
    dask = run(processor.DaskExecutor(client=client, status=False), files, ZPeak())
    alone = run(processor.IterativeExecutor(status=False), files, ZPeak())
    assert dask["events"] == alone["events"] == {"data": files.total}
    assert np.array_equal(dask["mass"].values(flow=True), alone["mass"].values(flow=True))


LOOKS = ("distributed.worker.profile.interval", "distributed.admin.tick.interval")


def looks() -> list[str]:
    import dask

    return [dask.config.get(name) for name in LOOKS]


def test_dask_looks_at_its_processes_ten_times_less_often(client: Client) -> None:
    seldom = ["100ms", "200ms"]
    assert client.run_on_scheduler(looks) == seldom
    assert [*client.run(looks).values()] == [seldom]


def test_a_site_may_have_dask_look_as_often_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL", "50ms")
    with cluster(1, config={"pools": {"cpu": SMALL}}) as c, c.get_client() as client:
        assert client.run_on_scheduler(looks) == ["50ms", "200ms"]
        assert [*client.run(looks).values()] == [["50ms", "200ms"]]


def test_workers_make_example_files_that_they_do_not_see(client: Client, home: Path) -> None:
    paths = example_files(2, 100)
    assert all(path.is_relative_to(home) for path in paths)
    written = [identity_and_momenta(path) for path in paths]
    assert written[0] != written[1]
    for path in paths:
        path.unlink()
    bring_examples(client, paths)
    # What was found out about a file holds on every worker.
    assert [identity_and_momenta(path) for path in paths] == written


def identity_and_momenta(path: Path) -> tuple[str, list[list[float]]]:
    with uproot.open(path) as file:
        momenta = file["CollectionTree/AnalysisMuonsAuxDyn.pt"].array()
        return str(file.file.uuid), momenta.tolist()


def test_a_processor_in_a_file_beside_the_notebook(
    client: Client, files: Fileset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_processor.py").write_text(OWN_PROCESSOR)
    monkeypatch.syspath_prepend(tmp_path)
    from my_processor import Higher  # type: ignore[import-not-found]

    client.upload_file(str(tmp_path / "my_processor.py"))
    found = run(processor.DaskExecutor(client=client, status=False), files, Higher())
    assert found["events"] == {"data": files.total}
    assert 0 < found["mass"].sum(flow=True) < 3_000


def test_real_physlite_keeps_the_workers_logs_short(
    c: PooledCluster, client: Client, real_physlite: Path
) -> None:
    files = fileset(real_physlite)
    found = run(processor.DaskExecutor(client=client, status=False), files, ZPeak())
    assert found["events"] == {"data": 100}
    assert "Skipping" not in c.logs("cpu")


def test_prepare_reaches_present_and_future_workers() -> None:
    with cluster(1, config={"pools": {"cpu": SMALL}}) as c, Client(c) as client:
        prepare(client)
        c.scale(2)
        until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 2)
        thresholds = client.run(lambda: gc.get_threshold()[0])
        assert list(thresholds.values()) == [GC_THRESHOLD, GC_THRESHOLD]
