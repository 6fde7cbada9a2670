"""The worker pods of one Dask cluster: posted, followed, ended."""

import asyncio
import logging
import math
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from facility import names
from facility.errors import KubernetesError
from facility.kubernetes import explain
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Object
from facility.kubernetes.client.kinds import POD
from facility.kubernetes.manifests import DaskCluster, worker_pod
from facility.request.checked_request import Ended, PoolRequest
from facility.worker.software import OTHER_SOFTWARE

logger = logging.getLogger("facility")

ASK_AGAIN = 10.0
"""Seconds after which a pod is posted again where a quota was used up."""
SETTLE_SECONDS = 10.0
"""Seconds for which a close waits for calls that are under way."""
EARLY = 8
"""Pods that are posted beside the scheduler's; more would keep a node from starting that first."""
STOP_GRACE = 2
"""Seconds in which a worker closes that has been retired already."""


@dataclass
class Group:
    """Worker processes that share a pod."""

    pod_name: str
    members: tuple[str, ...]
    request: PoolRequest
    pod: Object | None = None
    """As it was last seen."""
    known_since: float = math.inf
    """When it was first seen (monotonic, in seconds)."""
    waits: str = "it has not been posted yet"
    """Why there is no pod."""

    @property
    def scheduled(self) -> bool:
        """Whether its container has been started."""
        return self.pod is not None and explain.is_scheduled(self.pod)

    def see(self, pod: Object) -> Object:
        """Take note of how it is now; what is kept of it."""
        self.pod = trimmed(pod)
        self.known_since = min(self.known_since, time.monotonic())
        return self.pod


