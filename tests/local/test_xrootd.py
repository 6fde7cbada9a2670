"""Files on real XRootD servers: folders, wildcards, caches, and servers that go away."""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import facility
from facility import FilesetError, RequestError, RunError, cluster, names
from facility.analysis.files.replicas import caches, locations
from facility.analysis.inputs import fileset as filesets
from facility.analysis.inputs.fileset import fileset
from facility.analysis.samples.physlite_files import write_files
from facility.analysis.samples.zpeak import ZPeak
from facility.deploy.cluster import PooledCluster
from facility.wording import counted
from tests.local.pools import until
from tests.local.xrootd_servers import CACHE, ORIGIN, Server, free_port

# Servers on loopback that are down are given up sooner.
QUICK = {"XRD_CONNECTIONWINDOW": "2", "XRD_CONNECTIONRETRY": "1", "XRD_TIMEOUTRESOLUTION": "1",
         "XRD_STREAMERRORWINDOW": "2", "XRD_REQUESTTIMEOUT": "10"}  # fmt: skip
CPU = {"cpu": "100m", "memory": "600Mi", "maxWorkers": 4, "default": True, "env": QUICK}
POOLS = {"pools": {"cpu": CPU}}
FILES, EVENTS = 4, 2_000

pytestmark = pytest.mark.skipif(
    shutil.which("xrootd") is None and os.environ.get("CI") != "true",
    reason="XRootD's server is not installed: tools/xrootd",
)


@pytest.fixture(scope="module")
def origin() -> Iterator[Server]:
    server = Server(ORIGIN)
    try:
        write_files(server.data / "atlas" / "data", FILES, EVENTS)
        more = server.data / "atlas" / "more"
        for part in ("a", "b/c"):
            (more / part).mkdir(parents=True)
            shutil.copy(paths(server)[0], more / part / f"{part[-1]}.root")
        (server.data / "atlas" / "empty").mkdir()
        (more / "notes.txt").write_text("not a ROOT file")
        yield server.start()
    finally:
        server.clean_up()


@pytest.fixture
def two_caches() -> Iterator[tuple[Server, Server]]:
    servers = Server(CACHE), Server(CACHE)
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.clean_up()


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(2, config=POOLS) as made:
        yield made


@pytest.fixture(autouse=True)
def new_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be known from another test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)


def paths(origin: Server) -> list[Path]:
    return sorted((origin.data / "atlas" / "data").glob("*.root.1"))


def at(origin: Server, path: str = "data/") -> str:
    return f"root://{origin.host}//atlas/{path}"


def run(c: PooledCluster, files: Any, analysis: Any = None, **more: Any) -> tuple[Any, Any]:
    return facility.run(analysis or ZPeak(), files, c, progress=False, **more)


# Folders and wildcards.


def test_a_folder_its_files_and_wildcards(origin: Server) -> None:
    whole = fileset(at(origin))
    assert list(whole["data"]["files"]) == [at(origin, f"data/{p.name}") for p in paths(origin)]
    assert whole.total == FILES * EVENTS
    for same in (at(origin, "data"), at(origin, "data/*"), at(origin, "d*/DAOD*.root.?"),
                 at(origin, "**/DAOD*"), list(whole["data"]["files"])):  # fmt: skip
        assert fileset(same).found == whole.found
    # A tree behind a file, or behind a wildcard.
    one = next(iter(whole["data"]["files"]))
    for behind in (f"{one}:CollectionTree", [f"{one}:/CollectionTree;1"]):
        assert list(fileset(behind, treename="none")["data"]["files"]) == [one]
    assert fileset(f"{at(origin)}*.root.1:CollectionTree", treename="none").total == whole.total
    found = fileset(at(origin, "more/**/*.root"))["data"]["files"]
    assert list(found) == [at(origin, "more/a/a.root"), at(origin, "more/b/c/c.root")]
    assert list(fileset(at(origin, "more/*/[ac].root"))["data"]["files"]) == list(found)[:1]


