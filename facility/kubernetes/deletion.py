"""The user's Dask clusters in a namespace: found, and ended from wherever."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from facility import names
from facility.errors import ClusterFailedError, KubernetesError, nearest
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call, Object, deletion
from facility.kubernetes.client.kinds import (
    DASK_CLUSTER,
    DASK_GROUP,
    DEPLOYMENT,
    LEASE,
    POD,
    SECRET,
    SERVICE,
    Kind,
)
from facility.kubernetes.manifests import DaskCluster
from facility.kubernetes.worker_pods import is_worker

logger = logging.getLogger("facility")

WORKER_GRACE = 1
"""Seconds that workers have to end in, whose results nobody asks for any more."""
OPERATOR_SECONDS = 3.0
"""Seconds after which a DaskCluster that is being deleted no longer waits for an operator."""
GONE_SECONDS = 30.0
"""Seconds in which what was deleted ought to be gone."""


def deletions(namespace: str, name: str) -> list[Call]:
    """Return the calls that end a Dask cluster: workers, certificates, and what made the rest.

    Scheduler, Service and worker group belong to the DaskCluster, and go with it.
    """
    selector = f"{names.CLUSTER_LABEL}={name}"
    workers = f"{selector},{names.COMPONENT_LABEL}={names.WORKER_COMPONENT}"
    return [
        deletion(namespace, POD, selector=workers, grace=WORKER_GRACE),
        deletion(namespace, SECRET, selector=selector),
        deletion(namespace, DASK_CLUSTER, name),
    ]


def released(namespace: str, name: str) -> Call:
    """Return the call after which a DaskCluster waits for no operator any more.

    A stock operator of dask-kubernetes puts a finalizer on it, and while that operator is away
    nothing of what the DaskCluster owns ends.
    """
    return Call(
        "patch",
        "PATCH",
        DASK_CLUSTER,
        namespace,
        name,
        body={"metadata": {"finalizers": None}},
        content_type="application/merge-patch+json",
    )


def owning_lease(cluster: Object) -> str | None:
    """Name of the Lease of a client outside that a DaskCluster belongs to."""
    owners = cluster["metadata"].get("ownerReferences", ())
    return next((owner["name"] for owner in owners if owner["kind"] == LEASE.name), None)


async def _left(api: Api, name: str, lease: str | None) -> list[tuple[Kind, Object]]:
    """Return all that is there of a Dask cluster, and that may be listed."""
    single = [(DASK_CLUSTER, name)] + ([(LEASE, lease)] if lease else [])
    found = [(kind, await api.get(kind, each)) for kind, each in single]
    there = [(kind, one) for kind, one in found if one is not None]
    for kind in (POD, SERVICE, DEPLOYMENT, DASK_GROUP, SECRET):
        try:
            listed = await api.list(kind, f"{names.CLUSTER_LABEL}={name}")
        except KubernetesError as error:
            if error.status != 403:
                raise
            continue
        there += [(kind, one) for one in listed["items"]]
    return there


async def until_gone(api: Api, cluster: DaskCluster, lease: str | None) -> None:
    """Wait for the end of all, and finish what an operator that is away leaves undone.

    Parameters
    ----------
    lease
        Name of the Lease that owns it, if one does.

    Raises
    ------
    KubernetesError
        Where Kubernetes does not answer.
    """
    started = time.monotonic()
    while (
        there := await _left(api, cluster.name, lease)
    ) and time.monotonic() - started < GONE_SECONDS:
        resource = next((one for kind, one in there if kind is DASK_CLUSTER), None)
        if resource is not None and _is_held(resource, started):
            await asked(api, released(api.namespace, cluster.name))
        if any(kind is POD and is_worker(one) and not _leaves(one) for kind, one in there):
            # Another process of the user's may have made it while this one closed.
            await api.delete_all(POD, cluster.workers, WORKER_GRACE)
        await asyncio.sleep(0.1)
    if there:
        listed = ", ".join(f"{kind.name} {one['metadata']['name']}" for kind, one in there)
        logger.warning(
            "Dask cluster %s is closed, and Kubernetes still has %s", cluster.name, listed
        )


async def asked(api: Api, call: Call) -> None:
    """Ask for an end, and tell a refusal."""
    try:
        await api.ask(call)
    except KubernetesError as error:
        if error.status != 404:
            logger.warning("%s", error)


def _is_held(cluster: Object, since: float) -> bool:
    """Tell whether a DaskCluster still waits for an operator, which has had its time.

    Parameters
    ----------
    since
        When it was asked to end (monotonic, in seconds).
    """
    waits = bool(cluster["metadata"].get("finalizers"))
    return waits and time.monotonic() - since > OPERATOR_SECONDS


def _leaves(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def as_settings(calls: Iterable[Call]) -> list[dict[str, Any]]:
    """Write the calls for a scheduler, which makes them where nobody else does."""
    found = []
    for call in calls:
        entry: dict[str, Any] = {"path": call.path}
        if call.params:
            entry["selector"] = call.params["labelSelector"]
        if isinstance(call.body, dict) and "gracePeriodSeconds" in call.body:
            entry["grace"] = call.body["gracePeriodSeconds"]
        found.append(entry)
    return found


def dask_clusters(api: Api) -> list[Object]:
    """List the DaskClusters of the namespace, oldest first."""
    listed = api.now(api.reading(DASK_CLUSTER))["items"]
    return sorted(listed, key=lambda one: str(one["metadata"]["creationTimestamp"]))


def stop(api: Api, name: str) -> None:
    """End a Dask cluster of the namespace, and wait until its DaskCluster is gone.

    Raises
    ------
    ClusterFailedError
        Where there is none of that name.
    """
    found = {one["metadata"]["name"]: one for one in dask_clusters(api)}
    if name not in found:
        listed = f"; there are {', '.join(found)}" if found else "; there is none"
        raise ClusterFailedError(
            f"There is no Dask cluster {name!r} in namespace {api.namespace}"
            f"{nearest(name, found)}{listed}."
        )
    lease = owning_lease(found[name])
    owner = [deletion(api.namespace, LEASE, lease)] if lease else []
    end_now(api, [*owner, *deletions(api.namespace, name)])
    began = time.monotonic()
    while name in (left := {one["metadata"]["name"]: one for one in dask_clusters(api)}):
        if _is_held(left[name], began):
            api.now(released(api.namespace, name))
        if time.monotonic() - began > GONE_SECONDS:
            raise ClusterFailedError(
                f"Dask cluster {name!r} is deleted, and Kubernetes still has its DaskCluster "
                f"after {GONE_SECONDS:.0f} s: something holds it by a finalizer."
            )
        time.sleep(0.2)


def end_now(api: Api, calls: Sequence[Call]) -> None:
    """Ask for the end of a Dask cluster from any thread, also while the interpreter exits.

    Parameters
    ----------
    calls
        Of `deletions`, and that of what owns it.

    Raises
    ------
    KubernetesError
        The first refusal, after all has been asked for.
    """
    refused: KubernetesError | None = None
    # The DaskCluster first, by which its owner sees that the workers are not to be replaced.
    for call in reversed(calls):
        try:
            api.now(call)
        except KubernetesError as error:
            if error.status != 404:
                refused = refused or error
    if refused is not None:
        raise refused
