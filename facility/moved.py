"""Modules of release 0.1 by their old names, which copies of its notebooks import."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LAST = "0.2"
"""The last release in which the old names work."""
MOVED = {
    "facility.analysis.bookkeepers": "facility.analysis.inputs.cut_bookkeepers",
    "facility.analysis.comparison": "facility.analysis.results.comparison",
    "facility.analysis.fileset": "facility.analysis.inputs.fileset",
    "facility.analysis.goodruns": "facility.analysis.inputs.good_runs",
    "facility.analysis.kinematics": "facility.analysis.samples.kinematics",
    "facility.analysis.peak": "facility.analysis.samples.peak_fit",
    "facility.analysis.physlite": "facility.analysis.reading.physlite",
    "facility.analysis.plan": "facility.analysis.inputs.plan",
    "facility.analysis.record": "facility.analysis.results.record",
    "facility.analysis.sample": "facility.analysis.samples.physlite_files",
    "facility.analysis.search": "facility.analysis.samples.search_files",
    "facility.analysis.skim": "facility.analysis.results.skim",
    "facility.analysis.zpeak": "facility.analysis.samples.zpeak",
}
"""What users imported, and what stands in pickles of theirs (checkpoints)."""


class MovedModule(ModuleType):
    """An old name: it has what the new module has.

    `facility.analysis.fileset` is the old name of a module and the new one of a function, so it can
    be called, too.
    """

    def __getattr__(self, name: str) -> Any:
        """Take it from the new module."""
        return getattr(import_module(MOVED[self.__name__]), name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function that is called as the module was."""
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **named)


class MovedLoader(Loader):
    """Make what stands for a module that has moved."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return one that has nothing of its own."""
        return MovedModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: what is asked for is taken from the new module."""


class MovedFinder(MetaPathFinder):
    """Find modules by their old names, where there is none of that name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say where it is now, once for each place that imports it."""
        if name not in MOVED:
            return None
        warnings.warn(
            f"{name} has moved to {MOVED[name]}, and its users' functions can be imported from "
            f"facility.analysis; the old name works up to facility {LAST}",
            DeprecationWarning,
            stacklevel=2,
        )
        return ModuleSpec(name, MovedLoader())


def install() -> None:
    """Have imports find the old names in this process."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(MovedFinder())
