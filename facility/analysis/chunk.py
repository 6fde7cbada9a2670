"""What runs on a worker: read one chunk's events, process them, say what it took.

A file stays open, with its metadata parsed, for the chunks that follow; so does the form that
coffea makes of a file's branches. Both take much longer than reading the events.
"""

import gc
import pickle
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cloudpickle
import uproot
from coffea.nanoevents import NanoEventsFactory
from coffea.processor import ProcessorABC
from uproot.deserialization import DeserializationError

from facility.analysis import physlite
from facility.analysis.bookkeepers import weights
from facility.analysis.diary import tell
from facility.analysis.merge import add
from facility.analysis.plan import Chunk
from facility.analysis.report import Receipt
from facility.analysis.rootfile import is_address

TRANSIENT = (OSError, EOFError, DeserializationError)
"""Errors that may be gone when the same bytes are read again."""
TRACEBACK_LINES = 12


@dataclass(frozen=True)
class Settings:
    """How chunks are read.

    Attributes
    ----------
    schema
        A coffea schema.
    uproot_options
        Arguments of `uproot.open`.
    weights
        Whether to read the sums of weights of each file.
    """

    schema: Any
    uproot_options: Mapping[str, Any] = field(default_factory=dict)
    weights: bool = False


class ChunkError(Exception):
    """A chunk could not be processed; what is told of it, and nothing that cannot be pickled.

    Parameters
    ----------
    reason
        One line.
    transient
        Whether another try may help.
    details
        The end of the traceback.
    """

    def __init__(
        self, reason: str, transient: bool, details: str, worker: str, seconds: float
    ) -> None:
        super().__init__(reason, transient, details, worker, seconds)
        self.reason = reason
        self.transient = transient
        self.details = details
        self.worker = worker
        self.seconds = seconds

    def __str__(self) -> str:
        return self.reason


class ChangedFileError(Exception):
    """A file is not the one that the plan was made for."""


def process_chunk(
    chunk: Chunk, metadata: Mapping[str, Any], processor: bytes, settings: bytes, topic: str
) -> tuple[bytes, Receipt]:
    """Process one chunk.

    The result is pickled here: one that cannot be is told as what it is, and neither a checkpoint
    nor the client need to know what is in it.

    Parameters
    ----------
    processor, settings
        Pickled, and unpickled once in each worker.
    topic
        Where to tell of it.

    Raises
    ------
    ChunkError
        Whatever went wrong.
    """
    get_ready()
    began, clock, worker = time.time(), time.perf_counter(), worker_name()
    tell(topic, chunk.index, worker)
    try:
        run = _loads(processor)
        file = _open(chunk, _loads(settings))
        before = file.requested
        events = file.events(chunk, metadata)
        result = run.process(events) if isinstance(run, ProcessorABC) else run(events)
        if result is None:
            raise TypeError(
                "the processor returned None: process() has to return what is to be added up"
            )
        packed = _packed(result)
        wanted = file.settings.weights and chunk.start == 0
        made = weights(file.directory) if wanted else None
        took = Receipt(worker, began, time.perf_counter() - clock, file.requested - before, made)
        tell(topic, chunk.index, took)
        return packed, took
    except Exception as error:  # noqa: BLE001 - the user's code, and damaged bytes
        # What failed may have left the file in any state.
        _close()
        reason = f"{type(error).__name__}: {_first_line(error)}"
        details = "".join(traceback.format_exception(error)).rstrip().splitlines()
        raise ChunkError(
            reason,
            isinstance(error, TRANSIENT),
            "\n".join(details[-TRACEBACK_LINES:]),
            worker,
            time.perf_counter() - clock,
        ) from None


def merge(outcomes: list[tuple[bytes, Any]]) -> tuple[bytes, None]:
    """Add results of chunks, or sums of them."""
    return add_packed([packed for packed, _ in outcomes]), None


def add_packed(results: list[bytes]) -> bytes:
    """Add pickled results from left to right."""
    return bytes(cloudpickle.dumps(add([pickle.loads(packed) for packed in results])))


def outcome(packed: bytes) -> tuple[bytes, None]:
    """Make of a result what `process_chunk` and `merge` return."""
    return packed, None


def unseen(paths: list[str]) -> list[str]:
    """Which of some paths this machine does not see."""
    return [path for path in paths if not is_address(path) and not Path(path).exists()]


class _OpenFile:
    """A file that stays open, as one thread uses it."""

    def __init__(self, chunk: Chunk, settings: Settings) -> None:
        self.identity = _identity(chunk)
        self.settings = settings
        self.directory = uproot.open({chunk.path: None}, **settings.uproot_options)
        tree = self.directory[chunk.tree]
        found = str(self.directory.file.uuid), tree.num_entries
        if found != (chunk.uuid, chunk.entries):
            self.directory.close()
            raise ChangedFileError(
                f"{chunk.path} has changed since the run began: it holds {found[1]:,} events "
                f"(UUID {found[0]}) instead of {chunk.entries:,} ({chunk.uuid})"
            )

    @property
    def requested(self) -> int:
        """Bytes asked for so far."""
        return int(self.directory.file.source.num_requested_bytes)

    def events(self, chunk: Chunk, metadata: Mapping[str, Any]) -> Any:
        """Make coffea's events of a chunk; columns are read when they are first used."""
        found = NanoEventsFactory.from_root(
            self.directory,
            treepath=chunk.tree,
            entry_start=chunk.start,
            entry_stop=chunk.stop,
            schemaclass=self.settings.schema,
            mode="virtual",
            metadata={
                "dataset": chunk.dataset,
                "filename": chunk.path,
                "treename": chunk.tree,
                "entrystart": chunk.start,
                "entrystop": chunk.stop,
                "fileuuid": chunk.uuid,
                **metadata,
            },
        ).events()
        if len(found) != chunk.events:
            raise ChangedFileError(f"{chunk} gave {len(found):,} events")
        return found


class _Local(threading.local):
    """The file that is open in each thread."""

    file: _OpenFile | None = None


_local = _Local()


def _open(chunk: Chunk, settings: Settings) -> _OpenFile:
    kept = _local.file
    if kept is None or kept.identity != _identity(chunk) or kept.settings is not settings:
        _close()
        kept = _local.file = _OpenFile(chunk, settings)
    return kept


def _close() -> None:
    kept, _local.file = _local.file, None
    if kept is not None:
        with suppress(Exception):
            kept.directory.close()


def _identity(chunk: Chunk) -> tuple[object, ...]:
    """Say which file this is, such that a replaced one is opened again."""
    if is_address(chunk.path):
        return chunk.path, chunk.tree, chunk.uuid
    status = Path(chunk.path).stat()
    return chunk.path, chunk.tree, chunk.uuid, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(4)
def _loads(pickled: bytes) -> Any:
    return cloudpickle.loads(pickled)


@cache
def get_ready() -> None:
    """Do once in each process what `facility.analysis.physlite.prepare` does."""
    physlite.quiet()
    if gc.get_threshold()[0] < physlite.GC_THRESHOLD:
        gc.set_threshold(physlite.GC_THRESHOLD)


def _packed(result: Any) -> bytes:
    try:
        return bytes(cloudpickle.dumps(result))
    except Exception as error:
        raise TypeError(
            f"the processor's result cannot be pickled ({type(error).__name__}: {error})"
        ) from error


def worker_name() -> str:
    """Name of the worker that this runs on."""
    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:  # not on a worker
        return "-"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
