"""dask-kubernetes' operator, for DaskClusters without workers and for nothing else.

`kopf run -m daskcluster_operator` registers the handlers below in place of all those of
dask-kubernetes. Left out, since workers are pods that the library makes:

- DaskJob and DaskAutoscaler, for which the operator would receive every pod's events;
- what scales worker groups, and the timer behind `idleTimeout`: both connect to the scheduler,
  which is its user's program, and unpickle what it answers. Without the timer a DaskCluster has
  no finalizer either, so that its deletion does not wait for an operator that is away.
"""

import logging
from typing import Any

import kopf
import kr8s
from dask_kubernetes.operator._objects import DaskWorkerGroup
from dask_kubernetes.operator.controller import controller

CLUSTER = "daskcluster.kubernetes.dask.org"
GROUP = "daskworkergroup.kubernetes.dask.org"
RETRY_SECONDS = 1.0
"""Seconds after which a handler begins again that lost its connection; kopf would take a minute."""

kopf.set_default_registry(kopf.OperatorRegistry())
kopf.on.probe(id="now")(controller.get_current_timestamp)
kopf.on.create(CLUSTER, backoff=RETRY_SECONDS)(controller.daskcluster_create)
kopf.on.field(CLUSTER, field="status.phase", new="Created", backoff=RETRY_SECONDS)(
    controller.daskcluster_create_components
)
kopf.on.field(
    "service",
    field="status",
    labels={"dask.org/component": "scheduler"},
    backoff=RETRY_SECONDS,
)(controller.handle_scheduler_service_status)


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, **more: Any) -> None:
    """Answer a new DaskCluster at once, and write no event for what goes as it should.

    Otherwise kopf waits twice for a tenth of a second, and writes ten events of each start.
    """
    await controller.startup(settings=settings, **more)
    settings.batching.batch_window = 0.02
    settings.posting.level = logging.WARNING


@kopf.on.login()
def login(**settings: Any) -> kopf.ConnectionInfo | None:
    """Let the operator speak as its service account, or as a kubeconfig outside of a pod."""
    return kopf.login_with_service_account(**settings) or kopf.login_with_kubeconfig(**settings)


@kopf.on.create(GROUP, backoff=RETRY_SECONDS)
async def adopt(body: kopf.Body, namespace: str | None, **_: Any) -> None:
    """Let the worker group that is made with each DaskCluster be deleted with it."""
    group = await DaskWorkerGroup(body, namespace=namespace)
    try:
        cluster = await group.cluster()
    except kr8s.NotFoundError:
        # Its DaskCluster has gone meanwhile, and took along only what it owned.
        await group.delete()
    else:
        await cluster.adopt(group)
