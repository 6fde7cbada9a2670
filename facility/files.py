"""Files and folders of the user's own: their modes, and what to do where a disk takes no more.

Modes are set and not inherited: with a umask of 0 others could change what is ours.
"""

import contextlib
import errno
import os
import shutil
from pathlib import Path

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
ROOM = 2**20
"""Bytes that have to be free where something is begun that writes little by little."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that go away once there is room."""


def make_folder(path: Path, mode: int = PRIVATE_FOLDER) -> None:
    """Make a folder and its missing parents; one that is there stays as it is.

    Raises
    ------
    OSError
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent, mode)
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        if not path.is_dir():
            raise


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only the user can read, whole or not at all.

    Raises
    ------
    OSError
        With the file's name.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None


def open_private(path: Path, flags: int) -> int:
    """Open a file, made for the user alone where it is missing; its descriptor."""
    return os.open(path, flags | os.O_CREAT, PRIVATE_FILE)


def check_room(folder: Path, size: int = ROOM) -> None:
    """Find out whether a folder takes some more bytes, by writing them: a quota says so only then.

    Raises
    ------
    OSError
    """
    probe = folder / f".room-{os.getpid()}"
    try:
        write_private(probe, bytes(size))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def refusal(error: OSError, folder: Path, instead: str = "set XDG_DATA_HOME to a folder") -> str:
    """Say why a folder cannot be written, and what to do.

    Parameters
    ----------
    instead
        How another folder is chosen.

    Returns
    -------
    str
        A clause and a sentence.
    """
    why = error.strerror or str(error)
    if error.errno == errno.EDQUOT:
        return (
            f"{why}: your quota there is used up, which `quota -s` shows. Remove something, or "
            f"{instead} elsewhere."
        )
    if error.errno in FULL:
        return f"{why} ({free(folder)}). Remove something there, or {instead} on another disk."
    return f"{why}. Make it writable, or {instead} that is."


def free(folder: Path) -> str:
    """Say how much of the disk of a folder, which may be missing, is free."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        usage = shutil.disk_usage(there)
    except (OSError, StopIteration):
        return "its disk does not say how full it is"
    return f"{_size(usage.free)} of {_size(usage.total)} are free on its disk"


def _size(count: int) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
