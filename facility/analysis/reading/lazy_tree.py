"""A TTree whose branches are read when they are first asked for.

The metadata of a real PHYSLITE tree are 1,343 branches, of which an analysis reads a few, and
uproot makes Python objects of all of them. Here only names and types are looked at beforehand, in
the bytes themselves. uproot still reads each branch, and all else that the file holds: what it
takes for a TTree and for a list of branches is told with `uproot.open(custom_classes=...)`.

ROOT's bytes refer to earlier places among them: to where a class was named first, to the counter
of a jagged branch. Such a place may lie in a branch that has not been read: see `_References`.

The layout of the bytes and the models are ROOT's and uproot's own affair, so both are checked: what
is not as expected raises `LayoutError` (or what uproot raises for bytes that make no sense), and
the caller reads the file as uproot does.
"""

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, ClassVar

import uproot
from uproot.deserialization import read_object_any
from uproot.models.TObjArray import Model_TObjArray
from uproot.models.TTree import Model_TTree, Model_TTree_v19, Model_TTree_v20
from uproot.source.cursor import Cursor

from facility.analysis.files.open_file import open_root
from facility.analysis.reading.tree_layout import MAP_OFFSET, BranchSpan, Layout, LayoutError


class LazyTree:
    """uproot's TTree, with its branches and leaves not read yet.

    Attributes
    ----------
    structure
        Names the title of the tree and the names, titles and types of its branches, in their order.
    """

    member: Any
    members: Mapping[str, Any]
    structure: str

    @property
    def trouble(self) -> Exception | None:
        """What reading a branch has raised; None while all is well."""
        found: Exception | None = self.member("fBranches").trouble
        return found

    def postprocess(self, chunk: Any, cursor: Any, context: Any, file: Any) -> Any:
        """Do what uproot does, without asking each branch for its name."""
        branches = self.member("fBranches")
        if not isinstance(branches, _Branches):
            raise LayoutError("uproot reads the list of branches in another way")
        self._chunk, self._lookup = chunk, _Lookup(branches)
        title = self.member("fTitle").encode()
        self.structure = hashlib.sha256(b"\0".join([title, *branches.types])).hexdigest()
        return self


class _Array(Model_TObjArray):
    """Stands for a TObjArray, and leaves those of a tree for later."""

    @classmethod
    def read(
        cls,
        chunk: Any,
        cursor: Any,
        context: Any,
        file: Any,
        selffile: Any,
        parent: Any,
        concrete: Any = None,
    ) -> Any:
        """Choose by what the array belongs to."""
        kind: Any = Model_TObjArray
        if isinstance(parent, LazyTree):
            kind = _Leaves if "fBranches" in parent.members else _Branches
        return kind.read(chunk, cursor, context, file, selffile, parent, concrete)


class _Leaves(Model_TObjArray):
    """The leaves of a tree. uproot finds them in their branches and asks for this list never."""

    def read_members(self, chunk: Any, cursor: Any, context: Any, file: Any) -> None:
        """Read nothing but where it ends."""
        self._later = chunk, cursor.copy(), dict(context), file
        cursor.skip_after(self)

    def __getattr__(self, name: str) -> Any:
        if name != "_data":
            raise AttributeError(name)
        super().read_members(*self._later)
        return self.__dict__[name]


