"""Which version of a file there is, asked without opening it, and what a file is called.

Two things are told apart. The *version* says whether what was learnt of a file still holds: any
change makes another one. The *identity*, which a plan's hash and a checkpoint's keys hold, is the
same for replicas of a file and for the same file seen through another mount or server.
"""

import os
import re
import time
import urllib.request
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from facility.analysis import xrootd
from facility.analysis.rootfile import is_address

TIMEOUT = 20
"""Seconds that a web server may take to answer."""
FRESH_SECONDS = 2.0
"""A time in whole seconds that is not as old as this does not tell of a change just after it."""
NO_UUID = "00000000-0000-0000-0000-000000000000"
"""What writers leave that do not make one up: RNTuple's until 2024, Geant4's, reproducible ones."""
MOUNTS = Path("/proc/self/mountinfo")


class Version(NamedTuple):
    """One version of a file.

    Attributes
    ----------
    name
        Differs from that of any other version.
    stamp
        What of it other places of the same file have too: the time of its last change in seconds
        since 1970, or a checksum that a catalogue has told. Empty where neither is known.
    """

    name: str
    stamp: str


class Names:
    """Gives files names that do not depend on the host or on how a disk is mounted."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        try:
            lines = MOUNTS.read_text().splitlines()
        except OSError:  # not Linux
            lines = []
        self._mounts = sorted(map(_mount, lines), key=lambda mount: len(mount.point))
        self._whole: dict[str, str] = {}
        """Where a whole disk is mounted: of several places the shortest."""
        for mount in self._mounts:
            if mount.inside == "/":
                self._whole.setdefault(mount.disk, mount.point)

    def of(self, path: str) -> str:
        """Name a file: an address by its path, one on a disk by where it is on that disk."""
        if is_address(path):
            # Behind a cache stands the address that it reads from.
            rest = path.rpartition("://")[2].partition("/")[2]
            return "/" + rest.partition("?")[0].lstrip("/")
        if os.path.islink(path):  # noqa: PTH114 - hundreds of thousands
            path = os.path.realpath(path)
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self._on_disk(os.path.realpath(folder or "/")).rstrip("/")
        return f"{self._folders[folder]}/{name}"

    def _on_disk(self, folder: str) -> str:
        for mount in reversed(self._mounts):
            if f"{folder}/".startswith(mount.point):
                inside = mount.inside + f"{folder}/"[len(mount.point) :]
                return self._whole.get(mount.disk, "/") + inside[1:]
        return folder


class _Mount(NamedTuple):
    """A line of mountinfo: which disk is at which point, and which of its folders that is."""

    disk: str
    inside: str
    point: str


def _mount(line: str) -> _Mount:
    _, _, disk, *folders = line.split(" ")[:5]
    inside, point = (
        re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), folder).rstrip("/") + "/"
        for folder in folders
    )
    return _Mount(disk, inside, point)


def version_of(path: str) -> Version | None:
    """Tell one version of a file from all others; None where that cannot be told."""
    if not is_address(path):
        return _on_disk(path)
    if xrootd.is_xrootd(path):
        with suppress(xrootd.XRootDError):
            entry = xrootd.look(path)
            return entry and on_server(entry)
    if path.startswith(("http://", "https://")):
        return _on_the_web(path)
    return None


def on_server(entry: xrootd.Entry) -> Version:
    """Tell one version of a file on an XRootD server from others."""
    return Version(f"{entry.size}-{entry.changed}", str(entry.changed))


def is_changed(stamp: str, other: str) -> bool:
    """Whether two stamps of one place tell of different versions; whole seconds tell no more."""
    if "." in stamp and "." in other:
        return stamp != other
    return stamp.partition(".")[0] != other.partition(".")[0]


def is_fresh(stamp: str) -> bool:
    """Whether a file may change once more without a change of its stamp."""
    return stamp.isdecimal() and time.time() - int(stamp) < FRESH_SECONDS


def _on_disk(path: str) -> Version | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    name = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
    return Version(name, _seconds(status.st_mtime_ns))


def _seconds(nanoseconds: int) -> str:
    """Write a time as servers do that tell whole seconds, where it is one."""
    whole, part = divmod(nanoseconds, 10**9)
    return f"{whole}.{part:09d}" if part else str(whole)


def _on_the_web(address: str) -> Version | None:
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            headers = answer.headers
    except (OSError, ValueError):  # opening it will tell what is wrong
        return None
    tag, changed = headers.get("ETag"), headers.get("Last-Modified")
    if not (tag or changed):
        return None
    with suppress(TypeError, ValueError):
        changed = str(int(parsedate_to_datetime(changed).timestamp()))
    return Version(f"{headers.get('Content-Length')}-{tag or changed}", changed or tag)
