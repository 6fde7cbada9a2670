"""Write synthetic PHYSLITE files: events with Z bosons, to try an analysis on without real data.

The files are read like real PHYSLITE (`CollectionTree`, units MeV), by coffea's PHYSLITESchema
too. Their content depends on the seed and the number of the file only.
"""

import asyncio
import os
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from distributed import Client, Worker, WorkerPlugin

from facility.analysis.run_progress import track
from facility.analysis.samples.collisions import Columns, columns
from facility.backend import runs_in_pod
from facility.errors import SampleError, nearest
from facility.names import data_folder
from facility.system.private_files import (
    READABLE_FILE,
    READABLE_FOLDER,
    free,
    keep_from_others,
    make_folder,
)
from facility.wording import counted

TREE = "CollectionTree"
CODECS = {
    "ZSTD": (uproot.ZSTD, range(23)),
    "LZ4": (uproot.LZ4, range(13)),
    "ZLIB": (uproot.ZLIB, range(10)),
    "LZMA": (uproot.LZMA, range(10)),
}
"""Compression algorithms by name, with the levels that each has; 0 does not compress."""
MAX_FILES = 10_000
MAX_EVENTS = 100_000_000
BASKET_EVENTS = 20_000
"""Events that are generated, compressed and written at a time."""
BYTES_PER_EVENT = 300
"""Upper estimate of what an event takes on the disk."""
FIRST_RUN = 450_000


