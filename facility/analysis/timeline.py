"""A picture of a run: which worker did what and when, and how fast it went."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from facility.analysis.report import Report

SLICES = 60
"""Parts into which the time is cut for the rate."""


def timeline(report: Report) -> Figure:
    """Draw the chunks of a run over its workers, and events per second over time.

    Parameters
    ----------
    report
        Of a run that has processed something; chunks from a checkpoint are left out.

    Returns
    -------
    matplotlib.figure.Figure
        Time in seconds since the first chunk began. A chunk's events count evenly over the time
        that it took.
    """
    done = [r for r in report.records if r.began is not None and r.worker and not r.restored]
    workers = sorted({str(r.worker) for r in done})
    figure = Figure(figsize=(9, 3 + 0.15 * len(workers)), layout="constrained")
    chunks, rate = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    first = min((float(r.began or 0) for r in done), default=0.0)
    begins = np.array([float(r.began or 0) - first for r in done])
    seconds = np.array([r.seconds for r in done])
    datasets = list(dict.fromkeys(r.chunk.dataset for r in done))
    for number, dataset in enumerate(datasets):
        of_it = [i for i, r in enumerate(done) if r.chunk.dataset == dataset]
        chunks.barh(
            [workers.index(str(done[i].worker)) for i in of_it],
            seconds[of_it],
            left=begins[of_it],
            color=f"C{number % 10}",
            edgecolor="white",
            linewidth=0.5,
            label=dataset,
        )
    chunks.set_yticks(range(len(workers)), workers)
    if len(datasets) > 1:
        chunks.legend(loc="upper right", fontsize="small")
    _draw_rate(rate, begins, seconds, np.array([r.chunk.events for r in done], dtype=float))
    rate.set_xlabel("seconds")
    rate.set_ylabel("events/s")
    figure.suptitle(report.summary(), fontsize="small")
    return figure


def _draw_rate(axes: Any, begins: Any, seconds: Any, events: Any) -> None:
    if not len(begins):
        return
    edges = np.linspace(0.0, float((begins + seconds).max()), SLICES + 1)
    width = edges[1] - edges[0]
    if width <= 0:
        return
    # How much of each chunk's time is in each slice.
    shared = np.minimum(begins + seconds, edges[1:, None]) - np.maximum(begins, edges[:-1, None])
    rates = (np.clip(shared, 0, None) * (events / np.maximum(seconds, 1e-9))).sum(axis=1) / width
    axes.stairs(rates, edges, fill=True)
