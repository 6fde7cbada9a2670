"""What runs on a worker: read one chunk's events, process them, say what it took."""

import copy
import gc
import time
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
from coffea.processor import ProcessorABC
from uproot.deserialization import DeserializationError

from facility.analysis.files.chunk import Chunk
from facility.analysis.files.replicas import routed, shun
from facility.analysis.files.rootfile import is_address
from facility.analysis.reading import physlite
from facility.analysis.reading.file_cache import (
    ChangedFileError,
    OpenFile,
    Settings,
    close_files,
    open_file,
)
from facility.analysis.results.record import Receipt
from facility.analysis.results.skim import LASTING, store
from facility.analysis.runner.chunk_events import tell
from facility.analysis.runner.reduction import add
from facility.analysis.serialization.unpickling import Litter, Scope
from facility.errors import one_line

TRANSIENT = (OSError, EOFError, DeserializationError)
"""Errors that may be gone when the same bytes are read again."""
LASTING_ERRORS = (
    FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError,
)  # fmt: skip
"""Errors of the system, raised by the user's code, of which another try makes nothing else."""
READERS = (
    "coffea.nanoevents.mapping",
    "facility.analysis.reading.forms",
    "facility.analysis.reading.file_cache",
)
"""Modules through which the events of a chunk are read, and no files of the user's code."""
UNEXCUSED = (ChangedFileError, MemoryError)
"""Errors of which also a chunk without events fails."""
NO_RESULT = "the processor returned None: process() has to return what is to be added up"
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
        Pickled. Each attempt has its own of both, so that nothing that one leaves in them reaches
        another.
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
        how: Settings = Scope().loads(settings)
        chunk = routed(chunk, how.xcache)
        packed, outlay = _attempt(processor, chunk, metadata, how, topic)
    except BaseException as error:  # noqa: BLE001 - the user's code, and damaged bytes
        # What failed may have left the file in any state.
        close_files()
        failure = _failure(error, chunk, worker, time.perf_counter() - clock)
    else:
        took = Receipt(worker, began, time.perf_counter() - clock, **outlay)
        tell(topic, chunk.index, took)
        return packed, took
    finally:
        _litter.leave(len(processor))
    # Not in the block above, where it would keep all that the error knows of.
    raise failure


_litter = Litter()


def _attempt(
    processor: bytes, chunk: Chunk, metadata: Mapping[str, Any], settings: Settings, topic: str
) -> tuple[bytes, dict[str, Any]]:
    """Process a chunk; the pickled result, and what of its `Receipt` follows from it."""
    done = _processed(processor, chunk, metadata, settings)
    if done.result is None and done.nothing is None:
        raise TypeError(NO_RESULT)
    file, packed = done.file, _packed(store(done.result, chunk, settings.output, topic))
    wanted = settings.weights and chunk.start == 0
    made = file.sums_of_weights() if wanted else None
    plainly = file.plainly or (file.weights_plainly if wanted else None)
    file.forget_arrays()
    outlay = {"bytes": done.read, "weights": made, "plainly": plainly}
    return packed, {**outlay, "unpickling": done.unpickling, "nothing": done.nothing}


def _failure(error: BaseException, chunk: Chunk, worker: str, seconds: float) -> ChunkError:
    """Say what has become of a chunk, and let go of what the error keeps."""
    reason, details = one_line(error), last_lines(error)
    reading = comes_through(error, READERS)
    transient = is_transient(error, reading)
    if chunk.at:
        # One of several places, of which another may have what this one has not.
        transient |= isinstance(error, ChangedFileError)
        reason += f" (read from {chunk.at})"
    if transient and reading:
        shun(chunk)
    traceback.clear_frames(error.__traceback__)
    return ChunkError(reason, transient, details, worker, seconds, isinstance(error, MemoryError))


class _Done(NamedTuple):
    """What has become of an attempt.

    Attributes
    ----------
    read
        Bytes that were asked for.
    unpickling
        Seconds that it took to make the processor.
    nothing
        Why there is no result of a chunk without events.
    """

    result: Any
    file: OpenFile
    read: int
    unpickling: float
    nothing: str | None = None


