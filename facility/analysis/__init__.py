"""Columnar analysis of ATLAS files with coffea: what users import.

    inputs/ -> runner/ (with reading/ on the workers) -> results/

Nothing is imported here before it is asked for, so that a program pays only for what it uses.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facility.analysis.background import start
    from facility.analysis.inputs.fileset import fileset
    from facility.analysis.inputs.good_runs import good_runs
    from facility.analysis.reading.physlite import PhysliteSchema
    from facility.analysis.results.comparison import compare
    from facility.analysis.results.skim import Skim
    from facility.analysis.samples.kinematics import pair_mass
    from facility.analysis.samples.peak_fit import fit_peak, plot_peak
    from facility.analysis.samples.physlite_files import bring_examples, example_files
    from facility.analysis.samples.search_files import bring_search_files, search_files
    from facility.analysis.samples.zpeak import ZPeak
    from facility.analysis.validation.validate import validate

__all__ = [
    "fileset",
    "good_runs",
    "start",
    "Skim",
    "compare",
    "validate",
    "PhysliteSchema",
    "pair_mass",
    "fit_peak",
    "plot_peak",
    "ZPeak",
    "bring_examples",
    "example_files",
    "bring_search_files",
    "search_files",
]

_LATER = {
    "fileset": "facility.analysis.inputs.fileset",
    "good_runs": "facility.analysis.inputs.good_runs",
    "start": "facility.analysis.background",
    "Skim": "facility.analysis.results.skim",
    "compare": "facility.analysis.results.comparison",
    "validate": "facility.analysis.validation.validate",
    "PhysliteSchema": "facility.analysis.reading.physlite",
    "pair_mass": "facility.analysis.samples.kinematics",
    "fit_peak": "facility.analysis.samples.peak_fit",
    "plot_peak": "facility.analysis.samples.peak_fit",
    "ZPeak": "facility.analysis.samples.zpeak",
    "bring_examples": "facility.analysis.samples.physlite_files",
    "example_files": "facility.analysis.samples.physlite_files",
    "bring_search_files": "facility.analysis.samples.search_files",
    "search_files": "facility.analysis.samples.search_files",
}


def __getattr__(name: str) -> Any:
    """Load a function of the public surface when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
