"""Whether a worker runs the same software as the notebook."""

import json
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from facility.environment.installed import distributions
from facility.wording import counted

IMAGE_FILE = Path("/etc/facility/image.json")
PYTHON_OF_IMAGES = "3.13"
"""The Python of this release's images."""
OTHER_SOFTWARE = 78
"""Exit code of a worker that cannot work for its notebook (EX_CONFIG of sysexits.h)."""
SAME = ("dask", "distributed", "cloudpickle")
"""Packages with which a worker and a notebook must agree, or they misunderstand each other."""
TOLD = 8
"""Other packages whose differences are told one by one."""


def software(image_file: Path = IMAGE_FILE) -> dict[str, Any]:
    """Describe what this process runs: Python, every package, and the image if it is known."""
    image: Any = {}
    if image_file.exists():
        image = json.loads(image_file.read_text())
    return {"python": platform.python_version(), "packages": packages(sys.path), "image": image}


def packages(places: Iterable[str]) -> dict[str, str]:
    """Return the version of each installed package, by what its folder is called.

    Parameters
    ----------
    places
        Where an import looks: the first of several installations is what it finds.
    """
    return {name: each.version for name, each in distributions(places).items()}


def minor(version: str) -> str:
    """Return the part of a Python's version that pickled code does not cross: 3.13 of 3.13.5."""
    return ".".join(version.split(".")[:2])


def refused_outside(version: str, image_python: str = PYTHON_OF_IMAGES) -> str | None:
    """Say that workers refuse a process outside of Kubernetes for its Python; None if they do not.

    Parameters
    ----------
    version
        Of the process's Python.
    """
    if minor(version) == image_python:
        return None
    return (
        f"workers on Kubernetes refuse this process: Python {version} here and {image_python} in "
        f"the images of this release{_other_python(version, image_python, in_image=False)}"
    )


def _other_python(here: str, there: str, in_image: bool) -> str:
    """Say why two Pythons do not work together, and how to get the other one."""
    wanted = minor(there)
    if in_image:
        cure = (
            "choose the kernel of the image, or install that of the notebook again with the "
            f"image's Python {wanted}"
        )
    else:
        cure = (
            f"start it with a Python {wanted} that has facility of this version (`uv venv --python "
            f"{wanted}`, `conda create -n facility python={wanted}` and pyenv bring one), or name "
            f"an image with Python {minor(here)} in FACILITY_IMAGE"
        )
    return f"; pickled code does not cross between them: {cure}"


def differences(
    notebook: Mapping[str, Any], worker: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Compare what a notebook and a worker run.

    Returns
    -------
    wrong
        Differences with which a worker cannot work for the notebook, and what to do about them.
    other
        Differences that may matter to an analysis.
    """
    wrong, other = [], []
    pythons = notebook["python"], worker["python"]
    if minor(pythons[0]) != minor(pythons[1]):
        in_image = bool(notebook.get("image"))
        wrong.append(f"{_different('Python', *pythons)}{_other_python(*pythons, in_image)}")
    elif pythons[0] != pythons[1]:
        other.append(_different("Python", *pythons))
    here, there = notebook["packages"], worker["packages"]
    unequal = [name for name in SAME if here.get(name) != there.get(name)]
    wrong += [_different(name, here.get(name), there.get(name)) for name in unequal]
    # What only one of them has is no difference: a GPU image has more.
    rest = sorted((here.keys() & there.keys()) - set(SAME))
    changed = [name for name in rest if here[name] != there[name]]
    other += [_different(name, here[name], there[name]) for name in changed[:TOLD]]
    if len(changed) > TOLD:
        other.append(counted(len(changed) - TOLD, "more package"))
    return wrong, other


def _different(what: str, here: str | None, there: str | None) -> str:
    return f"{what} {here or 'is missing'} in the notebook and {there or 'none'} on the worker"
