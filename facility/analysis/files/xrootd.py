"""Files on XRootD servers: what a folder or a glob holds, and which version of a file is there."""

import os
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from glob import has_magic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

SCHEMES = ("root", "roots", "xroot", "xroots")
TIMEOUT = 60
"""Seconds that a server may take to list a folder."""
NOT_FOUND = 3011
"""Number of XRootD's error for what does not exist."""
DEFAULTS = {
    "XRD_CONNECTIONWINDOW": "15",
    "XRD_CONNECTIONRETRY": "2",
    "XRD_STREAMERRORWINDOW": "60",
    "XRD_REQUESTTIMEOUT": "300",
}
"""How long XRootD's client waits, in seconds, where the user's variables do not say.

With these a server that is down was given up after 15 s, with the client's own after 8 minutes;
one that hangs has half an hour by its defaults. Here there may be another place to read from.
"""
OPAQUE = re.compile(r"\?[\w.]+=")
"""How information for the server begins behind a path, which is not a wildcard."""

for _name, _value in DEFAULTS.items():
    # XRootD's library reads them when it is loaded, by whoever needs it first.
    os.environ.setdefault(_name, _value)


class XRootDError(Exception):
    """A server does not answer, or not with what was asked; the message is a sentence."""


class Entry(NamedTuple):
    """What a server says of a path.

    Attributes
    ----------
    address
        The whole address.
    folder
        Whether it is one.
    size
        Bytes.
    changed
        Time of its last change, in seconds since 1970.
    """

    address: str
    name: str
    folder: bool
    size: int
    changed: int


def is_xrootd(address: str) -> bool:
    """Whether an address is one of XRootD's."""
    return address.partition("://")[0] in SCHEMES


def is_glob(address: str) -> bool:
    """Whether an address has wildcards in its path."""
    return has_magic(_split(address)[1])


def forget_handles(*, close: bool = False) -> None:
    """Let files be opened anew.

    fsspec keeps what it has opened, the handles of connections that broke and of files that were
    replaced meanwhile too.

    Parameters
    ----------
    close
        Close them, also in other threads that read: as long as one is open, a server goes on
        giving the file that it was.
    """
    module = sys.modules.get("fsspec_xrootd.xrootd")
    if module is None:
        return
    if close:
        for system in list(module.XRootDFileSystem._cache.values()):
            system.invalidate_cache()
    module.XRootDFileSystem.clear_instance_cache()


def look(address: str) -> Entry | None:
    """Ask what there is at an address.

    Returns
    -------
    Entry or None
        None where there is nothing.

    Raises
    ------
    XRootDError
        The server does not say.
    """
    host, path, opaque = _split(address)
    found = _answer(host, path, _server(host).stat(path + opaque, timeout=TIMEOUT))
    return found and _entry(address, path.rstrip("/").rpartition("/")[2], found)


def entries(folder: str) -> list[Entry]:
    """List a folder by name.

    Raises
    ------
    XRootDError
        There is no such folder, or the server does not say.
    """
    from XRootD.client.flags import DirListFlags

    host, path, opaque = _split(folder)
    listed = _server(host).dirlist(path + opaque, DirListFlags.STAT, timeout=TIMEOUT)
    found = _answer(host, path, listed)
    if found is None:
        raise XRootDError(f"the folder {folder} does not exist.")
    begin = f"{host}/{path.rstrip('/')}"
    return sorted(
        _entry(f"{begin}/{item.name}{opaque}", item.name, item.statinfo)
        for item in found
        if item.statinfo is not None
    )


def matches(pattern: str) -> list[Entry]:
    """Find the files that match an address with wildcards; ``**`` stands for any folders.

    Raises
    ------
    XRootDError
        The folder before the first wildcard does not exist, or the server does not say.
    """
    host, path, opaque = _split(pattern)
    parts = path.strip("/").split("/")
    fixed = next(number for number, part in enumerate(parts) if has_magic(part))
    root = f"{host}//{'/'.join(parts[:fixed])}{opaque}"
    found = {entry.address: entry for entry in _below(root, parts[fixed:])}
    return [found[address] for address in sorted(found)]


def _below(folder: str, parts: list[str]) -> Iterator[Entry]:
    """Files below a folder whose path from there matches."""
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _below(folder, rest or ["*"])
        for entry in entries(folder):
            if entry.folder and not entry.name.startswith("."):
                yield from _below(entry.address, parts)
        return
    for entry in entries(folder):
        hidden = entry.name.startswith(".") and not first.startswith(".")
        if hidden or not fnmatchcase(entry.name, first):
            continue
        if rest and entry.folder:
            yield from _below(entry.address, rest)
        elif not rest and not entry.folder:
            yield entry


def _split(address: str) -> tuple[str, str, str]:
    """Take an address apart: ``root://host``, ``/path`` and what is meant for the server."""
    begin = OPAQUE.search(address)
    location, opaque = (
        (address[: begin.start()], address[begin.start() :]) if begin else (address, "")
    )
    scheme, _, rest = location.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", "/" + path.lstrip("/"), opaque


def host_of(address: str) -> str:
    """Name of the server of an address, with its port."""
    return urlsplit(address).netloc


def _server(host: str) -> Any:
    from XRootD.client.filesystem import FileSystem

    return FileSystem(host)


def _answer(host: str, path: str, answer: tuple[Any, Any]) -> Any:
    status, found = answer
    if status.ok:
        return found
    if status.errno == NOT_FOUND:
        return None
    told = " ".join(status.message.split()).removeprefix("[ERROR] ").removeprefix("[FATAL] ")
    raise XRootDError(f"{host}/{path} cannot be listed ({told or status.code}).")


def _entry(address: str, name: str, status: Any) -> Entry:
    from XRootD.client.flags import StatInfoFlags

    folder = bool(status.flags & StatInfoFlags.IS_DIR)
    return Entry(address, name, folder, int(status.size), int(status.modtime))
