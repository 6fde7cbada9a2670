"""Where files are read from, and what is remembered of them."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from facility import names
from facility.analysis.files import replicas
from facility.analysis.files.replicas import Shunned, caches, locations
from facility.analysis.files.rootfile import Inspection
from facility.analysis.files.version import version_of
from facility.analysis.inputs import fileset as filesets
from facility.analysis.inputs import known_files as remembered
from facility.analysis.inputs.fileset import fileset
from facility.analysis.inputs.known_files import KEPT_SECONDS, LAYOUT, KnownFiles
from facility.analysis.inputs.plan import plan
from facility.analysis.samples.physlite_files import write_files
from facility.errors import FilesetError

HOSTS = tuple(f"root://cache-{number}:1094" for number in range(5))
ADDRESSES = [f"root://origin//atlas/file_{number}.root" for number in range(500)]

# Caches.


@pytest.mark.parametrize(
    "given", ["a:1094,b", "a:1094 b", ["a:1094", "root://b/"], ("root://a:1094//", "b", "b")]
)
def test_caches_in_every_form(given: object) -> None:
    assert caches(given) == ("root://a:1094", "root://b")  # type: ignore[arg-type]


def test_caches_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert caches(None) == ()
    monkeypatch.setenv(names.XCACHE_VARIABLE, "one:1094, roots://two")
    assert caches(None) == ("root://one:1094", "roots://two")
    assert caches([]) == ()


@pytest.mark.parametrize("wrong", ["https://cache", "cache/folder", "ca che:x//y", ["a", "b c/d"]])
def test_what_is_no_cache_is_told(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a cache; give host:port"):
        caches(wrong)  # type: ignore[arg-type]
    with pytest.raises(FilesetError, match="xcache: .* is not a cache"):
        fileset("any", xcache=wrong)  # type: ignore[arg-type]


def test_a_file_goes_to_one_cache_then_another_then_its_origins() -> None:
    first = {}
    for address in ADDRESSES:
        found = locations(address, ("root://second//x.root",), HOSTS)
        assert len(found) == 4
        assert [location.endswith(f"//{address}") for location in found] == [
            True,
            True,
            False,
            False,
        ]
        assert found[2:] == (address, "root://second//x.root")
        assert len({location.partition("//root")[0] for location in found[:2]}) == 2
        first[address] = found[0]
        assert locations(address, (), HOSTS[::-1])[0] == found[0]
    shares = [
        sum(location.startswith(host + "//") for location in first.values()) for host in HOSTS
    ]
    assert min(shares) > 60
    # Without one host only its files move, and to those that were second.
    for address in ADDRESSES:
        rest = locations(address, (), HOSTS[1:])
        before = locations(address, (), HOSTS)
        assert rest[0] == (before[1] if before[0].startswith(HOSTS[0]) else before[0])


def test_caches_are_for_xrootd_only() -> None:
    assert locations("/data/a.root", (), HOSTS) == ("/data/a.root",)
    assert locations("https://host/a.root", (), HOSTS) == ("https://host/a.root",)
    assert locations("root://host//a.root", (), ()) == ("root://host//a.root",)


def test_each_try_goes_elsewhere_and_failed_servers_come_last() -> None:
    possible = locations(ADDRESSES[0], (), HOSTS)
    shunned = Shunned()
    assert [shunned.choose(possible, turn) for turn in range(4)] == [*possible, possible[0]]
    shunned.add(possible[0])
    shunned.add("/a/path/has/no/server")
    assert shunned.choose(possible, 0) == possible[1]
    for location in possible:
        shunned.add(location)
    assert [shunned.choose(possible, turn) for turn in range(3)] == list(possible)


# What is remembered.


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of what is known, a new one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "facility" / "files"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the files that are opened."""
    found: list[str] = []

    def inspect(path: str, *more: Any) -> Inspection:
        found.append(path)
        return real(path, *more)

    real = filesets.inspect
    monkeypatch.setattr(filesets, "inspect", inspect)
    return found


def test_a_second_plan_opens_no_file(cache: Path, opened: list[str], tmp_path: Path) -> None:
    paths = [str(path) for path in write_files(tmp_path / "data", 3, 40)]
    first = fileset(tmp_path / "data")
    # Several are opened at a time.
    assert sorted(opened) == paths
    opened.clear()
    second = fileset(tmp_path / "data")
    assert opened == []
    assert second.found == first.found
    assert plan(second, 20).hash == plan(first, 20).hash
    # A file that changed is opened, the others are not; nor is another tree what is known.
    os.utime(paths[1], (1, 1))
    third = fileset(tmp_path / "data")
    assert third.found == first.found | {
        (paths[1], "CollectionTree"): first.found[paths[1], "CollectionTree"]._replace(stamp="1")
    }
    assert opened == [paths[1]]
    assert plan(third, 20).hash != plan(first, 20).hash
    with pytest.raises(FilesetError, match="has no tree 'other'"):
        fileset(paths[0], treename="other")
    assert len(list(cache.iterdir())) == 1


