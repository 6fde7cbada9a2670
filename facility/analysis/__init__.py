"""Columnar analysis of ATLAS files with coffea: filesets, reading, a Z peak, synthetic samples.

Nothing is imported here before it is asked for, so that a program pays only for what it uses.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facility.analysis.background import start
    from facility.analysis.comparison import compare
    from facility.analysis.goodruns import good_runs
    from facility.analysis.skim import Skim

__all__ = ["Skim", "compare", "good_runs", "start"]

_LATER = {
    "Skim": "facility.analysis.skim",
    "compare": "facility.analysis.comparison",
    "good_runs": "facility.analysis.goodruns",
    "start": "facility.analysis.background",
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
