"""Files that stay open between the chunks of a run, and coffea's events of each chunk.

A file is read along one of two paths, with the same events on both: quickly (`lazytree`, `forms`),
or plainly, as coffea's own Runner reads it. The plain one is taken where a check of the quick one
fails; `OpenFile.plainly` then says which.

Which branches an analysis reads need not be known: a lazy tree reads what is asked for, whenever
that is. Leaving out the others with coffea's `iteritems_options` would take a chunk of a real file
from 763 ms of CPU to 654; the lazy tree takes it to 61, with every field still there.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
from coffea.nanoevents import NanoEventsFactory, PHYSLITESchema
from uproot.behaviors.TTree import TTree

from facility.analysis.files.chunk import SAMPLE, TOLD, Chunk
from facility.analysis.files.open_file import find, open_root
from facility.analysis.files.rootfile import is_address
from facility.analysis.files.version import is_changed, version_of
from facility.analysis.inputs.cut_bookkeepers import Weights, weights
from facility.analysis.reading.relied_on import differing
from facility.analysis.reading.tree_layout import LayoutError
from facility.analysis.serialization.unpickling import Same, Scope
from facility.errors import one_line
from facility.wording import counted

if differing() is None:  # else these may not even load
    from facility.analysis.reading.baskets import Baskets
    from facility.analysis.reading.forms import Columns, events_of, form_of
    from facility.analysis.reading.lazy_tree import VERSIONS, LazyTree, open_lazily

ELSEWHERE = ("adler32:", "md5:", "unknown:")
"""How stamps begin that a file itself does not tell."""
MOST = 4
"""Files that stay open in a thread."""


@dataclass(frozen=True)
class Settings:
    """How chunks are read.

    Attributes
    ----------
    schema
        A coffea schema.
    uproot_options
        Arguments of `uproot.open`.
    weights
        Whether to read the sums of weights of each file.
    xcache
        What `facility.analysis.files.replicas.caches` returns.
    output
        Folder for skims.
    schema_key, key
        Name the schema, and all of it, for what is kept between chunks. Of pickled settings: what
        was pickled, and what this process imports by the names in it. A class that is sent again
        may have changed, and keep its name and its place in memory.
    """

    schema: Any
    uproot_options: Mapping[str, Any] = field(default_factory=dict)
    weights: bool = False
    xcache: tuple[str, ...] = ()
    output: str | None = None
    schema_key: Hashable = None
    key: Hashable = None

    def __post_init__(self) -> None:
        if self.key is None:
            object.__setattr__(self, "schema_key", Same(self.schema))
            object.__setattr__(self, "key", Same(self))

    def __reduce__(self) -> tuple[Any, ...]:
        rest = (self.uproot_options, self.weights, self.xcache, self.output)
        return _settings, (cloudpickle.dumps(self.schema), cloudpickle.dumps(rest))


def _settings(schema: bytes, rest: bytes) -> Settings:
    """Unpickle settings."""
    scope = Scope()
    made = scope.loads(schema)
    named = schema, *map(Same, scope.named)
    options, weights, xcache, output = scope.loads(rest)
    return Settings(made, options, weights, xcache, output, named, (named, rest))


class ChangedFileError(Exception):
    """A file is not the one that the plan was made for."""


class OpenFile:
    """A file that stays open, as one thread uses it.

    Parameters
    ----------
    plainly
        Why to read it as coffea does; None reads it quickly if that is possible.

    Attributes
    ----------
    plainly
        Why it is read as coffea does.
    weights_plainly
        Why its sums of weights were.

    Raises
    ------
    ChangedFileError
    """

    def __init__(self, chunk: Chunk, settings: Settings, plainly: str | None = None) -> None:
        self.settings, self.plainly = settings, plainly
        self.weights_plainly: str | None = None
        self.directory: Any = None
        self._tree: Any = None
        self._baskets: Baskets | None = None
        self._columns: Columns | None = None
        if plainly is None:
            self._open_quickly(chunk)
        if self.directory is None:
            self.directory = open_root(chunk.location, settings.uproot_options)
        self._place = find(self.directory, chunk.tree)
        tree = self._place.key.get()
        if not isinstance(tree, TTree) and settings.schema is PHYSLITESchema:
            self.close()
            raise ValueError(
                f"{chunk.path} holds {chunk.tree!r} as an RNTuple, which coffea's PHYSLITESchema "
                "cannot read; facility.analysis.reading.physlite.PhysliteSchema, the default of "
                "facility.run, can"
            )
        changes = list(self._changes(chunk, tree.num_entries))
        if changes:
            self.close()
            raise ChangedFileError(
                f"{chunk.path} has changed since the run began: {', '.join(changes)}"
            )

    def _changes(self, chunk: Chunk, entries: int) -> Iterator[str]:
        """Compare the file with what the plan was made for."""
        if entries != chunk.entries:
            yield f"it holds {counted(entries, 'event')} instead of {chunk.entries:,}"
        uuid, size = str(self.directory.file.uuid), int(self.directory.file.fEND)
        if uuid != chunk.uuid:
            yield f"its UUID is {uuid} instead of {chunk.uuid}"
        if chunk.stamp == SAMPLE:
            return
        if size != chunk.size:
            yield f"it has {counted(size, 'byte')} instead of {chunk.size:,}"
        # Servers of one name may have copies of other times, which a UUID tells to be the same.
        if chunk.at or (is_address(chunk.path) and chunk.telling):
            return
        if chunk.stamp and not chunk.stamp.startswith(ELSEWHERE):
            version = version_of(chunk.path)
            if version and is_changed(version.stamp, chunk.stamp):
                yield f"it was written at {_time(version.stamp)}, not at {_time(chunk.stamp)}"

    def _open_quickly(self, chunk: Chunk) -> None:
        """Open it with its tree not read, unless a check fails."""
        options, schema = self.settings.uproot_options, self.settings.schema
        self.plainly = differing()
        if self.plainly is None and "custom_classes" in options:
            self.plainly = "uproot_options have custom_classes"
        if self.plainly is not None:
            return
        self.directory = open_lazily(chunk.location, options)
        try:
            location = find(self.directory, chunk.tree)
            tree = location.key.get()
            structure = structure_of(tree)
            if structure is None:
                raise LayoutError(_otherwise(chunk.tree, tree))
            kept = self.settings.schema_key, chunk.tree, structure
            self._form = form_of(location.folder, tree, location.name, kept, schema)
            self._baskets = Baskets(chunk.location, self.directory.file.source)
            self._tree = tree
        except OSError:
            self.close()
            raise
        except Exception as error:  # noqa: BLE001 - damaged bytes make uproot raise anything at all
            # What is wrong with the file itself is met again by uproot and coffea alone.
            self.close()
            self.directory, self.plainly = None, _told(error)

    @property
    def requested(self) -> int:
        """Bytes asked for so far."""
        own = self._baskets.requested if self._baskets is not None else 0
        return int(self.directory.file.source.num_requested_bytes) + own

    @property
    def doubt(self) -> str | None:
        """Why events that were read quickly are not to be trusted, None where they are."""
        if self._tree is None or self._columns is None:
            return None
        trouble = getattr(self._tree, "trouble", None) or self._columns.trouble
        return None if trouble is None else _told(trouble)

    def events(self, chunk: Chunk, metadata: Mapping[str, Any]) -> Any:
        """Make coffea's events of a chunk; columns are read when they are first used."""
        told = (chunk.dataset, chunk.path, chunk.tree, chunk.start, chunk.stop, chunk.uuid)
        everything = {**dict(zip(TOLD, told, strict=True)), **metadata}
        options = self.settings.uproot_options
        if self._tree is not None and self._baskets is not None:
            location = self._tree, self._baskets, chunk.start, chunk.stop
            found, self._columns = events_of(self._form, *location, everything, options)
        else:
            found = NanoEventsFactory.from_root(
                self._place.folder,
                treepath=self._place.name,
                entry_start=chunk.start,
                entry_stop=chunk.stop,
                schemaclass=self.settings.schema,
                mode="virtual",
                metadata=everything,
                uproot_options=options,
            ).events()
        if len(found) != chunk.events:
            raise ChangedFileError(f"{chunk} gave {counted(len(found), 'event')}")
        return found

    def sums_of_weights(self) -> Weights | None:
        """Read what `weights` of the cut bookkeepers does; plainly where that fails."""
        try:
            return weights(self.directory)
        except Exception as error:
            if self._tree is None:
                raise
            reason = _told(error)
        with open_root(self.directory.file.file_path, self.settings.uproot_options) as again:
            found = weights(again)
        self.weights_plainly = f"its sums of weights: {reason}"
        return found

    def forget_arrays(self) -> None:
        """Give back the memory of what uproot has kept of a chunk."""
        cache = self.directory.file.array_cache
        if cache is not None:
            cache.clear()

    def close(self) -> None:
        """Close it, whatever state it is in."""
        if self._baskets is not None:
            self._baskets.close()
        with suppress(Exception):
            self.directory.close()


