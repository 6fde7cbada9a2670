"""Objects of the user's out of their pickles, each time as new.

cloudpickle keeps the classes that it has made, and updates them in place when they come again:
what a processor has changed in its class would be changed in the next chunk's too, and back again
in the middle of one that runs beside it. Here each `Scope` has classes of its own. What a pickle
holds by name alone is what this process imports by that name.
"""

import gc
import io
import pickle
from collections.abc import Callable, Hashable
from typing import Any

from cloudpickle import cloudpickle
from distributed import Future, get_client

_MAKES_CLASSES = {
    ("cloudpickle.cloudpickle", name): getattr(cloudpickle, name)
    for name in ("_make_skeleton_class", "_make_skeleton_enum")
}
_FILLS_CLASS = ("cloudpickle.cloudpickle", "_class_setstate")
LITTER = 128 * 2**20
"""Bytes unpickled after which Python is to look for garbage.

Classes and functions refer to each other in circles, and what they hold (corrections, for one)
goes with them: without this a worker's memory would fill up.
"""


class Scope:
    """Pickles whose objects belong together: a class that several of them hold is one class.

    Parameters
    ----------
    defined_here
        Whether classes that this process has defined stand for what the pickles say of them, as
        they do for results that come back to where they were asked for.

    Attributes
    ----------
    named
        What was imported by name.
    """

    def __init__(self, *, defined_here: bool = False) -> None:
        self.named: list[object] = []
        self._defined_here = defined_here
        self._classes: dict[str, type] = {}
        self._unfilled: set[type] = set()

    def loads(self, pickled: bytes) -> Any:
        """Unpickle."""
        return _Unpickler(pickled, self).load()

    def _make(self, make: Callable[..., type], *described: Any) -> type:
        """Make a class, unless it has come before."""
        *before, identity, extra = described
        if identity is None:
            return make(*described)
        found = self._classes.get(identity)
        if found is None and self._defined_here:
            found = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(identity)
        if found is None:
            found = make(*before, None, extra)
            self._unfilled.add(found)
            with cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
                # Where it goes from here, it is known as the class that it was made of.
                cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS[found] = identity
                if self._defined_here:
                    cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID[identity] = found
        self._classes[identity] = found
        return found

    def _fill(self, kind: type, state: Any) -> type:
        """Give a class that was just made what is in it."""
        if kind in self._unfilled:
            self._unfilled.discard(kind)
            cloudpickle._class_setstate(kind, state)
        return kind


class Litter:
    """Has what was unpickled and used taken away, once it is much."""

    def __init__(self) -> None:
        self._size = 0

    def leave(self, size: int) -> None:
        """Take note that nobody needs what was unpickled from so many bytes."""
        self._size += size
        if self._size > LITTER:
            self._size = 0
            gc.collect()


class _Unpickler(pickle.Unpickler):
    """Unpickles in a scope."""

    def __init__(self, pickled: bytes, scope: Scope) -> None:
        super().__init__(io.BytesIO(pickled))
        self._scope = scope

    def find_class(self, module: str, name: str) -> Any:
        """Import by name; cloudpickle's makers of classes are the scope's own."""
        if (module, name) == _FILLS_CLASS:
            return self._scope._fill
        make = _MAKES_CLASSES.get((module, name))
        if make is not None:
            return lambda *described: self._scope._make(make, *described)
        found = super().find_class(module, name)
        if found is Future:
            return _future
        self._scope.named.append(found)
        return found


def _future(key: Any) -> Future[Any]:
    """Bind a future of the user's to the client of this worker, as those of published datasets."""
    try:
        client = get_client()
    except ValueError:  # there is none here
        return Future(key)
    made: Future[Any] = Future(key, client)
    client._inform_scheduler_of_futures()
    return made


class Same(Hashable):
    """Equal to another one of the same object; keeps it, so that no other gets its place."""

    def __init__(self, item: object) -> None:
        self._item = item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._item is other._item

    def __hash__(self) -> int:
        return id(self._item)
