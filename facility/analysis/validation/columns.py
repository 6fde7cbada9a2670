"""What runs on a worker: a user's processor, and the columns in what it returns kept by chunk."""

import pickle
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC

from facility.analysis.files.chunk import TOLD
from facility.analysis.results.skim import Skim
from facility.analysis.serialization.unpickling import Scope

PIECES, RESULTS = "pieces", "results"
ALONE = "result"
"""What a result is called that is no mapping."""
NUMBERS = (
    (("EventInfo", "runNumber"), ("EventInfo", "eventNumber")),
    (("runNumber",), ("eventNumber",)),
    (("run",), ("event",)),
)
"""Where files have run and event numbers: PHYSLITE, ntuples, NanoAOD."""
SIMPLE = (bool, int, float, complex, str, bytes, list, tuple, dict, np.generic, type(None))


class Span(NamedTuple):
    """Events `start` to `stop` (excluded) of a file."""

    dataset: str
    path: str
    tree: str
    start: int
    stop: int


@dataclass(frozen=True)
class Piece:
    """Columns of one chunk. It cannot be added to another: no chunk may be there twice.

    Attributes
    ----------
    packed
        Pickled dictionary of columns by name.
    numbers
        Run and event number of each event of the chunk, where the file has them.
    machine
        Architecture of the worker, as Python names it.
    """

    packed: bytes
    numbers: tuple[Any, Any] | None
    machine: str

    def columns(self) -> dict[str, ak.Array]:
        """Unpack the columns."""
        return dict(pickle.loads(self.packed))


class EventColumns(ProcessorABC):
    """Run a processor, and keep the columns that it returns apart from what is added up.

    Parameters
    ----------
    code
        The user's processor, as `facility.analysis.serialization.pickling.pickled` makes it.
    """

    def __init__(self, code: bytes) -> None:
        self.code = code

    def process(self, events: Any) -> Any:
        """Process a chunk."""
        run = Scope().loads(self.code)
        result = run.process(events) if isinstance(run, ProcessorABC) else run(events)
        if result is None:
            return None
        found: dict[str, ak.Array] = {}
        results = _separated("", result, found)
        told = [events.metadata[name] for name in TOLD[:5]]
        piece = Piece(pickle.dumps(found), _numbers(events), platform.machine())
        return {PIECES: {Span(*told): piece}, RESULTS: results}

    def postprocess(self, accumulator: Any) -> Any:
        """Leave it: columns are not what a user's `postprocess` expects."""
        return accumulator


def _separated(name: str, value: Any, columns: dict[str, ak.Array]) -> dict[str, Any]:
    """Move all columns of a result into `columns`; what is left, by name."""
    left: dict[str, Any] = {}
    for path, part in _walk(name, value):
        if path in columns or path in left:
            raise TypeError(f"the processor returns two things that are called {path!r}")
        column = column_of(part)
        if column is None:
            left[path] = part
        else:
            columns[path] = column
    return left


def _walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Skim):
        value = value.columns
    if not isinstance(value, Mapping):
        yield name or ALONE, value
        return
    for key, part in value.items():
        yield from _walk(f"{name}/{key}" if name else str(key), part)


def column_of(value: Any) -> ak.Array | None:
    """Give a value as an array of this machine's memory; None where it is no column."""
    if hasattr(value, "add") and hasattr(value, "value"):
        value = value.value  # coffea's column_accumulator
    if isinstance(value, ak.Array):
        held = ak.to_packed(ak.materialize(ak.to_backend(value, "cpu")))
        return ak.Array(held.layout)  # without behaviours and attributes
    if hasattr(value, "__cuda_array_interface__"):
        value = value.get()
    if isinstance(value, np.ndarray) and value.ndim:
        return ak.Array(value.tolist() if value.dtype.kind == "O" else value)
    if isinstance(value, list) and all(isinstance(item, SIMPLE) for item in value):
        return ak.Array(list(value))
    return None


def _numbers(events: Any) -> tuple[Any, Any] | None:
    for names in NUMBERS:
        pair = [_at(events, path) for path in names]
        if all(part is not None for part in pair):
            return np.asarray(pair[0]), np.asarray(pair[1])
    return None


def _at(events: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if name not in ak.fields(events):
            return None
        events = events[name]
    return ak.materialize(events) if not ak.fields(events) and events.ndim == 1 else None
