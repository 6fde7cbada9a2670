"""coffea's events of a part of a file, with a form that is made once for all files alike.

The form is what coffea makes of the names and the types of a tree's branches: which collections
there are, and what is read when a column is first used. For a real PHYSLITE file it takes a
second. coffea makes it here too; it is then kept, and used again for trees of the same structure.
"""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import uproot
from coffea.nanoevents import NanoEventsFactory
from coffea.nanoevents.mapping import TrivialUprootOpener, UprootSourceMapping
from coffea.nanoevents.schemas import EDM4HEPSchema
from coffea.nanoevents.util import tuple_to_key
from uproot.behaviors.TBranch import TBranch

from facility.analysis.reading.baskets import Baskets
from facility.analysis.reading.tree_layout import LayoutError

MOST = 8
"""Forms kept in a process; one of a real file takes some 10 MB."""


@dataclass(frozen=True)
class Form:
    """A form, ready to be used with files of the same structure.

    Attributes
    ----------
    form, form_dict
        The same in two ways; what they hold as metadata is to be replaced.
    types
        Names of types by the names of branches.
    written
        What the schema adds to the metadata.
    behavior
        Of the schema.
    """

    form: Any
    form_dict: Mapping[str, Any]
    types: Mapping[str, str]
    written: Mapping[str, Any]
    behavior: Callable[[], Any]


def form_of(directory: Any, tree: Any, name: str, key: Hashable, schema: Any) -> Form:
    """Give the form of a tree, made now if none like it was met in this process.

    Parameters
    ----------
    directory, tree, name
        The open file, the tree in it and its name.
    key
        Names what a form depends on: structure of the tree, schema.
    schema
        A coffea schema.

    Raises
    ------
    LayoutError
        The form depends on more than the structure.
    """
    with _lock:
        found = _kept.get(key)
        if found is None:
            try:
                found = _make(directory, tree, name, schema)
            except LayoutError as error:
                found = error
            _kept[key] = found
        _kept.move_to_end(key)
        while len(_kept) > MOST:
            _kept.popitem(last=False)
    if isinstance(found, LayoutError):
        raise LayoutError(*found.args)
    return found


_lock = threading.Lock()
_kept: OrderedDict[Any, Form | LayoutError] = OrderedDict()


def _make(directory: Any, tree: Any, name: str, schema: Any) -> Form:
    if isinstance(schema, type) and issubclass(schema, EDM4HEPSchema):
        raise LayoutError(f"{schema.__name__} looks into each file for more than its branches")
    metadata = _Watched()
    factory = NanoEventsFactory.from_root(
        directory, treepath=name, schemaclass=schema, metadata=metadata
    )
    form = dict(factory._schema.form)
    if metadata.read or "metadata" not in form["parameters"]:
        raise LayoutError("the schema makes use of metadata, which differ from chunk to chunk")
    form["parameters"] = {**form["parameters"], "metadata": {}}
    known = tree.typenames(), metadata.written, factory._schema.behavior
    return Form(ak.forms.from_dict(form), form, *known)


class _Watched(MutableMapping[str, Any]):
    """Metadata without content, which know what was written, and whether somebody has looked."""

    def __init__(self) -> None:
        self.read, self.written = False, dict[str, Any]()

    def __setitem__(self, key: str, value: Any) -> None:
        self.written[key] = value

    def __getitem__(self, key: str) -> Any:
        self.read |= key not in self.written
        return self.written[key]

    def __delitem__(self, key: str) -> None:
        self.read = True

    def __iter__(self) -> Iterator[str]:
        self.read = True
        return iter(self.written)

    def __len__(self) -> int:
        self.read = True
        return len(self.written)


class Columns(UprootSourceMapping):
    """Reads columns as coffea does, of trees for which a form was not made.

    Attributes
    ----------
    types
        Names of the types that the form expects.
    baskets
        Reads simple columns.
    trouble
        What is wrong with a column that was asked for.
    """

    types: Mapping[str, str]
    baskets: Baskets
    trouble: Exception | None = None

    def setup(self) -> None:
        """Have room for what was read, since coffea asks twice for a column of lists."""
        super().setup()
        self._read = uproot.LRUArrayCache("100 MB")

    def extract_column(
        self,
        columnhandle: Any,
        start: int,
        stop: int,
        allow_missing: bool,
        use_ak_forth: bool = True,
    ) -> Any:
        """Read a column as coffea does, at once if it is a simple one."""
        if isinstance(columnhandle, TBranch) and not allow_missing:
            found = self._read.get(columnhandle.cache_key)
            if found is None:
                content = self.baskets.column(columnhandle, start, stop)
                if content is not None:
                    found = self._read[columnhandle.cache_key] = ak.Array(content)
            if found is not None:
                return found
        return super().extract_column(columnhandle, start, stop, allow_missing, use_ak_forth)

    def get_column_handle(self, columnsource: Any, name: str, allow_missing: bool) -> Any:
        """Find a branch, and see that it is of the type that the form expects."""
        found = super().get_column_handle(columnsource, name, allow_missing)
        expected = self.types.get(name)
        if found is not None and found.typename != expected:
            self.trouble = LayoutError(f"{name} is a {found.typename}, not a {expected}")
            raise self.trouble
        return found


class _Ready:
    """What coffea's factory needs of a schema: that of a form."""

    def __init__(self, form: Any, behavior: Callable[[], Any]) -> None:
        self.form, self.behavior = form, behavior


def events_of(
    form: Form,
    tree: Any,
    baskets: Baskets,
    start: int,
    stop: int,
    metadata: Mapping[str, Any],
    options: Mapping[str, Any],
) -> tuple[Any, Columns]:
    """Make coffea's events; columns are read when they are first used.

    Parameters
    ----------
    baskets
        Those of the tree's file.
    start, stop
        Which events.
    metadata
        What the processor sees as `events.metadata`.
    options
        Of `uproot.open`.

    Returns
    -------
    events : ak.Array
    columns : Columns
    """
    key = str(tree.file.uuid), tree.object_path, f"{start}-{stop}"
    columns = Columns(
        TrivialUprootOpener({key[0]: tree.file.file_path}, options),
        start,
        stop,
        cache={},
        file_handle=tree.file,
        use_ak_forth=True,
        virtual=True,
    )
    columns.types, columns.baskets = form.types, baskets
    columns.preload_column_source(key[0], key[1], tree)
    told = {**metadata, **copy.deepcopy(dict(form.written))}
    ready = form.form.copy(parameters={**form.form.parameters, "metadata": told})
    schema = _Ready(ready, form.behavior)
    events = NanoEventsFactory(schema, columns, tuple_to_key(key), mode="virtual").events()
    parameters = {**form.form_dict["parameters"], "metadata": told}
    events.attrs["@form"] = {**form.form_dict, "parameters": parameters}
    return events, columns