class WorkerPods:
    """What has been posted and what became of it.

    Parameters
    ----------
    ready
        Set once the pods' Secret is there.
    """

    def __init__(self, cluster: DaskCluster, api: Api, ready: asyncio.Event) -> None:
        self.cluster = cluster
        self.api = api
        self.groups: dict[str, Group] = {}
        self.closing = False
        self.after_scheduler = asyncio.Event()
        """Set once the scheduler runs, or has had its time: most pods wait for it."""
        self._ready = ready
        self._early = EARLY
        self._ended: list[Ended] = []
        self._full: dict[str, tuple[str, float]] = {}
        self._tails: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # What the controller asks for.

    def start(self, group: str, members: Iterable[str], request: PoolRequest) -> None:
        """Post the pod of a group, or of a part of one that it lost."""
        listed = tuple(members)
        name = group if len(listed) == request.pool.processes else listed[0]
        found = Group(f"{self.cluster.name}-{name}", listed, request)
        self.groups[found.pod_name] = found
        self._run(self._post(name, found))

    def room_for(self, request: PoolRequest) -> str | None:
        """Say which quota is used up, for a while after it refused a pod."""
        why, since = self._full.get(request.pool.name, ("", 0.0))
        if not why or time.monotonic() - since > ASK_AGAIN:
            if why:
                # One pod asks; the others wait for what becomes of it.
                self._full[request.pool.name] = why, time.monotonic()
            return None
        return why

    def ended(self) -> list[Ended]:
        """Return the workers that ended since the last call."""
        found, self._ended = self._ended, []
        return found

    def unplaced(self) -> Collection[str]:
        """Return the members of pods whose container has not been started."""
        return {m for group in self.groups.values() if not group.scheduled for m in group.members}

    async def stop(self, members: Iterable[str]) -> None:
        """End the pods of workers that were retired, or never joined."""
        asked = set(members)
        found = [group for group in self.groups.values() if asked & set(group.members)]
        for group in found:
            del self.groups[group.pod_name]
            # Its other processes end with their pod, which nobody has lost.
            self._ended += [
                Ended(member, "ended with its pod", "", orderly=True)
                for member in group.members
                if member not in asked
            ]
        await asyncio.gather(*(self._delete(group.pod_name, STOP_GRACE) for group in found))

    def reasons(self, pool: str, events: Iterable[Object]) -> list[str]:
        """Say why pods of a pool do not run yet."""
        own = [group for group in self.groups.values() if group.request.pool.name == pool]
        waits = {group.pod_name: group.waits for group in own if group.pod is None and group.waits}
        return explain.pool_reasons([group.pod for group in own if group.pod], events, waits)

    def pod_of(self, member: str) -> str | None:
        """Name of the pod that a worker runs in."""
        return next((g.pod_name for g in self.groups.values() if member in g.members), None)

    def tail(self, member: str) -> str:
        """Return the last lines that a worker printed which has ended."""
        return self._tails.get(member, "")

    # What happens to them.

    def listed(self, pods: Mapping[str, Object], asked: float) -> None:
        """Take note of all pods that there were.

        Parameters
        ----------
        asked
            When the list was asked for: it lacks pods that have been made since.
        """
        for name, group in list(self.groups.items()):
            if name in pods:
                self.seen("MODIFIED", pods[name])
            elif group.pod is not None and group.known_since < asked:
                self.seen("DELETED", group.pod)

    def seen(self, change: str, pod: Object) -> None:
        """Take note of a change of one pod."""
        group = self.groups.get(pod["metadata"]["name"])
        if group is None or self.closing:
            return
        ended = explain.ending(group.see(pod))
        if ended is None and change == "DELETED":
            ended = "was deleted by somebody else", "", None
        if ended is not None:
            self._lost(group, *ended)
            if change != "DELETED":
                self._run(self._delete(group.pod_name, 0 if ended[2] is None else STOP_GRACE))

    def _lost(self, group: Group, how: str, tail: str, code: int | None) -> None:
        del self.groups[group.pod_name]
        deleted = group.pod is not None and "deletionTimestamp" in group.pod["metadata"]
        orderly = code == 0 and not deleted
        final = code == OTHER_SOFTWARE
        for member in group.members:
            self._tails[member] = tail
            self._ended.append(Ended(member, how, tail, orderly, final))

    # Calls.

    async def _post(self, name: str, group: Group) -> None:
        await self._ready.wait()
        self._early -= 1
        if self._early < 0:
            group.waits = "the Dask scheduler goes first"
            await self.after_scheduler.wait()
        if self.closing:
            return
        group.waits = "the API server has not answered yet"
        body = worker_pod(self.cluster, name, group.members, group.request)
        pool = group.request.pool.name
        try:
            pod = await self.api.create(POD, body)
        except KubernetesError as error:
            if self.groups.pop(group.pod_name, None) is None:
                return
            how = f"was refused: {explain.refused(error.message)}"
            if error.over_quota:
                self._full[pool] = explain.refused(error.message), time.monotonic()
            # Where there was no answer, or no room, the controller may ask again.
            again = error.over_quota or error.status is None or error.status >= 429
            self._ended += [
                Ended(member, how, "", orderly=again, final=not again) for member in group.members
            ]
        else:
            group.waits = ""
            self._full.pop(pool, None)
            if group.pod_name in self.groups:
                if group.pod is None:
                    group.see(pod)
            else:
                await self._delete(group.pod_name, 0)

    async def _delete(self, pod: str, grace: int) -> None:
        try:
            await self.api.delete(POD, pod, grace)
        except KubernetesError as error:
            logger.warning("%s", error)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Post nothing more, and wait for the calls that are under way.

        Where it is cut off, these are too.
        """
        self.closing = True
        self.after_scheduler.set()
        self.groups.clear()
        # A call that is cut off may still be obeyed, after what deletes its pod.
        try:
            if self._tasks and self._ready.is_set():
                await asyncio.wait(self._tasks, timeout=SETTLE_SECONDS)
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def trimmed(pod: Object) -> Object:
    """Keep of a pod what is looked at later: hundreds of them are held."""
    metadata = pod["metadata"]
    keys = ("name", "creationTimestamp", "deletionTimestamp", "labels")
    status = pod.get("status", {})
    kept = ("phase", "reason", "message", "conditions", "containerStatuses")
    return {
        "metadata": {key: metadata[key] for key in keys if key in metadata},
        "spec": {"nodeName": pod.get("spec", {}).get("nodeName")},
        "status": {key: status[key] for key in kept if key in status},
    }


def is_worker(pod: Object) -> bool:
    """Tell whether a pod is a worker's, and not the scheduler's."""
    labels = pod["metadata"].get("labels", {})
    return bool(labels.get(names.COMPONENT_LABEL) == names.WORKER_COMPONENT)
