"""A picture of a run: which worker did what and when, and how fast it went."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from facility.analysis.results.record import Record
from facility.wording import counted, shortened

SLICES = 60
"""Parts into which the time is cut for the rate."""
LETTERS = 120
"""Small ones that fit into the picture's width."""
ROWS = 40
"""Workers up to which each has its name beside it."""
IN_LEGEND = 30
"""Datasets that the legend names."""
LONGEST_DATASET, LONGEST_WORKER = 50, 24
"""Letters of a name that are shown."""


def timeline(records: Iterable[Record], title: str) -> Figure:
    """Draw the chunks of a run over its workers, and events per second over time.

    Parameters
    ----------
    records
        Of a run that has processed something; chunks from a checkpoint are left out.
    title
        A sentence above the picture.

    Returns
    -------
    matplotlib.figure.Figure
        Time in seconds since the first chunk began. A chunk's events count evenly over the time
        that it took.
    """
    from matplotlib import pyplot

    done = [r for r in records if r.began is not None and r.worker and not r.restored]
    workers = sorted({str(r.worker) for r in done}, key=_numerically)
    datasets = list(dict.fromkeys(r.chunk.dataset for r in done))
    heading = textwrap.wrap(title, LETTERS)
    legend = _legend(datasets)
    longest = max((len(str(patch.get_label())) for patch in legend), default=0)
    columns = max(1, LETTERS // (longest + 8))
    lines = len(heading) + -(-len(legend) // columns)
    figure = pyplot.figure(
        figsize=(9, 2.8 + 0.15 * min(len(workers), ROWS) + 0.17 * lines), layout="constrained"
    )
    # pyplot made it, so that a notebook knows how to show it; forgotten, it is shown once.
    pyplot.close(figure)
    chunks, rate = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    first = min((float(r.began or 0) for r in done), default=0.0)
    begins = np.array([float(r.began or 0) - first for r in done])
    seconds = np.array([r.seconds for r in done])
    rows = {worker: row for row, worker in enumerate(workers)}
    for dataset, color in zip(datasets, _colors(len(datasets)), strict=True):
        of_it = [i for i, r in enumerate(done) if r.chunk.dataset == dataset]
        chunks.barh(
            [rows[str(done[i].worker)] for i in of_it],
            seconds[of_it],
            left=begins[of_it],
            color=color,
            edgecolor="white",
            linewidth=0.5,
        )
    step = -(-len(workers) // ROWS) or 1
    names = shortened(workers, LONGEST_WORKER)
    chunks.set_yticks(range(0, len(workers), step), names[::step], fontsize="small")
    # A single bar is not to fill the picture.
    margin = 1.0 if len(workers) < 2 else 0.6
    chunks.set_ylim(max(len(workers), 1) - 1 + margin, -margin)
    _draw_rate(rate, begins, seconds, np.array([r.chunk.events for r in done], dtype=float))
    rate.set_xlabel("seconds")
    rate.set_ylabel("events/s")
    rate.yaxis.set_major_formatter(_thousands)
    if legend:
        # Below, where no bars are.
        figure.legend(
            handles=legend, loc="outside lower center", ncols=columns, fontsize="small",
            frameon=False,
        )  # fmt: skip
    figure.suptitle("\n".join(heading), fontsize="small")
    return figure


def _numerically(name: str) -> list[tuple[int, str]]:
    """Sort names such that cpu-9 comes before cpu-10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _thousands(value: float, _: object) -> str:
    """Write a rate short enough to stand beside an axis."""
    size, letter = next((s for s in ((1e6, " M"), (1e3, " k")) if value >= s[0]), (1, ""))
    return f"{value / size:g}{letter}"


def _colors(number: int) -> Sequence[Any]:
    """Return as many colours, all different."""
    if number <= 20:
        colors = matplotlib.colormaps["tab10" if number <= 10 else "tab20"]
        return [colors(index) for index in range(number)]
    return list(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, number)))


def _legend(datasets: Sequence[str]) -> list[Patch]:
    """Name the colours of datasets, of many the first; nothing where there is one."""
    if len(datasets) < 2:
        return []
    names = shortened(datasets[:IN_LEGEND], LONGEST_DATASET)
    found = [
        Patch(color=color, label=name)
        for name, color in zip(names, _colors(len(datasets)), strict=False)
    ]
    more = len(datasets) - len(found)
    return [*found, Patch(alpha=0, label=f"and {counted(more, 'other')}")] if more else found


def _draw_rate(axes: Any, begins: Any, seconds: Any, events: Any) -> None:
    if not len(begins):
        axes.set_xticks([])
        axes.set_yticks([])
        return
    edges = np.linspace(0.0, float((begins + seconds).max()), SLICES + 1)
    width = edges[1] - edges[0]
    if width <= 0:
        return
    # How much of each chunk's time is in each slice.
    shared = np.minimum(begins + seconds, edges[1:, None]) - np.maximum(begins, edges[:-1, None])
    rates = (np.clip(shared, 0, None) * (events / np.maximum(seconds, 1e-9))).sum(axis=1) / width
    axes.stairs(rates, edges, fill=True)
