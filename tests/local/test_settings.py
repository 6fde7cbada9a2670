"""Settings of Dask that users have: none ends a Dask cluster, none ends in a traceback."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from facility import ClusterFailedError, cluster, names
from facility.security.certificates import authority, server_files
from tests.local.pools import POOLS

THEIRS = {
    "DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": "1ms",
    "DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "1ms",
    "DISTRIBUTED__SCHEDULER__WORKER_TTL": "1ms",
    "DISTRIBUTED__SCHEDULER__BLOCKED_HANDLERS": "['facility_beat', 'facility_retire']",
    "DISTRIBUTED__SCHEDULER__CONTACT_ADDRESS": "tls://192.0.2.1:1",
    "DISTRIBUTED__SCHEDULER__PRELOAD": "no.such.module",
    "DISTRIBUTED__SCHEDULER__PRELOAD_ARGV": "[['a'], ['b']]",
    "DISTRIBUTED__SCHEDULER__DASHBOARD__TLS__CERT": "/nowhere.pem",
    "DISTRIBUTED__SCHEDULER__PICKLE": "False",
    "DISTRIBUTED__WORKER__LIFETIME__DURATION": "1ms",
    "DISTRIBUTED__WORKER__BLOCKED_HANDLERS": "['run', 'terminate']",
    "DISTRIBUTED__WORKER__RESOURCES": "{'pool-cpu': 0}",
    "DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "False",
    "DISTRIBUTED__COMM__DEFAULT_SCHEME": "tcp",
    "DISTRIBUTED__NANNY__ENVIRON": "{'A': '1'}",
}


def times(dask_scheduler: Any) -> list[Any]:
    found = dask_scheduler
    return [found.idle_timeout, found.no_workers_timeout, found.worker_ttl]


def lifetime(dask_worker: Any) -> Any:
    return dask_worker.lifetime, dask_worker.local_directory


def test_what_ends_a_dask_cluster_is_not_the_users_setting_of_dask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in THEIRS.items():
        monkeypatch.setenv(f"DASK_{name}", value)
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path))
    with cluster(1, config=POOLS) as c, Client(c) as client:
        held = client.scatter("kept")
        assert client.run_on_scheduler(times) == [None, None, None]
        (answer,) = client.run(lifetime).values()
        assert answer[0] is None
        (scratch,) = tmp_path.iterdir()
        assert Path(answer[1]).resolve().is_relative_to(scratch), "the disk the user has chosen"
        assert scratch.stat().st_mode & 0o777 == 0o700
        assert client.submit(str.upper, held).result() == "KEPT"
    assert list(tmp_path.iterdir()) == []
    assert list(names.clusters_folder().iterdir()) == []


def test_a_setting_that_fails_in_the_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "DASK_DISTRIBUTED__SCHEDULER__ACTIVE_MEMORY_MANAGER__POLICIES"
    monkeypatch.setenv(key, "[{'class': 'no.such.Policy'}]")
    with pytest.raises(ClusterFailedError, match="settings of Dask may be the reason") as caught:
        cluster(1, config=POOLS)
    assert f"'no.such.Policy'}}] ({key})" in str(caught.value)


LOAD = """
try:
    from facility import cluster
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(
    ("yaml", "told"),
    [
        ("distributed: [", "FacilityError: Dask cannot read its settings: A dask config file at"),
        (
            "distributed: {scheduler: {default-data-size: big}}",
            "RequestError: No Dask cluster can start with these settings of Dask",
        ),
        ("logging: {distributed: loud}", "reason: logging.distributed = 'loud'"),
    ],
)
def test_dask_that_cannot_be_loaded_is_told_in_a_sentence(home: Path, yaml: str, told: str) -> None:
    (home / "dask").mkdir()
    (home / "dask" / "mine.yaml").write_text(yaml)
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    assert told in done.stdout
    assert str(home / "dask" / "mine.yaml") in done.stdout
    assert done.stderr == ""


# The containers' programs, as pods run them.


SERVE = """
import sys
from runpy import run_module
from facility import names
names.SCHEDULER_PORT, names.DASHBOARD_PORT = int(sys.argv[2]), int(sys.argv[3])
run_module(sys.argv[1], run_name="__main__")
"""


def free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind((names.LOOPBACK, 0))
        return [each.getsockname()[1] for each in (one, other)]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Any]:
    """Start containers' programs with the user's settings in their environment."""
    ca = authority()
    ca.issue(tmp_path)
    started: list[subprocess.Popen[bytes]] = []
    tls = {"ca_file": str(ca.ca_file)} | {
        key.removeprefix("tls_").replace("_", "__", 1): value
        for key, value in server_files(tmp_path).items()
    }
    settings = {f"DASK_DISTRIBUTED__COMM__TLS__{key.upper()}": tls[key] for key in tls}

    def start(module: str, *ports: int, **variables: str) -> None:
        environment = {**os.environ, **{f"DASK_{key}": THEIRS[key] for key in THEIRS}, **settings}
        environment |= {names.POD_ADDRESS_VARIABLE: names.LOOPBACK, **variables}
        command = [sys.executable, "-c", SERVE, module, *map(str, ports)]
        started.append(subprocess.Popen(command, env=environment))

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(30)


def test_containers_keep_to_it_too(container: Any, tmp_path: Path) -> None:
    ports = free_ports()
    address = f"tls://{names.LOOPBACK}:{ports[0]}"
    container("facility.kubernetes.scheduler", *ports)
    worker = {
        "scheduler": address,
        "members": ["cpu-0"],
        "pool": "cpu",
        "threads": 1,
        "memory": 2**29,
        "resources": {},
        "folder": str(tmp_path / "scratch"),
        "death_timeout": 60,
        "dask": {},
        "client": {},
        "grace": 5,
    }
    container("facility.kubernetes.worker", *ports, **{names.WORKER_VARIABLE: json.dumps(worker)})
    with Client(address, security=authority().security()) as client:
        client.wait_for_workers(1)
        assert client.run_on_scheduler(times) == [None, None, 300]
        assert [each[0] for each in client.run(lifetime).values()] == [None]
