"""Which file a result is of: never another one's, and the same one's through other mounts."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from facility.analysis.files import identity
from facility.analysis.files.identity import NO_UUID, FileNames
from facility.analysis.files.rootfile import Inspection
from facility.analysis.files.version import is_changed
from facility.analysis.inputs.fileset import Fileset, fileset
from facility.analysis.inputs.plan import Plan, plan
from facility.analysis.inputs.rucio_dids import _version
from facility.analysis.reading import file_cache
from facility.analysis.reading.file_cache import Settings
from facility.analysis.results.record import Receipt
from facility.analysis.runner.checkpoint import Checkpoint
from facility.analysis.runner.process_chunk import ChunkError, process_chunk, result_of

ZERO, COPIED = uuid.UUID(int=0), uuid.UUID(int=7)
SUM = bytes(cloudpickle.dumps(lambda events: {"x": float(np.sum(events.x))}))
SETTINGS = bytes(cloudpickle.dumps(Settings(BaseSchema)))
OLD = 1_700_000_000


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    file_cache.close_files()


def write(path: Path, value: float, identity: uuid.UUID, at: float | None = None) -> Path:
    """Write a file of 100 events and always the same size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path, compression=None, uuid_function=lambda: identity) as file:
        file.mktree("tree", {"x": np.float64}).extend({"x": np.full(100, value)})
    if at is not None:
        os.utime(path, (at, at))
    return path


def planned(*paths: Path) -> Plan:
    return plan(fileset([str(path) for path in paths], treename="tree"), 1_000)


def summed(work: Plan, folder: Path) -> float:
    """Do what a run with a checkpoint does, in this process."""
    kept, total = Checkpoint(folder, work, SUM, BaseSchema), 0.0
    for chunk in work.chunks:
        found = kept.load(chunk)
        if found is None:
            packed, _ = process_chunk(chunk, {}, SUM, SETTINGS, "none")
            kept.save(chunk, packed, Receipt("-", 0.0, 0.0, 0))
        else:
            packed = found[0]
        total += result_of(packed)["x"]
    return total


@pytest.mark.parametrize("identity", [ZERO, COPIED], ids=["zero", "copied"])
@pytest.mark.parametrize("at", [None, OLD], ids=["now", "old"])
def test_files_of_one_uuid_and_size_are_two(
    tmp_path: Path, identity: uuid.UUID, at: float | None
) -> None:
    one = write(tmp_path / "one.root", 1, identity, at)
    two = write(tmp_path / "two.root", 1_000, identity, at)
    assert one.stat().st_size == two.stat().st_size
    kept = tmp_path / "kept"
    for _ in range(2):
        assert summed(planned(one), kept) == 100
        assert summed(planned(two), kept) == 100_000
        assert summed(planned(one, two), kept) == 100_100
    assert planned(one).hash != planned(two).hash


@pytest.mark.parametrize("identity", [ZERO, COPIED], ids=["zero", "copied"])
def test_a_file_in_the_place_of_another(tmp_path: Path, identity: uuid.UUID) -> None:
    """Also within the same second."""
    kept, hashes = tmp_path / "kept", set()
    for value in (1, 2, 3):
        work = planned(write(tmp_path / "data.root", value, identity))
        hashes.add(work.hash)
        assert summed(work, kept) == 100 * value
        assert summed(work, kept) == 100 * value
    assert len(hashes) == 3


@pytest.mark.parametrize("identity", [ZERO, COPIED], ids=["zero", "copied"])
def test_a_file_that_changes_during_a_run(tmp_path: Path, identity: uuid.UUID) -> None:
    path = write(tmp_path / "data.root", 1, identity, OLD)
    [chunk] = planned(path).chunks
    assert result_of(process_chunk(chunk, {}, SUM, SETTINGS, "none")[0]) == {"x": 100}
    write(path, 2, identity, OLD + 60)
    with pytest.raises(ChunkError, match=r"has changed since the run began: it was written at"):
        process_chunk(chunk, {}, SUM, SETTINGS, "none")


def test_a_file_of_another_size(tmp_path: Path) -> None:
    path = write(tmp_path / "data.root", 1, ZERO)
    [chunk] = planned(path).chunks
    chunk = replace(chunk, size=chunk.size + 1)
    with pytest.raises(ChunkError, match=r"it has \d\d,\d{3} bytes instead of"):
        process_chunk(chunk, {}, SUM, SETTINGS, "none")


