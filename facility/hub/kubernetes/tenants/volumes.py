"""Shared volumes of a user: made, and replaced once nothing mounts them any more."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from facility import names
from facility.errors import FacilityError
from facility.hub.kubernetes.tenants.difference import (
    foreign_claim,
    mounting,
    unfit_claims,
    volume_difference,
)
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import CLAIM, POD, VOLUME
from facility.kubernetes.tenant import Tenant

GONE_SECONDS = 20.0
"""Seconds until a claim that nothing mounts must be gone."""

logger = logging.getLogger("facility")
Object = dict[str, Any]


class VolumeError(FacilityError):
    """A shared volume cannot be made for a user."""


async def keep_volumes(
    api: Api, tenant: Tenant, uid: str, apply: Callable[[Object], Awaitable[None]]
) -> None:
    """Make a user's claims and their PersistentVolumes what the values say.

    Parameters
    ----------
    uid
        Of the user's namespace, with which the PersistentVolumes go.
    apply
        Makes an object.

    Raises
    ------
    VolumeError
        Where a claim that others have made is in the way.
    KubernetesError
        Where Kubernetes refuses.
    """
    inside = api.within(tenant.namespace)
    claims = (await inside.list(CLAIM))["items"]
    reason = foreign_claim(tenant, claims)
    if reason:
        raise VolumeError(reason)
    unfit = unfit_claims(tenant, claims)
    # Pods are many, and hardly ever have to be looked at.
    pods = (await inside.list(POD, keep=mounting))["items"] if unfit else ()
    selector = f"{names.HUB_LABEL}={tenant.release.name},{names.TENANT_LABEL}={tenant.slug}"
    makes = tenant.release.makes_volumes
    volumes = (await inside.list(VOLUME, selector))["items"] if makes else ()
    todo = volume_difference(tenant, uid, unfit, pods, volumes)
    for name in todo.replace:
        logger.info("%s: the claim %s makes way", tenant.namespace, name)
        await inside.delete(CLAIM, name)
    await _wait_until_gone(inside, todo.replace)
    for name in todo.delete:
        logger.info("removing the PersistentVolume %s", name)
        await inside.delete(VOLUME, name)
    for manifest in todo.apply:
        await apply(manifest)


async def _wait_until_gone(inside: Api, claims: Iterable[str]) -> None:
    started = time.monotonic()
    for name in claims:
        while await inside.get(CLAIM, name) is not None:
            if time.monotonic() - started > GONE_SECONDS:
                raise VolumeError(
                    f"The claim {name} of {inside.namespace} is being deleted, and not gone after "
                    f"{GONE_SECONDS:.0f} s; `kubectl -n {inside.namespace} describe pvc {name}` "
                    "says why."
                )
            await asyncio.sleep(0.2)
