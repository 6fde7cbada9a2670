"""The Z peak, on synthetic and on real PHYSLITE, without a page of warnings."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from coffea import processor
from coffea.nanoevents import PHYSLITESchema
from hist import Hist
from matplotlib.figure import Figure

from facility.analysis.inputs.fileset import fileset
from facility.analysis.reading.physlite import PhysliteSchema, quiet
from facility.analysis.samples.peak_fit import FIT_RANGE, PeakFit, fit_peak, peak_shape, plot_peak
from facility.analysis.samples.physlite_files import write_files
from facility.analysis.samples.zpeak import ZPeak
from facility.errors import FitError


@pytest.fixture(autouse=True)
def agg() -> None:
    mpl.use("agg")


def run(sources: Any, schema: type = PhysliteSchema, **options: Any) -> dict[str, Any]:
    runner = processor.Runner(processor.IterativeExecutor(status=False), schema=schema, **options)
    return runner(fileset(sources), ZPeak())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_files(tmp_path_factory.mktemp("files"), 2, 15_000)


@pytest.fixture(scope="module")
def result(files: list[Path]) -> dict[str, Any]:
    return run({"first": files[0], "second": files[1]})


def test_every_event_is_counted(result: dict[str, Any]) -> None:
    assert result["events"] == {"first": 15_000, "second": 15_000}
    assert list(result["mass"].axes["dataset"]) == ["first", "second"]
    assert list(result["mass"].axes["flavour"]) == ["ee", "mumu"]


def test_chunks_do_not_change_the_result(files: list[Path], result: dict[str, Any]) -> None:
    chunked = run({"first": files[0], "second": files[1]}, chunksize=4_000)
    assert chunked["events"] == result["events"]
    assert np.array_equal(chunked["mass"].values(flow=True), result["mass"].values(flow=True))


def test_the_selection_by_hand(files: list[Path], result: dict[str, Any]) -> None:
    """Count the pairs of one file in plain Python."""
    import uproot

    with uproot.open(files[0]) as file:
        columns = file["CollectionTree"].arrays(filter_name="AnalysisMuonsAuxDyn.*").tolist()
    pairs = 0
    for event in columns:
        pt, eta, charge = (event[f"AnalysisMuonsAuxDyn.{name}"] for name in ("pt", "eta", "charge"))
        good = [q for p, e, q in zip(pt, eta, charge, strict=True) if p > 15e3 and abs(e) < 2.47]
        pairs += len(good) == 2 and sum(good) == 0
    assert result["mass"]["first", "mumu", :].sum(flow=True) == pairs > 1000


@pytest.mark.parametrize("flavour", ["ee", "mumu"])
def test_the_peak_is_at_the_z_mass(result: dict[str, Any], flavour: str) -> None:
    fit = fit_peak(result["mass"][sum, flavour, :])
    assert abs(fit.position - 91.188) < max(5 * fit.uncertainty, 0.1)
    assert 0.01 < fit.uncertainty < 0.2
    assert 3 < fit.width < 6


def test_the_processor_travels(files: list[Path], result: dict[str, Any]) -> None:
    copy = pickle.loads(pickle.dumps(ZPeak(min_pt=20e3, max_eta=2.0, bins=10)))
    assert vars(copy) == vars(ZPeak(min_pt=20e3, max_eta=2.0, bins=10))
    assert ZPeak().postprocess(result) is result


# Real files.


def test_real_physlite_without_a_page_of_warnings(real_physlite: Path) -> None:
    with warnings.catch_warnings(record=True) as plain:
        warnings.simplefilter("always")
        run(real_physlite, PHYSLITESchema)
    assert len(plain) > 200, "what is silenced is really there"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet()
        found = run(real_physlite)
        warnings.warn("Skipping lunch as it is not interpretable", stacklevel=1)
    assert [str(warning.message) for warning in caught] == [
        "Skipping lunch as it is not interpretable"
    ]
    assert found["events"] == {"data": 100}
    assert found["mass"]["data", "ee", :].sum(flow=True) > 30
    assert (
        abs(
            np.average(
                found["mass"].axes["mass"].centers, weights=found["mass"]["data", "ee", :].values()
            )
            - 91
        )
        < 5
    )


def test_too_few_pairs_for_a_fit(real_physlite: Path) -> None:
    quiet()
    found = run(real_physlite)
    with pytest.raises(FitError, match="32 pairs between 70 and 110 GeV are too few to fit a peak"):
        fit_peak(found["mass"]["data", "ee", :])
    assert isinstance(plot_peak(found["mass"], {}), Figure)


# The fit.


def histogram(counts: Any = None) -> Hist:
    made = Hist.new.Reg(160, 40, 140, name="mass").Int64()
    if counts is not None:
        made.values()[...] = counts(made.axes[0].centers)
    return made


@pytest.mark.parametrize("position", [85.0, 91.2, 95.5])
@pytest.mark.parametrize("level", [0, 200])
def test_the_fit_finds_what_was_put_in(position: float, level: float) -> None:
    rng = np.random.default_rng(5)
    fit = fit_peak(
        histogram(
            lambda mass: rng.poisson(peak_shape(mass, 40_000, position, 1.5, level, -0.02) * 0.625)
        )
    )
    assert abs(fit.position - position) < 5 * fit.uncertainty
    assert fit.uncertainty == pytest.approx(0.013, abs=0.006)
    assert fit.parameters[2] == pytest.approx(1.5, abs=0.1)


def test_the_width_is_that_of_the_curve() -> None:
    fit = fit_peak(histogram(lambda mass: peak_shape(mass, 1e6, 91.2, 1.5, 0, 0) * 0.625))
    mass = np.linspace(*FIT_RANGE, 40_001)
    curve = peak_shape(mass, *fit.parameters[:3], 0, 0)
    above = mass[curve > curve.max() / 2]
    assert fit.width == pytest.approx(above[-1] - above[0], rel=0.01)


def test_a_flat_spectrum_has_no_peak() -> None:
    rng = np.random.default_rng(6)
    with pytest.raises(FitError, match="There is no significant peak between 70 and 110 GeV"):
        fit_peak(histogram(lambda mass: rng.poisson(30, mass.size)))


def test_an_empty_histogram_and_one_with_several_axes(result: dict[str, Any]) -> None:
    with pytest.raises(FitError, match="0 pairs between 70 and 110 GeV are too few"):
        fit_peak(histogram())
    with pytest.raises(FitError, match="with one axis, not 3: select a dataset and a flavour"):
        fit_peak(result["mass"])


def test_a_histogram_that_holds_no_numbers() -> None:
    weighted = Hist.new.Reg(160, 40, 140, name="mass").Double()
    weighted.values()[...] = np.nan
    with pytest.raises(FitError, match=r"did not converge \(.*NaN"):
        fit_peak(weighted)


# The plot.


def test_the_plot_shows_the_peak_and_its_fit(result: dict[str, Any], artifacts: Path) -> None:
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    fits = {flavour: fit_peak(result["mass"][sum, flavour, :]) for flavour in ("ee", "mumu")}
    figure = plot_peak(result["mass"], fits, label="Synthetic")
    panel = figure.axes[0]
    legend = [text.get_text() for text in panel.get_legend().get_texts()]
    assert len(legend) == 2
    assert all("pairs, peak at 9" in text for text in legend)
    assert panel.get_ylabel() == "Pairs / 0.625 GeV"
    assert [text.get_text() for text in panel.texts][:2] == ["ATLAS", " Synthetic"]
    assert not pyplot.get_fignums(), "a notebook would show it twice"
    assert dict(mpl.rcParams) == before
    figure.savefig(artifacts / "z_peak.png")


def test_the_plot_without_fits(result: dict[str, Any]) -> None:
    legend = plot_peak(result["mass"]).axes[0].get_legend()
    assert not any("peak" in text.get_text() for text in legend.get_texts())
    assert PeakFit._fields[:3] == ("position", "width", "uncertainty")
