"""From what a user names to files: paths, folders, globs, addresses, datasets of ATLAS."""

import re
from glob import glob, has_magic
from pathlib import Path
from typing import Any, NamedTuple

from facility.analysis.files import xrootd
from facility.analysis.files.open_file import split
from facility.analysis.files.rootfile import LONGEST_LIST, is_address
from facility.analysis.files.version import Version, on_server, version_of
from facility.analysis.inputs import opendata, rucio_dids

ROOT_NAME = re.compile(r"\.root(\.\d+)?$")
"""How the names of ROOT files end, with the attempt number that ATLAS' production adds."""


class File(NamedTuple):
    """One file of the input.

    Attributes
    ----------
    path
        Where it is.
    replicas
        Other addresses of the same content.
    version
        None where that has still to be asked.
    name
        In a catalogue; empty where it has none.
    """

    path: str
    replicas: tuple[str, ...] = ()
    version: Version | None = None
    name: str = ""


class Expansion(NamedTuple):
    """What one source has given.

    Attributes
    ----------
    metadata
        Of the dataset that the files belong to.
    """

    files: list[File]
    metadata: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it


NOTHING = Expansion([])


def expand(source: object, problems: list[str]) -> Expansion:
    """Turn a file, folder, glob or address into files; keep a sentence where there are none."""
    if not isinstance(source, str | Path):
        problems.append(f"{source!r} is neither a path nor an address.")
        return NOTHING
    text = str(source)
    if opendata.is_key(text):
        return _open_data(text, problems)
    if rucio_dids.is_did(text):
        return Expansion(_in_rucio(text, problems))
    if xrootd.is_xrootd(text):
        return Expansion(_on_server(text, problems))
    if is_address(text):
        return Expansion([File(text)])
    return Expansion([File(path) for path in _here(Path(source), problems)])


def tree_behind(source: object) -> tuple[object, str | None]:
    """Take ``file.root:tree`` apart; a file that is called so is that file.

    Returns
    -------
    source : object
        Without the tree.
    tree : str or None
        None where there is none behind it. As in uproot, a `Path` is nothing but a path.
    """
    parts = split(source) if isinstance(source, str) else None
    if parts is None or opendata.is_key(str(source)) or rucio_dids.is_did(str(source)):
        return source, None
    return (source, None) if _is_there(str(source)) else parts


def _is_there(text: str) -> bool:
    """Whether a file is called so, or some match."""
    if is_address(text):
        return version_of(text) is not None
    path = Path(text).expanduser()
    return path.exists() or (has_magic(text) and bool(glob(str(path), recursive=True)))  # noqa: PTH207


def _open_data(key: str, problems: list[str]) -> Expansion:
    try:
        addresses, metadata = opendata.resolve(key)
    except opendata.OpenDataError as error:
        problems.append(str(error))
        return NOTHING
    return Expansion([File(path, name=name) for name, path in addresses.items()], metadata)


def _in_rucio(did: str, problems: list[str]) -> list[File]:
    try:
        found = rucio_dids.resolve(did, problems)
    except rucio_dids.RucioError as error:
        problems.append(str(error))
        return []
    return [File(first, tuple(rest), version, name) for name, (first, *rest), version in found]


def _here(source: Path, problems: list[str]) -> list[str]:
    """Paths on this machine."""
    path = source.expanduser().absolute()
    if path.is_dir():
        inside = sorted(str(entry) for entry in path.iterdir() if ROOT_NAME.search(entry.name))
        if not inside:
            problems.append(f"the folder {path} has no file named *.root; {_content(path)}.")
        return inside
    if has_magic(str(path)) and not path.exists():
        matches = sorted(glob(str(path), recursive=True))  # noqa: PTH207 - absolute patterns
        if not matches:
            folder = next(parent for parent in path.parents if not has_magic(str(parent)))
            problems.append(f"no file matches {path}; {_content(folder)}.")
        return matches
    return [str(path)]


def _content(folder: Path) -> str:
    """Say what a folder holds, for somebody who expected something else."""
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    return _named(str(folder), sorted(entry.name for entry in folder.iterdir()))


def _named(folder: str, names: list[str]) -> str:
    if not names:
        return f"the folder {folder} is empty"
    more = len(names) - LONGEST_LIST
    return f"{folder} holds {', '.join(names[:LONGEST_LIST])}" + (
        f" and {more} more" if more > 0 else ""
    )


def _on_server(address: str, problems: list[str]) -> list[File]:
    """Files on an XRootD server."""
    try:
        if xrootd.is_glob(address):
            found = xrootd.matches(address)
            if not found:
                problems.append(f"no file matches {address}.")
            return [_file(entry) for entry in found]
        # What is called like a file is opened sooner or later anyway.
        if ROOT_NAME.search(address.partition("?")[0]):
            return [File(address)]
        entry = xrootd.look(address)
        if entry is None:
            problems.append(f"{address} does not exist.")
            return []
        if not entry.folder:
            return [_file(entry)]
        inside = xrootd.entries(address)
    except xrootd.XRootDError as error:
        problems.append(str(error))
        return []
    files = [_file(item) for item in inside if ROOT_NAME.search(item.name) and not item.folder]
    if not files:
        names = [item.name for item in inside]
        problems.append(f"the folder {address} has no file named *.root; {_named(address, names)}.")
    return files


def _file(entry: xrootd.Entry) -> File:
    return File(entry.address, (), on_server(entry))
