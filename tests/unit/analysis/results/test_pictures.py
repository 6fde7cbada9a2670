"""Pictures as they are drawn: nothing covers anything, and everything is within."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hist import Hist, axis, storage
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from facility.analysis.files.chunk import Chunk
from facility.analysis.inputs.plan import Plan
from facility.analysis.results.comparison import compare
from facility.analysis.results.record import Receipt
from facility.analysis.results.report import Report
from facility.analysis.samples.peak_fit import fit_peak, plot_peak
from facility.wording import shortened

LONG = "mc20_13TeV.700320.Sh_2211_Zee_maxHTpTV2_BFilter_{}.deriv.DAOD_PHYSLITE.e8351_s3681_p6026"
HOST = "tcp://dask-worker-{:03d}.example-with-a-long-name.cern.ch:43210"


def report(datasets: int, workers: int, dataset: str = "d{}", worker: str = "cpu-{}") -> Report:
    chunks = max(4 * workers, datasets)
    names = [dataset.format(index * datasets // chunks) for index in range(chunks)]
    plan = Plan(
        tuple(Chunk(i, name, name, "t", 0, 50, "u", 9, 50) for i, name in enumerate(names)), {}
    )
    found = Report.of(plan, 0.0)
    for index, record in enumerate(found.records):
        record.state = "processed"
        turn, who = divmod(index, workers)
        record.take(Receipt(worker.format(who), 100.0 + turn, 1.0, 1_000))
        # The title is as long as it gets.
        record.setbacks.append("OSError")
    found.seconds, found.interrupted, found.full_workers = 9.0, True, 3
    return found


def boxes(artists: Iterable[Any]) -> list[Bbox]:
    """Return where things are in a picture that was drawn, without those that are empty."""
    found = [artist.get_window_extent() for artist in artists]
    return [box for box in found if box.width > 1 and box.height > 1]


def numbers(axis: Any) -> list[Any]:
    """Return the labels of an axis' ticks that are seen."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in ticks if tick.label1.get_visible()]


def drawn(figure: Figure, path: Path) -> Figure:
    """Draw it; all texts of its axes are within it, and none is on another."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi="figure")
    for axes in figure.axes:
        labels = [axes.xaxis.label, axes.yaxis.label, axes.title]
        texts = boxes([*labels, *numbers(axes.xaxis), *numbers(axes.yaxis)])
        assert all(within(figure, box) for box in texts)
        for index, box in enumerate(texts):
            assert not box.count_overlaps([other.padded(-1) for other in texts[index + 1 :]])
    return figure


def within(figure: Figure, box: Bbox) -> bool:
    whole = figure.bbox.padded(1)
    return bool(whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1))


@pytest.mark.parametrize(
    ("datasets", "workers", "names"),
    [
        (1, 1, {}),
        (2, 1, {}),
        (5, 4, {}),
        (12, 40, {}),
        (2, 2, {"dataset": LONG, "worker": HOST}),
        (12, 40, {"dataset": LONG, "worker": HOST}),
        (70, 120, {"dataset": LONG, "worker": HOST}),
    ],
)
def test_the_legend_of_a_run_covers_nothing(
    artifacts: Path, datasets: int, workers: int, names: dict[str, str]
) -> None:
    path = artifacts / f"run_{datasets}_{workers}_{len(names)}.png"
    figure = drawn(report(datasets, workers, **names).plot(), path)
    chunks, rate = figure.axes
    assert chunks.get_legend() is None
    (title,) = boxes([figure._suptitle])  # type: ignore[attr-defined]
    assert within(figure, title)
    for legend, box in zip(figure.legends, boxes(figure.legends), strict=True):
        assert not box.count_overlaps([chunks.bbox, rate.get_tightbbox()])
        assert within(figure, box)
        texts = [text.get_text() for text in legend.get_texts()]
        assert len(set(texts)) == len(texts) == min(datasets, 31)
    assert len(figure.legends) == (datasets > 1)
    colors = {bars.patches[0].get_facecolor() for bars in chunks.containers}
    assert len(colors) == datasets


def test_workers_stand_in_the_order_of_their_numbers() -> None:
    labels = report(1, 12).plot().axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [f"cpu-{number}" for number in range(12)]


@pytest.mark.parametrize(("number", "name"), [(1, "h{}"), (4, LONG + "/h")])
def test_the_legend_of_a_comparison_covers_nothing(artifacts: Path, number: int, name: str) -> None:
    filled = {name.format(i): Hist.new.Reg(9, 0, 1).Weight().fill([0.5]) for i in range(number)}
    figure = compare(filled, filled).plot()
    drawn(figure, artifacts / f"comparison_{number}.png")
    (legend,) = boxes(figure.legends)
    assert not legend.count_overlaps([axes.get_tightbbox() for axes in figure.axes])
    titles = [axes.title for axes in figure.axes if axes.get_title()]
    places = boxes(titles)
    assert not any(box.count_overlaps(places[i + 1 :]) for i, box in enumerate(places))
    assert len({title.get_text() for title in titles}) == number


def test_the_legend_of_a_peak_covers_neither_the_name_nor_the_points(artifacts: Path) -> None:
    flavours = axis.StrCategory(["ee", "mumu"], name="flavour")
    mass = axis.Regular(160, 40, 140, name="mass", label="mass [GeV]")
    found: Any = Hist(flavours, mass, storage=storage.Int64())
    for flavour in ("ee", "mumu"):
        found.fill(flavour=flavour, mass=np.random.default_rng(1).normal(91, 2.5, 90_000))
    fits = {flavour: fit_peak(found[flavour, :]) for flavour in ("ee", "mumu")}
    label = "Simulation, synthetic"
    figure = drawn(plot_peak(found, fits, label=label), artifacts / "peak.png")
    (panel,) = figure.axes
    (legend,) = boxes([panel.get_legend()])
    assert not legend.count_overlaps(boxes(panel.texts))
    highest = panel.transData.transform((0, panel.dataLim.y1))[1]
    assert legend.y0 > highest


def test_names_that_differ_still_do_when_they_are_shortened() -> None:
    assert shortened(["a", "b" * 20], 20) == ["a", "b" * 20]
    assert shortened(["x" * 21], 11) == ["xxxxx…xxxxx"]
    names = [LONG.format(number) for number in range(12)]
    found = shortened(names, 40)
    assert len(set(found)) == 12
    assert max(map(len, found)) <= 40
    assert found[0].startswith("…")
    assert "BFilter_0.deriv" in found[0]
    assert len(set(shortened(["a" * 50 + str(n) for n in range(9)], 20))) == 9
    assert len(set(shortened([f"{n}" + "a" * 50 for n in range(9)], 20))) == 9
    assert shortened([], 5) == []
