"""How a Dask cluster ends, and that nothing of it stays."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, Worker
from distributed.client import ClosedClientError
from distributed.core import Status
from distributed.diagnostics.plugin import Environ, PipInstall, UploadDirectory

import facility
from facility import ClusterFailedError, ClusterTimeoutError, FacilityError, RequestError, cluster
from facility.deploy import controller
from facility.deploy.cluster import PooledCluster
from facility.deploy.launch import stop
from facility.local import registry
from facility.local.process import ChildProcess
from facility.scheduler.pooled import PooledScheduler
from tests.local.leaks import ended
from tests.local.pools import POOLS, SMALL, count_and_sleep, executions, until, where


def children(c: PooledCluster) -> list[ChildProcess]:
    backend = c._controller.backend
    workers = [member.child for member in backend.members.values()]  # type: ignore[attr-defined]
    return [*workers, backend._scheduler]  # type: ignore[attr-defined]


def processes(c: PooledCluster) -> list[psutil.Process]:
    return [child.process for child in children(c)]


def gone(found: list[psutil.Process]) -> bool:
    return all(ended(process) for process in found)


def test_leaving_the_block_ends_it() -> None:
    with cluster(1, config=POOLS) as c:
        found, folder = processes(c), c._controller.backend.folder  # type: ignore[attr-defined]
        assert len(found) == 2
        assert [row["name"] for row in facility.clusters()] == [c.name]
    assert gone(found)
    assert not folder.exists()
    assert c.status == Status.closed
    assert len(facility.clusters()) == 0
    c.close()


def test_losing_the_last_reference_ends_it() -> None:
    c = cluster(1, config=POOLS)
    found = children(c)
    del c
    gc.collect()
    # Whoever lets go of processes without asking how they ended is warned by Python.
    until(lambda: all(child.ended() for child in found))


def script(tmp_path: Path, code: str) -> subprocess.Popen[str]:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(code))
    return subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True)


def pids(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of its Dask cluster, once all of the script has run."""
    assert process.stdout is not None
    return [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]


def unowned(dask_scheduler: Any) -> float:
    """Seconds for which the scheduler has heard of no owner."""
    import time

    return time.monotonic() - max(dask_scheduler.lifetime.owners.values())


OWNER_SECONDS = 2
BODY = """
    import os, time
    import facility.deploy.controller
    from facility import cluster
    facility.deploy.controller.OWNER_SECONDS = 2
    if __name__ == "__main__":
        c = cluster(1)
        client = c.get_client() if CLIENT else None
        backend = c._controller.backend
        print(backend._scheduler.pid, *(m.child.pid for m in backend.members.values()), flush=True)
        time.sleep(SECONDS)
"""


def body(*, client: bool, seconds: int) -> str:
    return BODY.replace("CLIENT", str(client)).replace("SECONDS)", f"{seconds})")


def test_the_interpreters_exit_ends_it(tmp_path: Path) -> None:
    process = script(tmp_path, body(client=True, seconds=0))
    found = pids(process)
    assert len(found) == 2
    assert process.wait(60) == 0
    assert gone(found)
    assert process.stdout is not None
    process.stdout.close()


def test_an_owner_that_is_killed_ends_it_by_itself(tmp_path: Path) -> None:
    process = script(tmp_path, body(client=True, seconds=1000))
    found = pids(process)
    process.kill()
    process.wait()
    assert not gone(found), "an owner may come back within its time"
    until(lambda: gone(found))
    assert not list(facility.names.clusters_folder().iterdir())
    assert process.stdout is not None
    process.stdout.close()


def test_a_client_keeps_what_its_owner_left(tmp_path: Path) -> None:
    process = script(tmp_path, body(client=False, seconds=1000))
    found = pids(process)
    record = registry.records()[0]
    from facility.security.certificates import authority

    with Client(record.address, security=authority().security()) as client:
        process.kill()
        process.wait()
        # It looks twice a second whether an owner or a client is there.
        until(lambda: client.run_on_scheduler(unowned) > OWNER_SECONDS + 1)
        assert client.submit(sum, [1, 2]).result() == 3
    until(lambda: gone(found))
    assert process.stdout is not None
    process.stdout.close()


def test_idle(caplog: pytest.LogCaptureFixture) -> None:
    c = cluster(1, config=POOLS, idle_timeout="1s")
    found = processes(c)
    with Client(c) as client:
        future = client.submit(where)
        assert future.result() == "cpu"
        time.sleep(2)
        assert not gone(found), "data that a client holds is not idle"
        del future
        until(lambda: gone(found))
        until(lambda: c.status == Status.closed)
    assert "has ended: it was idle for 1" in caplog.text
    assert "is closed: it was idle" in c.explain()
    c.close()