def structure_of(tree: Any) -> str | None:
    """Name all that a form depends on; None for a TTree that is not lazy."""
    if isinstance(tree, LazyTree):
        return tree.structure
    if isinstance(tree, TTree):
        return None
    described = [(field.path, field.typename, field.description) for field in tree.fields]
    parts = (tree.description, described, tree.typenames())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class _Local(threading.local):
    """The files that are open in each thread, the one used last at the end."""

    def __init__(self) -> None:
        self.files: OrderedDict[tuple[object, ...], OpenFile] = OrderedDict()


_local = _Local()


def open_file(chunk: Chunk, settings: Settings, plainly: str | None = None) -> OpenFile:
    """Give the file of a chunk, open.

    Parameters
    ----------
    plainly
        Why to read it as coffea does, from now on.
    """
    files = _local.files
    key = _identity(chunk), settings.key
    found = files.pop(key, None)
    if found is not None and plainly is not None:
        found.close()
        found = None
    if found is None:
        while len(files) >= MOST:
            files.popitem(last=False)[1].close()
        found = OpenFile(chunk, settings, plainly)
    found.settings = settings
    files[key] = found
    return found


def close_files() -> None:
    """Close all files of this thread."""
    while _local.files:
        _local.files.popitem()[1].close()


def _identity(chunk: Chunk) -> tuple[object, ...]:
    """Say which file this is, such that a replaced one is opened again."""
    if is_address(chunk.location):
        return chunk.location, chunk.tree, chunk.uuid, chunk.size, chunk.stamp
    status = Path(chunk.location).stat()
    return chunk.location, chunk.tree, chunk.uuid, status.st_ino, status.st_size, status.st_mtime_ns


def _otherwise(name: str, tree: Any) -> str:
    """Say why a tree is not lazy."""
    version = tree.class_version
    if version not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        return f"{name} is a {tree.classname} of version {version}, not one of {known}"
    return f"{name} is not laid out as its version {version}; uproot goes by the file's description"


def _time(stamp: str) -> str:
    """Tell a stamp as people read it."""
    try:
        return datetime.fromtimestamp(float(stamp), UTC).isoformat(" ", "milliseconds")
    except ValueError:  # a web server's tag
        return stamp


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, LayoutError) else one_line(error)
