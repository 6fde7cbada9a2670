"""What a file is called: the same for its replicas, and through another mount or server.

A plan's hash and a checkpoint's keys hold it. Whether the file has changed says
`facility.analysis.files.version`.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from facility.analysis.files.rootfile import is_address

NO_UUID = "00000000-0000-0000-0000-000000000000"
"""What writers leave that do not make one up: RNTuple's until 2024, Geant4's, reproducible ones."""
MOUNTS = Path("/proc/self/mountinfo")


class FileNames:
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
