"""Which files an analysis reads: expanded, opened once, counted, and all mistakes told together.

The result is what coffea's Runner takes, ``{dataset: {"files": {path: tree}, "metadata": {}}}``,
and knows how many events each file holds, so that what was processed can be checked against it.
"""

import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import yaml

from facility.analysis.files import replicas as caching
from facility.analysis.files import xrootd
from facility.analysis.files.identity import FileNames
from facility.analysis.files.rootfile import Inspection, inspect, is_address
from facility.analysis.files.version import version_of
from facility.analysis.inputs.known_files import KnownFiles
from facility.analysis.inputs.opendata import together
from facility.analysis.inputs.sources import File, expand, tree_behind
from facility.analysis.inputs.steps import left_out, tree_of
from facility.analysis.run_progress import track
from facility.errors import FilesetError
from facility.security import credentials
from facility.wording import counted

LIST_NAMES = (".json", ".yaml", ".yml")
"""How the names of files end that hold a list of inputs."""
THREADS = 8
UNREADABLE = "cannot be read"
"""What is said of a file that another try, or another place, may give."""
PAUSE = 1.0
"""Seconds before all places of a file on a server are tried once more."""

Source = str | Path
Sources = Source | Iterable[Source] | Mapping[str, Any]


class SkippedFilesWarning(UserWarning):
    """Files were left out of a fileset; the message says which and why."""


