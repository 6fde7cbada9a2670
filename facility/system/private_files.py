"""Files and folders of the user's own: their modes, and what to do where a disk takes no more.

Modes are set and not inherited: with a umask of 0 others could change what is ours.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from facility import names

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
READABLE_FOLDER, READABLE_FILE = 0o755, 0o644
"""Modes of what users want to show to others, as far as their umask allows it."""
OTHERS_WRITE = 0o022
ROOM = 2**20
"""Bytes that have to be free where something is begun that writes little by little."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that go away once there is room."""
ELSEWHERE = "set XDG_DATA_HOME to a folder"


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
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def make_private(path: Path) -> None:
    """Make a folder in the user's data or cache folder, and let nobody else change what is there.

    Raises
    ------
    OSError
    """
    make_folder(path)
    for base in (names.data_folder(), names.cache_folder()):
        for place in (path, *path.parents):
            if place.is_relative_to(base) and place.stat().st_mode & OTHERS_WRITE:
                place.chmod(PRIVATE_FOLDER)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only the user can read, whole or not at all.

    Raises
    ------
    OSError
        With the file's name.
    """
    _write(path, content, PRIVATE_FILE)


def write_readable(path: Path, content: bytes) -> Path:
    """Write a file as `write_private` does, which others may read where the umask allows it."""
    _write(path, content, READABLE_FILE)
    return path


def _write(path: Path, content: bytes, mode: int) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
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


def keep_from_others(path: Path) -> None:
    """Let nobody else change a file that a library has made."""
    path.chmod(path.stat().st_mode & ~OTHERS_WRITE)


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Have libraries make what the user alone can read, in a process with one thread."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


# Full disks.


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


def trouble(folder: Path, instead: str = ELSEWHERE, size: int = 2**14) -> str | None:
    """Say why a folder that is there takes nothing more, and what to do; None where it does."""
    try:
        check_room(folder, size)
    except OSError as error:
        return f"{folder} takes nothing more: {refusal(error, folder, instead)}"
    return None


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or its cause, is of a disk that takes nothing more."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False


def refusal(error: OSError, folder: Path, instead: str = ELSEWHERE) -> str:
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
