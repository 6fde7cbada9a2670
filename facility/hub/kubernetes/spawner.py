"""Users' servers as pods in namespaces of their own."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from jupyterhub.spawner import SpawnException
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner

from facility import names
from facility.errors import FacilityError, KubernetesError
from facility.hub.kubernetes import pod_identity, progress
from facility.hub.kubernetes.reflector import LastingPods
from facility.hub.kubernetes.server_pod import is_server
from facility.hub.kubernetes.shortage import shortage
from facility.hub.kubernetes.tenants.ended_pods import ENDED, quotas_with_room
from facility.hub.kubernetes.tenants.tenants import Tenants
from facility.kubernetes.client.kinds import EVENT, POD
from facility.kubernetes.explain import is_scheduled
from facility.kubernetes.tenant import slug

LOOK_INTERVAL = 1.0
"""Seconds between two looks at what a start waits for."""
FIRST_QUESTION, LONGEST_PAUSE = 3, 24
"""Looks until Kubernetes is asked, and at most until it is asked again: for a pod's events it reads
all of the namespace, those of Dask workers too."""

logger = logging.getLogger("facility")


class TenantSpawner(KubeSpawner):
    """Starts a server in its user's namespace, which it makes or repairs first.

    KubeSpawner's own way to namespaces takes over whichever exists, and follows the events of
    all pods in Kubernetes, those of Dask workers too; this one asks for those of one pod, and
    only while somebody looks at its start.
    """

    tenants: ClassVar[Tenants]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        release = self.tenants.release
        self.namespace = release.prefix + slug(self.user.name, 63 - len(release.prefix))
        self._preparing = False

    async def _start(self) -> Any:
        """Start the pod, as KubeSpawner does.

        Raises
        ------
        SpawnException
            Where Kubernetes refuses some of it: with its own reason, as no failure of the hub.
        """
        try:
            return await super()._start()
        except ApiException as error:
            if error.status == 429 or not 400 <= error.status < 500:
                raise
            raise SpawnException(refused(error), reason="kubernetes") from error

    async def _start_watching_pods(self, replace: bool = False) -> Any:
        return await self._start_reflector(
            kind="pods",
            reflector_class=LastingPods,
            labels={"component": self.component_label},
            server_classes=names.server_priority_classes(self.tenants.release.name),
            omit_namespace=True,
            replace=replace,
        )

    async def _ensure_namespace(self) -> None:
        """Make the user's namespace what it should be; KubeSpawner calls it before each start.

        Raises
        ------
        SpawnException
            Where that cannot be, or the server has no room in it. The hub does not count it as a
            failure of its own.
        """
        groups = [group.name for group in self.user.groups]
        servers = self.tenants.installation.values.singleuser
        state = await self.user.get_auth_state() if servers.identity is not None else None
        self._preparing = True
        try:
            who = pod_identity.identity(servers, self.user.name, state)
            tenant = await self.tenants.ensure(self.user.name, groups, who)
            self.namespace = tenant.namespace
            inside = self.tenants.api.within(self.namespace)
            quotas = await quotas_with_room(inside, self.wanted())
        except KubernetesError as error:
            if error.status in (None, 429) or error.status >= 500:
                raise
            raise SpawnException(str(error), reason="tenant") from error
        except FacilityError as error:
            raise SpawnException(str(error), reason="tenant") from error
        finally:
            self._preparing = False
        self.uid, self.gid, self.supplemental_gids = who.uid, who.gid, list(who.groups)
        problem = shortage(quotas, self.wanted())
        if problem:
            raise SpawnException(problem, reason="quota")

    def wanted(self) -> dict[str, Any]:
        """Return what quotas look at of the server's pod."""
        limits = {"cpu": self.cpu_limit, "memory": self.mem_limit, **self.extra_resource_limits}
        requests = {"cpu": self.cpu_guarantee, "memory": self.mem_guarantee}
        requests |= self.extra_resource_guarantees
        # KubeSpawner leaves out what is none.
        resources = {
            "limits": {name: each for name, each in limits.items() if each},
            "requests": {name: each for name, each in requests.items() if each},
        }
        return {
            "spec": {
                "priorityClassName": self.priority_class_name,
                "containers": [{"resources": resources}],
            }
        }

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say what the start waits for, until it has ended.

        The pod is followed anyway; Kubernetes is asked for more only where the start takes longer
        than most, and more and more rarely then.
        """
        told, looks, question = "", 0, FIRST_QUESTION
        events: list[Any] = []
        inside = self.tenants.api.within(self.namespace)
        while True:
            future = self._start_future
            over = future is not None and future.done()
            percent, message = 0, ""
            pod = self._seen()
            looks += 0 if self._preparing else 1
            asks = looks >= question
            question += min(question, LONGEST_PAUSE) if asks else 0
            try:
                if pod is None and asks:
                    # It is there and not seen where Kubernetes refuses, which is told.
                    found = await inside.get(POD, self.pod_name)
                    classes = names.server_priority_classes(self.tenants.release.name)
                    own = found and is_server(found, classes)
                    pod = found if own else None
                elif pod is not None and asks and not is_scheduled(pod):
                    events = await self._events(pod)
                if pod is not None or self._preparing:
                    percent, message = progress.stage(pod, events)
            except KubernetesError as error:
                if error.status == 403:
                    message = f"{error}. The hub tries again."
            if message and message != told:
                told = message
                yield {"progress": percent, "message": message}
            if over:
                return
            await asyncio.sleep(LOOK_INTERVAL)

    async def _events(self, pod: Mapping[str, Any]) -> list[Any]:
        inside = self.tenants.api.within(self.namespace)
        fields = f"involvedObject.uid={pod['metadata']['uid']}"
        return list((await inside.list(EVENT, fields=fields))["items"])

    async def poll(self) -> int | None:
        """Return None while the server runs, else its exit code; what is left of it goes.

        A pod that its node has evicted keeps no status of containers: KubeSpawner takes it for
        ended and leaves it, and with it all Dask clusters that it owns.
        """
        status: int | None = await super().poll()
        pod = self._seen()
        if status is not None and pod is not None and pod["status"].get("phase") in ENDED:
            self.log.info("Removing the ended pod %s/%s", self.namespace, self.pod_name)
            await self.stop(now=True)
        return status

    def _seen(self) -> Mapping[str, Any] | None:
        """Return the server's pod as it was when Kubernetes last told of it."""
        found: Mapping[str, Any] | None = None
        # Before the first start of any server nothing is followed.
        if self.pod_reflector is not None:
            found = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        return found


def refused(error: ApiException) -> str:
    """Say what Kubernetes has refused, and what to do."""
    try:
        said = json.loads(error.body or "")["message"]
    except (TypeError, ValueError, KeyError):
        said = f"{error.status} {error.reason}"
    return (
        f"Kubernetes refuses to start this server: {said}. Show this to the administrators, and "
        "start the server again once it is mended."
    )