class Fileset(dict[str, dict[str, Any]]):
    """A fileset as coffea's Runner takes it, with what was learnt when it was made.

    Attributes
    ----------
    events
        Number of events of each file, by its path.
    skipped
        One sentence for each file that was left out.
    found
        What each file was found to be, by path and tree.
    replicas
        Other addresses of the same content, by path.
    """

    def __init__(
        self,
        datasets: Mapping[str, dict[str, Any]],
        events: Mapping[str, int],
        skipped: Iterable[str] = (),
        found: Mapping[tuple[str, str], Inspection] | None = None,
        replicas: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__(datasets)
        self.events = dict(events)
        self.skipped = tuple(skipped)
        self.found = dict(found or {})
        self.replicas = dict(replicas or {})

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (dict(self), self.events, self.skipped, self.found, self.replicas)
        return type(self), parts

    @property
    def total(self) -> int:
        """Number of events in all datasets together."""
        return sum(self.events[path] for data in self.values() for path in data["files"])


def fileset(
    sources: Sources,
    dataset: str = "data",
    treename: str = "CollectionTree",
    on_error: Literal["raise", "skip"] = "raise",
    *,
    metadata: Mapping[str, Any] | None = None,
    xcache: caching.Caches | None = None,
    uproot_options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Fileset:
    """Find and check the files of an analysis.

    Parameters
    ----------
    sources
        A file, a folder (its files named ``*.root`` or ``*.root.1``), a glob, the same on an
        XRootD server (``root://host//folder/``), another address, each also with a tree behind it
        as uproot has it (``file.root:folder/tree;1``) unless a file is called so, a name in Rucio
        (``rucio://scope:name``), a key of ATLAS Open Data (`facility.analysis.inputs.opendata` has
        their forms; it brings the cross-section as metadata), a list of these; or a mapping
        of dataset names to any of these or to coffea's form ``{"files": [...], "treename": ...,
        "metadata": {...}}``, in which `files` may also map paths to tree names, or to what coffea's
        `preprocess` makes, ``{"object_path": ..., "steps": ..., ...}``. A single file named
        ``*.json``, ``*.yaml`` or ``*.yml`` is read and holds any of these; paths in it are relative
        to the current folder.
    dataset
        Name of the dataset where `sources` is not a mapping.
    treename
        The tree to read where `sources` does not say.
    on_error
        ``"raise"`` raises if anything is wrong with any file; ``"skip"`` goes on with the good
        files, warns, and keeps the reasons in `Fileset.skipped`.
    metadata
        What coffea hands to the processor as `events.metadata`, for each dataset.
    xcache
        Caches to read through, as `facility.run` takes them.
    uproot_options
        Arguments of `uproot.open`.
    progress
        Show how far it is when it takes more than two seconds, in a log on stderr.

    Returns
    -------
    Fileset
        Absolute paths, sorted within each glob and folder. What was found of good files is kept
        in the user's cache folder, and a file that has not changed is not opened again.

    Raises
    ------
    FilesetError
        A file is missing, truncated, not a ROOT file or without the tree, a folder or glob gives
        no file, or there is no file at all. All of these are found before it is raised, with one
        sentence each. A file without events is a good one.
    """
    if on_error not in ("raise", "skip"):
        raise FilesetError("The fileset cannot be made", [_wrong_on_error(on_error)])
    problems: list[str] = []
    try:
        hosts = caching.caches(xcache)
    except ValueError as error:
        raise FilesetError("The fileset cannot be made", [f"xcache: {error}."]) from None
    files: dict[str, File] = {}
    told_of: dict[tuple[str, str], object] = {}
    given = sources, dataset, treename, dict(metadata or {})
    wanted = dict(_datasets(*given, problems, files, told_of))
    tasks = sorted({item for data in wanted.values() for item in data["files"].items()})
    items = _inspect_all(tasks, files, hosts, uproot_options, progress)
    found = {(item.path, tree): item for item, tree in items}
    for key, told in told_of.items():
        parts = None if found[key].problem else left_out(told, found[key].events)
        if parts:
            found[key] = found[key]._replace(problem=f"{key[0]} {parts}.")
    problems += [item.problem for item in found.values() if item.problem]
    remarks = []
    if any(item.problem and UNREADABLE in item.problem and is_address(path)
           for (path, _), item in found.items()):  # fmt: skip
        # What servers say of a credential that has ended is rarely that.
        remarks = credentials.remarks(credentials.find(os.environ), time.time())
    result: dict[str, dict[str, Any]] = {}
    for name, data in wanted.items():
        good = {path: tree for path, tree in data["files"].items() if not found[path, tree].problem}
        if good:
            result[name] = {"files": good, "metadata": data["metadata"]}
    if not result and not problems:
        problems.append("the list of files is empty; give at least one file, folder or glob.")
    inputs = counted(len(problems), "input")
    if problems and (on_error == "raise" or not result):
        raise FilesetError(f"{inputs} cannot be used", [*problems, *remarks])
    if problems:
        text = "\n".join(f"  - {problem}" for problem in [*problems, *remarks])
        warnings.warn(f"{inputs} left out:\n{text}", SkippedFilesWarning, stacklevel=2)
    counts = {path: item.events for (path, _), item in found.items()}
    replicas = {path: file.replicas for path, file in files.items() if file.replicas}
    return Fileset(result, counts, problems, found, replicas)


def _wrong_on_error(value: object) -> str:
    return f"on_error={value!r} is neither 'raise' nor 'skip'."


def _inspect_all(
    tasks: list[tuple[str, str]],
    files: Mapping[str, File],
    hosts: tuple[str, ...],
    options: Mapping[str, Any] | None,
    progress: bool,
) -> Iterator[tuple[Inspection, str]]:
    known, names, fresh = KnownFiles(), FileNames(), []
    xrootd.forget_handles(close=True)

    def look(task: tuple[str, str]) -> tuple[Inspection, str]:
        path, tree = task
        file = files[path]
        version = file.version or version_of(path)
        item = known.find(path, tree, version and version.name)
        if item is None:
            item = _inspect(file, tree, hosts, options)
            fresh.append((tree, version and version.name, item))
        name, stamp = file.name or names.of(path), version.stamp if version else ""
        return item._replace(name=name, stamp=stamp), tree

    with ThreadPoolExecutor(THREADS, thread_name_prefix="fileset") as threads:
        results = threads.map(look, tasks)
        yield from track(results, len(tasks), "Checking files", unit="file", show=progress)
    known.keep(fresh)


def _inspect(
    file: File, tree: str, hosts: tuple[str, ...], options: Mapping[str, Any] | None
) -> Inspection:
    """Look into a file, wherever it can be read."""
    places = caching.locations(file.path, file.replicas, hosts)
    for turn in range(2 if is_address(file.path) else 1):
        time.sleep(PAUSE * turn)
        for place in places:
            found = inspect(place, tree, options)
            if not found.problem or UNREADABLE not in found.problem:
                return found._replace(path=file.path)
    return found._replace(path=file.path)


def _datasets(
    sources: Sources,
    dataset: str,
    treename: str,
    metadata: dict[str, Any],
    problems: list[str],
    found: dict[str, File],
    told_of: dict[tuple[str, str], object],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bring every form of `sources` to ``{dataset: {"files": {path: tree}, "metadata": {}}}``.

    What is to be known of each file goes into `found`, and what was told of it into `told_of`, by
    path and tree.
    """
    if isinstance(sources, str | Path) and str(sources).endswith(LIST_NAMES):
        listing = _listing(Path(sources).expanduser().absolute(), problems)
        if listing is None:
            return
        sources = listing
    named: Mapping[str, Any] = sources if isinstance(sources, Mapping) else {dataset: sources}
    for name, value in named.items():
        form = value if isinstance(value, Mapping) else {"files": value}
        if "files" not in form:
            problems.append(f"dataset {name!r} is a mapping without 'files'.")
            continue
        listed = form["files"]
        pairs = (
            listed.items() if isinstance(listed, Mapping) else zip(_as_list(listed), repeat(None))
        )
        files: list[tuple[str, str]] = []
        by_key: dict[str, dict[str, Any]] = {}
        for source, told in pairs:
            try:
                tree, behind = tree_of(told), None
            except ValueError as error:
                problems.append(f"{source} {error}.")
                continue
            if tree is None:
                source, behind = tree_behind(source)
            tree = tree or behind or form.get("treename") or treename
            if not isinstance(tree, str):
                problems.append(f"{source} is without the name of a tree ({tree!r}): treename=.")
                continue
            given = expand(source, problems)
            if given.metadata:
                by_key[str(source)] = given.metadata
            found |= {file.path: file for file in given.files}
            files += [(file.path, tree) for file in given.files]
            told_of |= {(file.path, tree): told for file in given.files if told}
        for path, times in Counter(path for path, _ in files).items():
            if times > 1:
                problems.append(f"{path} is {times} times in dataset {name!r}.")
        known = together(by_key, problems) | metadata | dict(form.get("metadata") or {})
        yield name, {"files": dict(files), "metadata": known}


def _listing(path: Path, problems: list[str]) -> Sources | None:
    """Read a file that holds inputs; keep a sentence where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        read = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(getattr(error, "strerror", None) or error).split())
        problems.append(f"the list of inputs {path} cannot be read: {told}.")
        return None
    if isinstance(read, list | dict) and read:
        return read
    problems.append(
        f"the list of inputs {path} holds neither a list of files nor datasets with their files."
    )
    return None


def _as_list(sources: Any) -> list[Any]:
    if isinstance(sources, str | Path) or not isinstance(sources, Iterable):
        return [sources]
    return list(sources)