class _Branches(Model_TObjArray):
    """The branches of a tree, each read when it is first asked for.

    Attributes
    ----------
    spans
        Where they are.
    types
        Describes them and what is inside them.
    trouble
        What reading one has raised.
    """

    spans: list[BranchSpan]
    types: list[bytes]
    trouble: Exception | None = None

    def read_members(self, chunk: Any, cursor: Any, context: Any, file: Any) -> None:
        """Look where they are."""
        data = bytes(chunk.get(chunk.start, chunk.stop, cursor, context))
        layout, self.types = Layout(data, cursor.origin - chunk.start), []
        stop, self.spans = layout.branches(self._cursor.index - chunk.start, self.types)
        self._read_already: dict[int, Any] = {}
        self._being_read: set[int] = set()
        self._lock = threading.RLock()
        self._from = chunk, dict(context), file
        self._references = _References(cursor.refs, self, layout, cursor.origin)
        # What follows the branches may refer to them too.
        cursor._refs = self._references
        cursor.move_to(stop + chunk.start)

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, slice):
            return [self[index] for index in range(*where.indices(len(self)))]
        index = range(len(self))[where]
        found = self._read_already.get(index)
        if found is None:
            with self._lock:
                found = self._read_already[index] = self._read(index)
        return found

    @property
    def _data(self) -> list[Any]:
        return list(self)

    def _read(self, index: int) -> Any:
        (chunk, context, file), span = self._from, self.spans[index]
        cursor = Cursor(span.start + chunk.start, self._cursor.origin, self._references)
        self._being_read.add(index)
        try:
            found = read_object_any(chunk, cursor, dict(context), file, self._file, self._parent)
            if (found.name, cursor.index - chunk.start) != (span.name, span.stop):
                raise LayoutError(f"{span.name} was not read where it is")
        except Exception as error:
            self.trouble = error
            raise
        finally:
            self._being_read.discard(index)
        # Or uproot asks all branches to count which this is.
        found._index = index
        return found

    def read_at(self, at: int) -> None:
        """Read the branch at a place in the bytes, unless it is just being read."""
        index = bisect_right(self.spans, at, key=lambda span: span.start) - 1
        if index >= 0 and at < self.spans[index].stop and index not in self._being_read:
            self[index]


class _References(dict[int, Any]):
    """What was read so far, by its place; what is asked for beyond that is read now."""

    def __init__(
        self, known: Mapping[int, Any], branches: _Branches, layout: Layout, origin: int
    ) -> None:
        super().__init__(known)
        self._branches, self._layout = branches, layout
        self._origin = origin - branches._from[0].start

    def __contains__(self, reference: object) -> bool:
        if not super().__contains__(reference):
            at = int(reference) - MAP_OFFSET + self._origin  # type: ignore[call-overload]
            name = self._layout.class_at(at)
            if name is not None:
                self[int(reference)] = self._branches._from[2].class_named(name)  # type: ignore[call-overload]
            else:
                self._branches.read_at(at)
        return super().__contains__(reference)


class _Lookup(Mapping[str, Any]):
    """Branches by name; of several with one name the first."""

    def __init__(self, branches: _Branches) -> None:
        self._branches = branches
        spans = reversed(list(enumerate(branches.spans)))
        self._index = {span.name: index for index, span in spans}

    def __getitem__(self, name: str) -> Any:
        return self._branches[self._index[name]]

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


class _Tree19(LazyTree, Model_TTree_v19):
    """Of ROOT 5.30 to 6.12."""


class _Tree20(LazyTree, Model_TTree_v20):
    """Of ROOT since 6.14."""


class _Tree(Model_TTree):
    """Stands for TTree, of which `VERSIONS` are those that this module knows."""

    known_versions: ClassVar = {**Model_TTree.known_versions, 19: _Tree19, 20: _Tree20}


VERSIONS = (19, 20)

# uproot tells by the name what a model is of.
_Tree19.__name__ = Model_TTree_v19.__name__
_Tree20.__name__ = Model_TTree_v20.__name__
_Tree.__name__ = Model_TTree.__name__
for _kind in (_Array, _Leaves, _Branches):
    _kind.__name__ = Model_TObjArray.__name__

_shared: dict[str, Any] = {}


class _Classes(MutableMapping[str, Any]):
    """What stands for ROOT's classes in one file.

    What uproot has made of a file's own descriptions is kept for the next file, as uproot does.
    A class that it takes away, since a file's objects do not fit it, is gone for that file only.
    """

    def __init__(self) -> None:
        self._own: dict[str, Any] = {"TTree": _Tree, "TObjArray": _Array}
        self._gone = set[str]()

    def __getitem__(self, name: str) -> Any:
        if name in self._own or name in self._gone:
            return self._own[name]
        return _shared[name] if name in _shared else uproot.classes[name]

    def __setitem__(self, name: str, value: Any) -> None:
        (self._own if name in self._own or name in self._gone else _shared)[name] = value

    def __delitem__(self, name: str) -> None:
        self[name]
        self._own.pop(name, None)
        self._gone.add(name)

    def __iter__(self) -> Iterator[str]:
        names = {**uproot.classes, **_shared, **self._own}
        return (name for name in names if name in self._own or name not in self._gone)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def open_lazily(path: str, options: Mapping[str, Any]) -> Any:
    """Open a file whose trees are lazy.

    Parameters
    ----------
    options
        Of `uproot.open`.
    """
    return open_root(path, options, _Classes())
