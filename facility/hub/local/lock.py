"""One hub at a time for each data folder."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facility.errors import HubError


@contextmanager
def only_one(folder: Path) -> Iterator[Callable[[str], None]]:
    """Hold the lock of a hub's folder.

    The lock is the kernel's, so that of a killed process is free at once; the
    file's content only serves to tell others who holds it.

    Yields
    ------
    callable
        To be called with the hub's address once that is known.

    Raises
    ------
    HubError
        Where another process holds it, or the file system has no locks.
    """
    path = folder / "running"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HubError(_refusal(path.read_text().split())) from error
        except OSError as error:
            raise HubError(
                f"{path} cannot be locked ({error.strerror}), as on some network file systems. "
                "Set XDG_DATA_HOME to a folder on a local disk."
            ) from error
        path.write_text("")
        yield lambda address: _write(path, f"{os.getpid()} {address}\n")
    finally:
        os.close(descriptor)


def holder(folder: Path) -> int | None:
    """Process that holds the lock, None where nobody does."""
    path = folder / "running"
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        words = path.read_text().split()
        return int(words[0]) if words else None
    return None


def _write(path: Path, content: str) -> None:
    path.write_text(content)


def _refusal(holder: list[str]) -> str:
    if len(holder) != 2:
        return "Your hub is being started by another process; give it a few seconds."
    pid, address = holder
    return (
        f"Your hub already runs at {address} (process {pid}). Open that address, or stop it "
        "with Ctrl-C where it was started, or with: facility hub --stop"
    )