def write_files(
    folder: Path,
    files: int,
    events: int,
    seed: int = 1,
    codec: str = "ZSTD",
    level: int = 5,
    progress: bool = True,
    make: Callable[..., Columns] = columns,
) -> list[Path]:
    """Write synthetic PHYSLITE files, each one whole or not at all.

    Parameters
    ----------
    folder
        Where to write; made if it is missing. Files of the same names are replaced.
    files
        How many files, 1 to 10,000.
    events
        Events in each file, 1 to 100 million.
    seed
        Start of the random numbers, 0 or more. The same seed and number of a file give the same
        events.
    codec
        One of `CODECS`.
    level
        Compression level of the codec.
    progress
        Show how far it is when it takes more than two seconds, in a log on stderr.
    make
        What generates events; called as `columns` of `facility.analysis.samples.collisions` is. It
        can be pickled, since by it too a file is told from others.

    Returns
    -------
    list of Path
        The files, in their order.

    Raises
    ------
    SampleError
        A number or the codec is not valid (all such mistakes at once), the folder cannot be
        written to, or the disk is full.
    """
    folder = Path(folder)
    problems = list(_mistakes(files, events, seed, codec, level))
    if problems:
        raise SampleError("The synthetic files cannot be written", problems)
    _make(folder, files * events * BYTES_PER_EVENT)
    compression = CODECS[codec][0](level)
    paths = _paths(folder, files)
    baskets = -(-events // BASKET_EVENTS)
    work = (
        step
        for index, path in enumerate(paths)
        for step in _write(path, index, events, seed, compression, make)
    )
    writing = f"Writing {counted(files, 'file')}"
    for _ in track(work, files * baskets, writing, unit="part", show=progress):
        pass
    return paths


def example_files(files: int = 4, events: int = 100_000) -> list[Path]:
    """Give synthetic files in the user's data folder, written when they are first asked for.

    In a pod they are in the folder for temporary files, the only one that all pods of a user have
    and may write; see `bring_examples`.

    Parameters
    ----------
    files
        How many files.
    events
        Events in each; the defaults make some 80 MB in a few seconds.
    """
    folder = Path(tempfile.gettempdir()) / "facility" if runs_in_pod() else data_folder()
    return _examples(folder / "samples" / f"{events}-events", files, events)


def _examples(folder: Path, files: int, events: int, progress: bool = True) -> list[Path]:
    paths = _paths(folder, files)
    if all(path.exists() for path in paths):
        return paths
    return write_files(folder, files, events, progress=progress)


def bring_examples(client: Client, paths: Sequence[Path]) -> None:
    """Have each worker, present or future, that does not see the example files make them too.

    On one machine all see them. In pods each worker makes its own, which are the same: only for
    files this small is that quicker than a folder that all of them share.

    Parameters
    ----------
    client
        Of the Dask cluster.
    paths
        What `example_files` has returned.
    """
    client.register_plugin(_Examples(paths))


class _Examples(WorkerPlugin):
    """What `bring_examples` does in each worker process."""

    name = "facility-examples"

    def __init__(self, paths: Sequence[Path]) -> None:
        self.folder, self.files = paths[0].parent, len(paths)
        self.events = int(self.folder.name.partition("-")[0])

    async def setup(self, worker: Worker) -> None:
        # Elsewhere than in the worker's event loop, which answers meanwhile.
        await asyncio.to_thread(_examples, self.folder, self.files, self.events, progress=False)


def _paths(folder: Path, files: int) -> list[Path]:
    return [folder / f"DAOD_PHYSLITE.synthetic._{index:06d}.pool.root.1" for index in range(files)]


def _mistakes(files: int, events: int, seed: int, codec: str, level: int) -> Iterator[str]:
    for name, value, largest in (("files", files, MAX_FILES), ("events", events, MAX_EVENTS)):
        if not 1 <= value <= largest:
            yield f"{name}={value} is not between 1 and {largest:,}."
    if seed < 0:
        yield f"seed={seed} is negative; any whole number from 0 on is valid."
    if codec not in CODECS:
        yield f"codec={codec!r} is none of {', '.join(CODECS)}{nearest(codec.upper(), CODECS)}."
    elif level not in (levels := CODECS[codec][1]):
        yield f"level={level} is not between {levels[0]} and {levels[-1]}, the levels of {codec}."


def _make(folder: Path, needed: int) -> None:
    """Make the folder and check, before hours of work, that it has room for the files."""
    try:
        make_folder(folder, READABLE_FOLDER)
        probe = folder / ".facility-sample"
        probe.touch(READABLE_FILE)
        probe.unlink()
    except OSError as error:
        raise SampleError(
            "The synthetic files cannot be written",
            [f"the folder {folder} is not writable ({error.strerror}); choose another one."],
        ) from None
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SampleError(
            "The synthetic files cannot be written",
            [
                (
                    f"they need about {needed / 1e9:,.1f} GB and {folder} has {free / 1e9:,.1f} GB "
                    "free; ask for fewer events or choose another folder."
                )
            ],
        )


def _write(
    path: Path,
    index: int,
    events: int,
    seed: int,
    compression: uproot.compression.Compression,
    make: Callable[..., Columns],
) -> Iterator[int]:
    """Write one file under a temporary name, basket by basket, and then rename it."""
    rng = np.random.default_rng([seed, index])
    # Several processes may write the same file.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    # The same content is the same file, on whichever machine it was written.
    maker = pickle.dumps(make).hex()
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"facility {seed} {index} {events} {maker}")
    options = {"compression": compression, "uuid_function": lambda: identity}
    try:
        with uproot.recreate(unfinished, **options) as file:
            tree = None
            for start in range(0, events, BASKET_EVENTS):
                block = make(
                    rng,
                    min(BASKET_EVENTS, events - start),
                    first_event=index * MAX_EVENTS + start,
                    run=FIRST_RUN + index,
                )
                if tree is None:
                    tree = _tree(file, block)
                tree.extend(block)
                yield start
        keep_from_others(unfinished)
        unfinished.replace(path)
    except OSError as error:
        problem = (
            f"{path} could not be finished ({error.strerror}); the unfinished file was removed. "
            f"{free(path.parent)}: remove something there, or choose another folder."
        )
        raise SampleError("The synthetic files cannot be written", [problem]) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _tree(file: uproot.WritableDirectory, block: Columns) -> uproot.WritableTree:
    """Make the tree with PHYSLITE's branch names (`AnalysisMuonsAuxDyn.pt`)."""
    types = {
        name: values.type.content if isinstance(values, ak.Array) else values.dtype
        for name, values in block.items()
    }
    return file.mktree(
        TREE,
        types,
        counter_name=lambda counted: "n" + counted,
        field_name=lambda outer, inner: f"{outer}.{inner}" if outer else inner,
    )
