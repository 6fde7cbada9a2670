"""Pools that grow and shrink while work runs; executions are counted, not only results."""

import threading
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from dask import dataframe as dd
from distributed import Client, wait

from facility import RequestError, cluster
from facility.deploy import adaptive
from facility.deploy.cluster import PooledCluster
from tests.local.pools import (
    POOLS,
    SMALL,
    count_and_sleep,
    executions,
    pool_of,
    until,
    where,
)


def joined(c: PooledCluster, pool: str) -> int:
    return c._controller.pools[pool].joined


def busy(client: Client) -> int:
    """Count the workers that run something now."""

    def count(dask_scheduler):  # type: ignore[no-untyped-def]
        return sum(bool(ws.processing) for ws in dask_scheduler.workers.values())

    return int(client.run_on_scheduler(count))


def test_ten_thousand_untagged_tasks_spread_over_workers_that_join_later() -> None:
    with cluster(config=POOLS, big=1) as c, Client(c) as client:
        c.scale(cpu=1)
        until(lambda: joined(c, "cpu") == 1)
        futures = client.map(where, range(10_000), seconds=0.02, pure=False)
        until(lambda: busy(client) == 1)
        c.scale(cpu=5)
        until(lambda: joined(c, "cpu") == 5)
        until(lambda: busy(client) == 5)
        assert set(client.gather(futures[:100])) == {"cpu"}
        client.cancel(futures)


