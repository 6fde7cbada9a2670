"""Modules that came from another process, made importable in this one."""

import hashlib
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from facility.system.private_files import make_folder, write_private


def top_names(files: Iterable[str]) -> set[str]:
    """Return the names of the modules and packages that files belong to."""
    return {Path(name).parts[0].removesuffix(".py") for name in files}


class ModulePath:
    """Files below a folder of this process's own, from which Python imports first.

    Parameters
    ----------
    folder
        Where they are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: Mapping[str, bytes] = {}
        self._place = ""

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Have these be imported, anew where one of their names was imported before.

        Parameters
        ----------
        files
            What each holds, by its path.
        """
        self.remove()
        content = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
        place = self.folder / content
        for name, data in files.items():
            path = place / name
            make_folder(path.parent)
            write_private(path, data)
        self.files, self._place = files, str(place)
        sys.path.insert(0, self._place)
        self._forget()

    def remove(self) -> None:
        """Have them be found no more."""
        if self._place in sys.path:
            sys.path.remove(self._place)
        self._forget()

    def _forget(self) -> None:
        own = top_names(self.files)
        # A copy: other threads may be importing.
        for name in list(sys.modules):
            if name.partition(".")[0] in own:
                sys.modules.pop(name, None)
        importlib.invalidate_caches()
