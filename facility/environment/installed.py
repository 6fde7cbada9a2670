"""What is installed where an interpreter looks: names, versions, files; nothing is imported."""

import ast
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMPILED = (".so", ".pyd", ".dylib")
CACHED = (".pyc", ".pyo")
"""What Python makes of code, anew on each worker."""
CACHE = "__pycache__"
OUTSIDE = ("/", "..")


@dataclass(frozen=True)
class Distribution:
    """An installed package.

    Attributes
    ----------
    name
        As indexes spell it: ``my-package``.
    info
        Its ``.dist-info``.
    """

    name: str
    version: str
    info: Path

    @property
    def site(self) -> Path:
        """Folder in which it is installed."""
        return self.info.parent

    def files(self) -> dict[str, str]:
        """Return its files by their path below the site folder; none that lie elsewhere."""
        site = f"{self.site}{os.sep}"
        return {
            path: site + path
            for path in self.recorded
            if not path.startswith(OUTSIDE) and not path.endswith(CACHED)
        }

    @cached_property
    def recorded(self) -> tuple[str, ...]:
        """Paths that its installer has written down; what lies in its folders where it has not."""
        text = self.record().decode("utf-8", "surrogateescape")
        if not text:
            return tuple(sorted(self._walked()))
        # A path with a comma stands in quotes.
        return tuple(
            line[1:].partition('",')[0] if line.startswith('"') else line.partition(",")[0]
            for line in text.splitlines()
            if line
        )

    def record(self) -> bytes:
        """Return what its installer has written down; nothing where it has not."""
        try:
            return (self.info / "RECORD").read_bytes()
        except OSError:
            return b""

    def _walked(self) -> Iterator[str]:
        for top in self._told_tops() or {self.name.replace("-", "_")}:
            for path in (self.site / f"{top}.py", *sorted((self.site / top).rglob("*"))):
                if path.is_file():
                    yield str(path.relative_to(self.site))
        for path in sorted(self.info.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self.site))

    def _told_tops(self) -> set[str]:
        return set(self._read("top_level.txt").split())

    def tops(self) -> set[str]:
        """Return the names of its modules and packages that are imported first."""
        if self.editable is not None:
            return set(self.mapping()) | self._told_tops()
        return top_names(self.files()) | self._told_tops()

    @cached_property
    def origin(self) -> dict[str, Any]:
        """Where it came from, if not by its name and version from an index (PEP 610)."""
        text = self._read("direct_url.json")
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def editable(self) -> Path | None:
        """Folder of the sources of an editable installation; None for all others."""
        if not self.origin.get("dir_info", {}).get("editable"):
            return None
        return Path(unquote(urlsplit(str(self.origin.get("url", ""))).path))

    def mapping(self) -> dict[str, Path]:
        """Return where an editable installation has its packages, by the name of each.

        Builders write it in two ways: the folder in a ``.pth`` (hatchling, setuptools for ``src``,
        pixi), or a module with a dictionary (setuptools for all else).
        """
        found: dict[str, Path] = {}
        for path in self.recorded:
            name = Path(path).name
            if path == name and name.endswith("_finder.py") and name.startswith("__editable__"):
                found |= _finder_mapping(self.site / path)
            elif path == name and name.endswith(".pth"):
                for folder in pth_folders(self.site / path):
                    found |= importable(folder)
        return found

    def foreign(self, tags: Iterable[str]) -> str | None:
        """Name the Python or the machine that it was built for, where it is none of these.

        Parameters
        ----------
        tags
            That an interpreter takes: ``cp313-cp313-manylinux_2_28_x86_64``; see `packaging.tags`.
        """
        own = [line[4:].strip() for line in self._read("WHEEL").splitlines() if line[:4] == "Tag:"]
        if not own or set(own) & set(tags):
            return None
        if not any(path.endswith(COMPILED) for path in self.recorded):
            pure = [tag for tag in own if tag.split("-")[0].startswith("py3")]
            return None if pure else f"for {', '.join(own)}"
        return f"for {', '.join(own)}"

    def _read(self, name: str) -> str:
        try:
            return (self.info / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def distributions(places: Iterable[str]) -> dict[str, Distribution]:
    """Return what is installed, by name; of several the one that an import finds first.

    `importlib.metadata` reads a file of each, which takes a tenth of a second and more.

    Parameters
    ----------
    places
        Where an import looks, as `sys.path`.
    """
    found: dict[str, Distribution] = {}
    for place in places:
        folder = Path(place or ".")
        try:
            listed = sorted(entry.name for entry in folder.iterdir())
        except OSError:
            continue
        for entry in listed:
            name, dash, version = entry.removesuffix(".dist-info").rpartition("-")
            # An installation that was cut off leaves a folder with a tilde.
            if dash and entry.endswith(".dist-info") and entry[0] != "~":
                known = re.sub(r"[-_.]+", "-", name).lower()
                if known not in found:
                    found[known] = Distribution(known, version, folder / entry)
    return found


def python_folders() -> set[Path]:
    """Return the folders of Python's own modules and programs."""
    own = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "scripts")}
    version = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return own | {each / "lib-dynload" for each in own} | {each.parent / version for each in own}


def is_site(folder: Path) -> bool:
    """Tell whether packages are installed in a folder, and not the user's own code."""
    if folder.name in ("site-packages", "dist-packages"):
        return True
    try:
        return any(entry.name.endswith(".dist-info") for entry in folder.iterdir())
    except OSError:
        return False


def pth_folders(path: Path) -> list[Path]:
    """Return the folders that a ``.pth`` adds to where imports look, also those that are gone."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    kept = (line.strip() for line in lines)
    return [
        path.parent / line
        for line in kept
        if line and not line.startswith(("#", "import ", "import\t"))
    ]


def importable(folder: Path) -> dict[str, Path]:
    """Return what can be imported of a folder, by name: modules, and folders with code."""
    found: dict[str, Path] = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return found
    for entry in entries:
        name = top_name(entry.name + ("/" if entry.is_dir() else ""))
        if name and (entry.is_file() or _holds_code(entry)):
            found[name] = entry
    return found


def _holds_code(folder: Path) -> bool:
    if (folder / "__init__.py").is_file():
        return True
    try:
        return any(entry.suffix == ".py" and entry.is_file() for entry in folder.iterdir()) or any(
            (entry / "__init__.py").is_file() for entry in folder.iterdir() if entry.is_dir()
        )
    except OSError:
        return False


def top_name(path: str) -> str | None:
    """Name what a file is imported by first; None where it is no code."""
    first, inside, _ = path.partition("/")
    if not inside:
        ending = next((end for end in (*EXTENSION_SUFFIXES, ".py") if first.endswith(end)), None)
        if ending is None:
            return None
        first = first[: -len(ending)]
    return first if first.isidentifier() and first != CACHE else None


def top_names(paths: Iterable[str]) -> set[str]:
    """Return what files are imported by first: thousands of them begin with the same few words."""
    firsts = {path[: path.find("/") + 1] or path for path in paths}
    return {top for first in firsts if (top := top_name(first))}


def _finder_mapping(path: Path) -> dict[str, Path]:
    """Read the dictionary of a module that setuptools writes, without running it."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    for node in tree.body:
        target: ast.expr | None = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        if not isinstance(target, ast.Name) or target.id != "MAPPING":
            continue
        try:
            read = ast.literal_eval(node.value)  # type: ignore[attr-defined]
        except ValueError:
            return {}
        return {str(name): Path(place) for name, place in dict(read).items()}
    return {}
