"""Fit and draw a mass peak of the Z boson. Masses are in GeV here, as people speak of them."""

from typing import Any, NamedTuple

import numpy as np
from hist import Hist, rebin
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from scipy.optimize import curve_fit
from scipy.special import voigt_profile

from facility.analysis.samples.kinematics import Z_MASS, Z_WIDTH, Floats
from facility.errors import FitError
from facility.wording import counted

GEV = 1e3
"""MeV in a GeV."""
LABELS = {"ee": r"$ee$", "mumu": r"$\mu\mu$"}
FIT_RANGE = (70.0, 110.0)
"""Masses that the fit looks at."""
FEW_PAIRS = 1000
"""Pairs in a plot below which its bins are made wider."""
MIN_FIT_PAIRS = 200
"""Pairs in the fit's range below which a fitted position would mean little."""
DRAWN_LATER = {
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "figure.dpi": 100,
}
"""Settings that matplotlib would else look up when it draws, after the style has gone."""


class PeakFit(NamedTuple):
    """Result of `fit_peak`; all numbers in GeV.

    Attributes
    ----------
    position
        Mass at the peak.
    width
        Width of the peak as seen, between the points at half of its maximum: the Z boson's own
        width and the resolution together.
    uncertainty
        Statistical uncertainty of the position.
    parameters
        Of `peak_shape`: pairs in the peak, position, resolution, background a GeV at the Z mass,
        slope of the background's logarithm.
    """

    position: float
    width: float
    uncertainty: float
    parameters: tuple[float, ...]


def peak_shape(
    mass: Floats, pairs: float, position: float, resolution: float, level: float, slope: float
) -> Floats:
    """Pairs a GeV: a Breit-Wigner peak of the Z's width, smeared by a Gaussian, on an exponential.

    Parameters
    ----------
    mass
        Masses in GeV.
    pairs
        Number of pairs in the peak.
    position
        Its mass in GeV.
    resolution
        Standard deviation of the Gaussian in GeV.
    level, slope
        Background a GeV at the Z mass, and its relative change a GeV.
    """
    peak = pairs * voigt_profile(mass - position, resolution, Z_WIDTH / GEV / 2)
    background: Floats = level * np.exp(slope * (mass - Z_MASS / GEV))
    return np.asarray(peak + background)


def fit_peak(histogram: Hist[Any]) -> PeakFit:
    """Fit the Z peak and an exponential background to masses between 70 and 110 GeV.

    Least squares in bins, weighted with the square root of the expected counts (those of a first,
    unweighted fit, so that empty bins count too and low bins do not pull the fit down).

    Parameters
    ----------
    histogram
        One axis, mass in GeV; counts of pairs.

    Raises
    ------
    FitError
        The histogram has fewer than 200 pairs in the range, or no peak that can be fitted.
    """
    if histogram.ndim != 1:
        raise FitError(
            f"A peak is fitted to a histogram with one axis, not {histogram.ndim}: select a "
            "dataset and a flavour first, as in histogram['data', 'ee', :]."
        )
    centers, counts, width = _fit_bins(histogram)
    total = float(counts.sum())
    if total < MIN_FIT_PAIRS:
        where = f"between {FIT_RANGE[0]:.0f} and {FIT_RANGE[1]:.0f} GeV"
        raise FitError(
            f"{counted(round(total), f'pair {where} is', f'pairs {where} are')} too few "
            f"to fit a peak; at least {MIN_FIT_PAIRS} are needed."
        )
    guess = (total * 0.7, float(centers[counts.argmax()]), 1.5, total * 0.005, -0.02)
    bounds = (
        (0.0, FIT_RANGE[0], 0.05, 0.0, -0.5),
        (10 * total, FIT_RANGE[1], 15.0, total, 0.5),
    )
    density = counts / width
    try:
        first, _ = curve_fit(peak_shape, centers, density, p0=guess, bounds=bounds)
        expected = np.maximum(peak_shape(centers, *first) * width, 1.0)
        best, covariance = curve_fit(
            peak_shape,
            centers,
            density,
            p0=first,
            bounds=bounds,
            sigma=np.sqrt(expected) / width,
            absolute_sigma=True,
        )
    except (RuntimeError, ValueError) as error:
        raise FitError(f"The fit of the peak did not converge ({error}).") from error
    uncertainty = float(np.sqrt(covariance[1, 1]))
    if not np.isfinite(uncertainty) or uncertainty > 5 or best[0] < 3 * np.sqrt(covariance[0, 0]):
        raise FitError(
            f"There is no significant peak between {FIT_RANGE[0]:.0f} and {FIT_RANGE[1]:.0f} GeV."
        )
    return PeakFit(
        float(best[1]), _full_width(float(best[2])), uncertainty, tuple(map(float, best))
    )


