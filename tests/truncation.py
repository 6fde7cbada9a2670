"""Where a ROOT file can be cut off, and what an analysis makes of the rest."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import uproot

from facility.analysis.inputs.fileset import Fileset
from facility.analysis.inputs.plan import plan
from facility.analysis.reading.file_cache import Settings
from facility.analysis.reading.physlite import PhysliteSchema
from facility.analysis.runner.process_chunk import ChunkError, process_chunk
from facility.analysis.samples.zpeak import ZPeak

HEADER = 100
"""Bytes of a ROOT file before its first key."""


def keys(path: Path) -> list[int]:
    """Where keys begin and end, those of a file's own lists among them."""
    found = {HEADER}
    with uproot.open(path) as file:
        for name in file:
            key = file.key(name)
            found |= {key.fSeekKey, key.fSeekKey + key.fNbytes}
        found |= {file.file.fSeekFree, file.file.fSeekInfo, file.file.fEND - 1}
        found.add(file.file.fSeekInfo + file.file.fNbytesInfo)
    return sorted(int(each) for each in found if 0 < each < path.stat().st_size)


def baskets(path: Path, tree: str = "CollectionTree") -> list[int]:
    """Where baskets begin and end."""
    found: set[int] = set()
    with uproot.open(path) as file:
        for branch in branches(file[tree]):
            count = branch.member("fWriteBasket")
            begins = branch.member("fBasketSeek")[:count]
            sizes = branch.member("fBasketBytes")[:count]
            for begin, size in zip(begins, sizes, strict=True):
                found |= {int(begin), int(begin + size)} if begin else set()
    return sorted(found)


def branches(tree: Any) -> Iterator[Any]:
    for branch in tree.branches:
        yield branch
        yield from branches(branch)


def forty(path: Path) -> list[int]:
    """Forty offsets: all boundaries of keys, and of baskets as many as there is room for."""
    chosen, others = keys(path), baskets(path)
    step = len(others) / (40 - len(chosen))
    chosen += [others[int(i * step)] for i in range(40 - len(chosen))]
    return sorted(chosen)


def read(files: Fileset) -> list[Any]:
    """The histogram of each chunk, or what was told of one that could not be processed."""
    found = []
    processor = bytes(cloudpickle.dumps(ZPeak()))
    settings = bytes(cloudpickle.dumps(Settings(PhysliteSchema)))
    for chunk in plan(files, 1_000_000).chunks:
        try:
            packed, _ = process_chunk(chunk, {}, processor, settings, "none")
            found.append(cloudpickle.loads(packed)["mass"].values(flow=True))
        except ChunkError as error:
            found.append(str(error))
    return found


def told_or_whole(found: Any, whole: Any) -> bool:
    """Whether what was read of a file that was cut off is all of it, or an error that says so."""
    if isinstance(found, str):
        return ": " in found
    return np.array_equal(found, whole)


def around(offsets: list[int], size: int) -> list[int]:
    """Each offset, and one byte before and after it."""
    near = itertools.chain.from_iterable((at - 1, at, at + 1) for at in offsets)
    return sorted({at for at in near if 0 <= at < size})
