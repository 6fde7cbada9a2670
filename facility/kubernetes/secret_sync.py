"""What workers get of the notebook's own: credentials, and the variables that a pool lets pass.

It travels as one Secret of the Dask cluster, so that nothing of it stands in a pod's description,
and is sent again when the notebook's copy changes.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from facility import names
from facility.config import Pool
from facility.errors import KubernetesError
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import SECRET
from facility.kubernetes.manifests import DaskCluster, belongings_secret
from facility.security import credentials
from facility.security.credentials import Credential

logger = logging.getLogger("facility")

LOOK_EVERY = 10.0
"""Seconds between two looks at the notebook's copies."""


def belongings(
    found: Iterable[Credential], pools: Iterable[Pool], environ: Mapping[str, str]
) -> dict[str, bytes]:
    """Return the files of the Secret: each credential, and for each pool its variables as JSON."""
    files = {names.BELONGINGS[each.kind]: each.data for each in found}
    for pool in pools:
        passed = {
            name: value
            for name, value in environ.items()
            if any(fnmatchcase(name, allowed) for allowed in pool.pass_env)
        }
        if passed:
            files[names.variables_file(pool.name)] = json.dumps(passed, sort_keys=True).encode()
    return files


class SecretSync:
    """Keeps the Secret of one Dask cluster as the notebook has it."""

    def __init__(self, cluster: DaskCluster, api: Api, pools: tuple[Pool, ...]) -> None:
        self.cluster = cluster
        self.api = api
        self.pools = pools
        self._found: list[Credential] = []
        self._sent: dict[str, bytes] | None = None
        self._told: set[tuple[str, float | None, bool]] = set()

    async def send(self) -> None:
        """Make or change the Secret, where there is something new.

        Raises
        ------
        KubernetesError
            Where it is refused.
        """
        self._found = await asyncio.to_thread(credentials.find, os.environ)
        files = belongings(self._found, self.pools, os.environ)
        body = belongings_secret(self.cluster, files)
        if self._sent is None:
            if files:
                await self.api.create(SECRET, body)
                self._sent = files
        elif files != self._sent:
            # What is gone has to be named, or it would stay.
            gone = dict.fromkeys(self._sent.keys() - files.keys())
            await self.api.patch(SECRET, body["metadata"]["name"], {"data": body["data"] | gone})
            self._sent = files

    async def keep(self) -> None:
        """Look for changes again and again, and say once what ends."""
        while True:
            self._tell()
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.send()
            except KubernetesError as error:
                logger.debug("%s", error)

    def remarks(self) -> list[str]:
        """Say which credentials have ended, or do so soon."""
        return credentials.remarks(self._found, time.time())

    def _tell(self) -> None:
        now = time.time()
        for each in self._found:
            state = each.kind, each.expires, each.expires is not None and each.expires <= now
            for said in credentials.remarks([each], now):
                if state not in self._told:
                    self._told.add(state)
                    logger.warning(said)
