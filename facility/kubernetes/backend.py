"""Starts and ends the scheduler and the worker pods of one Dask cluster."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from facility import names
from facility.config import Config, Pool
from facility.dask_process.dashboard_access import new_token
from facility.errors import ClusterFailedError, KubernetesError, RequestError
from facility.kubernetes import deletion, explain, manifests
from facility.kubernetes.client import pod_logs
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call, Object
from facility.kubernetes.client.interruptible import LOOK, Hurry
from facility.kubernetes.client.kinds import DASK_CLUSTER, EVENT, POD, SECRET, SERVICE
from facility.kubernetes.client.port_forward import Forward
from facility.kubernetes.client.watch import follow
from facility.kubernetes.lease import Lease
from facility.kubernetes.pod_template import PodTemplate
from facility.kubernetes.readiness import until_it_listens
from facility.kubernetes.secret_sync import SecretSync
from facility.kubernetes.worker_pods import SETTLE_SECONDS, WorkerPods, is_worker, trimmed
from facility.request.checked_request import Ended, PoolRequest
from facility.security.certificates import Authority, authority
from facility.system.logs import SHOWN
from facility.worker.software import software

if TYPE_CHECKING:
    from distributed.security import Security

logger = logging.getLogger("facility")

LOOK_EVERY = 2.0
"""Seconds between two looks at what holds pods up."""
DULL = ("Scheduled", "Created", "Started", "Pulled", "Killing", "SuccessfulCreate")
"""Reasons of events that hold nothing up; hundreds of workers make thousands of them."""

HURRIED_SECONDS = 3.0
"""Seconds in which the end is asked for where its user is in a hurry."""
SCHEDULER_FIRST = 5.0
"""Seconds after which many workers no longer wait until the scheduler runs."""


class KubernetesBackend:
    """The pods of one Dask cluster.

    Parameters
    ----------
    name
        Name of the Dask cluster.
    template
        Where its pods come from.
    config
        The pools that it may have.
    lease
        What owns its objects, where this process does not run in a pod that could.
    """

    shares_files = False

    def __init__(
        self, name: str, api: Api, template: PodTemplate, config: Config, lease: Lease | None = None
    ) -> None:
        self.name = name
        self.api = api
        self.lease = lease
        self.authority: Authority = authority()
        self.cluster = manifests.DaskCluster(name, template, software())
        self._ready = asyncio.Event()
        self.pods = WorkerPods(self.cluster, api, self._ready)
        self.belongings = SecretSync(self.cluster, api, tuple(config.pools.values()))
        self._schedulers: dict[str, Object] = {}
        self._resource: Object | None = None
        self._events: list[Object] = []
        self._changed = asyncio.Event()
        self._created: float | None = None
        self._serves = False
        self._ended: str | None = None
        self._orderly = False
        self._making: asyncio.Future[None] | None = None
        self._hurry = Hurry()
        self._tasks: list[asyncio.Task[None]] = []
        self._forwards: list[Forward] = []
        self.dashboard_token = ""

    @property
    def security(self) -> "Security":
        """What a client needs to connect."""
        return self.authority.security()

    # The scheduler.

    async def start_scheduler(
        self, settings: Mapping[str, Any], pools: Iterable[str]
    ) -> dict[str, Any]:
        """Start the scheduler; its address.

        Raises
        ------
        ClusterFailedError
            Where it ends instead, or may not be made.
        RequestError
            Where a Dask cluster of that name runs.
        """
        # A call that is cut off may still be obeyed, so that none is.
        self._making = asyncio.ensure_future(self._make(settings))
        try:
            await asyncio.shield(self._making)
        except KubernetesError as error:
            raise self._not_made(error) from error
        self._ready.set()
        # Where it waits for a node, an autoscaler has to see what else is wanted.
        asyncio.get_running_loop().call_later(SCHEDULER_FIRST, self.pods.after_scheduler.set)
        work = [self._follow(), self._look(), self.belongings.keep()]
        work += [self.lease.keep()] if self.lease is not None else []
        self._tasks = [asyncio.ensure_future(each) for each in work]
        while not self._serves:
            await self._changed.wait()
            self._changed.clear()
            if self._ended:
                tail = next((e[1] for e in map(explain.ending, self._schedulers.values()) if e), "")
                raise ClusterFailedError(
                    f"The scheduler of Dask cluster {self.name!r} did not start: it "
                    f"{self._ended}." + (f" Its log ends with:\n{tail}" if tail else "")
                )
        if self.lease is not None:
            return await self._forwarded()
        address = await self._address()
        await until_it_listens(address)
        return {"address": address}

    async def _make(self, settings: Mapping[str, Any]) -> None:
        if self.lease is not None:
            self._belongs_to(await self.lease.take())
        objects = deletion.as_settings(self._deletions())
        body = manifests.dask_cluster(self.cluster, {**settings, "objects": objects})
        self._resource = await self.api.create(DASK_CLUSTER, body)
        self._created = time.monotonic()
        issued = (self._issue(role) for role in ("scheduler", "worker"))
        await asyncio.gather(self.belongings.send(), *issued)

    def _belongs_to(self, owner: Mapping[str, str]) -> None:
        template = replace(self.cluster.template, owner=owner)
        self.cluster = replace(self.cluster, template=template)
        self.pods.cluster = self.belongings.cluster = self.cluster

    def _deletions(self) -> list[Call]:
        lease = self.lease.deletions() if self.lease is not None else []
        return [*lease, *deletion.deletions(self.api.namespace, self.name)]

    async def _forwarded(self) -> dict[str, Any]:
        """Open ways from outside to the scheduler and its dashboard."""
        pod = next(iter(self._schedulers))
        both = (names.SCHEDULER_PORT, names.DASHBOARD_PORT)
        self.dashboard_token = new_token()
        tokens = ("", self.dashboard_token)
        self._forwards = [
            Forward(self.api, pod, port, token) for port, token in zip(both, tokens, strict=True)
        ]
        port, dashboard = [await each.open() for each in self._forwards]
        return {"address": f"tls://{names.LOOPBACK}:{port}", "services": {"dashboard": dashboard}}

    async def _address(self) -> str:
        """Return the Service's address by number: a name that is new may take a while to know."""
        service = await self.api.get(SERVICE, names.scheduler_name(self.name)) or {}
        number = service.get("spec", {}).get("clusterIP", "None")
        if number == "None":
            return self.cluster.address
        host = f"[{number}]" if ":" in number else number
        return f"tls://{host}:{names.SCHEDULER_PORT}"

    async def _issue(self, role: str) -> None:
        files = await asyncio.to_thread(self.authority.signed, role)
        await self.api.create(SECRET, manifests.tls_secret(self.cluster, role, files))

    def _not_made(self, error: KubernetesError) -> Exception:
        if error.reason == "AlreadyExists":
            if error.kind == DASK_CLUSTER.name:
                self._created = None
            problem = (
                f"one named {self.name!r} is in namespace {self.api.namespace}; choose another "
                f"name, or end it with `facility clusters stop {self.name}`"
            )
            return RequestError("This Dask cluster cannot be started", [problem])
        if error.status == 404 and error.kind == DASK_CLUSTER.name:
            why = (
                "this Kubernetes does not know DaskClusters; an administrator has to install "
                "the CustomResourceDefinitions of dask-kubernetes"
            )
        elif "is forbidden: User" in error.message:
            why = f"this pod's service account may not: {error}"
        else:
            why = explain.refused(error.message) if error.status == 403 else str(error)
        return ClusterFailedError(f"Dask cluster {self.name!r} cannot be started: {why}")

    def scheduler_ended(self) -> str | None:
        """Say how the scheduler ended; None while it runs."""
        return self._ended

    def scheduler_closed_orderly(self) -> bool:
        """Whether the scheduler ended because it decided to or was asked to."""
        return self._orderly

    # Workers.

    def room_for(self, request: PoolRequest) -> str | None:
        """Say why there is no room for one more group now; None where there is."""
        return self.pods.room_for(request)

    def start_group(self, group: str, members: Iterable[str], request: PoolRequest) -> None:
        """Post the pod of a group."""
        self.pods.start(group, members, request)

    def unplaced(self) -> Collection[str]:
        """Return the workers whose pods wait for a place."""
        return self.pods.unplaced()

    def ended(self) -> list[Ended]:
        """Return the workers that ended since the last call."""
        return self.pods.ended()

    async def stop_members(self, members: Iterable[str]) -> None:
        """End the pods of workers that have been retired or never joined."""
        await self.pods.stop(members)

    def absent(self, pool: Pool) -> Iterable[str]:
        """Return the volumes of the notebook that a pool's workers do not have at the same path."""
        there = {volume.mount_path for volume in pool.volumes}
        return [each.path for each in self.cluster.template.unshared if each.path not in there]

    def note_work(self) -> None:
        """Do nothing: the hub sees a kernel that waits for results as busy."""

    # Words.

    def reasons(self, pool: str) -> list[str]:
        """Say why pods of a pool do not run yet, and what to do."""
        return self.pods.reasons(pool, self._events)

    def remarks(self) -> list[str]:
        """Say what holds the scheduler up, or that Kubernetes does not answer."""
        found = []
        if self._created is not None and not self._serves and not self._ended:
            seconds = time.monotonic() - self._created
            why = explain.scheduler_hindrance(
                self._resource, self._schedulers.values(), self._events, seconds
            )
            found.append(f"The scheduler does not run yet: {why}.")
        found += self.belongings.remarks()
        if (delayed := self.api.delayed) is not None:
            found.append(
                f"Kubernetes refuses a {delayed.kind} for the moment, and is asked again: "
                f"{explain.refused(delayed.message)}."
            )
        if self.api.silent_since is not None:
            found.append(
                f"Kubernetes has not answered for {time.monotonic() - self.api.silent_since:.0f} s:"
                " what runs goes on, and workers are started and ended when it answers again."
            )
        return found

    def logs(self, member: str | None = None, most: int = SHOWN) -> str:
        """Return the end of what a worker, or without a name the scheduler, has printed."""
        pod = self.pods.pod_of(member) if member else next(iter(self._schedulers), None)
        if pod is not None:
            with contextlib.suppress(KubernetesError):
                return pod_logs.end(self.api, pod, most)
        return self.pods.tail(member or "")

    # What is seen.

    async def _follow(self) -> None:
        async for change, body in follow(self.api, POD, self.cluster.selector):
            if change == "LISTED":
                pods = {pod["metadata"]["name"]: pod for pod in body["items"]}
                self.pods.listed(pods, body["asked"])
                for name in [name for name in self._schedulers if name not in pods]:
                    await self._scheduler_seen("DELETED", self._schedulers[name])
                for pod in pods.values():
                    if not is_worker(pod):
                        await self._scheduler_seen("MODIFIED", pod)
            elif is_worker(body):
                self.pods.seen(change, body)
            else:
                await self._scheduler_seen(change, body)

    async def _scheduler_seen(self, change: str, pod: Object) -> None:
        name = pod["metadata"]["name"]
        ended = explain.ending(pod)
        if change == "DELETED" and ended is None:
            ended = "was deleted by somebody else", "", None
        statuses = pod.get("status", {}).get("containerStatuses", ())
        restarted = next((s["lastState"] for s in statuses if s.get("restartCount")), None)
        if ended is None and restarted:
            again = {"metadata": {}, "status": {"containerStatuses": [{"state": restarted}]}}
            ended = explain.ending(again)
        self._schedulers[name] = trimmed(pod)
        if ended is not None and self._ended is None:
            self._resource = await self.api.get(DASK_CLUSTER, self.name)
            gone = self._resource is None or "deletionTimestamp" in self._resource["metadata"]
            self._orderly = gone
            self._ended = "was asked to close" if gone else ended[0]
        elif any("running" in status.get("state", {}) for status in statuses):
            self._serves = True
            self.pods.after_scheduler.set()
        self._changed.set()

    async def _look(self) -> None:
        """Learn what holds pods up, while something does."""
        fields = ",".join(f"reason!={reason}" for reason in DULL)
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self._serves and not self.pods.unplaced():
                self._events.clear()
                continue
            try:
                listed = await self.api.list(EVENT, fields=fields)
                self._events = sorted(listed["items"], key=_moment)
                if not self._serves:
                    self._resource = await self.api.get(DASK_CLUSTER, self.name)
            except KubernetesError as error:
                logger.debug("%s", error)

    # Ends.

    async def close(self, *, keep_logs: bool = False) -> None:
        """End everything, and wait until nothing is left of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._making is not None:
            await self._hurry.unless(asyncio.wait([self._making], timeout=SETTLE_SECONDS))
            if self._making.done() and not self._making.cancelled():
                self._making.exception()  # which has been told, or came after it was cut off
        await self._hurry.unless(self.pods.settle())
        for forward in self._forwards:
            await forward.close()
        if self._created is None:
            # Nothing of that name is ours, but for what was to own it.
            for call in self.lease.deletions() if self.lease is not None else ():
                await deletion.asked(self.api, call)
            await self.api.aclose()
            return
        try:
            asked = asyncio.gather(*(deletion.asked(self.api, call) for call in self._deletions()))
            await self._hurry.unless(asked, HURRIED_SECONDS)
            # Only now: where this is cut off, the next call begins again.
            self._created = None
            lease = self.lease.name if self.lease is not None else None
            await self._hurry.unless(deletion.until_gone(self.api, self.cluster, lease))
        except KubernetesError as error:
            logger.warning("%s", error)
        finally:
            await self.api.aclose()

    def close_now(self) -> None:
        """End everything from any thread, also while the interpreter exits."""
        until = time.monotonic() + HURRIED_SECONDS
        while self._making is not None and not self._making.done() and time.monotonic() < until:
            time.sleep(LOOK)
        if self._created is None:
            return
        self._created = None
        try:
            deletion.end_now(self.api, self._deletions())
        except KubernetesError as error:
            logger.warning("%s", error)

    def hurry(self) -> None:
        """Wait for no end any more, only ask for it."""
        self._hurry.on = True

    def abandon(self) -> bool:
        """Leave it to `close`, which follows."""
        return False

    def disown(self) -> None:
        """Let go of the connections."""
        self.api.disown()


def _moment(event: Object) -> str:
    found = event.get("lastTimestamp") or event.get("eventTime") or ""
    return str(found or event["metadata"]["creationTimestamp"])
