"""Where to read a file from: caches in front of its origin, the origin, other replicas.

A file is always asked of the same cache, which is chosen by a hash of its address, so that each
cache keeps a part of the files and none is kept twice. Where a cache or a server fails, the next
try of a chunk goes to another cache, then to the origins.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from facility import names
from facility.analysis.files.chunk import Chunk
from facility.analysis.files.rootfile import is_address
from facility.analysis.files.xrootd import forget_handles, host_of, is_xrootd

SHUNNED_SECONDS = 300.0
"""How long a server that failed is asked last."""
CACHES_TRIED = 2
"""Caches that are asked for a file before its origin is."""
HOST = re.compile(r"[A-Za-z0-9._\[\]:-]+")

Caches = str | Iterable[str]


def caches(given: Caches | None) -> tuple[str, ...]:
    """Bring names of caches into one form.

    Parameters
    ----------
    given
        ``host:port`` or ``root://host:port``, one or several, also with commas or spaces between;
        None for what the variable FACILITY_XCACHE says.

    Returns
    -------
    tuple of str
        ``root://host:port`` of each.

    Raises
    ------
    ValueError
        One of them is no such name.
    """
    if given is None:
        given = os.environ.get(names.XCACHE_VARIABLE, "")
    parts = [given] if isinstance(given, str) else list(given)
    found = []
    for part in [word for text in parts for word in re.split(r"[,\s]+", str(text)) if word]:
        scheme, _, rest = part.rpartition("://")
        host = rest.rstrip("/")
        if not HOST.fullmatch(host) or (scheme and not is_xrootd(part)):
            raise ValueError(f"{part!r} is not a cache; give host:port or root://host:port")
        found.append(f"{scheme or 'root'}://{host}")
    return tuple(dict.fromkeys(found))


def locations(path: str, replicas: Sequence[str], hosts: Sequence[str]) -> tuple[str, ...]:
    """List where a file can be read, in the order in which it is tried.

    Parameters
    ----------
    path
        Path or address of the file.
    replicas
        Addresses of others with the same content.
    hosts
        What `caches` returns.
    """
    origins = (path, *replicas)
    if not is_xrootd(path) or not hosts:
        return origins

    def rank(host: str) -> bytes:
        # The highest of all hosts wins, so that a new host takes files over and moves no others.
        return hashlib.sha256(f"{host} {path}".encode()).digest()

    ranked = sorted(hosts, key=rank, reverse=True)
    return (*(f"{host}//{path}" for host in ranked[:CACHES_TRIED]), *origins)


class Shunned:
    """Servers of which one process knows that they have failed a while ago."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, location: str) -> None:
        """Take note that a server has failed."""
        if host_of(location):
            self._until[host_of(location)] = time.monotonic() + SHUNNED_SECONDS

    def choose(self, possible: Sequence[str], turn: int) -> str:
        """Choose where to read.

        Parameters
        ----------
        possible
            What `locations` returns.
        turn
            How often another place was tried before.
        """
        at = turn % len(possible)
        order = (*possible[at:], *possible[:at])
        now = time.monotonic()
        good = (location for location in order if self._until.get(host_of(location), 0.0) < now)
        return next(good, order[0])


_shunned = Shunned()


def routed(chunk: Chunk, hosts: Sequence[str]) -> Chunk:
    """Say in a chunk where this process reads it.

    Parameters
    ----------
    hosts
        Caches; without any, those of the variable FACILITY_XCACHE of this process.
    """
    if not is_address(chunk.path) and not chunk.replicas:
        return chunk
    possible = locations(chunk.path, chunk.replicas, hosts or caches(None))
    if len(possible) == 1:
        return chunk
    return replace(chunk, at=_shunned.choose(possible, chunk.turn))


def shun(chunk: Chunk) -> None:
    """Read elsewhere for a while, since this could not be read, and forget the connection."""
    if is_xrootd(chunk.location):
        forget_handles()
    if chunk.at:
        _shunned.add(chunk.at)