def _processed(
    processor: bytes,
    chunk: Chunk,
    metadata: Mapping[str, Any],
    settings: Settings,
    plainly: str | None = None,
) -> _Done:
    """Read and process a chunk; once more, as coffea reads it, where that was not to be trusted."""
    clock = time.perf_counter()
    run = Scope().loads(processor)
    unpickling = time.perf_counter() - clock
    file = open_file(chunk, settings, plainly)
    before, result, nothing = file.requested, None, None
    try:
        events = file.events(chunk, copy.deepcopy(metadata))
        result = run.process(events) if isinstance(run, ProcessorABC) else run(events)
        if result is None and not chunk.events:
            nothing = NO_RESULT
    except BaseException as error:
        nothing = _for_want_of_events(error, chunk)
        if file.doubt is None and nothing is None:
            raise
    if file.doubt is not None:
        del run
        return _processed(processor, chunk, metadata, settings, file.doubt)
    return _Done(result, file, file.requested - before, unpickling, nothing)


def _for_want_of_events(error: BaseException, chunk: Chunk) -> str | None:
    """Say why a chunk without events adds nothing; None where that is no excuse for an error.

    Many a processor takes the first of its events, or a column of a tree that was written without
    any. A file without events has nothing to lose by that.
    """
    if chunk.events or not isinstance(error, Exception):
        return None
    lasting = not is_transient(error, comes_through(error, READERS))
    return one_line(error) if lasting and not isinstance(error, UNEXCUSED) else None


def last_lines(error: BaseException) -> str:
    """Return the end of an error's traceback."""
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return "\n".join(lines[-TRACEBACK_LINES:])


def is_transient(error: BaseException, reading: bool) -> bool:
    """Whether another try may help.

    Parameters
    ----------
    reading
        Whether it came up while the chunk's events were read, not in the user's own code.
    """
    if reading:
        return isinstance(error, TRANSIENT)
    lasting = isinstance(error, LASTING_ERRORS) or getattr(error, "errno", None) in LASTING
    return isinstance(error, OSError) and not lasting


def comes_through(error: BaseException, modules: tuple[str, ...]) -> bool:
    """Whether an error was raised in modules with names that begin so, or passed through them."""
    return any(
        str(frame.f_globals.get("__name__", "")).startswith(modules)
        for cause in causes(error)
        for frame, _ in traceback.walk_tb(cause.__traceback__)
    )


def causes(error: BaseException) -> list[BaseException]:
    """List an error and what it was raised from."""
    found = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


def merge(outcomes: list[tuple[bytes, Any]]) -> tuple[bytes, None]:
    """Add results of chunks, or sums of them."""
    return add_packed([packed for packed, _ in outcomes]), None


def add_packed(results: list[bytes]) -> bytes:
    """Add pickled results from left to right."""
    scope = Scope()
    return bytes(cloudpickle.dumps(add([scope.loads(packed) for packed in results])))


def result_of(packed: bytes) -> Any:
    """Unpickle a result where it is used: what its classes are there is not changed by it."""
    return Scope(defined_here=True).loads(packed)


def outcome(packed: bytes) -> tuple[bytes, None]:
    """Make of a result what `process_chunk` and `merge` return."""
    return packed, None


def unseen(paths: list[str]) -> list[str]:
    """Which of some paths this machine does not see."""
    return [path for path in paths if not is_address(path) and not Path(path).exists()]


@cache
def get_ready() -> None:
    """Do once in each process what `facility.analysis.reading.physlite.prepare` does."""
    physlite.quiet()
    if gc.get_threshold()[0] < physlite.GC_THRESHOLD:
        gc.set_threshold(physlite.GC_THRESHOLD)


def _packed(result: Any) -> bytes:
    try:
        return bytes(cloudpickle.dumps(result))
    except Exception as error:
        raise TypeError(f"the processor's result cannot be pickled ({one_line(error)})") from error


def worker_name() -> str:
    """Name of the worker that this runs on."""
    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:  # not on a worker
        return "-"
