"""Selected events that a processor returns, and that a run writes: one file for each chunk.

A worker writes under a name of that attempt alone. The file gets its real name when the results
that name it are at the client: what was lost with a worker, or was tried again, is never seen.
"""

import copy
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import awkward as ak

from facility.analysis.files.chunk import Chunk
from facility.system.private_files import READABLE_FOLDER, free, keep_from_others, make_folder
from facility.wording import counted

Format = Literal["parquet", "root"]
FORMATS: tuple[Format, ...] = get_args(Format)
UNFINISHED = ".part"
LASTING = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG,
}  # fmt: skip
"""Errors of writing that another try a few seconds later does not get past."""


class SkimError(Exception):
    """A skim cannot be written, and another try would not help."""


class Skim:
    """Columns of events that `facility.run` is to write; anywhere in what a processor returns.

    In the results stands a `Written` in its place, which lists the files.

    Parameters
    ----------
    events
        Events of coffea's, or a mapping of names to arrays, one entry for each event to keep.
    columns
        Which of them: ``"met"``, a whole collection, or ``"Electrons.pt"``; by default all.
    name
        Tells several skims of one processor apart: a folder's name.
    format
        ``"parquet"``, or ``"root"``: a TTree, in which ``Electrons.pt`` is ``Electrons_pt`` and
        its count ``nElectrons``.
    tree
        Name of that TTree, by default that of the input's.

    Raises
    ------
    ValueError
        With what is wrong with the columns, the name or the format.

    Examples
    --------
    >>> def select(events):
    ...     good = events[ak.num(events.Electrons.pt) > 1]
    ...     return {"n": len(good), "ee": Skim(good, ["Electrons.pt", "Electrons.eta"])}
    """

    def __init__(
        self,
        events: Any,
        columns: Iterable[str] | None = None,
        *,
        name: str = "",
        format: Format = "parquet",  # noqa: A002 - what people look for
        tree: str | None = None,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"a skim's format is 'parquet' or 'root', not {format!r}")
        if name and (not re.fullmatch(r"[\w+-][\w.+-]*", name)):
            raise ValueError(f"the name of a skim becomes a folder's, which {name!r} cannot be")
        self.name, self.format, self.tree = name, format, tree
        # They are read here, so that what cannot be read is the processor's error.
        self.columns = {
            column: ak.to_packed(ak.without_parameters(ak.materialize(ak.Array(array))))
            for column, array in _columns(events, columns).items()
        }
        lengths = {column: len(array) for column, array in self.columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the columns of a skim are of equal length, not {lengths or 'none'}")
        self.events = next(iter(lengths.values()))

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Skim is written by facility.run(..., output=folder), and has to stand in the "
            "result itself or in its dictionaries and lists"
        )


def _columns(events: Any, wanted: Iterable[str] | None) -> dict[str, Any]:
    """Take columns, those of a collection together."""
    if isinstance(wanted, str):
        raise ValueError(f"columns is a list of names, not {wanted!r}")
    fields = list(events) if isinstance(events, Mapping) else list(getattr(events, "fields", ()))
    if not fields:
        raise ValueError("a skim is made of events or of a mapping of names to arrays")
    whole: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for column in fields if wanted is None else wanted:
        collection, _, field = column.partition(".")
        if collection not in fields:
            raise ValueError(f"there is no column {column!r}")
        if not field:
            whole[collection] = events[collection]
            continue
        inside = events[collection]
        if field not in ak.fields(inside):
            raise ValueError(f"there is no column {column!r}")
        parts.setdefault(collection, {})[field] = inside[field]
    for collection, found in parts.items():
        depth = min(2, events[collection].ndim)
        whole.setdefault(collection, ak.zip(found, depth_limit=depth))
    return whole


@dataclass(frozen=True)
class SkimFile:
    """A file that was written.

    Attributes
    ----------
    path, part
        Where it is, and under which name it was written.
    name
        That of the skim.
    source, start, stop
        Whose events are in it.
    events, bytes
        How many, and the size of the file.
    """

    path: str
    part: str
    dataset: str
    name: str
    source: str
    start: int
    stop: int
    events: int
    bytes: int


class Written:
    """What has become of skims: in the results at the place where a `Skim` stood.

    Parameters
    ----------
    files
        In the order of the plan; a chunk without events to keep has none.
    """

    def __init__(self, files: Iterable[SkimFile] = ()) -> None:
        self.files = tuple(files)

    def __add__(self, other: Any) -> "Written":
        return Written(self.files + other.files) if isinstance(other, Written) else NotImplemented

    @property
    def paths(self) -> list[str]:
        """Where the files are once the run has ended."""
        return [file.path for file in self.files]

    @property
    def events(self) -> int:
        """Number of events in all of them."""
        return sum(file.events for file in self.files)

    def __repr__(self) -> str:
        size = sum(file.bytes for file in self.files) / 1e6
        events, files = counted(self.events, "event"), counted(len(self.files), "file")
        return f"<{events} in {files}, {size:.1f} MB>"