def test_routed_tasks_wait_for_free_slots_and_spread_too() -> None:
    with cluster(config=POOLS, cpu=1, arm=(0, 0)) as c, Client(c) as client:
        with pytest.warns(UserWarning, match="pool arm has no workers"), c.on("arm"):
            futures = client.map(where, range(500), seconds=0.05, pure=False)
        until(lambda: c._controller.pools["arm"].demand.waiting == 500)
        assert "500 tasks wait for pool arm, which has no workers" in c.explain()
        c.scale(arm=1)
        until(lambda: joined(c, "arm") == 1)
        until(lambda: c._controller.pools["arm"].demand.processing > 0)
        assert c._controller.pools["arm"].demand.processing <= 3
        c.scale(arm=3)
        until(lambda: joined(c, "arm") == 3)
        assert set(client.gather(futures)) == {"arm"}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools that shrink a second after there is less to do, and not ten."""
    monkeypatch.setattr(adaptive, "DOWN_AFTER", 1.0)


def test_a_task_makes_its_pool_grow_and_the_pool_shrinks_again(soon: None) -> None:
    config = {"pools": {"cpu": {**SMALL, "default": True}, "arm": {**SMALL}}}
    with cluster(config=config, cpu=1, arm=(0, 2)) as c, Client(c) as client:
        assert joined(c, "arm") == 0
        with c.on("arm"):
            assert client.submit(where, pure=False).result(timeout=60) == "arm"
        assert joined(c, "arm") == 1
        until(lambda: joined(c, "arm") == 0)
        assert joined(c, "cpu") == 1
        assert "adapts from 0 to 2" in c.explain()


def test_adapting_to_nothing_keeps_the_worker_whose_results_are_held(soon: None) -> None:
    with cluster(config=POOLS, cpu=(0, 2)) as c, Client(c) as client:
        future = client.submit(bytes, 1000, pure=False)
        wait(future, timeout=60)
        until(lambda: c._controller.pools["cpu"].kept)
        assert "cpu: cpu-0 holds 1 result, 0.98 kiB, that no other worker can take" in c.explain()
        assert joined(c, "cpu") == 1
        assert future.result() == bytes(1000)
        del future
        until(lambda: joined(c, "cpu") == 0)


def test_scale_down_drains_without_running_anything_twice(tmp_path: Path) -> None:
    with cluster(config=POOLS, cpu=3, wait=3) as c, Client(c) as client:
        names = [f"task{index}" for index in range(12)]
        futures = [
            client.submit(count_and_sleep, str(tmp_path), name, 1.0, pure=False) for name in names
        ]
        until(lambda: busy(client) == 3)
        c.scale(cpu=1)
        assert client.gather(futures) == ["cpu"] * 12
        until(lambda: joined(c, "cpu") == 1)
        assert [executions(tmp_path, name) for name in names] == [1] * 12


def test_results_move_within_the_pool_or_to_the_default_pool_never_to_a_scarce_one() -> None:
    with cluster(config=POOLS, cpu=1, arm=2, big=1, wait=4) as c, Client(c) as client:
        with c.on("arm"):
            futures = client.map(str, range(20), pure=False)
        wait(futures)
        for left in (1, 0):
            c.scale(arm=left)
            until(lambda left=left: joined(c, "arm") == left)  # type: ignore[misc]
            assert sorted(client.gather(futures), key=int) == [str(i) for i in range(20)]
            workers = client.scheduler_info(n_workers=-1)["workers"]
            holders = {workers[a]["name"] for held in client.who_has().values() for a in held}
            assert {pool_of(name) for name in holders} == {"arm" if left else "cpu"}


@pytest.mark.parametrize(("pool", "force"), [("arm", True), ("brief", False)])
def test_neither_force_nor_a_short_grace_waits_for_long_tasks(
    tmp_path: Path, pool: str, force: bool
) -> None:
    with cluster(config=POOLS, **{"cpu": 1, pool: 1}, wait=2) as c, Client(c) as client:  # type: ignore[arg-type]
        with c.on(pool):
            future = client.submit(count_and_sleep, str(tmp_path), "long", 300, pure=False)
        until(lambda: executions(tmp_path, "long") == 1)
        c.scale(**{pool: 0}, force=force)  # type: ignore[arg-type]
        until(lambda: joined(c, pool) == 0)
        assert not future.done()
        future.cancel()


@pytest.mark.parametrize("kind", [pytest.param("rechunk", marks=pytest.mark.long), "shuffle"])
def test_p2p_while_the_pool_scales(kind: str) -> None:
    with cluster(config=POOLS, cpu=2, big=1, wait=3) as c, Client(c) as client:
        if kind == "rechunk":
            with dask.config.set({"array.rechunk.method": "p2p"}):
                array = da.ones((1200, 1200), chunks=(1200, 40)).map_blocks(slowly, dtype=float)
                total = client.compute(array.rechunk((40, 1200)).sum())
        else:
            with dask.config.set({"dataframe.shuffle.method": "p2p"}):
                frame = dd.from_map(slow_part, range(30), meta={"x": float})
                total = client.compute(frame.shuffle("x")["x"].sum())
        until(lambda: busy(client) >= 2)
        c.scale(cpu=4)
        until(lambda: joined(c, "cpu") == 4)
        c.scale(cpu=1)
        assert total.result(timeout=90) == 1200 * 1200
        until(lambda: joined(c, "cpu") == 1)


def slow_part(_: int) -> pd.DataFrame:
    """One thirtieth of 1200 * 1200, in numbers that a shuffle spreads."""
    where(seconds=0.2)
    return pd.DataFrame({"x": np.tile([0.5, 1.0, 1.5], 16_000)})


def slowly(block):  # type: ignore[no-untyped-def]
    where(seconds=0.2)
    return block


def test_scale_ends_adapting_for_its_pool_only() -> None:
    with cluster(config=POOLS, cpu=(0, 3), arm=(0, 3)) as c:
        c.scale(cpu=1)
        until(lambda: joined(c, "cpu") == 1)
        pool_states = c._controller.pools
        assert not pool_states["cpu"].adapting
        assert pool_states["arm"].adapting


def test_groups_round_up_come_and_go_together(caplog: pytest.LogCaptureFixture) -> None:
    with cluster(config=POOLS, pairs=3, wait=4) as c:
        assert "pool pairs starts workers in groups of 2: 4 instead of 3" in caplog.text
        assert sorted(c.workers) == ["pairs-0-0", "pairs-0-1", "pairs-1-0", "pairs-1-1"]
        c.scale(pairs=1)
        until(lambda: len(c.workers) == 2)
        assert len({name.rsplit("-", 1)[0] for name in c.workers}) == 1


def test_mistakes_of_scale_and_adapt_are_told_together() -> None:
    with cluster(config=POOLS, cpu=(0, 1)) as c:
        with pytest.raises(RequestError) as caught:
            c.scale(2, cpu=1, amr=-1, big=9)
        message = str(caught.value)
        for part in ("scale(2) and cpu=1", "did you mean 'arm'", "at most 4 workers"):
            assert part in message
        with pytest.raises(RequestError, match="minimum is above the maximum"):
            c.adapt(arm=(3, 1))
        with pytest.raises(RequestError, match="use adapt for a range"):
            c.scale(arm=(0, 3))  # type: ignore[arg-type]


def test_threads_may_scale() -> None:
    with cluster(config=POOLS, cpu=1) as c:
        thread = threading.Thread(target=c.scale, kwargs={"arm": 1})
        thread.start()
        thread.join()
        until(lambda: joined(c, "arm") == 1)
