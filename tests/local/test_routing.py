"""Which pool a task runs in, for every way in which a task can be made."""

import threading
import warnings
from collections.abc import Iterator

import dask
import dask.array as da
import pytest
from distributed import Client, wait

from facility import RequestError, cluster
from facility.deploy.cluster import PooledCluster, RoutingWarning
from tests.local.pools import POOLS, count_and_sleep, executions, until, where


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(config=POOLS, cpu=1, arm=1, big=1, wait=3) as made:
        yield made


@pytest.fixture(scope="module")
def client(c: PooledCluster) -> Iterator[Client]:
    with Client(c) as made:
        yield made


def in_arm(block):  # type: ignore[no-untyped-def]
    return block * (where() == "arm")


def in_cpu(block):  # type: ignore[no-untyped-def]
    return block * (where() == "cpu")


def test_untagged_tasks_stay_in_the_default_pool(client: Client) -> None:
    futures = client.map(where, range(300), pure=False)
    assert set(client.gather(futures)) == {"cpu"}


def test_submitted_inside(c: PooledCluster, client: Client) -> None:
    with c.on("arm"):
        one = client.submit(where, pure=False)
        many = client.map(where, range(100), pure=False)
    assert one.result() == "arm"
    assert set(client.gather(many)) == {"arm"}


def test_computed_inside(c: PooledCluster, client: Client) -> None:
    array = da.ones(40, chunks=10).map_blocks(in_arm, dtype=float)
    with c.on("arm"):
        assert client.compute(array.sum()).result() == 40
        assert array.sum().compute() == 40
        assert dask.delayed(where)().compute() == "arm"


def test_dataframe_computed_inside_without_a_warning(c: PooledCluster, client: Client) -> None:
    import pandas as pd
    from dask import dataframe as dd

    frame = dd.from_pandas(pd.DataFrame({"x": range(8)}), npartitions=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with c.on("arm"):
            pools = frame.map_partitions(
                lambda part: part.assign(pool=where()), meta={"x": int, "pool": object}
            ).compute()
    assert not [str(w.message) for w in caught]
    assert set(pools["pool"]) == {"arm"}


def test_built_inside_and_computed_outside(c: PooledCluster, client: Client) -> None:
    with c.on("arm"):
        array = da.ones(40, chunks=10).map_blocks(in_cpu, dtype=float)
        lazy = dask.delayed(where)()
    assert array.sum().compute() == 40
    assert lazy.compute() == "cpu"


def test_from_a_thread(c: PooledCluster, client: Client) -> None:
    found: list[str] = []

    def work() -> None:
        found.append(client.submit(where, pure=False).result())
        found.append(client.submit(where, pure=False, **c.route("arm")).result())

    with c.on("big"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == ["cpu", "arm"]


def test_resources_are_merged_with_the_pool(c: PooledCluster, client: Client) -> None:
    def restrictions(dask_scheduler, key):  # type: ignore[no-untyped-def]
        return dask_scheduler.tasks[key].resource_restrictions

    with c.on("arm"):
        future = client.submit(where, resources={"GPU": 1}, pure=False)
    wanted = {"GPU": 1, "pool-arm": 1}
    until(lambda: client.run_on_scheduler(_known, key=future.key))
    assert client.run_on_scheduler(restrictions, key=future.key) == wanted
    future.cancel()
    with c.on("arm"):
        named = client.submit(where, resources={"pool-cpu": 1}, pure=False)
    assert named.result() == "cpu", "a pool that is named wins over the block's"


def _known(dask_scheduler, key):  # type: ignore[no-untyped-def]
    return key in dask_scheduler.tasks


def test_the_same_key_again_runs_once(c: PooledCluster, client: Client, tmp_path) -> None:  # type: ignore[no-untyped-def]
    first = client.submit(count_and_sleep, str(tmp_path), "once", 0.2, key="again-done")
    assert first.result() == "cpu"
    with c.on("arm"):
        second = client.submit(count_and_sleep, str(tmp_path), "once", 0.2, key="again-done")
    assert second.result() == "cpu"
    assert executions(tmp_path, "once") == 1


def test_the_same_key_again_moves_what_has_not_started(
    c: PooledCluster,
    client: Client,
    tmp_path,  # type: ignore[no-untyped-def]
) -> None:
    with pytest.warns(RoutingWarning, match=r"pairs has no workers.*c\.scale\(pairs=1\)"):
        arguments = c.route("pairs")
    lazy = dask.delayed(count_and_sleep)(str(tmp_path), "moved", 0, dask_key_name="again-waiting")
    stuck = client.compute(lazy, **arguments)
    until(lambda: client.run_on_scheduler(_known, key="again-waiting"))
    with c.on("arm"):
        again = client.compute(lazy)
    assert again.result(timeout=20) == stuck.result() == "arm"
    assert executions(tmp_path, "moved") == 1


def test_scattered_data_goes_where_untagged_tasks_go(client: Client) -> None:
    futures = client.scatter(list(range(12)), hash=False)
    wait(futures)
    names = {info["name"] for info in client.scheduler_info(n_workers=-1)["workers"].values()}
    assert names == {"cpu-0", "arm-0", "big-0"}
    holders = {address for held in client.who_has(futures).values() for address in held}
    workers = client.scheduler_info(n_workers=-1)["workers"]
    assert {workers[address]["name"] for address in holders} == {"cpu-0"}


def test_p2p_rechunk_stays_in_its_pool(c: PooledCluster, client: Client) -> None:
    with dask.config.set({"array.rechunk.method": "p2p"}):
        array = da.random.random((400, 400), chunks=(400, 40)).rechunk((40, 400))
        assert array.shape == (400, 400)
        value, again = dask.compute(array.sum(), array.sum())
    assert value == again
    with c.on("arm"), dask.config.set({"array.rechunk.method": "p2p"}):
        ones = da.ones((400, 400), chunks=(400, 40)).rechunk((40, 400))
        assert client.compute(ones.sum()).result(timeout=60) == 160_000


def test_dataframe_shuffle_stays_in_its_pool(client: Client) -> None:
    import pandas as pd
    from dask import dataframe as dd

    frame = dd.from_pandas(pd.DataFrame({"x": range(1000)}), npartitions=8)
    with dask.config.set({"dataframe.shuffle.method": "p2p"}):
        shuffled = frame.shuffle("x").map_partitions(
            lambda part: part.assign(pool=where()), meta={"x": int, "pool": object}
        )
        found = shuffled.compute()
    assert sorted(found["x"]) == list(range(1000))
    assert set(found["pool"]) == {"cpu"}


def test_a_pool_that_does_not_exist(c: PooledCluster) -> None:
    with pytest.raises(RequestError, match=r"no pool 'amr' \(did you mean 'arm'\?\)"), c.on("amr"):
        pass
    with pytest.raises(RequestError, match="there are cpu, arm, big"):
        c.route("tpu")
