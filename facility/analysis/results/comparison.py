"""Compare two results bin by bin: of ARM with amd64, of a GPU with a CPU, of today with before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from numbers import Number
from typing import TYPE_CHECKING, Any

import boost_histogram as bh
import numpy as np
from scipy import special, stats

from facility.errors import RequestError
from facility.table import Table
from facility.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAME_EDGES = 1e-12
"""Relative distance up to which edges are the same."""
DRAWN = 12
"""Histograms in one picture, those that differ most first."""


@dataclass(frozen=True)
class Difference:
    """How one histogram, number or array differs.

    Attributes
    ----------
    name
        Keys on the way to it, joined with ``/``.
    bins
        Bins that were compared, under- and overflow included.
    outside
        Bins of which something (contents, variance) is outside the tolerance.
    absolute, relative
        Largest differences; a relative one is to the larger of the two.
    chi2, ndf, p
        Of `chi2_test`; None without variances.
    ks, ks_p
        Of `ks_test`; None unless exactly one axis has an order.
    problem
        A sentence where not everything can be compared.
    """

    name: str
    bins: int = 0
    outside: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    chi2: float | None = None
    ndf: int | None = None
    p: float | None = None
    ks: float | None = None
    ks_p: float | None = None
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether everything could be compared and is within the tolerance."""
        return not self.outside and self.problem is None


