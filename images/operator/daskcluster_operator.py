"""dask-kubernetes' operator, for DaskClusters without workers and for nothing else.

`kopf run -m daskcluster_operator` registers the handlers below in place of all those of
dask-kubernetes. Left out, since workers are pods that the library makes:

- DaskJob and DaskAutoscaler, for which the operator would receive every pod's events;
- what scales worker groups, and the timer behind `idleTimeout`: both connect to the scheduler,
  which is its user's program, and unpickle what it answers. Without the timer a DaskCluster has
  no finalizer either, so that its deletion does not wait for an operator that is away.

Users write DaskClusters, and none of theirs holds up another's: a handler ends with a sentence
where an object is not as it has to be, or Kubernetes refuses it for good. It tries again, ever more
rarely and for an hour, where that may help. kopf would try each of them every second for ever.

Events come from all namespaces, and rights hold in those of a release's users. What is elsewhere,
another operator's for example, is left alone: kopf would try to write to it for ever.
"""

import asyncio
import functools
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
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
LONGEST_PAUSE = 60.0
"""Seconds between two tries, at most: twice as many each time."""
TRIED_SECONDS = 3600.0
"""Seconds for which a handler is tried again; a quota may be in the way so long."""
TOLD = 300
"""Letters of an error that are told."""
REFUSED_FOR_GOOD = frozenset({400, 413, 422})
UNANSWERED = (
    *(httpx.HTTPError, OSError, TimeoutError),
    *(kr8s.APITimeoutError, kr8s.ConnectionClosedError),
)
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
asking: dict[str | None, asyncio.Lock] = {}
"""By namespace: one object asks, and all others of it wait for the answer."""
Handler = Callable[..., Awaitable[None]]


@kopf.index(CLUSTER)
@kopf.index(GROUP)
@kopf.index("service", labels=SCHEDULERS)
async def ours(namespace: str | None, **_: Any) -> dict[str | None, None] | None:
    """List the namespaces of users; kopf looks before it decides whose an object is."""
    async with asking.setdefault(namespace, asyncio.Lock()):
        allowed, until = answers.get(namespace, (False, 0.0))
        if time.monotonic() >= until:
            held = BELIEVED[False]
            try:
                allowed = await _may_work_in(namespace)
                held = BELIEVED[allowed]
            except Exception as error:  # noqa: BLE001 - handlers find out, and try again
                logger.warning("Whether it may work in %s is not known: %r", namespace, error)
                allowed = True
            answers[namespace] = allowed, time.monotonic() + held
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


def guarded(handler: Handler) -> Handler:
    """Have a handler end, or begin again, as it becomes one of many users' objects."""

    @functools.wraps(handler)
    async def guard(*, retry: int, **more: Any) -> None:
        pause = min(LONGEST_PAUSE, RETRY_SECONDS * 2.0 ** min(retry, 10))
        try:
            await handler(retry=retry, **more)
        except (kopf.PermanentError, kopf.TemporaryError):
            raise
        except kr8s.ServerError as error:
            status = error.response.status_code if error.response is not None else None
            told = f"Kubernetes refuses it: {str(error)[:TOLD]}"
            if status in REFUSED_FOR_GOOD:
                raise kopf.PermanentError(told) from None
            raise kopf.TemporaryError(told, delay=pause) from None
        except UNANSWERED as error:
            told = f"Kubernetes does not answer: {repr(error)[:TOLD]}"
            raise kopf.TemporaryError(told, delay=pause) from None
        except kr8s.NotFoundError as error:
            told = f"The DaskCluster that it belongs to is not there: {str(error)[:TOLD]}"
            raise kopf.PermanentError(told) from None
        except Exception as error:  # noqa: BLE001 - of whatever kind: it comes of the object alone
            told = f"This object is not as the operator needs it: {repr(error)[:TOLD]}"
            raise kopf.PermanentError(told) from None

    return guard


LIMITS: dict[str, Any] = {"backoff": RETRY_SECONDS, "timeout": TRIED_SECONDS, "when": is_ours}
kopf.on.probe(id="now")(controller.get_current_timestamp)
kopf.on.create(CLUSTER, **LIMITS)(guarded(controller.daskcluster_create))
kopf.on.field(CLUSTER, field="status.phase", new="Created", **LIMITS)(
    guarded(controller.daskcluster_create_components)
)
kopf.on.field("service", field="status", labels=SCHEDULERS, **LIMITS)(
    guarded(controller.handle_scheduler_service_status)
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


@kopf.on.create(GROUP, **LIMITS)
@guarded
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