def test_a_lost_scheduler_fails_what_waits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    c = cluster(2, config=POOLS, wait=2)
    found = processes(c)
    client = Client(c)
    future = client.submit(where, seconds=300)
    until(lambda: any(client.processing().values()))
    os.kill(found[-1].pid, signal.SIGKILL)
    # Some are sent after the connection has ended; a client that has seen its end refuses them.
    with suppress(ClosedClientError):
        for _ in range(1000):
            client.submit(where, pure=False)
    with pytest.raises(Exception, match="Client lost the connection to the scheduler"):
        future.result(timeout=60)
    until(lambda: c.status == Status.failed)
    until(lambda: gone(found))
    assert "its scheduler was killed by SIGKILL" in caplog.text
    assert "Traceback" not in caplog.text
    assert "workers=0" in repr(c)
    assert "has failed: its scheduler was killed by SIGKILL" in c.explain()
    with pytest.raises(ClusterFailedError, match="scale comes too late: .*killed by SIGKILL"):
        c.scale(3)
    assert "Scheduler at: " in c.logs(), "the log is there to be read"
    client.close()
    c.close()
    assert not list(facility.names.clusters_folder().iterdir())


def test_a_killed_worker_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with cluster(2, config=POOLS, wait=2) as c, Client(c) as client:
        names = [f"task{index}" for index in range(6)]
        futures = [
            client.submit(count_and_sleep, str(tmp_path), name, 0.5, pure=False) for name in names
        ]
        until(lambda: executions(tmp_path, "task0"))
        victim = processes(c)[0]
        os.kill(victim.pid, signal.SIGKILL)
        assert client.gather(futures) == ["cpu"] * 6
        until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 2)
        assert "was killed by SIGKILL" in caplog.text
        assert "1 worker lost and replaced" in c.explain()


def test_tasks_that_kill_their_workers_fail_alone() -> None:
    """Those that wait for a free slot are not on the worker that dies."""
    with cluster(config=POOLS, cpu=1, arm=2, wait=3) as c, Client(c) as client:
        with c.on("arm"):
            killers = client.map(end_worker, range(2), pure=False, priority=1)
            others = client.map(where, range(200), seconds=0.01, pure=False)
        assert set(client.gather(others)) == {"arm"}
        for killer in killers:
            with pytest.raises(Exception, match="4 different workers"):
                killer.result(timeout=60)
        until(lambda: len(c.workers) == 3)


def end_worker(_: int) -> None:
    os._exit(1)


def test_a_task_that_takes_all_memory_costs_its_worker_only() -> None:
    with cluster(1, config=POOLS) as c, Client(c) as client:
        future = client.submit(hog, retries=0)
        with pytest.raises(Exception, match="hog"):
            future.result(timeout=100)
        assert "of its 400Mi of memory" in c.explain()
        assert client.submit(where, pure=False).result(timeout=60) == "cpu"


def hog() -> None:
    kept = []
    for number in range(200):
        kept.append(bytes([number + 1]) * 10_000_000)
        time.sleep(0.05)


def test_restarted_workers_are_replaced_whatever_they_do_and_none_is_lost() -> None:
    with cluster(config=POOLS, cpu=2, pairs=2, wait=4) as c, Client(c) as client:
        before = set(c.workers)
        with c.on("pairs"):
            running = client.map(where, range(2), seconds=300, pure=False)
        running += client.map(where, range(2), seconds=300, pure=False)
        until(lambda: sum(map(len, client.processing().values())) == 4)
        client.restart(timeout=60)
        assert client.submit(where, pure=False).result() == "cpu"
        restarted = set(c.workers)
        assert len(restarted) == 4
        assert not before & restarted

        held = client.submit(where, pure=False)
        held.result()
        (holder,) = client.who_has(held)[held.key]
        name = client.scheduler_info(n_workers=-1)["workers"][holder]["name"]
        pair = next(each for each in restarted if c.workers[each] == "pairs")
        assert client.restart_workers([name, pair]) == {name: "OK", pair: "OK"}
        assert held.result() == "cpu", "it runs again elsewhere"
        assert len(c.workers) == 4
        assert restarted - set(c.workers) == {name, pair}
        with pytest.raises(ValueError, match=r"There is no worker nope; there are .*cpu-"):
            client.restart_workers(["nope"])
        assert "lost" not in c.explain()


