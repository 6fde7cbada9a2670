"""What nobody else clears away: ended servers, and Dask clusters that an operator holds."""

import datetime
import logging
from collections.abc import Collection, Mapping
from typing import Any

from facility import names
from facility.errors import KubernetesError
from facility.kubernetes import ends
from facility.kubernetes.api import Api
from facility.kubernetes.kinds import DASK_CLUSTER, DEPLOYMENT, POD, SERVICE

HELD_SECONDS = 60.0
"""Seconds after which the end of a DaskCluster no longer waits for an operator."""

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
        if namespace in namespaces and held(cluster, now):
            await _release(api.within(namespace), name)
            cleared.append(f"the Dask cluster {namespace}/{name}, which an operator held")
    return cleared


async def _release(api: Api, name: str) -> None:
    """Do what the operator has not done, and let the DaskCluster go."""
    for call in ends.deletions(api.namespace, name):
        if call.kind is not DASK_CLUSTER:
            await api.ask(call)
    await api.delete(DEPLOYMENT, names.scheduler_name(name))
    await api.delete(SERVICE, names.scheduler_name(name))
    await api.ask(ends.released(api.namespace, name))