def test_what_is_wrong_there_is_told_at_once(origin: Server) -> None:
    wrong = {
        "empty/": "the folder .*empty/ has no file named .*; the folder .*empty/ is empty",
        "more/": "the folder .*more/ has no file named .*; .*more/ holds a, b, notes.txt",
        "nothing/": "nothing/ does not exist",
        "nothing/*.root": "the folder .*nothing does not exist",
        "data/*.parquet": r"no file matches .*data/\*.parquet",
        "data/nothing.root": r"data/nothing.root cannot be read as a ROOT file \(.*[Nn]o such file",
        "more/notes.txt": "more/notes.txt cannot be read as a ROOT file",
    }
    with pytest.raises(FilesetError) as caught:
        fileset([at(origin, path) for path in wrong])
    told = "\n".join(caught.value.problems)
    for sentence in wrong.values():
        assert re.search(sentence, told), (sentence, told)
    assert len(caught.value.problems) == len(wrong)


def test_a_server_that_is_down_is_named() -> None:
    down = f"127.0.0.1:{free_port()}"
    with pytest.raises(FilesetError, match=f"root://{down}//atlas/data/ cannot be listed"):
        fileset(f"root://{down}//atlas/data/")


@pytest.fixture
def ended_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the user a proxy that ended two hours ago."""
    past = datetime.now(UTC) - timedelta(hours=2)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ada")])
    proxy = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(past - timedelta(days=1)).not_valid_after(past)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (tmp_path / "proxy").write_bytes(proxy.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "proxy"))


def test_a_credential_that_has_ended_is_told_with_what_servers_refuse(
    c: PooledCluster, ended_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesets, "PAUSE", 0.0)
    server = Server(ORIGIN)
    try:
        write_files(server.data / "atlas" / "data", 1, 100)
        found = fileset(at(server.start()))
    finally:
        server.clean_up()
    with pytest.raises(RunError, match=r"(?s)0 of 100 events .*proxy has expired .* renew it"):
        run(c, found, retries=0)
    with pytest.raises(FilesetError, match="proxy has expired .* renew it with voms-proxy-init"):
        fileset(f"root://127.0.0.1:{free_port()}//atlas/x.root")


def test_a_second_plan_asks_for_versions_only(
    origin: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = origin.data / "atlas" / "changing"
    target.mkdir()
    shutil.copy(paths(origin)[0], target / "x.root")
    first = [fileset(at(origin, name)) for name in ("changing/", "changing/x.root", "data/")]
    opened: list[str] = []
    real = filesets.inspect
    monkeypatch.setattr(
        filesets, "inspect", lambda path, *more: (opened.append(path), real(path, *more))[1]
    )
    second = [fileset(at(origin, name)) for name in ("changing/", "changing/x.root", "data/")]
    assert [each.found for each in second] == [each.found for each in first]
    assert opened == []
    write_files(target, 1, 100, seed=3)
    next(target.glob("*.root.1")).replace(target / "x.root")
    assert fileset(at(origin, "changing/x.root")).total == 100
    assert opened == [at(origin, "changing/x.root")]


# Runs, caches.


def test_the_same_bins_through_caches_that_share_the_files(
    c: PooledCluster, origin: Server, two_caches: tuple[Server, Server]
) -> None:
    here, _ = run(c, paths(origin))
    there, report = run(c, at(origin))
    assert report.complete
    through, cached = run(c, at(origin), xcache=[server.host for server in two_caches])
    for found in (there, through):
        assert np.array_equal(found["mass"].values(flow=True), here["mass"].values(flow=True))
    assert {record.tries for record in cached.records} == {1}
    assert cached.plan_hash == report.plan_hash
    kept = [server.kept() for server in two_caches]
    assert kept[0] | kept[1] == {path.name for path in paths(origin)}
    assert not kept[0] & kept[1]
    # From now on the origin is not needed, but for the question which versions it has.
    assert [server.log().count("error") for server in two_caches] == [0, 0]


def test_workers_take_caches_of_their_pool(
    origin: Server, two_caches: tuple[Server, Server]
) -> None:
    env = {**QUICK, names.XCACHE_VARIABLE: two_caches[0].host}
    with cluster(1, config={"pools": {"cpu": {**CPU, "env": env}}}) as one:
        assert run(one, at(origin))[1].complete
    assert two_caches[0].kept() == {path.name for path in paths(origin)}
    assert two_caches[1].kept() == set()


def test_a_cache_that_is_down_is_passed_over(c: PooledCluster, origin: Server) -> None:
    cache = Server(CACHE).start()
    files = [at(origin, f"data/{path.name}") for path in paths(origin)]
    # A name that comes first for one file at least.
    hosts = caches([cache.host, down := f"127.0.0.1:{free_port()}"])
    while not any(locations(file, (), hosts)[0].startswith(hosts[1]) for file in files):
        hosts = caches([cache.host, down := f"127.0.0.1:{free_port()}"])
    try:
        found, report = run(c, at(origin), xcache=[cache.host, down])
    finally:
        cache.end()
        cache.clean_up()
    assert found["events"] == {"data": FILES * EVENTS}
    assert report.complete
    again = [record for record in report.records if record.setbacks]
    assert again
    assert {record.tries for record in again} == {2}
    assert all(f"(read from root://{down}//root://" in r.setbacks[0] for r in again)
    assert f"{counted(len(again), 'chunk')} tried again" in report.summary()
    assert len(report.retried.rows) == len(again)
    assert down in report.to_json()


def test_a_cache_that_hangs_is_passed_over(c: PooledCluster, origin: Server) -> None:
    cache = Server(CACHE).start()
    assert cache.process
    try:
        cache.process.send_signal(signal.SIGSTOP)
        found, report = run(c, at(origin), xcache=cache.host)
        cache.process.send_signal(signal.SIGCONT)
    finally:
        cache.clean_up()
    assert found["events"] == {"data": FILES * EVENTS}
    assert report.complete
    assert all(cache.host in r.setbacks[0] for r in report.records if r.setbacks)
    assert report.retried.rows


def test_caches_that_die_while_they_are_read_leave_the_origin(
    c: PooledCluster, origin: Server, two_caches: tuple[Server, Server], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def slow(events: Any) -> int:
        (marks / f"{os.getpid()}-{time.time_ns()}").touch()
        read = float(np.sum(np.asarray(events.EventInfo.eventNumber))) >= 0
        until(lambda: (marks / "killed").exists())
        return len(events) if read and len(events.Muons.pt) else 0

    def kill() -> None:
        until(lambda: len(list(marks.iterdir())) > 1)
        for server in two_caches:
            server.end(signal.SIGKILL)
        (marks / "killed").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    found, report = run(
        c, at(origin), slow, chunksize=500, xcache=",".join(s.host for s in two_caches)
    )
    killer.join()
    assert found == FILES * EVENTS
    assert report.complete
    assert any(record.setbacks for record in report.records)


def test_a_replica_takes_over_and_one_with_other_content_does_not_count(
    c: PooledCluster, origin: Server
) -> None:
    other = Server(ORIGIN)
    try:
        shutil.copytree(origin.data / "atlas" / "data", other.data / "atlas" / "data")
        other.start()
        found = fileset(at(origin))
        stale = other.data / "atlas" / "data" / paths(origin)[0].name
        write_files(other.data / "atlas" / "new", 1, 70, seed=9)
        next((other.data / "atlas" / "new").iterdir()).replace(stale)
        # The replicas come first, as if they were nearer; one file of them is stale.
        moved = {at(other, f"data/{path.name}"): path.name for path in paths(origin)}
        files = dict.fromkeys(moved, "CollectionTree")
        seen = {
            (address, tree): found.found[at(origin, f"data/{moved[address]}"), tree]
            for address, tree in files.items()
        }
        replicas = {address: (at(origin, f"data/{name}"),) for address, name in moved.items()}
        counts = dict.fromkeys(moved, EVENTS)
        near = filesets.Fileset({"data": {"files": files}}, counts, (), seen, replicas)
        result, report = run(c, near)
        assert result["events"] == {"data": FILES * EVENTS}
        assert report.complete
        again = [record for record in report.records if record.setbacks]
        assert [Path(record.chunk.path).name for record in again] == [stale.name]
        assert "has changed since the run began" in again[0].setbacks[0]
        other.end()
        result, report = run(c, near)
        assert result["events"] == {"data": FILES * EVENTS}
        assert report.complete
    finally:
        other.clean_up()


def test_a_cache_without_a_name_is_refused(c: PooledCluster, origin: Server) -> None:
    with pytest.raises(RequestError, match="xcache: 'https://x' is not a cache"):
        run(c, at(origin), xcache="https://x")