def _fit_bins(histogram: Hist[Any]) -> tuple[Floats, Floats, float]:
    """Centers and contents of the bins within the fit's range, and the width of a bin, in GeV."""
    centers = np.asarray(histogram.axes[0].centers)
    inside = (centers > FIT_RANGE[0]) & (centers < FIT_RANGE[1])
    counts = np.asarray(histogram.values(), dtype=np.float64)
    return centers[inside], counts[inside], float(histogram.axes[0].widths[0])


def _full_width(resolution: float) -> float:
    """Full width at half maximum of the smeared peak in GeV.

    The approximation of Olivero and Longbothum (1977), good to 0.02 %.
    """
    lorentz, gauss = Z_WIDTH / GEV, 2 * np.sqrt(2 * np.log(2)) * resolution
    return float(0.5346 * lorentz + np.sqrt(0.2166 * lorentz**2 + gauss**2))


def plot_peak(
    histogram: Hist[Any], fits: dict[str, PeakFit] | None = None, *, label: str = ""
) -> Figure:
    """Draw the masses of all flavours and the fitted curves, in the style of ATLAS.

    Parameters
    ----------
    histogram
        Axes `flavour` and `mass` (GeV), others are summed over.
    fits
        Result of `fit_peak` by flavour, for those that could be fitted.
    label
        Text beside the experiment's name, such as "Simulation".

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it as the value of a cell; nothing needs to close it.
    """
    import mplhep
    from matplotlib import pyplot

    summed: Any = histogram.project("flavour", "mass")
    if summed.sum() < FEW_PAIRS:
        summed = summed[:, rebin(4)]
    with rc_context(mplhep.style.ATLAS | DRAWN_LATER):
        colors = rcParams["axes.prop_cycle"].by_key()["color"]
        figure, panel = pyplot.subplots(figsize=(8, 6), layout="constrained")
        for index, flavour in enumerate(summed.axes["flavour"]):
            counts: Any = summed[flavour, :]
            color = colors[index % len(colors)]
            name = f"{LABELS.get(flavour, flavour)}, {counted(round(counts.sum()), 'pair')}"
            fit = (fits or {}).get(flavour)
            if fit:
                name += f", peak at {fit.position:.2f} $\\pm$ {fit.uncertainty:.2f} GeV"
                mass = np.linspace(*FIT_RANGE, 400)
                width = counts.axes[0].widths[0]
                panel.plot(mass, peak_shape(mass, *fit.parameters) * width, color=color)
            mplhep.histplot(
                counts,
                yerr=np.sqrt(counts.values()),
                ax=panel,
                histtype="errorbar",
                color=color,
                label=name,
                markersize=3,
                flow="none",
            )
        width = summed.axes["mass"].widths[0]
        panel.set_xlabel(summed.axes["mass"].label)
        panel.set_ylabel(f"Pairs / {width:.3g} GeV")
        panel.set_ylim(0, panel.get_ylim()[1] * 1.45)
        # Else the 0 of one axis and the first number of the other run into each other.
        panel.tick_params(axis="x", which="major", pad=10)
        # The row of the experiment's name is full already.
        panel.legend(loc="upper right", bbox_to_anchor=(1, 0.91), fontsize="small")
        # Without the space the two words stand too close to be read as two.
        mplhep.atlas.text(f" {label}", ax=panel, loc=1)
    # pyplot made the figure, so that a notebook knows how to show it, and forgets it again, so
    # that it is shown once.
    pyplot.close(figure)
    return figure
