"""Takes over in a worker what came of the notebook: `facility.kubernetes.secret_sync` sends it."""

import asyncio
import json
import os
from collections.abc import MutableMapping
from pathlib import Path

from facility import names
from facility.system.private_files import write_private

BELONGINGS_FOLDER = "/etc/facility/belongings"
"""Where workers' pods mount it."""
LOOK_EVERY = 5.0
"""Seconds between two looks at what Kubernetes has mounted."""
VARIABLES = {
    names.BELONGINGS["X.509 proxy"]: "X509_USER_PROXY",
    names.BELONGINGS["bearer token"]: "BEARER_TOKEN_FILE",
}
"""Variable by which tools find each file."""


class MountedSecret:
    """Files and variables of the notebook, as this process has them.

    Kubernetes mounts a Secret's files as another user's and readable by a group, which XRootD
    refuses of a proxy; so they are copied to files of the worker's own, of mode 0600.

    Parameters
    ----------
    mounted
        Folder that Kubernetes mounts, and keeps as the Secret is.
    folder
        Where the copies go.
    pool
        Name of the worker's pool.
    """

    def __init__(
        self, mounted: Path, folder: Path, pool: str, environ: MutableMapping[str, str] = os.environ
    ) -> None:
        self.mounted = mounted
        self.folder = folder
        self.pool = pool
        self.environ = environ
        self._passed: set[str] = set()

    def take(self) -> None:
        """Copy what is there, and forget what no longer is."""
        for name, variable in VARIABLES.items():
            own = self.folder / name
            try:
                data = (self.mounted / name).read_bytes()
            except OSError:
                own.unlink(missing_ok=True)
                if self.environ.get(variable) == str(own):
                    del self.environ[variable]
                continue
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not own.exists() or own.read_bytes() != data:
                write_private(own, data)
            self.environ[variable] = str(own)
        self._pass_variables()

    def _pass_variables(self) -> None:
        try:
            passed = json.loads((self.mounted / names.variables_file(self.pool)).read_bytes())
        except OSError:
            passed = {}
        for name in self._passed - passed.keys():
            self.environ.pop(name, None)
        # What the pool sets, or the container, is not the user's to change.
        allowed = {name for name in passed if name in self._passed or name not in self.environ}
        self.environ.update((name, passed[name]) for name in allowed)
        self._passed = allowed

    async def keep(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await asyncio.to_thread(self.take)
