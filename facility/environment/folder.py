"""The user's folder: what lies beside the notebook or script, and of it what travels."""

import os
import stat
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path

from facility import names
from facility.environment.credentials import credential_in
from facility.environment.ignored import Pattern, is_ignored, of_folder
from facility.environment.installed import top_names
from facility.errors import RequestError
from facility.quantity import parse_memory

MOST_FILES = 10_000
"""Files beyond which a folder is none of an analysis."""
SMALL = 10 * 2**20
"""Bytes of modules and small text files that travel where a folder as a whole does not."""
TEXT = (".py", ".json", ".toml", ".yaml", ".yml")
"""Endings of what is sent of a package where a folder as a whole is not."""
CODE = (".py", *EXTENSION_SUFFIXES)
LEFT_OUT = ("__pycache__", "checkpoints", "outputs", "dask-worker-space", "dask-scratch-space")
"""Folders of what runs have made; names that begin with a dot are left out as well."""


@dataclass(frozen=True)
class Limits:
    """How much of a folder travels, in bytes; an administrator sets it."""

    file: int = 50_000_000
    total: int = 500_000_000

    @classmethod
    def said(cls, environ: Mapping[str, str] = os.environ) -> "Limits":
        """Return what the variable FACILITY_SEND says.

        Raises
        ------
        RequestError
            It says something else.
        """
        text = environ.get(names.SEND_VARIABLE)
        if not text:
            return cls()
        file, colon, total = text.partition(":")
        try:
            return cls(parse_memory(file), parse_memory(total if colon else file))
        except ValueError as error:
            problem = f"{names.SEND_VARIABLE}={text}: each of its two sizes {error}, as in 50M:500M"
            raise RequestError("Your folder cannot be sent", [problem]) from None


@dataclass(frozen=True)
class Folder:
    """What there is to send of a folder.

    Attributes
    ----------
    files
        Size and time of change (ns) of each that travels, by its path below the folder.
    left
        Why others stay, by their path; one that ends with a slash is a folder.
    whole
        Whether all of it travels, and not modules and small text files alone.
    """

    path: Path
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True

    @property
    def size(self) -> int:
        """Bytes of all that travels."""
        return sum(size for size, _ in self.files.values())


def users_folder() -> Path:
    """Return where the notebook or script lies: the first place that Python looks for modules."""
    found = Path(sys.path[0] or ".").resolve()
    places = {Path(sysconfig.get_path(name)) for name in ("scripts", "stdlib", "purelib")}
    return found if found.is_dir() and found not in places else Path.cwd()


def look(folder: Path, limits: Limits | None = None) -> Folder:
    """Find what travels of a folder, and what does not.

    Keys and tokens are seen by their content, when it is packed: `withheld`.
    """
    limits = limits or Limits()
    if _is_home(folder):
        return _modules(folder, "it is your home")
    files: dict[str, tuple[int, int]] = {}
    left: dict[str, str] = {}
    for path, status in _walk(folder, left):
        if status.st_size > limits.file:
            left[path] = (
                f"it has {_megabytes(status.st_size)} and a file may have {_megabytes(limits.file)}"
            )
            continue
        files[path] = status.st_size, status.st_mtime_ns
        if len(files) > MOST_FILES:
            return _modules(folder, f"it has more than {MOST_FILES:,} files")
    taken = 0
    for path in sorted(files, key=lambda each: files[each][0]):
        taken += files[path][0]
        if taken > limits.total:
            left[path] = f"all files together may have {_megabytes(limits.total)}"
            del files[path]
    for name in shadows(files, folder):
        for path in [path for path in files if top_names([path]) == {name}]:
            del files[path]
        left[name] = "an installed module has this name"
    return Folder(folder, files, left)


def shadows(files: Mapping[str, object], folder: Path) -> list[str]:
    """Name the modules of a folder that would stand in for Python's own or an installed one."""
    elsewhere = [path for path in sys.path if Path(path or ".").resolve() != folder.resolve()]
    return [
        name
        for name in sorted(top_names(path for path in files if path.endswith(CODE)))
        if name in sys.stdlib_module_names or name == "facility" or _is_installed(name, elsewhere)
    ]


