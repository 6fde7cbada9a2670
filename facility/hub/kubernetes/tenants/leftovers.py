"""What nobody else clears away: ended servers, Dask clusters that an operator holds or nobody owns.

A Dask cluster of a client outside of Kubernetes is ended by its scheduler when the client's Lease
runs out. One whose scheduler never started would stay for ever.
"""

import datetime
import logging
from collections.abc import Collection, Mapping
from typing import Any

from facility import names
from facility.errors import KubernetesError
from facility.kubernetes import deletion
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import DASK_CLUSTER, DEPLOYMENT, LEASE, POD, SERVICE

HELD_SECONDS = 60.0
"""Seconds after which the end of a DaskCluster no longer waits for an operator."""
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
    spec = lease["spec"]
    unseen = now - datetime.datetime.fromisoformat(spec["renewTime"])
    return unseen > LEASES * datetime.timedelta(seconds=spec["leaseDurationSeconds"])


async def sweep(api: Api, namespaces: Collection[str]) -> list[str]:
    """Clear away what has ended in users' namespaces, with all that it owns.

    Returns
    -------
    list of str
        What was cleared away.

    Raises
    ------
    KubernetesError
        Where Kubernetes refuses.
    """
    everywhere = api.within("")
    servers = f"{names.APP_COMPONENT_LABEL}={names.USER_SERVER_COMPONENT}"
    cleared = []
    for pod in (await everywhere.list(POD, servers))["items"]:
        namespace, name = (pod["metadata"][key] for key in ("namespace", "name"))
        if namespace in namespaces and ended(pod):
            await api.within(namespace).delete(POD, name, grace=0)
            cleared.append(f"the ended server {namespace}/{name}")
    now = datetime.datetime.now(datetime.UTC)
    try:
        listed = (await everywhere.list(DASK_CLUSTER))["items"]
    except KubernetesError as error:
        # Before the kinds of dask-kubernetes are there.
        if error.status != 404:
            raise
        listed = []
    for cluster in listed:
        namespace, name = (cluster["metadata"][key] for key in ("namespace", "name"))
        if namespace not in namespaces:
            continue
        within = api.within(namespace)
        if held(cluster, now):
            await _release(within, name)
            cleared.append(f"the Dask cluster {namespace}/{name}, which an operator held")
        owner = deletion.owning_lease(cluster)
        lease = await within.get(LEASE, owner) if owner else None
        if owner and lease and run_out(lease, now):
            await within.delete(LEASE, owner)
            cleared.append(f"the Dask cluster {namespace}/{name}, whose client has gone")
    return cleared


async def _release(api: Api, name: str) -> None:
    """Do what the operator has not done, and let the DaskCluster go."""
    for call in deletion.deletions(api.namespace, name):
        if call.kind is not DASK_CLUSTER:
            await api.ask(call)
    await api.delete(DEPLOYMENT, names.scheduler_name(name))
    await api.delete(SERVICE, names.scheduler_name(name))
    await api.ask(deletion.released(api.namespace, name))
