"""Which events differ in one column: numbers, jagged arrays, missing values, strings."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import awkward as ak
import numpy as np

SHOWN_LETTERS = 120
"""Letters of a value that are shown."""


class Tolerance(NamedTuple):
    """Two numbers are equal if they differ by at most one of these; (0, 0) is exactly.

    NaN equals NaN, and -0.0 equals 0.0.
    """

    relative: float = 0.0
    absolute: float = 0.0


@dataclass
class Differing:
    """By event, how a column differs.

    Attributes
    ----------
    events
        Whether it differs.
    absolute, relative
        The largest difference of a number; a relative one is to the larger of the two. Infinite
        where there is nothing to compare with: another number of objects, a value missing, a NaN.
    """

    events: Any
    absolute: Any
    relative: Any

    @classmethod
    def none(cls, events: int) -> "Differing":
        """Begin with no difference."""
        return cls(np.zeros(events, bool), np.zeros(events), np.zeros(events))

    def wholly(self, events: Any) -> None:
        """Note events that differ in more than a number."""
        self.events[events] = True
        self.absolute[events] = self.relative[events] = np.inf


def leaves(name: str, array: ak.Array) -> dict[str, ak.Array]:
    """Split records into columns: ``muons`` into ``muons.pt`` and ``muons.eta``."""
    if not ak.fields(array) or _mixed(array.layout):
        return {name: array}
    found: dict[str, ak.Array] = {}
    for part in ak.fields(array):
        found |= leaves(f"{name}.{part}", array[part])
    return found


def kind_of(array: ak.Array) -> str:
    """Name the type of a column's values, however they are nested; empty where that is unknown."""
    layout = array.layout
    while not _is_text(layout) and hasattr(layout, "content") and not layout.is_record:
        layout = layout.content
    if _is_text(layout):
        return str(layout.parameter("__array__"))
    return str(layout.dtype) if layout.is_numpy else ""


def differing(a: ak.Array, b: ak.Array, tolerance: Tolerance) -> Differing:
    """Compare a column of the same events, of equal length."""
    found = Differing.none(len(a))
    _compare(a, b, np.arange(len(a)), tolerance, found)
    return found


def shown(value: Any) -> str:
    """Write one event's value."""
    plain = value.to_list() if isinstance(value, ak.Array | ak.Record) else value
    text = repr(plain.item() if isinstance(plain, np.generic) else plain)
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…"


def _compare(a: Any, b: Any, events: Any, tolerance: Tolerance, found: Differing) -> None:
    """Compare two arrays, whose items belong to `events`, one level of nesting after the other."""
    if not len(a):
        return
    one, other = _plain(a.layout), _plain(b.layout)
    a, b = ak.Array(one), ak.Array(other)
    if one.is_option or other.is_option:
        missing = np.asarray(ak.is_none(a)), np.asarray(ak.is_none(b))
        found.wholly(events[missing[0] != missing[1]])
        kept = ~(missing[0] | missing[1])
        first, second = (ak.drop_none(x[kept], axis=0) for x in (a, b))
        _compare(first, second, events[kept], tolerance, found)
    elif _mixed(one) or _mixed(other) or one.is_list != other.is_list:
        _one_by_one(a, b, events, tolerance, found)
    elif one.is_list and not _is_text(one) and not _is_text(other):
        counts = np.asarray(ak.num(a, axis=1)), np.asarray(ak.num(b, axis=1))
        found.wholly(events[counts[0] != counts[1]])
        kept = counts[0] == counts[1]
        first, second = (ak.flatten(x[kept], axis=1) for x in (a, b))
        inner = np.repeat(events[kept], counts[0][kept])
        _compare(first, second, inner, tolerance, found)
    elif one.is_numpy and other.is_numpy:
        _numbers(np.asarray(a), np.asarray(b), events, tolerance, found)
    else:
        _one_by_one(a, b, events, tolerance, found)


def _plain(layout: Any) -> Any:
    """Give categories as their values, and a NumPy array of several dimensions as lists."""
    if layout.is_indexed and not layout.is_option:
        return layout.project()
    return layout.to_RegularArray() if layout.is_numpy else layout


def _is_text(layout: Any) -> bool:
    return layout.parameter("__array__") in ("string", "bytestring")


def _mixed(layout: Any) -> bool:
    """Whether values of several types stand in one array."""
    if layout.is_union:
        return True
    if layout.is_record or not hasattr(layout, "content"):
        return False
    return _mixed(layout.content)


def _numbers(a: Any, b: Any, events: Any, tolerance: Tolerance, found: Differing) -> None:
    if a.dtype.kind not in "biufc" or b.dtype.kind not in "biufc":
        # Times: NaT equals NaT.
        same = (a == b) | (_is_no_time(a) & _is_no_time(b)) if a.dtype == b.dtype else a != a
        found.wholly(events[~same])
        return
    with np.errstate(invalid="ignore", over="ignore"):
        same = (a == b) | ((a != a) & (b != b))
        at = np.flatnonzero(~same)
        if not len(at):
            return
        wide = complex if "c" in (a.dtype.kind, b.dtype.kind) else float
        first, second = a[at].astype(wide), b[at].astype(wide)
        absolute = np.abs(first - second)
        # Integers beyond 2^53 that are not the same differ by 1 at least.
        absolute[(absolute == 0) | np.isnan(absolute)] = 1.0
        absolute[~(np.isfinite(first) & np.isfinite(second))] = np.inf
        size = np.maximum(np.abs(first), np.abs(second))
        relative = np.where(np.isinf(absolute) | (size == 0), np.inf, absolute / size)
    outside = (absolute > tolerance.absolute) & (relative > tolerance.relative)
    where = events[at]
    found.events[where[outside]] = True
    np.maximum.at(found.absolute, where, absolute)
    np.maximum.at(found.relative, where, relative)


def _is_no_time(values: Any) -> Any:
    return np.isnat(values) if values.dtype.kind in "mM" else np.zeros(values.shape, bool)


def _one_by_one(a: Any, b: Any, events: Any, tolerance: Tolerance, found: Differing) -> None:
    """Compare as Python does, which takes longer: strings, and values of several types."""
    for event, first, second in zip(events, ak.to_list(a), ak.to_list(b), strict=True):
        if not _equal(first, second, tolerance):
            found.wholly(event)


def _equal(a: Any, b: Any, tolerance: Tolerance) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key], tolerance) for key in a)
    numbers = (bool, int, float, complex)
    if isinstance(a, numbers) and isinstance(b, numbers):
        found = Differing.none(1)
        _numbers(np.asarray([a]), np.asarray([b]), np.zeros(1, int), tolerance, found)
        return not found.events[0]
    return type(a) is type(b) and bool(a == b)
