"""Which events are processed together: few and large chunks, the same ones for the same files.

Everything here is computed from what `facility.analysis.fileset` has read of the files.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from facility.analysis.fileset import Fileset

SMALLEST_PART = 1_000
"""Events of a part of a chunk, at least."""
PARTS = 3
"""How often a chunk is cut in two at most: memory that holds no eighth of it holds none."""
SNAP = 0.25
"""How far from equal chunks a cut may move to reach a cluster's boundary, in parts of a chunk."""


@dataclass(frozen=True)
class Chunk:
    """Events `start` to `stop` (excluded) of one file.

    Attributes
    ----------
    index
        Place in the plan, from 0.
    uuid, size
        Identity of the file: what ROOT wrote into it, and its bytes.
    entries
        Events of the whole file.
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
    """

    chunks: tuple[Chunk, ...]
    metadata: Mapping[str, Mapping[str, Any]]
    skipped: tuple[str, ...] = ()

    @property
    def events(self) -> int:
        """Number of events in all files."""
        return sum(chunk.events for chunk in self.chunks)

    @property
    def hash(self) -> str:
        """Names the plan: two runs with the same hash add the same results in the same order.

        Where the files are does not count, what they are does.
        """
        parts = [
            (chunk.dataset, chunk.tree, chunk.uuid, chunk.size, chunk.start, chunk.stop)
            for chunk in self.chunks
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def plan(files: Fileset, chunksize: int) -> Plan:
    """Cut the files of a fileset into chunks.

    Parameters
    ----------
    files
        As `facility.analysis.fileset.fileset` returns it.
    chunksize
        Events of a chunk, at most, but for `SNAP`.

    Returns
    -------
    Plan
        Each event of each file is in exactly one chunk. A file's chunks are of nearly equal
        size, and end where its clusters end if that is near.
    """
    chunks: list[Chunk] = []
    for dataset, data in files.items():
        for path, tree in data["files"].items():
            found = files.found[path, tree]
            for start, stop in ranges(found.events, chunksize, found.cluster):
                place = (dataset, path, tree, start, stop)
                identity = (found.uuid, found.size, found.events)
                others = files.replicas.get(path, ())
                chunks.append(Chunk(len(chunks), *place, *identity, replicas=others))
    metadata = {dataset: dict(data.get("metadata") or {}) for dataset, data in files.items()}
    return Plan(tuple(chunks), metadata, files.skipped)


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
        Events of the file, 1 or more.
    cluster
        Events of each of its clusters, 0 where they differ.
    """
    number = -(-events // chunksize)
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
