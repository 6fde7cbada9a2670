"""Users' servers as Kubernetes has them, followed for as long as the hub runs."""

import asyncio
from typing import Any

from kubespawner.spawner import PodReflector


class LastingPods(PodReflector):
    """Follows pods through every refusal and silence of the API server.

    KubeSpawner's own ends the hub when its first look fails, and when it has failed for a minute.
    Servers run on all that time, and another hub would see no more than this one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_failure = None

    async def start(self) -> None:
        """Begin; who needs a first look waits for ``first_load_future``."""
        self.watch_task = asyncio.create_task(self._watch_and_update())

    async def _watch_and_update(self) -> None:
        while not self._stopping:
            await super()._watch_and_update()
