"""The user's folder on a scheduler or a worker: its files, as the notebook last sent them."""

import importlib
import os
import sys
from collections.abc import Collection, Mapping
from errno import ENOENT
from pathlib import Path
from typing import Any

from facility.environment.archive import unpack
from facility.environment.installed import top_names


class UserFolder:
    """A copy of the folder beside the notebook or script, and the modules in it.

    It is made of layers: all files first, then what has changed since. A layer says, as JSON: the
    ``archive``, which files it has (``files``), and which are gone since the last one
    (``removed``).

    Parameters
    ----------
    path
        Where it lies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: list[str] = []
        """Archives of the layers that it has, in their order."""
        self._tops: set[str] = set()

    def apply(self, layer: Mapping[str, Any], archive: Path) -> None:
        """Lay a change over what is there.

        Raises
        ------
        OSError
            There is no room.
        """
        for name in layer["removed"]:
            (self.path / name).unlink(missing_ok=True)
        unpack(archive, self.path)
        self.applied.append(layer["archive"]["digest"])
        changed = top_names([*layer["files"], *layer["removed"]])
        self._tops |= changed
        forget(changed)

    def put_on_path(self) -> None:
        """Let its modules be imported before all others, as beside a notebook."""
        if str(self.path) not in sys.path:
            sys.path.insert(0, str(self.path))
        importlib.invalidate_caches()


def forget(tops: Collection[str]) -> None:
    """Have modules be imported anew the next time."""
    # A copy: other threads may be importing.
    for name in list(sys.modules):
        if name.partition(".")[0] in tops:
            sys.modules.pop(name, None)
    importlib.invalidate_caches()


_absent: dict[str, str] = {}
"""Why files are not here, by their path below the folder."""
_hooked: list[Path] = []


def explain_absent(folder: Path, absent: Mapping[str, str]) -> None:
    """Have those who open a file that stayed behind be told why it is not here.

    Parameters
    ----------
    folder
        To which their paths refer.
    absent
        Why each stayed behind, by path; a folder ends with a slash.
    """
    _absent.clear()
    _absent.update(absent)
    if absent and not _hooked:
        sys.addaudithook(_look)
    _hooked[:] = [folder]


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _absent or not isinstance(arguments[0], str):
        return
    name = arguments[0]
    folder = str(_hooked[0])
    within = name[len(folder) + 1 :] if name.startswith(f"{folder}/") else name.removeprefix("./")
    why = _absent.get(within) or _absent.get(f"{within.partition('/')[0]}/")
    if why and not os.path.exists(f"{folder}/{within}"):  # noqa: PTH110
        raise FileNotFoundError(
            ENOENT, f"it stayed beside the notebook and was not sent to workers, since {why}", name
        )
