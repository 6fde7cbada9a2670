"""What runs on a worker: read one chunk's events, process them, say what it took."""

import gc
import pickle
import time
import traceback
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cloudpickle
from coffea.processor import ProcessorABC
from uproot.deserialization import DeserializationError

from facility.analysis import physlite
from facility.analysis.diary import tell
from facility.analysis.merge import add
from facility.analysis.openfile import ChangedFileError, OpenFile, Settings, close_files, open_file
from facility.analysis.plan import Chunk
from facility.analysis.record import Receipt
from facility.analysis.rootfile import is_address
from facility.analysis.skim import store
from facility.analysis.xcache import routed, shun

TRANSIENT = (OSError, EOFError, DeserializationError)
"""Errors that may be gone when the same bytes are read again."""
TRACEBACK_LINES = 12


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
    short
        Whether memory ran short.
    """

    def __init__(
        self,
        reason: str,
        transient: bool,
        details: str,
        worker: str,
        seconds: float,
        short: bool = False,
    ) -> None:
        super().__init__(reason, transient, details, worker, seconds, short)
        self.reason = reason
        self.transient = transient
        self.details = details
        self.worker = worker
        self.seconds = seconds
        self.short = short

    def __str__(self) -> str:
        return self.reason


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
        how = _loads(settings)
        chunk = routed(chunk, how.xcache)
        result, file, read = _processed(_loads(processor), chunk, metadata, how)
        if result is None:
            raise TypeError(
                "the processor returned None: process() has to return what is to be added up"
            )
        packed = _packed(store(result, chunk, how.output, topic))
        wanted = file.settings.weights and chunk.start == 0
        made = file.sums_of_weights() if wanted else None
        plainly = file.plainly or (file.weights_plainly if wanted else None)
        file.forget_arrays()
        seconds = time.perf_counter() - clock
        took = Receipt(worker, began, seconds, read, made, plainly)
        tell(topic, chunk.index, took)
        return packed, took
    except Exception as error:  # noqa: BLE001 - the user's code, and damaged bytes
        # What failed may have left the file in any state.
        close_files()
        reason = f"{type(error).__name__}: {_first_line(error)}"
        details = "".join(traceback.format_exception(error)).rstrip().splitlines()
        transient = isinstance(error, TRANSIENT)
        if chunk.at:
            # One of several places, of which another may have what this one has not.
            transient |= isinstance(error, ChangedFileError)
            reason += f" (read from {chunk.at})"
        if transient:
            shun(chunk)
        raise ChunkError(
            reason,
            transient,
            "\n".join(details[-TRACEBACK_LINES:]),
            worker,
            time.perf_counter() - clock,
            isinstance(error, MemoryError),
        ) from None


def _processed(
    run: Any,
    chunk: Chunk,
    metadata: Mapping[str, Any],
    settings: Settings,
    plainly: str | None = None,
) -> tuple[Any, OpenFile, int]:
    """Read and process a chunk; once more, as coffea reads it, where that was not to be trusted.

    Returns
    -------
    result : object
    file : OpenFile
    read : int
        Bytes that were asked for.
    """
    file = open_file(chunk, settings, plainly)
    before, result = file.requested, None
    try:
        events = file.events(chunk, metadata)
        result = run.process(events) if isinstance(run, ProcessorABC) else run(events)
    except Exception:
        if file.doubt is None:
            raise
    if file.doubt is not None:
        return _processed(run, chunk, metadata, settings, file.doubt)
    return result, file, file.requested - before


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
