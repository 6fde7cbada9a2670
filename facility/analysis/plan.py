"""Which events are processed together: few and large chunks, the same ones for the same files.

Everything here is computed from what `facility.analysis.fileset` has read of the files.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from facility.analysis.fileset import Fileset
from facility.analysis.rootfile import Inspection
from facility.analysis.versions import NO_UUID, is_fresh
from facility.errors import RequestError
from facility.wording import counted

TOLD = ("dataset", "filename", "treename", "entrystart", "entrystop", "fileuuid")
"""What `events.metadata` has of a chunk, beside the metadata of its dataset."""
SAMPLE, SAMPLES = "sample", "/facility/samples/"
"""Stamp of files whose UUID is made of what they hold, and the folder in which those are."""
SMALLEST_PART = 1_000
"""Events of a part of a chunk, at least."""
PARTS = 3
"""How often a chunk is cut in two at most: memory that holds no eighth of it holds none."""
SNAP = 0.25
"""How far from equal chunks a cut may move to reach a cluster's boundary, in parts of a chunk."""


MOST_CHUNKS = 1_000_000
"""Chunks of one run; each takes about a kilobyte of the client's memory."""


@dataclass(frozen=True)
class Chunk:
    """Events `start` to `stop` (excluded) of one file.

    Attributes
    ----------
    index
        Place in the plan, from 0.
    uuid, size
        What ROOT wrote into the file, and its bytes.
    entries
        Events of the whole file.
    name
        What the file is called wherever it is.
    stamp
        When it has changed last, or a checksum of it.
    telling
        Whether its UUID tells it from others: many writers leave it zero, or copy it.
    replicas
        Other addresses of the same content.
    turn
        How often reading it has failed before, so that another place is tried.
    at
        Where it is read, if not at its path.
    cuts
        How often it was cut in two.
    """

    index: int
    dataset: str
    path: str
    tree: str
    start: int
    stop: int
    uuid: str
    size: int
    entries: int
    replicas: tuple[str, ...] = field(default=(), kw_only=True)
    turn: int = field(default=0, kw_only=True)
    at: str = field(default="", kw_only=True)
    cuts: int = field(default=0, kw_only=True)
    name: str = field(default="", kw_only=True)
    stamp: str = field(default="", kw_only=True)
    telling: bool = field(default=True, kw_only=True)

    @property
    def identity(self) -> tuple[str, int, str, str]:
        """What the file is, wherever it is read."""
        if self.stamp == SAMPLE:
            # Its folder may lie on a disk of this machine, or pod, alone.
            return self.path.partition(SAMPLES)[2], 0, self.uuid, self.stamp
        return self.name or self.path, self.size, self.uuid, self.stamp

    @property
    def place(self) -> str:
        """Where it is read."""
        return self.at or self.path

    @property
    def events(self) -> int:
        """Number of events."""
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.path}, events {self.start:,} to {self.stop:,}"


