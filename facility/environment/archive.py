"""Files packed into one archive that is named by its content, and unpacked again."""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facility.system.private_files import make_private, write_private

KEPT_BYTES = 2_000_000_000
"""Of archives on the notebook's disk, the latest of which are kept."""
BLOCK = 4 * 2**20
"""Bytes that are read or sent at a time."""


@dataclass(frozen=True)
class Archive:
    """An archive, as scheduler and workers know it.

    Attributes
    ----------
    digest
        SHA-256 of its bytes, by which it is named.
    size
        Bytes.
    target
        Folder below which it is unpacked.
    name, version
        What is in it.
    imports
        What of it the notebook has imported, so that a worker has to be able to.
    machine
        Architecture that it is for; empty for all.
    """

    digest: str
    size: int
    target: str
    name: str
    version: str = ""
    imports: tuple[str, ...] = ()
    machine: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Archive":
        """Take what came over the wire."""
        return cls(**{**found, "imports": tuple(found["imports"])})


Read = Callable[[str], bytes | None]


def pack(paths: Iterable[str], read: Read) -> bytes:
    """Pack files in memory, the same bytes for the same content.

    Parameters
    ----------
    read
        Returns the content of each; None where it is left out.
    """
    out = io.BytesIO()
    _write(sorted(paths), read, lambda path: 0o644, out)
    return out.getvalue()


def _write(paths: Iterable[str], read: Read, mode: Callable[[str], int], out: Any) -> None:
    import tarfile

    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in paths:
            # As a whole: a file that grows while it is packed is packed as it was.
            data = read(path)
            if data is None:
                continue
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), mode(path)
            tar.addfile(entry, io.BytesIO(data))


def digest_of(data: bytes) -> str:
    """Return the name of an archive."""
    return hashlib.sha256(data).hexdigest()


class Shelf:
    """Archives on a disk, by name: the notebook's, a scheduler's, a worker's.

    Parameters
    ----------
    folder
        Made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where an archive lies, or would."""
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"{digest!r} is no name of an archive")
        return self.folder / f"{digest}.tar"

    def has(self, digest: str) -> bool:
        """Whether it is there as a whole."""
        return self.path(digest).is_file()

    def read(self, digest: str, offset: int) -> bytes:
        """Read the next block; nothing at the end."""
        with self.path(digest).open("rb") as file:
            file.seek(offset)
            return file.read(BLOCK)

    def add(self, data: bytes) -> str:
        """Keep an archive that is in memory; its name."""
        digest = digest_of(data)
        if not self.has(digest):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.path(digest), data)
        return digest

    def append(self, digest: str, offset: int, block: bytes, size: int) -> bool:
        """Take the next block of an archive; whether it was the last, with which all is checked.

        Raises
        ------
        OSError
            There is no room.
        ValueError
            It is not what its name says; it is removed.
        """
        # Of this process's own: the workers of a pod share the folder.
        partial = self.path(digest).with_suffix(f".{os.getpid()}.part")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with partial.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(block)
        if offset + len(block) < size:
            return False
        with partial.open("rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == digest
        if not right or partial.stat().st_size != size:
            partial.unlink()
            raise ValueError(f"archive {digest[:12]} arrived damaged")
        partial.replace(self.path(digest))
        return True

    def packed(self, files: Mapping[str, str]) -> tuple[str, int]:
        """Pack files, or find the archive of them as they are; its name and size.

        Files of the same size and time of change count as the same.

        Raises
        ------
        OSError
        """
        make_private(self.folder)
        known = self.folder / f"{_signature(files)}.json"
        try:
            found = json.loads(known.read_text())
            path = self.path(found["digest"])
            os.utime(path)
            return str(found["digest"]), path.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            pass
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part") as file:
            _write(
                sorted(files), lambda path: _content(files[path]), lambda p: _mode(files[p]), file
            )
            file.flush()
            size = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not self.has(digest):
                os.link(file.name, self.path(digest))
        write_private(known, json.dumps({"digest": digest}).encode())
        return digest, size

    def prune(self, most: int = KEPT_BYTES) -> None:
        """Remove those that have not been used for longest, where all take more than allowed."""
        aged = sorted(
            (
                (path.stat().st_mtime, path.stat().st_size, path)
                for path in self.folder.glob("*.tar")
            ),
            reverse=True,
        )
        for _, size, path in aged:
            most -= size
            if most < 0:
                path.unlink(missing_ok=True)


def _content(place: str) -> bytes | None:
    try:
        return Path(place).read_bytes()
    except FileNotFoundError:  # since it was listed, or in a list that is wrong
        return None


def _mode(place: str) -> int:
    return 0o755 if os.access(place, os.X_OK) else 0o644


def _signature(files: Mapping[str, str]) -> str:
    found = hashlib.sha256()
    for path in sorted(files):
        try:
            status = os.stat(files[path])  # noqa: PTH116
        except OSError:
            continue
        found.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return found.hexdigest()


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive; nothing of it may lie elsewhere.

    Raises
    ------
    OSError
        There is no room.
    tarfile.TarError
        It holds what would lie elsewhere.
    """
    import tarfile

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
