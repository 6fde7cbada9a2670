"""A picture of histograms from two results over each other, with their ratio below."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from facility.wording import shortened

COLUMNS = 3
LONGEST_NAME = 48
"""Letters of a histogram's name that are shown."""


def overlay(
    pairs: list[tuple[str, Any, Any]], labels: tuple[str, str] = ("first", "second")
) -> Figure:
    """Draw pairs of histograms.

    Parameters
    ----------
    pairs
        Name and two histograms; of several axes the last one with an order is shown, the others
        added up.
    labels
        What the first and the second are called.
    """
    from matplotlib import pyplot

    rows = -(-len(pairs) // COLUMNS) or 1
    columns = min(COLUMNS, len(pairs)) or 1
    figure = pyplot.figure(figsize=(4 * columns, 3 * rows + 0.4), layout="constrained")
    # pyplot made it, so that a notebook knows how to show it; forgotten, it is shown once.
    pyplot.close(figure)
    frames = np.atleast_1d(np.array(figure.subfigures(rows, columns), dtype=object)).ravel()
    titles = shortened([name for name, _, _ in pairs], LONGEST_NAME)
    drawn: list[Any] = []
    for frame, title, (_, a, b) in zip(frames, titles, pairs, strict=False):
        above, below = frame.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.set_title(title, fontsize="small")
        (edges, first), (other_edges, second) = _shown(a), _shown(b)
        drawn = [
            above.stairs(first, edges, color="C0", linewidth=2),
            above.stairs(second, other_edges, color="C1", linestyle="--"),
        ]
        if first.shape == second.shape:
            ratio = np.full(first.shape, np.nan)
            np.divide(second, first, out=ratio, where=first != 0)
            below.stairs(ratio, edges, baseline=1)
        below.set_ylabel("ratio", fontsize="x-small")
        frame.align_ylabels()
    if drawn:
        # One for all, where nothing is drawn.
        figure.legend(
            drawn, (labels[0], f"{labels[1]} (ratio: to the {labels[0]})"),
            loc="outside lower center", ncols=2, fontsize="small", frameon=False,
        )  # fmt: skip
    return figure


def _shown(histogram: Any) -> tuple[Any, Any]:
    axes = list(histogram.axes)
    ordered = [i for i, axis in enumerate(axes) if axis.traits.ordered]
    shown = ordered[-1] if ordered else len(axes) - 1
    values = np.asarray(histogram.values(), float)
    rest = tuple(i for i in range(len(axes)) if i != shown)
    return np.asarray(axes[shown].edges, float), values.sum(axis=rest)
