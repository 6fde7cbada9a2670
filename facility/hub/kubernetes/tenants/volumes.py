"""Shared volumes of a user: made, and replaced once nothing mounts them any more."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from facility import names
from facility.errors import FacilityError
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import CLAIM, POD, VOLUME, kind_of
from facility.kubernetes.tenant import Tenant, is_ours, volume_set

GONE_SECONDS = 20.0
"""Seconds until a claim that nothing mounts must be gone."""
OVER = ("Failed", "Succeeded")

logger = logging.getLogger("facility")
Object = dict[str, Any]


class VolumeError(FacilityError):
    """A shared volume cannot be made for a user."""


async def keep_volumes(
    api: Api, tenant: Tenant, uid: str, apply: Callable[[Object], Awaitable[None]]
) -> None:
    """Make a user's claims and their PersistentVolumes what the values say.

    Hardly anything of them can be changed. What no longer fits makes way as soon as no pod mounts
    it, and is left as it is until then.

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
    made = volume_set(tenant)
    held = await _make_way(api.within(tenant.namespace), tenant, made)
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": tenant.namespace, "uid": uid}
    for manifest in made:
        if kind_of(manifest) is VOLUME:
            if manifest["spec"]["claimRef"]["name"] in held:
                continue
            manifest["metadata"]["ownerReferences"] = [owner]
        elif manifest["metadata"]["name"] in held:
            continue
        await apply(manifest)


async def _make_way(inside: Api, tenant: Tenant, made: list[Object]) -> set[str]:
    """Remove what does not fit any more; the claims that are still mounted."""
    wanted = {
        each["metadata"]["name"]: each["spec"].get("volumeName", "")
        for each in made
        if kind_of(each) is CLAIM
    }
    unfit = set()
    for claim in (await inside.list(CLAIM))["items"]:
        name, volume = claim["metadata"]["name"], claim["spec"].get("volumeName", "")
        ours = is_ours(volume, tenant.namespace)
        if wanted.get(name) and not ours:
            raise VolumeError(
                f"The claim {name} of {tenant.namespace} has another volume than the one that "
                f"sharedVolumes.{name} makes for it. Administrators: see whether it holds data, "
                f"and `kubectl -n {tenant.namespace} delete pvc {name}`."
            )
        if ours and (volume != wanted.get(name, "") or "deletionTimestamp" in claim["metadata"]):
            unfit.add(name)
    held = unfit and unfit & await _mounted(inside)
    for name in unfit - held:
        logger.info("%s: the claim %s makes way", tenant.namespace, name)
        await inside.delete(CLAIM, name)
    await _wait_until_gone(inside, unfit - held)
    if tenant.release.makes_volumes:
        selector = f"{names.HUB_LABEL}={tenant.release.name},{names.TENANT_LABEL}={tenant.slug}"
        expected = {each["metadata"]["name"] for each in made if kind_of(each) is VOLUME}
        for volume in (await inside.list(VOLUME, selector))["items"]:
            name = volume["metadata"]["name"]
            if name not in expected and volume["spec"]["claimRef"]["name"] not in held:
                logger.info("removing the PersistentVolume %s", name)
                await inside.delete(VOLUME, name)
    return held


async def _mounted(inside: Api) -> set[str]:
    """Names of claims that pods mount."""
    return {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in (await inside.list(POD))["items"]
        if pod.get("status", {}).get("phase") not in OVER
        for volume in pod["spec"].get("volumes", ())
        if "persistentVolumeClaim" in volume
    }


async def _wait_until_gone(inside: Api, claims: set[str]) -> None:
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
