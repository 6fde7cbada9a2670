"""When a Dask cluster ends by itself.

It lives while an owner or a client does. The Cluster object is an owner, by a
heartbeat; `fire_and_forget`, queues and clients inside tasks are neither. And
it ends when it is idle: no task anywhere, and no result that a client holds.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from time import monotonic as time  # which does not count a laptop's sleep
from typing import TYPE_CHECKING, Any

from dask.utils import format_time

from facility.scheduler.ends import end

if TYPE_CHECKING:
    from facility.scheduler.routing import RoutedScheduler

logger = logging.getLogger("facility")

CHECK_EVERY = 0.5
SILENT = 30.0
"""Seconds after which an owner who has not been heard of is not counted on."""
FAREWELL = 3.0
"""Seconds between deciding to end and ending, so that owners learn the reason."""


class Lifetime:
    """Owners and clients of a Dask cluster, and the end that follows theirs.

    Parameters
    ----------
    idle_timeout
        Seconds without work and without held results; 0 means for ever.
    owner_timeout
        Seconds without an owner and without a client.
    objects
        Of Kubernetes, which are deleted at the end.
    """

    def __init__(
        self,
        scheduler: "RoutedScheduler",
        *,
        idle_timeout: float,
        owner_timeout: float,
        objects: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.scheduler = scheduler
        self.idle_timeout = idle_timeout
        self.owner_timeout = owner_timeout
        self.objects = list(objects)
        self.owners: dict[str, float] = {}
        self.attended = time()
        self.busy = time()
        self.ending: str | None = None
        self._transitions = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.ensure_future(self._watch())

    def beat(self, owner: str) -> None:
        """Note that an owner lives."""
        self.owners[owner] = self.attended = time()

    def attended_by_owner(self) -> bool:
        """Whether an owner has been heard of lately."""
        return any(heard > time() - SILENT for heard in self.owners.values())

    def end(self) -> None:
        """End, as an owner does that ends everything: it may be killed before it has."""
        self.ending = self.ending or "it was closed"

    def counts(self) -> dict[str, Any]:
        """Clients and idle time, for the owner."""
        return {"clients": len(self.clients()), "idle_s": time() - self.busy}

    def clients(self) -> list[str]:
        """Clients with a connection of their own, not those inside tasks."""
        return [
            client
            for client in self.scheduler.client_comms
            if not client.startswith("Client-worker-")
        ]

    async def _watch(self) -> None:
        while self.ending is None:
            await asyncio.sleep(CHECK_EVERY)
            self._consider()
        await asyncio.sleep(FAREWELL)
        if self.objects:
            logger.warning("this Dask cluster ends: %s", self.ending)
            await asyncio.to_thread(end, self.objects)
        await self.scheduler.close(reason=self.ending)

    def _consider(self) -> None:
        self.ending = self.ending or self._reason_to_end()

    def _reason_to_end(self) -> str | None:
        now = time()
        if self.clients():
            self.attended = now
        if self._is_busy():
            self.busy = now
        if now - self.attended > self.owner_timeout:
            return f"it had neither an owner nor a client for {format_time(self.owner_timeout)}"
        if self.idle_timeout and now - self.busy > self.idle_timeout:
            return f"it was idle for {format_time(self.idle_timeout)}"
        return None

    def _is_busy(self) -> bool:
        scheduler = self.scheduler
        moved = scheduler.transition_counter != self._transitions
        self._transitions = scheduler.transition_counter
        clients = scheduler.clients
        return bool(
            moved
            or scheduler._active_graph_updates
            or scheduler.queued
            or scheduler.unrunnable
            or any(ws.processing for ws in scheduler.workers.values())
            or any(clients[name].wants_what for name in self.clients() if name in clients)
        )
