"""What is installed, what would be used and why, and what is missing."""

import os
import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from facility import names
from facility.backend import KUBERNETES, choose_backend, runs_in_pod
from facility.config import Config, load, names_of
from facility.dask_process import dask_settings
from facility.errors import FacilityError
from facility.local.capacity import emulated, limits
from facility.system.machine import Machine, this_machine
from facility.system.private_files import ELSEWHERE, check_room, free, refusal
from facility.wording import counted
from facility.worker.software import refused_outside

_PURPOSES = {
    "": "Dask clusters",
    "analysis": "coffea analyses and sample files",
    "hub": "the hub and its notebooks",
    "kubernetes": "Dask clusters on Kubernetes",
}


@dataclass(frozen=True)
class Package:
    """A package that the facility, or an optional part of it, needs."""

    name: str
    extra: str
    needed: str
    installed: str | None

    @property
    def good(self) -> bool:
        """Whether a version that fits is installed."""
        if self.installed is None:
            return False
        return Requirement(f"{self.name}{self.needed}").specifier.contains(
            self.installed, prereleases=True
        )

    @property
    def sentence(self) -> str:
        """What is wrong with it."""
        wanted = f"{self.name} {self.needed}".strip()
        if self.installed is None:
            return f"{wanted} is not installed"
        return f"{wanted} is needed, and {self.installed} is installed"


@dataclass
class Diagnosis:
    """What was found.

    `missing` is what `cluster()` needs here and does not find; `advice` is what
    only an optional part of the facility lacks.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        width = max((len(name) for name, _ in self.facts), default=0)
        lines = [f"{name.ljust(width)}  {text}" for name, text in self.facts]
        lines += [f"\n{'Missing:' if self.missing else 'Nothing is missing.'}"]
        lines += [_item(text) for text in self.missing]
        if self.advice:
            lines += ["\nTo know:", *(_item(text) for text in self.advice)]
        return "\n".join(lines)


def _item(text: str) -> str:
    """Write one item of a list, which may have several lines."""
    return "  - " + text.replace("\n", "\n    ")


def examine(config: str | None = None) -> Diagnosis:
    """Look at this installation and machine.

    Parameters
    ----------
    config
        Path of a pools.yaml, as the argument of `cluster`.
    """
    found = Diagnosis()
    machine = this_machine()
    found.facts.append(("Python", f"{platform.python_version()} on {platform.system()}"))
    found.facts.append(("This machine", describe_machine(machine)))
    backend = _examine_backend(found)
    _examine_pools(found, config, machine, backend)
    _examine_dask(found)
    _examine_folders(found)
    _examine_packages(found, packages(), backend)
    return found


def describe_machine(machine: Machine) -> str:
    """Say in one line what a machine has."""
    gpus = ", ".join(machine.gpus)
    return (
        f"{counted(machine.cores, 'core')}, {machine.memory / 2**30:.1f} GiB of memory, "
        f"{f'GPU {gpus}' if gpus else 'no NVIDIA GPU'}, {machine.architecture}"
    )


def packages(
    requires: Iterable[str] | None = None, version: Callable[[str], str] = metadata.version
) -> list[Package]:
    """List the packages that the facility needs, from its own metadata.

    Parameters
    ----------
    requires
        Requirements as in the metadata of a package, by default this one's.
    version
        Finds the installed version of a package.
    """
    if requires is None:
        try:
            requires = metadata.requires("facility") or []
        except metadata.PackageNotFoundError:
            return []
    listed = []
    for text in requires:
        requirement = Requirement(text)
        match = re.search(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker or ""))
        extra = match[1] if match else ""
        if extra not in _PURPOSES:
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            installed = version(requirement.name)
        except metadata.PackageNotFoundError:
            installed = None
        listed.append(Package(requirement.name, extra, str(requirement.specifier), installed))
    return listed


def _examine_backend(found: Diagnosis) -> str:
    try:
        backend, reason = choose_backend(None, os.environ, runs_in_pod())
    except FacilityError as error:
        found.missing.append(str(error))
        return ""
    where = "pods on Kubernetes" if backend == KUBERNETES else "processes on this machine"
    found.facts.append(("Dask clusters", f"{where}, because {reason}"))
    if backend == KUBERNETES:
        _examine_namespace(found)
    return backend


def _examine_namespace(found: Diagnosis) -> None:
    """Ask Kubernetes what `cluster()` would ask first."""
    from facility.kubernetes.namespace import ThisNamespace

    if not runs_in_pod() and (refused := refused_outside(platform.python_version())):
        found.missing.append(refused)
    try:
        found.facts += ThisNamespace().facts()
    except FacilityError as error:
        found.missing.append(f"{error}")


def _examine_pools(found: Diagnosis, source: str | None, machine: Machine, backend: str) -> None:
    try:
        config = load(source)
    except FacilityError as error:
        found.missing.append(f"{error}")
        return
    found.facts.append(("Pools", f"{names_of(config)}, from {config.source}"))
    if backend != KUBERNETES:
        found.advice += _of_pools(config, machine)


def _of_pools(config: Config, machine: Machine) -> list[str]:
    """Say which pools cannot run here, or not as they would elsewhere."""
    room = limits(config, machine)
    return [limit.reason for limit in room.values() if limit.workers == 0] + emulated(
        config, machine, config.pools
    )


def _examine_dask(found: Diagnosis) -> None:
    """Look at what the user has set of Dask."""
    own = dask_settings.settings()
    found.missing += dask_settings.problems(own)
    found.advice += dask_settings.overridden(own)


def _examine_folders(found: Diagnosis) -> None:
    """Look whether what has to be written can be, by writing some of it."""
    data, cache = names.data_folder(), names.cache_folder()
    found.facts.append(("Data folder", f"{data}, {free(data)}"))
    if problem := _unwritable(data, ELSEWHERE):
        found.missing.append(f"the data folder {data} cannot be written: {problem}")
    if problem := _unwritable(cache, "set XDG_CACHE_HOME to a folder"):
        found.advice.append(f"the cache folder {cache} cannot be written: {problem}")
    scratch = dask_settings.temporary_directory()
    if scratch and scratch.is_dir() and (problem := _unwritable(scratch, "choose a folder")):
        found.missing.append(f"Dask's temporary-directory {scratch} cannot be written: {problem}")


def _unwritable(folder: Path, instead: str) -> str | None:
    # The folder may not exist yet: then it can be made in the first one that does.
    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    try:
        check_room(existing)
    except OSError as error:
        return refusal(error, existing, instead)
    return None


def _examine_packages(found: Diagnosis, listed: list[Package], backend: str) -> None:
    if not listed:
        found.advice.append(
            "facility itself is not installed, so that its packages are not checked: "
            "pip install -e ."
        )
    for extra, purpose in _PURPOSES.items():
        own = [package for package in listed if package.extra == extra]
        if not own:
            continue
        there = ", ".join(f"{one.name} {one.installed}" for one in own if one.installed)
        found.facts.append((f"For {purpose}", there or "nothing installed"))
        wrong = [package.sentence for package in own if not package.good]
        if not wrong:
            continue
        target = f"facility[{extra}]" if extra else "facility"
        text = f"for {purpose}: {'; '.join(wrong)}. Install with: pip install '{target}'"
        needed = not extra or (extra == "kubernetes" and backend == KUBERNETES)
        (found.missing if needed else found.advice).append(text)
