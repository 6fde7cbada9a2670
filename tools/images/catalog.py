"""The one list of images: `images/images.yaml`, and what each image is made of."""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from facility.worker.software import PYTHON_OF_IMAGES
from tools.building import CACHE, BuildError, fingerprint

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "images"
LIST = FOLDER / "images.yaml"
PREFIX = "localhost/facility"
"""How images are called before they are pushed somewhere."""
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures as images name them, and as the kernel does."""
PYTHON = PYTHON_OF_IMAGES
"""Version of the Python of Debian trixie, on which all images stand."""
LOGS = CACHE / "images" / "logs"
KEYS = {"parent", "architectures", "description", "extras", "facility", "docs"}
PACKAGED = "packages.Containerfile"
BESIDE = ("requirements.in", "smoke.py", PACKAGED)
"""Files of an image's folder of which the image is not made."""
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==", re.M)


@dataclass(frozen=True)
class Image:
    """One image.

    Parameters
    ----------
    name
        Also its folder in `images/`.
    parent
        What it is built upon: another image of the list, or a name in a registry.
    architectures
        For which it is built.
    description
        Its label.
    extras
        Of pyproject.toml, whose packages are in it.
    facility
        Whether the package of this repository is in it.
    docs
        Whether the built documentation is in it.
    """

    name: str
    parent: str
    architectures: tuple[str, ...]
    description: str
    extras: tuple[str, ...] = ()
    facility: bool = False
    docs: bool = False

    @property
    def folder(self) -> Path:
        """Where its Containerfile is."""
        return FOLDER / self.name

    @property
    def wanted(self) -> Path:
        """Its packages beside those of its extras."""
        return self.folder / "requirements.in"

    @property
    def lock(self) -> Path:
        """Its packages, each with its version and hashes."""
        return self.folder / "requirements.lock"

    @property
    def packaged(self) -> Path:
        """Its packages' own Containerfile: theirs is an image of its own, which others build upon.

        An image is built again with each change of the package `facility`, and its packages, a
        gigabyte or more, with those of their lock alone.
        """
        return self.folder / PACKAGED

    @property
    def reference(self) -> str:
        """What its manifest list is called on this machine."""
        return f"{PREFIX}/{self.name}:{version()}"

    def built(self, architecture: str) -> str:
        """What it is called for one architecture."""
        return f"{self.reference}-{architecture}"

    def floor(self, architecture: str) -> str:
        """What images are built upon that name it as their parent."""
        if not self.packaged.exists():
            return self.built(architecture)
        return f"{PREFIX}/{self.name}-packages:{version()}-{architecture}"

    def lock_hash(self) -> str:
        """Hash of its lock; of nothing where it has no packages of its own."""
        data = self.lock.read_bytes() if self.lock.exists() else b""
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def locked(self) -> set[str]:
        """Names of the packages in its lock."""
        return set(_LOCKED.findall(self.lock.read_text())) if self.lock.exists() else set()


def version() -> str:
    """The version of the package `facility`, which is also the images' tag."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def read(path: Path = LIST) -> dict[str, Image]:
    """The images by their names, parents before children.

    Raises
    ------
    BuildError
        With everything that is wrong with the list.
    """
    content = yaml.safe_load(path.read_text())
    images: dict[str, Image] = {}
    problems = []
    for name, entry in content.items():
        unknown = sorted(set(entry) - KEYS)
        lacking = sorted({"parent", "architectures", "description"} - set(entry))
        if unknown or lacking:
            problems += [f"{name}.{key}: unknown key; valid are {sorted(KEYS)}" for key in unknown]
            problems += [f"{name}.{key}: missing" for key in lacking]
            continue
        image = Image(
            name,
            entry["parent"],
            tuple(entry["architectures"]),
            entry["description"],
            tuple(entry.get("extras", ())),
            entry.get("facility", False),
            entry.get("docs", False),
        )
        strange = [each for each in image.architectures if each not in ARCHITECTURES]
        problems += [
            f"{name}.architectures: {each!r} is none of {', '.join(ARCHITECTURES)}"
            for each in strange
        ]
        parent = images.get(image.parent)
        if parent is None and "/" not in image.parent:
            problems.append(
                f"{name}.parent: no image {image.parent!r} stands above it in the list; a parent "
                "in a registry is written with its registry's name"
            )
        elif parent is not None:
            problems += [
                f"{name}.architectures: its parent {parent.name} is not built for {each}"
                for each in image.architectures
                if each not in parent.architectures and each not in strange
            ]
        if not (path.parent / name / "Containerfile").exists():
            problems.append(f"{name}: {name}/Containerfile is missing")
        images[name] = image
    if problems:
        said = [f"The list of images {path.name} cannot be used:", *problems]
        raise BuildError("\n  ".join(said))
    return images


def ancestors(image: Image, images: Mapping[str, Image]) -> list[Image]:
    """The images that an image is built upon, the nearest first."""
    found = []
    while image.parent in images:
        image = images[image.parent]
        found.append(image)
    return found


def choose(names: Iterable[str], images: Mapping[str, Image]) -> list[Image]:
    """The named images and those they are built upon, in the order of the list; all without names.

    Raises
    ------
    BuildError
        A name is none of the list.
    """
    names = list(names)
    unknown = [name for name in names if name not in images]
    if unknown:
        raise BuildError(f"There is no image {', '.join(unknown)}: valid are {', '.join(images)}.")
    wanted = set(names)
    for name in names:
        wanted |= {each.name for each in ancestors(images[name], images)}
    return [image for image in images.values() if not names or image.name in wanted]


def describe(image: Image, images: Mapping[str, Image]) -> dict[str, object]:
    """What stands in the image's /etc/facility/image.json."""
    return {
        "name": image.name,
        "version": version(),
        "parent": image.parent,
        "lock": image.lock_hash(),
        "parents": {each.name: each.lock_hash() for each in ancestors(image, images)},
    }


def key(
    image: Image, architecture: str, parent: str, package: str, layout: str, docs: str = ""
) -> str:
    """Hash of all that an image is made of.

    Parameters
    ----------
    image, architecture
        Which image.
    parent
        The identity of the image that it is built upon.
    package
        Hash of the package `facility`, where that is in it.
    layout
        How packages are laid out.
    docs
        Hash of the documentation, where that is in it.
    """
    parts = [image.name, architecture, parent, version(), layout]
    parts += [package] if image.facility else []
    parts += [docs] if image.docs else []
    files = [path for path in image.folder.iterdir() if path.is_file() and path.name not in BESIDE]
    return fingerprint([*parts, repr(image)], files)


def packages_key(image: Image, parent: str, folders: Iterable[str]) -> str:
    """Hash of all that the image of an image's packages is made of.

    Parameters
    ----------
    image
        Whose packages.
    parent
        The identity of the image that they are put upon.
    folders
        Names of the folders with the packages, which change with what is in them.
    """
    return fingerprint([image.name, parent, *folders], [image.packaged])
