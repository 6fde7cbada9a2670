"""Which version of a file there is, asked without opening it.

A version says whether what was learnt of a file still holds: any change makes another one. What
file it is, wherever it is, says `facility.analysis.files.identity`.
"""

import time
import urllib.request
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from facility.analysis.files import xrootd
from facility.analysis.files.rootfile import is_address

TIMEOUT = 20
"""Seconds that a web server may take to answer."""
FRESH_SECONDS = 2.0
"""A time in whole seconds that is not as old as this does not tell of a change just after it."""


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
