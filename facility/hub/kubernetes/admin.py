"""What administrators ask in the hub's pod: who has what, and its end."""

import asyncio
import datetime
import os
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from facility import names
from facility.errors import FacilityError, KubernetesError, nearest
from facility.hub.kubernetes.hooks.end import SERVERS, end
from facility.hub.kubernetes.server_pod import is_server
from facility.hub.kubernetes.tenants.plan import USED_ANNOTATION
from facility.kubernetes import deletion
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import CLAIM, DASK_CLUSTER, NAMESPACE, POD
from facility.kubernetes.tenant import is_ours
from facility.table import Table

RELEASE_VARIABLE = "FACILITY_RELEASE"
Object = dict[str, Any]


class Administration:
    """Looks at all users of the release whose hub's pod this is.

    Raises
    ------
    FacilityError
        Where this is no hub's pod.
    """

    def __init__(self) -> None:
        self.release = os.environ.get(RELEASE_VARIABLE, "")
        if not self.release:
            raise FacilityError(
                "This is no hub's pod. Administrators run it there: kubectl -n NAMESPACE exec "
                "deployment/hub -- facility tenants list"
            )
        self.api = Api(pod_account())

    def namespaces(self, users: Collection[str] = ()) -> dict[str, Object]:
        """Return the namespace of each user, or of some.

        Raises
        ------
        FacilityError
            Where one of them has none.
        """
        selector = f"{names.HUB_LABEL}={self.release},{names.TENANT_LABEL}"
        listed = self.api.now(self.api.reading(NAMESPACE, labelSelector=selector))["items"]
        found = {_note(each, names.USER_ANNOTATION): each for each in listed}
        unknown = [user for user in users if user not in found]
        if unknown:
            told = "; ".join(f"{user!r} has none{nearest(user, found)}" for user in unknown)
            raise FacilityError(f"Not everybody has a namespace of {self.release}: {told}.")
        return {user: found[user] for user in sorted(users or found)}

    def tenants(self) -> Table:
        """List the users' namespaces."""
        server_class = names.notebook_priority_class(self.release)
        found = self._everywhere(POD, labelSelector=SERVERS)
        servers = _counted(each for each in found if is_server(each, server_class))
        workers = _counted(self._everywhere(POD, labelSelector=names.POOL_LABEL))
        clusters = _counted(self._everywhere(DASK_CLUSTER))
        return Table(
            ("user", "namespace", "servers", "Dask clusters", "workers", "last server started"),
            tuple(
                (
                    user,
                    name := each["metadata"]["name"],
                    servers[name],
                    clusters[name],
                    workers[name],
                    _note(each, USED_ANNOTATION),
                )
                for user, each in self.namespaces().items()
            ),
            empty=f"no user of {self.release} has a namespace yet",
        )

    def clusters(self, users: Collection[str] = ()) -> Table:
        """List the Dask clusters of all users, or of some."""
        found = self.namespaces(users)
        owners = {each["metadata"]["name"]: user for user, each in found.items()}
        workers: Counter[tuple[str, str]] = Counter()
        for pod in self._everywhere(POD, labelSelector=names.POOL_LABEL):
            metadata = pod["metadata"]
            workers[metadata["namespace"], metadata["labels"].get(names.CLUSTER_LABEL, "")] += 1
        rows = [
            (
                owners[metadata["namespace"]],
                metadata["name"],
                workers[metadata["namespace"], metadata["name"]],
                metadata["creationTimestamp"],
            )
            for metadata in (each["metadata"] for each in self._everywhere(DASK_CLUSTER))
            if metadata["namespace"] in owners
        ]
        return Table(
            ("user", "name", "worker pods", "started"),
            tuple(sorted(rows)),
            empty="no Dask cluster of theirs is there",
        )

    def stop(self, users: Collection[str], name: str = "") -> int:
        """End Dask clusters of users; return how many.

        Parameters
        ----------
        users
            Whose; nobody for everybody's.
        name
            The one to end; nothing for all.
        """
        found = self.namespaces(users)
        spaces = [each["metadata"]["name"] for each in found.values()]
        if name:
            for space in spaces:
                deletion.stop(self.api.within(space), name)
            return len(spaces)
        return asyncio.run(self._end_all(spaces))

    async def _end_all(self, spaces: Iterable[str]) -> int:
        api = Api(self.api.account)
        counts = await asyncio.gather(*(end(api.within(each), servers=False) for each in spaces))
        await api.aclose()
        return sum(counts)

    def unused(self, days: float, now: datetime.datetime) -> list[tuple[str, str, str]]:
        """Find namespaces in which nothing runs and no server was started for some days.

        Returns
        -------
        list of tuple
            User, namespace, and what would be lost with it.
        """
        busy = {
            each["metadata"]["namespace"]
            for kind in (POD, DASK_CLUSTER)
            for each in self._everywhere(kind)
        }
        limit = now - datetime.timedelta(days=days)
        found = []
        for user, each in self.namespaces().items():
            metadata = each["metadata"]
            used = _note(each, USED_ANNOTATION) or metadata["creationTimestamp"]
            if metadata["name"] in busy or "deletionTimestamp" in metadata:
                continue
            if datetime.datetime.fromisoformat(used) < limit:
                found.append((user, metadata["name"], self._volumes(metadata["name"])))
        return found

    def _volumes(self, namespace: str) -> str:
        claims = self.api.now(self.api.within(namespace).reading(CLAIM))["items"]
        return ", ".join(
            f"{each['metadata']['name']} ({each['spec']['resources']['requests']['storage']})"
            for each in claims
            # What is shared is nobody's to lose.
            if not is_ours(each["spec"].get("volumeName", ""), namespace)
        )

    def remove(self, namespace: str) -> None:
        """Delete a namespace with all that is in it."""
        asyncio.run(self._remove(namespace))

    async def _remove(self, namespace: str) -> None:
        api = Api(self.api.account)
        await api.delete(NAMESPACE, namespace)
        await api.aclose()

    def _everywhere(self, kind: Any, **params: str) -> list[Object]:
        try:
            listed = self.api.now(self.api.within("").reading(kind, **params), _kept)
        except KubernetesError as error:
            if error.status == 404 and kind is DASK_CLUSTER:
                return []
            raise
        return list(listed["items"])


def _kept(found: Object) -> Object:
    """Return what is told of an object: users may have put megabytes into it."""
    metadata = found["metadata"]
    labels = {
        key: value
        for key, value in metadata["labels"].items()
        if key in (names.CLUSTER_LABEL, names.POOL_LABEL)
    }
    keys = ("name", "namespace", "creationTimestamp")
    priority = {"priorityClassName": (found.get("spec") or {}).get("priorityClassName")}
    return {
        "metadata": {**{key: metadata[key] for key in keys}, "labels": labels},
        "spec": priority,
    }


def _note(found: Object, name: str) -> str:
    return str((found["metadata"].get("annotations") or {}).get(name, ""))


def _counted(found: Iterable[Object]) -> "Counter[str]":
    return Counter(each["metadata"]["namespace"] for each in found)