@dataclass(frozen=True)
class Plan:
    """All chunks of a run, in the order in which their results are added.

    Attributes
    ----------
    metadata
        What the processor sees as `events.metadata`, by dataset.
    skipped
        One sentence for each input that was left out before.
    beyond
        Chunks that were not asked for, which follow the others of their dataset.
    """

    chunks: tuple[Chunk, ...]
    metadata: Mapping[str, Mapping[str, Any]]
    skipped: tuple[str, ...] = ()
    beyond: tuple[Chunk, ...] = ()

    @property
    def events(self) -> int:
        """Number of events in all chunks that are processed."""
        return sum(chunk.events for chunk in self.chunks)

    @property
    def hash(self) -> str:
        """Names the plan: two runs with the same hash add the same results in the same order.

        Where the files are does not count, what they are does.
        """
        parts = [
            (chunk.dataset, chunk.tree, *chunk.identity, chunk.start, chunk.stop)
            for chunk in self.chunks
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def plan(files: Fileset, chunksize: int, maxchunks: int | None = None) -> Plan:
    """Cut the files of a fileset into chunks.

    Parameters
    ----------
    files
        As `facility.analysis.fileset.fileset` returns it.
    chunksize
        Events of a chunk, at most, but for `SNAP`.
    maxchunks
        Chunks of each dataset, at most; without it all.

    Returns
    -------
    Plan
        Each event of each file is in exactly one chunk. A file's chunks are of nearly equal
        size, and end where its clusters end if that is near. A file without events has one chunk
        without events.

    Raises
    ------
    RequestError
        There would be too many.
    """
    chunks: list[Chunk] = []
    _check_number(files, chunksize)
    beyond: list[Chunk] = []
    useless = _useless(files.found.values())
    for dataset, data in files.items():
        first = len(chunks)
        for path, tree in data["files"].items():
            found = files.found[path, tree]
            telling = found.uuid not in useless
            stamp = found.stamp if telling else _certain(found.stamp)
            if telling and _is_sample(found):
                stamp = SAMPLE
            for start, stop in ranges(found.events, chunksize, found.cluster):
                place = (dataset, path, tree, start, stop)
                identity = (found.uuid, found.size, found.events)
                chunk = Chunk(len(chunks), *place, *identity, name=found.name, stamp=stamp)
                others = files.replicas.get(path, ())
                asked = maxchunks is None or len(chunks) - first < maxchunks
                chunk = replace(chunk, replicas=others, telling=telling)
                (chunks if asked else beyond).append(chunk)
    metadata = {dataset: dict(data.get("metadata") or {}) for dataset, data in files.items()}
    return Plan(tuple(chunks), metadata, files.skipped, tuple(beyond))


def _useless(files: Iterable[Inspection]) -> set[str]:
    """UUIDs that do not tell a file from others: nobody has made them up, or files share them."""
    first: dict[str, tuple[object, ...]] = {}
    useless = {"", NO_UUID}
    for found in files:
        what = found.name or found.path, found.size, found.stamp
        if first.setdefault(found.uuid, what) != what:
            useless.add(found.uuid)
    return useless


def _is_sample(found: Inspection) -> bool:
    """Whether a file is one of `facility.analysis.sample`, with a UUID made of what it holds.

    Each machine may write its own, with the same events and not the same bytes.
    """
    with suppress(ValueError):
        return SAMPLES in found.path and UUID(found.uuid).version == 5
    return False


def _certain(stamp: str) -> str:
    """Give a stamp, or one that no other plan has where it does not tell the file from others."""
    return stamp if stamp and not is_fresh(stamp) else f"unknown:{secrets.token_hex(8)}"


def _check_number(files: Fileset, chunksize: int) -> None:
    found = [files.found[item] for data in files.values() for item in data["files"].items()]
    number = sum(_pieces(item.events, chunksize) for item in found)
    if number > MOST_CHUNKS:
        largest, events = max(found, key=lambda item: item.events), sum(i.events for i in found)
        most, least = f"{MOST_CHUNKS:,}", -(-events // MOST_CHUNKS)
        problem = (
            f"chunksize={chunksize:,} makes {counted(number, 'chunk')} of "
            f"{counted(events, 'event')}, and there may be {most}; give at least "
            f"chunksize={least:,} or fewer files (the most events, {largest.events:,}, are in "
            f"{largest.path})"
        )
        raise RequestError("The run cannot begin", [problem])


def _pieces(events: int, chunksize: int) -> int:
    return max(1, -(-events // chunksize))


def halves(chunk: Chunk) -> tuple[Chunk, Chunk] | None:
    """Cut a chunk in two that memory is too short for; None where it is too small for that.

    Returns
    -------
    tuple of Chunk
        Both with the number of the whole, the same ones for the same chunk.
    """
    if chunk.cuts >= PARTS or chunk.events < 2 * SMALLEST_PART:
        return None
    middle = chunk.start + chunk.events // 2
    cuts = chunk.cuts + 1
    return replace(chunk, stop=middle, cuts=cuts), replace(chunk, start=middle, cuts=cuts)


def ranges(events: int, chunksize: int, cluster: int = 0) -> Iterator[tuple[int, int]]:
    """Cut one file.

    Parameters
    ----------
    events
        Events of the file. One without any gives one range without any, which the processor sees
        as it does with coffea's Runner, so that its result has the same keys and axes.
    cluster
        Events of each of its clusters, 0 where they differ.
    """
    number = _pieces(events, chunksize)
    step = events / number
    start = 0
    for cut in range(1, number):
        stop = round(cut * step)
        if cluster:
            near = round(stop / cluster) * cluster
            if abs(near - stop) <= SNAP * step and start < near < events:
                stop = near
        yield start, stop
        start = stop
    yield start, events