def test_what_is_for_nannies_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    with cluster(1, config=POOLS) as c, Client(c) as client:
        for plugin in (
            Environ({"A": "1"}),
            UploadDirectory(tmp_path / "package"),
            PipInstall(["facility-of-nobody"], restart_workers=True),
        ):
            with pytest.raises(NotImplementedError, match=r"the pool's `env` .*c\.send_code\(\)"):
                client.register_plugin(plugin)
        with pytest.raises(NotImplementedError, match="have no nannies"):
            client.run(os.getpid, nanny=True)
        assert len(client.run(os.getpid)) == 1


async def test_workers_are_not_restarted_where_nobody_starts_others() -> None:
    settings: dict[str, Any] = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": ":0"}
    async with (
        PooledScheduler({}, port=0, **settings) as scheduler,
        Worker(scheduler.address, **settings) as worker,
        Client(scheduler.address, asynchronous=True) as client,
    ):
        held = client.submit(sum, [1, 2])
        for restart in (client.restart, lambda: client.restart_workers([worker.address])):
            with pytest.raises(RuntimeError, match=r"cannot be replaced, .*cluster\(\.\.\.\)"):
                await restart()
        assert await held == 3
        assert list(scheduler.workers) == [worker.address]


def test_workers_that_cannot_start_are_told_with_their_log() -> None:
    config = {"pools": {"cpu": {**SMALL, "default": True, "env": {"PYTHONHOME": "/nowhere"}}}}
    with pytest.raises(ClusterFailedError) as caught:
        cluster(1, config=config)
    message = str(caught.value)
    assert "5 workers were lost within 60 s (the last one ended with exit code 1)" in message
    assert "c.logs('cpu')" in message
    assert "No module named 'encodings'" in message
    assert not registry.records()


def test_workers_that_come_too_late_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
    config = {"pools": {"cpu": {**SMALL, "default": True, "env": {"PYTHONPATH": str(tmp_path)}}}}
    with pytest.raises(ClusterTimeoutError, match=r"for 2 workers and got 0; nothing is left"):
        cluster(2, config=config, wait=2, timeout=4)
    assert not registry.records()
    assert not list(facility.names.clusters_folder().iterdir())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What asks a scheduler that has ended would ask for longer than a test may take."""
    monkeypatch.setattr(controller, "ANSWER_SECONDS", 1000.0)
    with dask.config.set({"distributed.comm.timeouts.connect": "1000s"}):
        yield


def test_an_end_while_workers_are_awaited_is_told(tmp_path: Path, patient: None) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
    config = {"pools": {"cpu": {**SMALL, "default": True, "env": {"PYTHONPATH": str(tmp_path)}}}}

    def end() -> None:
        until(lambda: bool(registry.records()))
        stop("early")

    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(end)
        with pytest.raises(ClusterFailedError, match="It ended while it started: .*asked to close"):
            cluster(1, config=config, wait=1, name="early")
        ended.result()
    assert not registry.records()
    assert not list(facility.names.clusters_folder().iterdir())


def test_an_end_between_the_first_calls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = controller.Controller._connect

    async def connect_and_end(self: controller.Controller, address: str) -> None:
        await connect(self, address)
        await asyncio.to_thread(stop, "brief")

    monkeypatch.setattr(controller.Controller, "_connect", connect_and_end)
    monkeypatch.setattr(controller, "ANSWER_SECONDS", 2.0)
    with pytest.raises(ClusterFailedError, match="It ended while it started: .*asked to close"):
        cluster(1, config=POOLS, name="brief")
    assert not registry.records()


def test_a_name_in_use_and_stop_by_name(patient: None) -> None:
    with cluster(1, config=POOLS, name="mine") as c:
        with pytest.raises(RequestError, match="one named 'mine' runs since"):
            cluster(1, config=POOLS, name="mine")
        with pytest.raises(ClusterFailedError, match=r"did you mean 'mine'"):
            stop("mina")
        stop("mine")
        until(lambda: c.status == Status.closed)
        assert "asked to close" in c.explain()


def test_a_data_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(FacilityError, match="set XDG_DATA_HOME to a folder that is"):
        cluster(1, config=POOLS)


def test_a_plain_connection_is_refused() -> None:
    with cluster(1, config=POOLS) as c:
        address = c.scheduler_address.replace("tls://", "tcp://")
        with pytest.raises(OSError, match="reset by peer|closed"):
            Client(address, timeout=10)
