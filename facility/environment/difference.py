"""What a notebook has that an image has not: which packages and folders have to travel."""

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facility.environment.installed import (
    CACHE,
    CACHED,
    COMPILED,
    Distribution,
    distributions,
    importable,
    is_site,
    python_folders,
    top_name,
    top_names,
)

NEVER_SENT = (
    *("facility", "dask", "distributed", "cloudpickle", "tornado", "msgpack"),
    *("locket", "partd", "sortedcontainers", "tblib", "toolz", "zict"),
)
"""By which notebook, scheduler and workers speak: `facility`, Dask, and what serves Dask alone."""
SITE = "site"
"""Where on a worker packages lie together, as in a site-packages."""


INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "_virtualenv")


@dataclass(frozen=True)
class Image:
    """What an interpreter of the image says of itself, as it comes over the wire."""

    python: str
    machine: str
    packages: Mapping[str, str]
    places: Collection[str] = ()
    """Where its imports look."""
    tags: Collection[str] = ()
    """Wheels that it takes."""

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> "Image":
        """Take what a scheduler has answered."""
        return cls(**{key: answer[key] for key in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Part:
    """Files that travel together, in one archive.

    Attributes
    ----------
    name, version
        Of a package; a folder has its path as name, and no version.
    target
        Folder below which they lie on a worker, and from which it imports.
    files
        By their path below that.
    imports
        What of it is imported first.
    machine
        The architecture that it is compiled for; empty where it fits all.
    """

    name: str
    version: str
    target: str
    files: Mapping[str, str]
    imports: tuple[str, ...] = ()
    machine: str = ""
    origin: str = ""
    """Where it lies, in words."""


@dataclass(frozen=True)
class Difference:
    """What there is above an image."""

    parts: tuple[Part, ...] = ()
    refused: tuple[str, ...] = ()
    """Packages that must agree and do not, each as a requirement that would make it agree."""
    clashes: tuple[str, ...] = ()
    """The same as sentences."""
    left: Mapping[str, str] = field(default_factory=dict)
    """What is not sent, and why."""


def difference(
    places: Iterable[str], image: Image, *, own: Path | None = None, machine: str = ""
) -> Difference:
    """Compare what this process imports with what an image has.

    Parameters
    ----------
    places
        Where this process's imports look, as `sys.path`.
    own
        Folder of the notebook or script, which travels by another way.
    machine
        This process's architecture.
    """
    places = list(dict.fromkeys(places))
    here = distributions(places)
    clashes = {
        name: image.packages[name]
        for name in NEVER_SENT
        if name in here and image.packages.get(name, here[name].version) != here[name].version
    }
    left: dict[str, str] = {}
    parts: list[Part] = []
    beside: set[Path] = set()
    for each in here.values():
        if each.name in NEVER_SENT or not _above(each, image):
            continue
        problem = _unfit(each, image)
        part = None if problem else _package(each, machine)
        if part is not None and not part.imports:
            part, problem = None, _nothing_in(each)
        if part is None:
            left[f"{each.name} {each.version}"] = str(problem)
        else:
            parts.append(part)
        if each.editable is not None:
            beside |= {place.parent.resolve() for place in each.mapping().values()}
    for number, folder in enumerate(_folders(places, image, own)):
        if folder.resolve() not in beside:
            found = _loose(folder) if is_site(folder) else _folder(folder, number)
            parts += [found] if found.files else []
    kept = [_without_shadows(part, left) for part in parts]
    return Difference(
        tuple(part for part in kept if part.imports),
        tuple(f"{name}=={version}" for name, version in clashes.items()),
        tuple(
            f"{name} {here[name].version} here and {version} in the image"
            for name, version in clashes.items()
        ),
        left,
    )


def _above(each: Distribution, image: Image) -> bool:
    """Whether the image has it not, or another; a release of an index is the same everywhere."""
    if image.packages.get(each.name) != each.version:
        return True
    return bool(each.origin) and str(each.site) not in image.places


def _unfit(each: Distribution, image: Image) -> str | None:
    """Say why a package cannot be used on workers."""
    if each.editable is not None:
        if not each.editable.is_dir():
            return (
                f"its editable installation points to {each.editable}, which is not there; install "
                f"it again from where it is now, or `python -m pip uninstall {each.name}`"
            )
        return None
    if (built := each.foreign(image.tags)) is not None:
        return (
            f"it was built {built}, and workers run Python {image.python} on {image.machine}; "
            f"`python -m pip install --force-reinstall {each.name}=={each.version}` with this "
            "Python gets another"
        )
    return None


def _nothing_in(each: Distribution) -> str:
    if each.editable is not None:
        return (
            "its editable installation does not say in a file where its packages are; "
            "install it without -e"
        )
    return "nothing of it can be imported"


def _package(each: Distribution, machine: str) -> Part:
    files = {
        path: place
        for path, place in each.files().items()
        if "/" in path or (top_name(path) and not path.startswith("__editable__"))
    }
    if each.editable is not None:
        files = {path: place for path, place in files.items() if path.startswith(each.info.name)}
        for name, place in each.mapping().items():
            files |= _below(place, name.replace(".", "/"))
    compiled = any(path.endswith(COMPILED) for path in files)
    origin = f"{each.editable} (editable)" if each.editable is not None else str(each.site)
    return Part(
        each.name,
        each.version,
        SITE,
        files,
        tuple(sorted(top_names(files))),
        machine if compiled else "",
        origin,
    )


def _folders(places: Iterable[str], image: Image, own: Path | None) -> list[Path]:
    """Return folders from which this process imports and the image does not."""
    python = python_folders()
    found = []
    for place in places:
        folder = Path(place or ".")
        mine = own is not None and folder.resolve() == own.resolve()
        if folder.is_dir() and not mine and folder not in python and place not in image.places:
            found.append(folder)
    return found


def _folder(folder: Path, number: int) -> Part:
    """Return what can be imported of a folder of PYTHONPATH, or of a ``.pth``."""
    files: dict[str, str] = {}
    tops = importable(folder)
    for place in tops.values():
        files |= _below(place, place.name)
    return Part(str(folder), "", f"path-{number}", files, tuple(sorted(tops)), "", str(folder))


def _loose(site: Path) -> Part:
    """Return modules that lie among installed packages and belong to none of them."""
    there = distributions([str(site)]).values()  # those too of which an import finds another
    lines = (line for each in there for line in each.record().split())
    firsts = {line.partition(b"/")[0] for line in lines}
    owned = {first.partition(b",")[0] for first in firsts}
    files: dict[str, str] = {}
    for name, place in importable(site).items():
        if name not in INSTALLERS and os.fsencode(place.name) not in owned:
            files |= _below(place, place.name)
    return Part(str(site), "", SITE, files, tuple(sorted(top_names(files))), "", str(site))


def _below(place: Path, name: str) -> dict[str, str]:
    """Return a module's file, or all files of a package; no links to folders, no hidden ones."""
    if place.is_file():
        return {name if name.endswith(place.suffix) else f"{name}{place.suffix}": str(place)}
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(each for each in folders if each[0] != "." and each != CACHE)
        below = name + folder[len(str(place)) :]
        for each in sorted(files):
            seen = each[0] != "." and not each.endswith(CACHED)
            if seen and os.path.isfile(f"{folder}/{each}"):  # noqa: PTH113
                found[f"{below}/{each}"] = f"{folder}/{each}"
    return found


def _without_shadows(part: Part, left: dict[str, str]) -> Part:
    """Leave out what on a worker would stand in for Python's own modules, or the library's."""
    taken = {"facility": "the library"} | dict.fromkeys(sys.stdlib_module_names, "Python itself")
    taken |= dict.fromkeys(NEVER_SENT, "the library")
    shadows = [top for top in part.imports if top in taken]
    if not shadows:
        return part
    for top in shadows:
        left[f"{top} of {part.origin}"] = f"{taken[top]} has a module of this name"
    files = {path: place for path, place in part.files.items() if top_name(path) not in shadows}
    imports = tuple(top for top in part.imports if top not in shadows)
    return Part(
        part.name, part.version, part.target, files, imports, part.machine, part.origin
    )  # fmt: skip