def test_samples_are_the_same_wherever_they_are_written(tmp_path: Path) -> None:
    """Each worker may have its own, on a disk of its own: not of the same bytes."""
    named = uuid.uuid5(uuid.NAMESPACE_OID, "a description")
    path = write(tmp_path / "facility" / "samples" / "data.root", 1, named, OLD)
    first = planned(path)
    os.utime(path, (OLD + 60, OLD + 60))
    moved = replace(first.chunks[0], size=first.chunks[0].size + 4)
    assert result_of(process_chunk(moved, {}, SUM, SETTINGS, "none")[0]) == {"x": 100}
    assert planned(path).hash == first.hash
    other = write(tmp_path / "pod" / "facility" / "samples" / "data.root", 1, named)
    assert planned(other).hash == first.hash
    elsewhere = write(tmp_path / "data.root", 1, named, OLD)
    [chunk] = planned(elsewhere).chunks
    with pytest.raises(ChunkError, match="has changed since the run began"):
        process_chunk(replace(chunk, size=chunk.size + 4), {}, SUM, SETTINGS, "none")


# The same file elsewhere.


def test_a_link_and_another_mount_are_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "disk" / "data" / "a.root", 1, ZERO, OLD)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "b.root").symlink_to(path)
    first = planned(path)
    assert planned(tmp_path / "link" / "data" / "a.root").hash == first.hash
    assert planned(tmp_path / "b.root").hash == first.hash
    # A mount needs rights that tests may not have; what the system tells of one is written down.
    copy = tmp_path / "mnt" / "my data"
    shutil.copytree(tmp_path / "disk" / "data", copy)
    disk = next(
        line.split()[2]
        for line in identity.MOUNTS.read_text().splitlines()
        if line.split()[4] == "/"
    )
    mounts, escaped = tmp_path / "mountinfo", str(copy).replace(" ", "\\040")
    mounts.write_text(
        f"22 1 {disk} / / rw - ext4 /dev/a rw\n"
        f"23 22 {disk} {path.parent} {escaped} rw - ext4 /dev/a rw\n"
        f"24 22 0:99 /exports/ada {tmp_path}/homes rw - nfs server:/ rw\n"
    )
    monkeypatch.setattr(identity, "MOUNTS", mounts)
    assert planned(copy / "a.root").hash == planned(path).hash
    assert FileNames().of(f"{tmp_path}/homes/x.root") == "/exports/ada/x.root"
    # Not so a copy, of which nobody says that it is one.
    other = tmp_path / "other" / "a.root"
    shutil.copytree(path.parent, other.parent)
    assert planned(other).hash != planned(path).hash


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("root://one:1094//eos/atlas/a.root", "/eos/atlas/a.root"),
        ("root://two//eos/atlas/a.root?authz=x", "/eos/atlas/a.root"),
        ("https://door.example.org:8443/eos/atlas/a.root", "/eos/atlas/a.root"),
        ("root://cache//root://one:1094//eos/atlas/a.root", "/eos/atlas/a.root"),
        ("/nowhere/at/all.root", "/nowhere/at/all.root"),
    ],
)
def test_a_name_without_the_host(path: str, name: str) -> None:
    assert FileNames().of(path) == name


def files(*found: Inspection) -> Fileset:
    data = {"data": {"files": {item.path: "tree" for item in found}, "metadata": {}}}
    events = {item.path: item.events for item in found}
    return Fileset(data, events, (), {(item.path, "tree"): item for item in found})


def test_replicas_have_what_the_catalogue_says(tmp_path: Path) -> None:
    version = _version({"bytes": 7, "adler32": "ad3c4f10"})
    assert version is not None
    good = Inspection("root://a//x/1.root", 5, None, "u", 7, 0, "mc20:1.root", version.stamp)
    there = good._replace(path="root://b//y/1.root")
    assert plan(files(good), 10).hash == plan(files(there), 10).hash
    other = _version({"bytes": 7, "md5": "0"})
    assert other is not None
    assert plan(files(there._replace(stamp=other.stamp)), 10).hash != plan(files(good), 10).hash
    assert _version({"bytes": 7}) is None


def test_what_nothing_tells_from_others_is_never_taken_from_before() -> None:
    unknown = Inspection("https://a/x.root", 5, None, NO_UUID, 7, 0, "/x.root", "")
    assert plan(files(unknown), 10).hash != plan(files(unknown), 10).hash
    # A time in whole seconds that is now may stand for another content in a moment.
    now = unknown._replace(stamp=str(int(time.time())))
    assert plan(files(now), 10).hash != plan(files(now), 10).hash
    before = unknown._replace(stamp=str(OLD))
    assert plan(files(before), 10).hash == plan(files(before), 10).hash
    written = unknown._replace(uuid="u")
    assert plan(files(written), 10).hash == plan(files(written), 10).hash
    # But not where two files have the same.
    two = files(written, written._replace(path="https://a/y.root", name="/y.root"))
    assert plan(two, 10).hash != plan(two, 10).hash
    assert not any(chunk.telling for chunk in plan(two, 10).chunks)


def test_times_of_different_precision() -> None:
    assert not is_changed("1700000000.5", "1700000000")
    assert is_changed("1700000000.5", "1700000000.6")
    assert is_changed("1700000001", "1700000000.6")
    assert is_changed('"a"', '"b"')
