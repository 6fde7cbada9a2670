"""What is known of files from earlier runs, so that planning the next one opens none of them.

One small JSON file in the user's cache folder for each folder of input files. An entry counts for
one version of a file: another size, time or inode is another file.
"""

import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from facility import names
from facility.analysis.files.rootfile import Inspection
from facility.system.private_files import make_private, write_private

LAYOUT = 2
"""Changes with what an entry means."""
KEPT_SECONDS = 180 * 86_400
"""How long what nobody asks for is kept."""


class KnownFiles:
    """Inspections of files that were good, by path, tree and identity.

    Parameters
    ----------
    folder
        Where they are kept; by default in the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or names.cache_folder() / "files"
        self._read: dict[Path, dict[str, list[Any]]] = {}
        self._lock = threading.Lock()

    def find(self, path: str, tree: str, identity: str | None) -> Inspection | None:
        """Return what an earlier run has found; None where that is not known."""
        if identity is None:
            return None
        with self._lock:
            entry = self._entries(self._page(path)).get(f"{tree} {path}")
        if not entry or entry[0] != identity:
            return None
        events, uuid, size, cluster = entry[1:]
        return Inspection(path, events, None, uuid, size, cluster)

    def keep(self, found: Iterable[tuple[str, str | None, Inspection]]) -> None:
        """Keep what was found of good files; where that fails, the next run looks again.

        Parameters
        ----------
        found
            Tree, identity and inspection of each.
        """
        fresh: dict[Path, dict[str, list[Any]]] = defaultdict(dict)
        for tree, identity, item in found:
            if identity is not None and item.problem is None:
                row = [identity, item.events, item.uuid, item.size, item.cluster]
                fresh[self._page(item.path)][f"{tree} {item.path}"] = row
        for page, rows in fresh.items():
            self._read.pop(page, None)  # another run may have written meanwhile
            content = {"layout": LAYOUT, "files": {**self._entries(page), **rows}}
            with suppress(OSError):
                make_private(page.parent)
                write_private(page, json.dumps(content).encode())
        if fresh:
            self._forget()

    def _page(self, path: str) -> Path:
        folder = path.rpartition("/")[0]
        return self._folder / f"{hashlib.sha256(folder.encode()).hexdigest()[:24]}.json"

    def _entries(self, page: Path) -> dict[str, list[Any]]:
        if page not in self._read:
            try:
                content = json.loads(page.read_text())
                rows = content["files"] if content["layout"] == LAYOUT else {}
                self._read[page] = {key: row for key, row in rows.items() if _is_row(row)}
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self._read[page] = {}
        return self._read[page]

    def _forget(self) -> None:
        """Remove what has not been written for long."""
        with suppress(OSError):
            for page in self._folder.iterdir():
                if page.stat().st_mtime < time.time() - KEPT_SECONDS:
                    page.unlink()


def _is_row(row: object) -> bool:
    """Whether an entry is what `keep` writes: anything else is looked for in the file."""
    if not isinstance(row, list) or len(row) != 5:
        return False
    identity, events, uuid, size, cluster = row
    numbers = all(type(number) is int and number >= 0 for number in (events, size, cluster))
    return numbers and isinstance(identity, str) and isinstance(uuid, str)