def written(results: Any) -> list[SkimFile]:
    """List the files that results name."""
    if isinstance(results, Written):
        return list(results.files)
    inside = results.values() if isinstance(results, Mapping) else results
    if isinstance(results, Mapping | list | tuple):
        return [file for value in inside for file in written(value)]
    return []


def stem(chunk: Chunk) -> str:
    """Name of a chunk's files without their suffix: that of its file, its events, and a hash."""
    parts = (chunk.dataset, chunk.path, chunk.tree, chunk.uuid, chunk.size, chunk.start, chunk.stop)
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
    name = re.sub(r"\.root(\.\d+)?$", "", chunk.path.partition("?")[0].rpartition("/")[2])
    return f"{name[:120]}_{chunk.start}-{chunk.stop}_{digest}"


def folder_of(dataset: str) -> str:
    """Name of a dataset's folder."""
    return re.sub(r"[^\w.+-]", "_", dataset).lstrip(".") or "_"


def store(result: Any, chunk: Chunk, folder: str | None, run: str) -> Any:
    """Write the skims in a result, and put in their places what was written.

    Parameters
    ----------
    folder
        Where to; None leaves the result as it is.
    run
        Name of the run, which is in the names of unfinished files.

    Raises
    ------
    SkimError
    OSError
        Nothing was written, and another try may help.
    """
    if folder is None:
        return result
    made: list[SkimFile] = []
    try:
        return _replaced(result, chunk, Path(folder), run, made)
    except BaseException:
        for file in made:
            with suppress(OSError):
                Path(file.part).unlink()
        raise


def _replaced(value: Any, chunk: Chunk, folder: Path, run: str, made: list[SkimFile]) -> Any:
    if isinstance(value, Skim):
        file = _write(value, chunk, folder, run) if value.events else None
        if file is not None and file.path in {other.path for other in made}:
            Path(file.part).unlink()
            raise SkimError(f"two skims are called {value.name!r}: give each a name of its own")
        made += [file] if file else []
        return Written([file] if file else [])
    if isinstance(value, MutableMapping) and _holds(value):
        changed = copy.copy(value)  # of the same type, which may be a dictionary of coffea's
        for key, inner in value.items():
            changed[key] = _replaced(inner, chunk, folder, run, made)
        return changed
    if isinstance(value, list | tuple) and _holds(value):
        parts = [_replaced(inner, chunk, folder, run, made) for inner in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def _holds(value: Any) -> bool:
    if isinstance(value, MutableMapping):
        return any(_holds(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_holds(inner) for inner in value)
    return isinstance(value, Skim)


def _write(skim: Skim, chunk: Chunk, folder: Path, run: str) -> SkimFile:
    where = folder / folder_of(chunk.dataset) / skim.name
    path = where / f"{stem(chunk)}.{skim.format}"
    part = where / f".{path.name}.{run}-{secrets.token_hex(4)}{UNFINISHED}"
    try:
        make_folder(where, READABLE_FOLDER)
        if skim.format == "root":
            _write_tree(part, skim.tree or chunk.tree, skim.columns)
        else:
            ak.to_parquet(ak.zip(skim.columns, depth_limit=1), str(part))
        keep_from_others(part)
        size = part.stat().st_size
    except Exception as error:
        with suppress(OSError):
            part.unlink()
        disk = _of_disk(error)
        if disk is None:
            told = f"the skim cannot be written as {skim.format} ({type(error).__name__}: {error})"
            raise SkimError(told) from error
        if disk.errno is None or disk.errno not in LASTING:
            raise disk from None
        told = f"{path} cannot be written ({os.strerror(disk.errno)})"
        room = f"make room in {folder} ({free(folder)}), or choose another one"
        raise SkimError(f"{told}: {room}") from error
    place = (str(path), str(part), chunk.dataset, skim.name)
    return SkimFile(*place, chunk.path, chunk.start, chunk.stop, skim.events, size)


def _of_disk(error: BaseException | None) -> OSError | None:
    """Find what the system said: libraries fail once more while they clean up after it."""
    while error is not None and not (isinstance(error, OSError) and error.errno):
        error = error.__cause__ or error.__context__
    return error


def _write_tree(path: Path, tree: str, columns: dict[str, Any]) -> None:
    import uproot

    with uproot.recreate(path) as file:
        made = file.mktree(tree, {name: array.type for name, array in columns.items()})
        made.extend(columns)