def test_bad_files_are_looked_at_again(cache: Path, opened: list[str], tmp_path: Path) -> None:
    path = write_files(tmp_path / "data", 1, 40)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    for _ in range(2):
        with pytest.raises(FilesetError, match="truncated"):
            fileset(path)
    assert len(opened) == 2
    path.write_bytes(whole)
    assert fileset(path).total == 40


@pytest.mark.parametrize(
    "damage",
    [
        "", "[1, 2", "[]", '{"layout": 0, "files": {}}',
        *(f'{{"layout": {LAYOUT}, "files": {rows}}}' for rows in (
            "[]", "null", '{"KEY": ["x"]}', '{"KEY": 5}', '{"KEY": ["ID", -1, "u", 1, 0]}',
            '{"KEY": ["ID", "many", "u", 1, 0]}', '{"KEY": ["ID", 4.6e18, "u", 1, 0]}',
            '{"KEY": ["ID", true, "u", 1, 0]}', '{"KEY": ["ID", 40, null, 1, 0]}',
            '{"KEY": ["ID", 40, "u", 1, null]}',
        )),
    ],
)  # fmt: skip
def test_a_damaged_memory_costs_no_more_than_the_time(
    cache: Path, opened: list[str], tmp_path: Path, damage: str
) -> None:
    path = write_files(tmp_path / "data", 1, 40)[0]
    fileset(path)
    [page] = cache.iterdir()
    [(key, row)] = json.loads(page.read_text())["files"].items()
    page.write_text(damage.replace("KEY", key).replace("ID", row[0]))
    assert fileset(path).total == 40
    assert fileset(path).total == 40
    assert len(opened) == 2


def test_a_memory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fileset(write_files(tmp_path / "data", 1, 40)[0]).total == 40


def test_what_nobody_asks_for_is_forgotten(tmp_path: Path) -> None:
    known = KnownFiles(tmp_path)
    good = Inspection("/a/x.root", 5, None, "uuid", 10, 2)
    known.keep([("tree", "1", good), ("tree", None, good._replace(path="/c/y.root"))])
    [page] = tmp_path.iterdir()
    os.utime(page, (0, page.stat().st_mtime - KEPT_SECONDS - 1))
    known.keep([("tree", "1", good._replace(path="/b/x.root"))])
    fresh = remembered.KnownFiles(tmp_path)
    assert fresh.find("/a/x.root", "tree", "1") is None
    assert fresh.find("/b/x.root", "tree", "1") == good._replace(path="/b/x.root")
    assert fresh.find("/b/x.root", "tree", None) is None


def test_replicas_are_in_the_plan(tmp_path: Path) -> None:
    paths = write_files(tmp_path, 1, 40)
    found = fileset(paths[0])
    found.replicas[str(paths[0])] = ("root://b//x.root",)
    assert plan(found, 100).chunks[0].replicas == ("root://b//x.root",)
    assert plan(found, 100).hash == plan(fileset(paths[0]), 100).hash
    [chunk] = plan(found, 100).chunks
    routed = [replicas.routed(replace(chunk, turn=turn), ("root://c",)) for turn in range(2)]
    assert [part.location for part in routed] == [str(paths[0]), "root://b//x.root"]


# Files on the web.


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server that gives parts of files, and what it was asked."""
    asked: list[str] = []

    class Parts(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def do_HEAD(self) -> None:
            asked.append("HEAD")
            super().do_HEAD()

        def do_GET(self) -> None:
            asked.append("GET")
            data = (tmp_path / self.path.lstrip("/")).read_bytes()
            begin, _, end = self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")
            part = data[int(begin) : int(end or len(data)) + 1]
            self.send_response(206)
            last = int(begin) + len(part) - 1
            self.send_header("Content-Range", f"bytes {begin}-{last}/{len(data)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Parts) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def test_files_on_the_web_are_remembered_too(
    cache: Path, web: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = web
    write_files(tmp_path, 1, 40)[0].rename(tmp_path / "x.root")
    assert fileset(f"{address}/x.root").total == 40
    assert "GET" in asked
    asked.clear()
    assert fileset(f"{address}/x.root").total == 40
    assert asked == ["HEAD"]
    assert version_of(f"{address}/nothing.root") is None
    assert version_of("http://127.0.0.1:9/x.root") is None
    assert version_of("s3://bucket/x.root") is None
