"""The one way to open a ROOT file and to find a tree in it, for all who read one.

A path is the name of a file, whatever characters are in it: uproot itself takes `a.root:b.root` for
something inside `a.root` and strips spaces, and fsspec takes `a::b` for a file inside another one.
A name in the file may have folders and a cycle, ``/folder/sub/Events;2``.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

import uproot
from uproot.reading import ReadOnlyDirectory
from uproot.source.file import MultithreadedFileSource

INSIDE = re.compile(r"(.+\.root(?:\.\d+)?):([^:].*)", re.IGNORECASE | re.DOTALL)
"""``file.root:tree``, as uproot writes it."""
MOST_KEYS = 10_000
"""Names in a file that are looked at to say what it holds."""
FOLDERS = ("TDirectory", "TDirectoryFile")


class ObjectLocation(NamedTuple):
    """Where an object is in an open file.

    Attributes
    ----------
    folder
        What uproot gives for the folder that it is in.
    name
        Its name there, with its cycle if one was asked for.
    key
        uproot's, which knows its class and reads it.
    """

    folder: Any
    name: str
    key: Any


def open_root(
    path: str,
    options: Mapping[str, Any] | None = None,
    classes: MutableMapping[str, Any] | None = None,
) -> Any:
    """Open a file, as `uproot.open` does.

    Parameters
    ----------
    options
        Of `uproot.open`.
    classes
        What uproot takes for ROOT's classes in this file; its own by default.

    Returns
    -------
    uproot.ReadOnlyDirectory
        To be closed.
    """
    chosen = dict(options or {})
    if "::" in path and "://" not in path:
        chosen.setdefault("handler", MultithreadedFileSource)
    if classes is not None:
        chosen["custom_classes"] = classes
    return uproot.open({path: None}, **chosen)


def find(directory: Any, name: str) -> ObjectLocation:
    """Find an object by its name.

    Parameters
    ----------
    directory
        What `open_root` returns.
    name
        ``Events``, ``folder/Events``, ``/folder/Events``; ``Events;1`` is that cycle, and without
        one it is the latest.

    Raises
    ------
    KeyError
        There is none.
    """
    *folders, last = [part for part in name.split("/") if part] or [""]
    for part in folders:
        key = directory.key(part)
        if key.fClassName not in FOLDERS:
            raise KeyError(name)
        directory = key.get()
    return ObjectLocation(directory, last, directory.key(last))


def held(directory: Any, *, cycles: bool = False) -> Iterator[tuple[str, str]]:
    """List what a file holds, and no folder twice, should it be inside itself.

    Yields
    ------
    tuple of str
        Name, with its folders, and class.
    """
    seen, left = set[int](), MOST_KEYS
    waiting: list[tuple[str, ReadOnlyDirectory]] = [("", directory)]
    while waiting:
        path, folder = waiting.pop(0)
        if folder.fSeekKeys in seen:
            continue
        seen.add(folder.fSeekKeys)
        for name, kind in folder.iterclassnames(recursive=False, cycle=cycles):
            left -= 1
            if left < 0:
                return
            yield f"{path}{name}", kind
            if kind in FOLDERS:
                waiting.append((f"{path}{name.partition(';')[0]}/", folder.key(name).get()))


def split(text: str) -> tuple[str, str] | None:
    """Take ``file.root:tree`` apart; None for what is not written like that."""
    match = INSIDE.fullmatch(text)
    return (match[1], match[2].strip()) if match else None
