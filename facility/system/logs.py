"""Logs of processes: of bounded size while they are written, and shown from their end.

A log is shortened where it lies: those who write to it hold it open, and append.
"""

import asyncio
import codecs
import contextlib
import fcntl
import io
import os
import re
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from facility.system.private_files import open_private

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LIMIT = 5_000_000
"""Bytes beyond which the older half of a log goes."""
SHOWN = 200_000
"""Bytes that are shown of a log."""
LOOK = 1.0
"""Seconds between two looks at how large a log is."""
MARK = "facility: the first {:,} bytes of this log are left out\n"
LOST = "facility: {:,} bytes are missing here, since the disk took nothing more\n"
_MARK = re.compile(rb"facility: the first ([\d,]+) bytes of this log are left out\n")


def shorten(path: Path, limit: int = LIMIT) -> None:
    """Take the older part out of a log that is too long, and say so in its first line."""
    with contextlib.suppress(OSError), path.open("r+b") as log:
        if log.seek(0, os.SEEK_END) > limit:
            _lock(log, fcntl.LOCK_EX)
        if log.seek(0, os.SEEK_END) <= limit:
            return
        before, start = _left_out(log)
        log.seek(-limit // 2, os.SEEK_END)
        kept = log.read()
        kept = kept[kept.find(b"\n") + 1 :]
        left_out = before + log.tell() - start - len(kept)
        # In place, so that it needs no room. What is printed meanwhile may be lost.
        log.seek(0)
        log.write(MARK.format(left_out).encode() + kept)
        log.truncate()


async def keep_short(path: Path) -> None:
    """Look at a log again and again: a program that a task has started may print to it."""
    while True:
        await asyncio.sleep(LOOK)
        await asyncio.to_thread(shorten, path)


def _left_out(log: IO[bytes]) -> tuple[int, int]:
    """Return how many bytes were taken out, and where what is left begins."""
    log.seek(0)
    found = _MARK.match(log.read(100))
    return (int(found[1].replace(b",", b"")), found.end()) if found else (0, 0)


def _lock(log: IO[bytes], how: int) -> None:
    with contextlib.suppress(OSError):  # of a file system without locks
        fcntl.flock(log, how)


def end(path: Path, most: int = SHOWN) -> str:
    """Return the end of a log, after a line that says how much is left out; empty if there is none.

    Parameters
    ----------
    most
        Bytes at most.
    """
    try:
        with path.open("rb") as log:
            _lock(log, fcntl.LOCK_SH)
            left_out, start = _left_out(log)
            log.seek(max(start, log.seek(0, os.SEEK_END) - most))
            begins = log.tell()
            text = log.read()
    except OSError:
        return ""
    if begins > start:
        begins += text.find(b"\n") + 1
        text = text[text.find(b"\n") + 1 :]
    left_out += begins - start
    return (MARK.format(left_out) if left_out else "") + text.decode(errors="replace")


class Follower:
    """What is new in a log since it was last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def new(self) -> str:
        """Return it, after a line about what was taken out before it could be read."""
        with self._path.open("rb") as log:
            _lock(log, fcntl.LOCK_SH)
            left_out, start = _left_out(log)
            missed = left_out > self._read
            log.seek(start + max(0, self._read - left_out))
            found = log.read()
        self._read = max(self._read, left_out) + len(found)
        return (MARK.format(left_out) if missed else "") + self._decoder.decode(found)


class LogStream(io.RawIOBase):
    """A log that is written to: a full disk costs what is printed, and nobody who prints.

    Parameters
    ----------
    path
        Of the log.
    descriptor
        By which it is open already; without one it is opened as soon as that is possible.
    """

    def __init__(self, path: Path, descriptor: int = -1, limit: int = LIMIT) -> None:
        self._path, self._descriptor, self._limit = path, descriptor, limit
        self._lost = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Return the descriptor, which programs that are started inherit."""
        return self._descriptor

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write all, or nothing where the disk takes nothing more."""
        content = bytes(data)
        try:
            if self._descriptor < 0:
                self._descriptor = open_private(self._path, os.O_WRONLY | os.O_APPEND)
            if self._lost:
                self._put(LOST.format(self._lost).encode())
                self._lost = 0
            for begin in range(0, len(content), self._limit):
                self._put(content[begin : begin + self._limit])
                if os.fstat(self._descriptor).st_size > self._limit:
                    shorten(self._path, self._limit)
        except OSError:
            self._lost += len(content)
        return len(content)

    def _put(self, content: bytes) -> None:
        while content:
            content = content[os.write(self._descriptor, content) :]


def print_to(path: Path) -> None:
    """Have this process print to a log that is its standard output and error already."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(LogStream(path, descriptor))
        stream = io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
