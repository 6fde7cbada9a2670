"""Which version of a file there is, asked without opening it."""

import urllib.request
from contextlib import suppress
from pathlib import Path

from facility.analysis import xrootd
from facility.analysis.rootfile import is_address

TIMEOUT = 20
"""Seconds that a web server may take to answer."""


def version_of(path: str) -> str | None:
    """Tell one version of a file from all others; None where that cannot be told."""
    if not is_address(path):
        return _on_disk(path)
    if xrootd.is_xrootd(path):
        with suppress(xrootd.XRootDError):
            entry = xrootd.look(path)
            return entry and entry.identity
    if path.startswith(("http://", "https://")):
        return _on_the_web(path)
    return None


def _on_disk(path: str) -> str | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def _on_the_web(address: str) -> str | None:
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            headers = answer.headers
    except (OSError, ValueError):  # opening it will tell what is wrong
        return None
    version = headers.get("ETag") or headers.get("Last-Modified")
    return f"{headers.get('Content-Length')}-{version}" if version else None
