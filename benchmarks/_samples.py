"""Input files of the analysis benchmark, made once in the user's cache folder.

Three kinds with the same events: of few branches; with 600 further branches that nobody reads;
and, as Athena writes them, with `std::vector` branches. The last need a Python with ROOT.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import uproot

from benchmarks import _measure
from facility.analysis.samples.collisions import columns
from facility.analysis.samples.physlite_files import BASKET_EVENTS, write_files

UNUSED = 600
TREE = "CollectionTree"


class Size(NamedTuple):
    """How much there is to read.

    Parameters
    ----------
    events
        Of each file.
    files
        How many of each kind.
    """

    events: int
    files: Mapping[str, int]


USUAL = Size(250_000, {"narrow": 8, "wide": 2, "vector": 4})
SMALLEST = Size(2_000, {"narrow": 2})


def size_of(options: argparse.Namespace) -> Size:
    """Return how much a benchmark is to read."""
    return SMALLEST if options.smallest else USUAL


def sample(kind: str, size: Size, root: str | None = None) -> list[Path]:
    """Give the files of one kind.

    Parameters
    ----------
    kind
        One of the size's.
    root
        Python that can import ROOT.
    """
    events, count = size.events, size.files[kind]
    if kind == "narrow":
        return _narrow(events, count)
    folder = _measure.cache_folder() / f"{kind}-{count}x{events}"
    paths = [folder / f"{number:03d}.root" for number in range(count)]
    for number, path in enumerate(paths):
        if path.exists():
            continue
        _measure.note(f"Writing {path} ...")
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        if kind == "wide":
            _write_wide(unfinished, number, events)
        else:
            _write_vectors(unfinished, number, events, str(root))
        unfinished.replace(path)
    return paths


def _narrow(events: int, files: int) -> list[Path]:
    folder = _measure.cache_folder() / f"physlite-{files}x{events}"
    found = sorted(folder.glob("*.root.1"))
    if len(found) == files:
        return found
    _measure.note(f"Writing {files} files of {events:,} events to {folder} ...")
    return write_files(folder, files, events)


def _block(number: int, start: int, size: int) -> dict[str, Any]:
    rng = np.random.default_rng([7, number, start])
    return columns(rng, size, first_event=start, run=1)


def _write_wide(path: Path, number: int, events: int) -> None:
    unused = {
        f"UnusedAuxDyn.column{i:03d}": np.zeros(BASKET_EVENTS, np.float32) for i in range(UNUSED)
    }
    with uproot.recreate(path, compression=uproot.ZSTD(5)) as file:
        tree = None
        for start in range(0, events, BASKET_EVENTS):
            size = min(BASKET_EVENTS, events - start)
            block = _block(number, start, size)
            block |= {name: values[:size] for name, values in unused.items()}
            if tree is None:
                types = {
                    name: values.type.content if isinstance(values, ak.Array) else values.dtype
                    for name, values in block.items()
                }
                tree = file.mktree(
                    TREE,
                    types,
                    counter_name=lambda counted: "n" + counted,
                    field_name=lambda outer, inner: f"{outer}.{inner}" if outer else inner,
                )
            tree.extend(block)


def _write_vectors(path: Path, number: int, events: int, root: str) -> None:
    """Let ROOT write what NumPy hands over: the numbers of a column, and how many an event has."""
    block = _block(number, 0, events)
    with tempfile.TemporaryDirectory() as folder:
        arrays = {}
        for name, values in block.items():
            if not isinstance(values, ak.Array) or not values.fields:
                continue
            for field in values.fields:
                if values[field].layout.content.dtype == np.float32:
                    arrays[f"{name}.{field}"] = ak.to_numpy(ak.flatten(values[field]))
                    arrays[f"n{name}.{field}"] = ak.to_numpy(ak.num(values[field])).astype(np.int32)
        np.savez(f"{folder}/columns.npz", **arrays)
        script = Path(__file__).with_name("_root.py")
        command = [root, str(script), "write", f"{folder}/columns.npz", str(path)]
        subprocess.run(command, check=True)
