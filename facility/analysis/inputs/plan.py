"""Which events are processed together: few and large chunks, the same ones for the same files.

Everything here is computed from what `facility.analysis.inputs.fileset` has read of the files.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from facility.analysis.files.chunk import SAMPLE, SAMPLES, Chunk
from facility.analysis.files.identity import NO_UUID
from facility.analysis.files.rootfile import Inspection
from facility.analysis.files.version import is_fresh
from facility.analysis.inputs.fileset import Fileset
from facility.errors import RequestError
from facility.wording import counted

SNAP = 0.25
"""How far from equal chunks a cut may move to reach a cluster's boundary, in parts of a chunk."""
MOST_CHUNKS = 1_000_000
"""Chunks of one run; each takes about a kilobyte of the client's memory."""


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
        As `facility.analysis.inputs.fileset.fileset` returns it.
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


def first_events(work: Plan, events: int) -> Plan:
    """Keep the first events of each dataset; the others are not asked for.

    Parameters
    ----------
    events
        How many of each dataset, at most.
    """
    kept: list[Chunk] = []
    beyond: list[Chunk] = []
    left = dict.fromkeys(work.metadata, events)
    for chunk in work.chunks:
        take = min(chunk.events, left[chunk.dataset])
        left[chunk.dataset] -= take
        if take or not chunk.events:
            kept.append(replace(chunk, index=len(kept), stop=chunk.start + take))
        if take < chunk.events:
            beyond.append(replace(chunk, start=chunk.start + take))
    return replace(work, chunks=tuple(kept), beyond=(*beyond, *work.beyond))


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
    """Whether a file is a sample of ours, with a UUID made of what it holds.

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
