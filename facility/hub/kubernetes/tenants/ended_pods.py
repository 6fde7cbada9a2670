"""Pods that have ended and are still there: quotas count them, and a server needs their place."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import POD, QUOTA
from facility.kubernetes.quota import shares

Object = dict[str, Any]
ENDED = ("Succeeded", "Failed")
"""Phases of pods in which nothing runs any more."""
COUNT_SECONDS = 15.0
"""Seconds in which Kubernetes counts anew what is gone."""
LOOK_SECONDS = 0.5
COUNTED = "count/pods"


async def quotas_with_room(inside: Api, pod: Mapping[str, Any]) -> list[Object]:
    """Return the quotas of a namespace, and remove ended pods where they take a pod's place.

    Parameters
    ----------
    inside
        The API server, in the namespace.
    pod
        What quotas look at of the pod that is to be made.

    Raises
    ------
    KubernetesError
        Where Kubernetes refuses.
    """
    quotas = await _quotas(inside)
    if _has_place(quotas, pod):
        return quotas
    for phase in ENDED:
        for each in (await inside.list(POD, fields=f"status.phase={phase}"))["items"]:
            await inside.delete(POD, each["metadata"]["name"], grace=0)
    deadline = time.monotonic() + COUNT_SECONDS
    while not _has_place(quotas, pod) and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
        quotas = await _quotas(inside)
    return quotas


async def _quotas(inside: Api) -> list[Object]:
    return list((await inside.list(QUOTA))["items"])


def _has_place(quotas: list[Object], pod: Mapping[str, Any]) -> bool:
    return all(share.fits for share in shares(quotas, pod) if share.resource == COUNTED)
