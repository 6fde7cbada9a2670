"""What administrators ask in the hub's pod: who has what, and its end."""

import asyncio
import datetime
import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from facility import names
from facility.errors import FacilityError, HubError, KubernetesError, ProblemsError, nearest
from facility.hub.kubernetes import ends
from facility.hub.kubernetes.ends import SERVERS
from facility.hub.kubernetes.revocation import Hub
from facility.hub.kubernetes.server_pod import is_server
from facility.hub.kubernetes.tenants.plan import USED_ANNOTATION
from facility.kubernetes import deletion
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import CLAIM, DASK_CLUSTER, NAMESPACE, POD
from facility.kubernetes.tenant import is_ours
from facility.table import Table
from facility.wording import counted

RELEASE_VARIABLE = "FACILITY_RELEASE"
STUCK = datetime.timedelta(minutes=5)
"""Time after which the end of a namespace is held up by something."""
Object = dict[str, Any]


@dataclass(frozen=True)
class Revoked:
    """What has been taken away from a user.

    Parameters
    ----------
    done
        What it was.
    left
        A sentence for all that is still there.
    """

    done: tuple[str, ...]
    left: tuple[str, ...]


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
        server_classes = names.server_priority_classes(self.release)
        found = self._everywhere(POD, labelSelector=SERVERS)
        servers = _counted(each for each in found if is_server(each, server_classes))
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
        outcomes = asyncio.run(self._end_all(spaces))
        left = [said for each in outcomes for said in each.left]
        if left:
            raise ProblemsError("Not all Dask clusters have ended", left)
        return sum(each.asked.get(DASK_CLUSTER.name, 0) for each in outcomes)

    async def _end_all(self, spaces: Iterable[str]) -> list[ends.Outcome]:
        api = Api(self.api.account)
        try:
            each_end = (ends.end(api.within(each), ends.CLUSTERS) for each in spaces)
            return list(await asyncio.gather(*each_end))
        finally:
            await api.aclose()

    def revoke(self, user: str, hub: Hub) -> Revoked:
        """Take away all that a user holds, at once; go on past what hangs.

        Parameters
        ----------
        hub
            That of this pod.

        Raises
        ------
        FacilityError
            Where neither the hub nor Kubernetes knows the user.
        """
        done, left, known = [], [], True
        try:
            taken = hub.take(user)
            known = taken is not None
            if taken is not None:
                tokens = counted(taken["tokens"], "token")
                done.append(f"sessions and {tokens} of the hub")
                for server in taken["servers"]:
                    hub.stop(user, server)
        except HubError as error:
            left.append(str(error))
        try:
            space = self.namespaces([user])[user]["metadata"]["name"]
        except KubernetesError as error:
            left.append(str(error))
            return Revoked(tuple(done), tuple(left))
        except FacilityError:
            if not known:
                raise
            return Revoked(tuple(done), tuple(left))
        outcome = asyncio.run(self._everything(space))
        done += [counted(count, kind) for kind, count in outcome.asked.items()]
        return Revoked(tuple(done), (*left, *outcome.left))

    async def _everything(self, space: str) -> ends.Outcome:
        api = Api(self.api.account)
        try:
            return await ends.end(api.within(space), ends.EVERYTHING)
        finally:
            await api.aclose()

    def unused(self, days: float, now: datetime.datetime) -> list[tuple[str, str, str]]:
        """Find namespaces in which nothing runs and no server was started for some days.

        Returns
        -------
        list of tuple
            User, namespace, and what would be lost with it.
        """
        # What is being deleted keeps nothing: a finalizer may hold it for ever.
        busy = {
            each["metadata"]["namespace"]
            for kind in (POD, DASK_CLUSTER)
            for each in self._everywhere(kind)
            if "deletionTimestamp" not in each["metadata"]
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

    def stuck(self, now: datetime.datetime) -> list[str]:
        """Say which namespaces are being deleted for too long, and what Kubernetes says of them."""
        found = []
        for user, each in self.namespaces().items():
            asked = each["metadata"].get("deletionTimestamp")
            if asked is None or now - datetime.datetime.fromisoformat(asked) < STUCK:
                continue
            conditions = (each.get("status") or {}).get("conditions") or ()
            why = "; ".join(
                said
                for one in conditions
                if one["status"] == "True" and (said := one.get("message", ""))
            )
            name = each["metadata"]["name"]
            found.append(f"{name} of {user} is being deleted since {asked}: {why or 'no reason'}")
        return found

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
    keys = {"name", "namespace", "creationTimestamp", "deletionTimestamp"} & metadata.keys()
    priority = {"priorityClassName": (found.get("spec") or {}).get("priorityClassName")}
    return {
        "metadata": {**{key: metadata[key] for key in keys}, "labels": labels},
        "spec": priority,
    }


def _note(found: Object, name: str) -> str:
    return str((found["metadata"].get("annotations") or {}).get(name, ""))


def _counted(found: Iterable[Object]) -> "Counter[str]":
    return Counter(each["metadata"]["namespace"] for each in found)