def _is_installed(name: str, places: list[str]) -> bool:
    spec = PathFinder.find_spec(name, places)
    return spec is not None and spec.origin is not None  # and no mere folder of that name


def content(folder: Folder, path: str) -> bytes | None:
    """Read a file that travels; None where it has gone meanwhile, or became a link elsewhere."""
    place = folder.path / path
    try:
        if not place.resolve(strict=True).is_relative_to(folder.path.resolve()):
            return None
        return place.read_bytes()
    except OSError:
        return None


def withheld(data: bytes | None) -> str | None:
    """Say why a file stays whose content has been read; None where it travels."""
    return "it cannot be read" if data is None else credential_in(data)


def _is_home(folder: Path) -> bool:
    try:
        return folder.resolve() in (Path.home().resolve(), Path("/"))
    except (OSError, RuntimeError):
        return False


def _walk(folder: Path, left: dict[str, str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield files below a folder, of its own file system; note what is passed over."""
    try:
        device = folder.stat().st_dev
    except OSError as error:
        left["./"] = str(error.strerror)
        return
    waiting: list[tuple[str, list[Pattern]]] = [("", [])]
    while waiting:
        below, known = waiting.pop()
        own = [*known, *of_folder(folder / below, below)]
        try:
            entries = sorted(os.scandir(folder / below), key=lambda each: each.name)
        except OSError as error:
            left[below] = str(error.strerror)
            continue
        for entry in entries:
            path = below + entry.name
            try:
                is_folder = entry.is_dir()
                if _is_passed_over(entry.name, is_folder) or is_ignored(path, is_folder, own):
                    continue
                status = entry.stat()
                if entry.is_symlink() and (why := _link(Path(entry.path), is_folder, folder)):
                    left[path] = why
                elif status.st_dev != device:
                    left[path + "/" * is_folder] = "it is on another file system"
                elif is_folder:
                    waiting.append((f"{path}/", own))
                elif stat.S_ISREG(status.st_mode):
                    yield path, status
            except OSError as error:
                left[path] = f"it cannot be read: {error.strerror}"


def _is_passed_over(name: str, is_folder: bool) -> bool:
    if name.startswith("."):
        return True
    return name in LEFT_OUT if is_folder else name.endswith((".ipynb", ".pyc", ".pyo"))


def _link(place: Path, is_folder: bool, folder: Path) -> str | None:
    if not place.resolve().is_relative_to(folder.resolve()):
        return "it is a symbolic link out of the folder"
    return "it is a symbolic link to a folder" if is_folder else None


def _modules(folder: Path, why: str) -> Folder:
    """Return modules, packages and their small text files alone."""
    files: dict[str, tuple[int, int]] = {}
    left: dict[str, str] = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        return Folder(folder, {}, {"./": str(error.strerror)}, whole=False)
    for entry in entries:
        name = entry.name.removesuffix(".py")
        if not name.isidentifier():
            continue
        try:
            package = (entry / "__init__.py").is_file()
            if package or entry.suffix == ".py":
                files |= _texts(entry, folder)
        except OSError as error:
            left[entry.name] = f"it cannot be read: {error.strerror}"
    for name in shadows(files, folder):
        files = {path: each for path, each in files.items() if top_names([path]) != {name}}
        left[name] = "an installed module has this name"
    size = sum(each for each, _ in files.values())
    if size > SMALL:
        largest = max(files, key=lambda name: files[name][0])
        left["./"] = (
            f"modules have {_megabytes(size)} of the {_megabytes(SMALL)} that code may have, "
            f"{largest} most"
        )
        files = {}
    left["other files"] = (
        f"{why}, so modules and their small text files alone are sent; work in a folder of its own "
        "(`mkdir ~/my-analysis`), all of which is sent"
    )
    return Folder(folder, files, left, whole=False)


def _texts(entry: Path, folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
        within = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in within.parts)
        if path.suffix in TEXT and path.is_file() and not hidden:
            status = path.stat()
            found[str(within)] = status.st_size, status.st_mtime_ns
    return found


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e6:.1f} MB"
