"""dask-kubernetes' operator, for DaskClusters without workers and for nothing else.

`kopf run -m daskcluster_operator` registers the handlers below in place of all those of
dask-kubernetes. Left out, since workers are pods that the library makes:

- DaskJob and DaskAutoscaler, for which the operator would receive every pod's events;
- what scales worker groups, and the timer behind `idleTimeout`: both connect to the scheduler,
  which is its user's program, and unpickle what it answers. Without the timer a DaskCluster has
  no finalizer either, so that its deletion does not wait for an operator that is away.

Events come from all namespaces, and rights hold in those of a release's users. What is elsewhere,
another operator's for example, is left alone: kopf would try to write to it for ever.
"""

import json
import logging
import ssl
import time
from typing import Any

import kopf
import kr8s
import kr8s.asyncio
from dask_kubernetes.operator._objects import DaskWorkerGroup
from dask_kubernetes.operator.controller import controller

logger = logging.getLogger(__name__)
CLUSTER = "daskcluster.kubernetes.dask.org"
GROUP = "daskworkergroup.kubernetes.dask.org"
SCHEDULERS = {"dask.org/component": "scheduler"}
RETRY_SECONDS = 1.0
"""Seconds after which a handler begins again that lost its connection; kopf would take a minute."""
BELIEVED = {True: 600.0, False: 10.0}
"""Seconds for which an answer holds to whether this operator may work in a namespace."""

_strict = ssl.create_default_context


def trusting(*args: Any, **kwargs: Any) -> ssl.SSLContext:
    """Trust an authority as kubectl does, on every Python.

    From 3.13 on Python holds certificates to all of RFC 5280, which the authorities of many a
    Kubernetes do not keep to. kopf takes no context of ours.
    """
    context = _strict(*args, **kwargs)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


ssl.create_default_context = trusting
kopf.set_default_registry(kopf.OperatorRegistry())
answers: dict[str | None, tuple[bool, float]] = {}
"""By namespace, and until when they hold."""


@kopf.index(CLUSTER)
@kopf.index(GROUP)
@kopf.index("service", labels=SCHEDULERS)
async def ours(namespace: str | None, **_: Any) -> dict[str | None, None] | None:
    """List the namespaces of users; kopf looks before it decides whose an object is."""
    allowed, until = answers.get(namespace, (False, 0.0))
    if time.monotonic() >= until:
        try:
            allowed = await _may_work_in(namespace)
        except Exception as error:  # noqa: BLE001 - handlers find out, and try again
            logger.warning("Whether it may work in %s is not known: %r", namespace, error)
            return {namespace: None}
        answers[namespace] = allowed, time.monotonic() + BELIEVED[allowed]
    return {namespace: None} if allowed else None


async def _may_work_in(namespace: str | None) -> bool:
    asked = {"group": "apps", "resource": "deployments", "verb": "create", "namespace": namespace}
    api = await kr8s.asyncio.api()
    async with api.call_api(
        "POST",
        version="authorization.k8s.io/v1",
        url="selfsubjectaccessreviews",
        content=json.dumps({"spec": {"resourceAttributes": asked}}),
        headers={"Content-Type": "application/json"},
    ) as answer:
        return bool(answer.json()["status"]["allowed"])


def is_ours(ours: kopf.Index[str | None, None], namespace: str | None, **_: Any) -> bool:
    """Whether an object is a user's of this release."""
    return namespace in ours


kopf.on.probe(id="now")(controller.get_current_timestamp)
kopf.on.create(CLUSTER, backoff=RETRY_SECONDS, when=is_ours)(controller.daskcluster_create)
kopf.on.field(CLUSTER, field="status.phase", new="Created", backoff=RETRY_SECONDS, when=is_ours)(
    controller.daskcluster_create_components
)
kopf.on.field("service", field="status", labels=SCHEDULERS, backoff=RETRY_SECONDS, when=is_ours)(
    controller.handle_scheduler_service_status
)


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


@kopf.on.create(GROUP, backoff=RETRY_SECONDS, when=is_ours)
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