@dataclass(frozen=True)
class Comparison:
    """Two results side by side.

    Attributes
    ----------
    items
        One for each histogram, number or array that is in both.
    only_a, only_b
        Names of what is in one of them only.
    """

    items: tuple[Difference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    _pairs: dict[str, tuple[Any, Any]]

    @classmethod
    def of(cls, parts: "list[Comparison]") -> "Comparison":
        """Put comparisons of different things together."""
        return cls(
            tuple(item for part in parts for item in part.items),
            tuple(name for part in parts for name in part.only_a),
            tuple(name for part in parts for name in part.only_b),
            {name: pair for part in parts for name, pair in part._pairs.items()},
        )

    @property
    def ok(self) -> bool:
        """Whether both hold the same, within the tolerance."""
        return not self.only_a and not self.only_b and all(item.ok for item in self.items)

    @property
    def table(self) -> Table:
        """A row for each thing that was compared."""
        columns = (
            "name", "ok", "bins", "outside", "absolute", "relative",
            "chi2", "ndf", "p", "KS", "KS p",
        )  # fmt: skip
        rows = tuple(
            (
                item.name, item.ok, item.bins, item.outside, _short(item.absolute),
                _short(item.relative), _short(item.chi2), item.ndf, _short(item.p),
                _short(item.ks), _short(item.ks_p),
            )
            for item in self.items
        )  # fmt: skip
        return Table(columns, rows, "nothing is in both")

    def summary(self) -> str:
        """Tell in one line how it ended."""
        good = sum(item.ok for item in self.items)
        text = f"{good} of {len(self.items)} are equal within the tolerance"
        for names, which in ((self.only_a, "first"), (self.only_b, "second")):
            text += f", {len(names)} only in the {which}" if names else ""
        return text

    @property
    def histograms(self) -> list[tuple[str, Any, Any]]:
        """Name and both of all histograms, those that differ most first."""
        drawn = [item for item in self.items if all(map(_is_histogram, self._pairs[item.name]))]
        drawn.sort(key=lambda item: (item.ok, -item.outside, -item.relative))
        return [(item.name, *self._pairs[item.name]) for item in drawn]

    def plot(self) -> "Figure":
        """Draw the histograms over each other, those that differ most first."""
        from facility.analysis.results.overlay import overlay

        return overlay(self.histograms[:DRAWN])

    def _sentences(self) -> list[str]:
        return [
            *(f"only in the first: {name}" for name in self.only_a),
            *(f"only in the second: {name}" for name in self.only_b),
            *(f"{item.name}: {item.problem}" for item in self.items if item.problem),
        ]

    def __str__(self) -> str:
        return "\n".join([self.summary(), str(self.table), *self._sentences()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(text)}</p>" for text in self._sentences())
        return f"<p>{escape(self.summary())}</p>{self.table._repr_html_()}{lines}"


def compare(a: Any, b: Any, *, relative: float = 1e-9, absolute: float = 0.0) -> Comparison:
    """Compare histograms, numbers and arrays, and (nested) collections of them.

    Parameters
    ----------
    a, b
        A histogram; or dictionaries, lists or coffea accumulators of histograms and numbers.
    relative, absolute
        Two values are equal if they differ by at most `absolute`, or by `relative` of the larger.

    Returns
    -------
    Comparison
        Its `ok` says whether everything is equal.

    Raises
    ------
    RequestError
        A tolerance is not a number from 0 on.
    """
    tolerances: dict[str, object] = {"relative": relative, "absolute": absolute}
    wrong = [
        f"{name}={value!r} is not a number from 0 on"
        for name, value in tolerances.items()
        if not isinstance(value, int | float) or not value >= 0
    ]
    if wrong:
        raise RequestError("The results cannot be compared", wrong)
    first, second = dict(_walk("", a)), dict(_walk("", b))
    pairs = {name: (value, second[name]) for name, value in first.items() if name in second}
    return Comparison(
        tuple(_compared(name, *pair, relative, absolute) for name, pair in pairs.items()),
        tuple(name for name in first if name not in second),
        tuple(name for name in second if name not in first),
        pairs,
    )


def chi2_test(values: Any, variances: Any, others: Any, their: Any) -> tuple[float, int, float]:
    """Test whether two histograms have the same contents, normalisation included.

    chi2 = sum (a - b)^2 / (var(a) + var(b)) over the bins in which that is defined: F. Porter,
    "Testing consistency of two histograms", arXiv:0804.0380, with sums of squared weights as
    variances. It holds for independent samples; for the same events it says how small the
    differences are compared with the statistics.

    Returns
    -------
    chi2 : float
    ndf : int
        Bins that were used.
    p : float
        Probability of a larger chi2; 1 without any bin.
    """
    spread = np.asarray(variances, float) + np.asarray(their, float)
    difference = np.asarray(values, float) - np.asarray(others, float)
    used = np.isfinite(spread) & np.isfinite(difference) & (spread > 0)
    chi2, ndf = float(np.sum(difference[used] ** 2 / spread[used])), int(used.sum())
    return chi2, ndf, float(stats.chi2.sf(chi2, ndf)) if ndf else 1.0


def ks_test(values: Any, variances: Any, others: Any, their: Any) -> tuple[float, float]:
    """Compare the shapes of two one-dimensional histograms with Kolmogorov and Smirnov's test.

    The distance is the largest one between the cumulated contents, each divided by its sum. The
    probability is Kolmogorov's asymptotic one for (sum w)^2 / sum w^2 events each, as in ROOT's
    TH1::KolmogorovTest; binning makes it too large.

    Returns
    -------
    distance : float
        0 if both are empty, 1 if one is.
    p : float
    """
    a, b = np.asarray(values, float), np.asarray(others, float)
    if a.sum() == 0 or b.sum() == 0:
        same = bool(np.all(a == 0) and np.all(b == 0))
        return (0.0, 1.0) if same else (1.0, 0.0)
    distance = float(np.max(np.abs(np.cumsum(a) / a.sum() - np.cumsum(b) / b.sum())))
    squares = float(np.sum(variances)), float(np.sum(their))
    if min(squares) <= 0:
        return distance, 1.0 if distance == 0 else 0.0
    n, m = a.sum() ** 2 / squares[0], b.sum() ** 2 / squares[1]
    return distance, float(special.kolmogorov(distance * np.sqrt(n * m / (n + m))))


def _walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Give everything that can be compared, with the way to it."""
    if isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(str(index), part) for index, part in enumerate(value)]
    else:
        # coffea's value_accumulator and column_accumulator wrap a number or an array.
        wrapped = hasattr(value, "add") and hasattr(value, "value")
        yield name or "result", value.value if wrapped else value
        return
    for key, part in parts:
        yield from _walk(f"{name}/{key}" if name else key, part)


def _compared(name: str, a: Any, b: Any, relative: float, absolute: float) -> Difference:
    if _is_histogram(a) and _is_histogram(b):
        return _histograms(name, a, b, relative, absolute)
    if _is_numeric(a) and _is_numeric(b):
        first, second = np.asarray(a), np.asarray(b)
        if first.shape != second.shape:
            problem = f"the shapes differ: {first.shape} and {second.shape}"
            return Difference(name, problem=problem)
        return Difference(name, first.size, *_distance([(first, second)], relative, absolute))
    if type(a) is not type(b):
        problem = f"one is a {type(a).__name__}, the other a {type(b).__name__}"
        return Difference(name, problem=problem)
    return Difference(name, 1, int(a != b))


def _is_histogram(value: Any) -> bool:
    return isinstance(value, bh.Histogram)


def _is_numeric(value: Any) -> bool:
    return isinstance(value, Number) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "biufc"
    )


def _distance(
    pairs: list[tuple[Any, Any]], relative: float, absolute: float
) -> tuple[int, float, float]:
    """Bins in which any of several pairs differs too much, and the largest differences."""
    outside = np.zeros(pairs[0][0].shape, bool)
    largest, largest_relative = 0.0, 0.0
    for first, second in pairs:
        if (
            first.dtype.kind in "iub"
            and second.dtype.kind in "iub"
            and np.array_equal(first, second)
        ):
            continue  # integers beyond 2^53 too
        a, b = (x if x.dtype.kind == "c" else x.astype(float) for x in (first, second))
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            difference = np.where(same, 0.0, np.abs(a - b))
            # Something that is not a number on one side only is infinitely far away.
            difference = np.where(np.isnan(difference), np.inf, difference)
            size = np.maximum(np.abs(a), np.abs(b))
            share = np.where(same, 0.0, np.inf)
            usual = np.isfinite(difference) & (size > 0)
            share[usual] = difference[usual] / size[usual]
        outside |= (difference > absolute) & (share > relative)
        largest = max(largest, float(difference.max(initial=0.0)))
        largest_relative = max(largest_relative, float(share.max(initial=0.0)))
    return int(outside.sum()), largest, largest_relative


def _histograms(name: str, a: Any, b: Any, relative: float, absolute: float) -> Difference:
    if a.ndim != b.ndim:
        axes = counted(a.ndim, "axis", "axes")
        return Difference(name, problem=f"one has {axes}, the other {b.ndim}")
    if a.storage_type is not b.storage_type:
        kinds = a.storage_type.__name__, b.storage_type.__name__
        return Difference(name, problem=f"one stores {kinds[0]}, the other {kinds[1]}")
    told, places = [], []
    for number, (one, other) in enumerate(zip(a.axes, b.axes, strict=True)):
        what = f"axis {getattr(one, 'name', '') or number}"
        problem, shared = _axes(one, other)
        told += [f"{what}: {problem}"] if problem else []
        if shared is None:
            return Difference(name, problem="; ".join(told))
        places.append(shared)
    pick = np.ix_(*(place[0] for place in places)), np.ix_(*(place[1] for place in places))
    views = a.view(flow=True)[pick[0]], b.view(flow=True)[pick[1]]
    fields = views[0].dtype.names
    pairs = [tuple(np.asarray(v[f]) for v in views) for f in fields] if fields else [views]
    bins = views[0].size
    found = _distance([(np.asarray(x), np.asarray(y)) for x, y in pairs], relative, absolute)
    tests: dict[str, Any] = {}
    if a.variances() is not None and b.variances() is not None:
        contents = [
            np.asarray(part(flow=True), float)[place]
            for histogram, place in zip((a, b), pick, strict=True)
            for part in (histogram.values, histogram.variances)
        ]
        tests.update(zip(("chi2", "ndf", "p"), chi2_test(*contents), strict=True))
        tests.update(zip(("ks", "ks_p"), _ks(a, contents), strict=True))
    return Difference(name, bins, *found, problem="; ".join(told) or None, **tests)


def _ks(histogram: Any, contents: list[Any]) -> tuple[float | None, float | None]:
    """Test each category by itself, and return the one with the largest distance."""
    ordered = [i for i, axis in enumerate(histogram.axes) if axis.traits.ordered]
    if len(ordered) != 1 or histogram.kind != bh.Kind.COUNT:
        return None, None
    rows = [np.moveaxis(x, ordered[0], -1).reshape(-1, x.shape[ordered[0]]) for x in contents]
    tests = [ks_test(*row) for row in zip(*rows, strict=True)]
    return max(tests, key=lambda test: test[0], default=(None, None))


def _axes(a: Any, b: Any) -> tuple[str | None, tuple[list[int], list[int]] | None]:
    """Say how two axes differ, and which bins (flow included) are the same ones in both."""
    if a.traits.ordered != b.traits.ordered:
        return "one has categories, the other has not", None
    if a.traits.ordered:
        if len(a) != len(b) or a.extent != b.extent:
            bins = f"{counted(len(a), 'bin')} and {len(b)}"
            return f"{bins} (with flow {a.extent} and {b.extent})", None
        if not np.allclose(a.edges, b.edges, rtol=SAME_EDGES, atol=0):
            return f"the edges differ ({_span(a)} and {_span(b)})", None
        return None, (list(range(a.extent)), list(range(b.extent)))
    # Categories grow in the order in which events come, which says nothing.
    first, second = list(a), list(b)
    shared = [label for label in first if label in second]
    places = [first.index(x) for x in shared], [second.index(x) for x in shared]
    if a.traits.overflow and b.traits.overflow:
        places[0].append(len(first))
        places[1].append(len(second))
    problems = [
        f"only in the {which}: {', '.join(str(x) for x in mine if x not in theirs)}"
        for which, mine, theirs in (("first", first, second), ("second", second, first))
        if set(mine) - set(theirs)
    ]
    return "; ".join(problems) or None, places


def _span(axis: Any) -> str:
    return f"{len(axis)} from {axis.edges[0]:g} to {axis.edges[-1]:g}"


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"
