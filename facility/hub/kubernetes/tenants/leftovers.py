"""What nobody else clears away: ended servers, Dask clusters that an operator holds or nobody owns.

A Dask cluster of a client outside of Kubernetes is ended by its scheduler when the client's Lease
runs out. One whose scheduler never started would stay for ever.
"""

import datetime
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableSet
from typing import Any

from facility import names
from facility.errors import KubernetesError, one_line
from facility.hub.kubernetes.server_pod import is_server
from facility.kubernetes import deletion
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import DASK_CLUSTER, DEPLOYMENT, LEASE, POD, SERVICE
from facility.kubernetes.lease import lasting, renewed

HELD_SECONDS = 60.0
"""Seconds after which the end of a DaskCluster no longer waits for an operator."""
LOOKED_AT = ("name", "namespace", "deletionTimestamp", "finalizers", "ownerReferences")
"""What is kept of metadata: labels and annotations may fill megabytes."""
LEASES = 2
"""Times that a Lease may run out before its client is given up: a scheduler ends after one."""

logger = logging.getLogger("facility")
Object = Mapping[str, Any]


def ended(pod: Object) -> bool:
    """Tell whether nothing of a user's server runs any more, though its pod is there."""
    over = pod.get("status", {}).get("phase") in ("Failed", "Succeeded")
    return over and "deletionTimestamp" not in pod["metadata"]


def held(cluster: Object, now: datetime.datetime) -> bool:
    """Tell whether a DaskCluster waits too long for an operator to let it go."""
    asked = cluster["metadata"].get("deletionTimestamp")
    if asked is None or not cluster["metadata"].get("finalizers"):
        return False
    return (now - datetime.datetime.fromisoformat(asked)).total_seconds() > HELD_SECONDS


def run_out(lease: Object, now: datetime.datetime) -> bool:
    """Tell whether the client that a Lease stands for has gone for good."""
    return now - renewed(lease) > LEASES * lasting(lease)


async def sweep(
    api: Api,
    namespaces: Collection[str],
    server_classes: Collection[str],
    told: MutableSet[str] | None = None,
) -> list[str]:
    """Clear away what has ended in users' namespaces, with all that it owns.

    Each object is looked at by itself: one that a user has made such that it cannot be read, or
    that cannot be deleted, keeps nothing of others' from being cleared away.

    Parameters
    ----------
    server_classes
        PriorityClasses of users' servers, by which those are known.
    told
        Sentences that were logged before, and are not logged again.

    Returns
    -------
    list of str
        What was cleared away.

    Raises
    ------
    KubernetesError
        Where Kubernetes does not say what there is.
    """
    everywhere = api.within("")
    told = set() if told is None else told
    servers = f"{names.APP_COMPONENT_LABEL}={names.USER_SERVER_COMPONENT}"
    now = datetime.datetime.now(datetime.UTC)
    cleared: list[str] = []

    def over(pod: Object) -> dict[str, Any] | None:
        return {"metadata": _short(pod)} if ended(pod) and is_server(pod, server_classes) else None

    for pod in (await everywhere.list(POD, servers, keep=over))["items"]:
        if pod["metadata"]["namespace"] in namespaces:
            cleared += await _alone(_look_at_server, api, pod, now, told)
    for cluster in await _dask_clusters(everywhere):
        if cluster["metadata"]["namespace"] in namespaces:
            cleared += await _alone(_look_at_cluster, api, cluster, now, told)
    return cleared


async def _dask_clusters(everywhere: Api) -> list[dict[str, Any]]:
    """Return what is looked at of all DaskClusters; none before there is such a kind."""
    try:
        listed = await everywhere.list(DASK_CLUSTER, keep=lambda each: {"metadata": _short(each)})
    except KubernetesError as error:
        if error.status != 404:
            raise
        return []
    return list(listed["items"])


def _short(found: Object) -> dict[str, Any]:
    """Return the metadata of an object without what may be long and is not looked at."""
    return {key: value for key, value in found["metadata"].items() if key in LOOKED_AT}


async def _alone(
    look: Callable[[Api, Object, datetime.datetime], Awaitable[list[str]]],
    api: Api,
    found: Object,
    now: datetime.datetime,
    told: MutableSet[str],
) -> list[str]:
    """Look at one object, whose failure is told once and is nobody else's."""
    namespace, name = (found["metadata"].get(key, "") for key in ("namespace", "name"))
    try:
        return await look(api.within(namespace), found, now)
    except Exception as error:  # noqa: BLE001 - whatever a user has written
        said = f"{namespace}/{name} is left as it is: {one_line(error)}"
        if said not in told:
            logger.warning("%s", said)
            told.add(said)
    return []


async def _look_at_server(api: Api, pod: Object, now: datetime.datetime) -> list[str]:
    name = pod["metadata"]["name"]
    await api.delete(POD, name, grace=0)
    return [f"the ended server {api.namespace}/{name}"]


async def _look_at_cluster(api: Api, cluster: Object, now: datetime.datetime) -> list[str]:
    name, cleared = cluster["metadata"]["name"], []
    if held(cluster, now):
        await _release(api, name)
        cleared.append(f"the Dask cluster {api.namespace}/{name}, which an operator held")
    owner = deletion.owning_lease(dict(cluster))
    lease = await api.get(LEASE, owner) if owner else None
    if owner and lease and run_out(lease, now):
        await api.delete(LEASE, owner)
        cleared.append(f"the Dask cluster {api.namespace}/{name}, whose client has gone")
    return cleared


async def _release(api: Api, name: str) -> None:
    """Do what the operator has not done, and let the DaskCluster go."""
    for call in deletion.deletions(api.namespace, name):
        if call.kind is not DASK_CLUSTER:
            await api.ask(call)
    await api.delete(DEPLOYMENT, names.scheduler_name(name))
    await api.delete(SERVICE, names.scheduler_name(name))
    await api.ask(deletion.released(api.namespace, name))
