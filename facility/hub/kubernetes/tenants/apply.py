"""Makes a user's namespace as planned: asks what is there, and does what differs."""

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from facility import names
from facility.errors import KubernetesError
from facility.hub.kubernetes.tenants.difference import (
    difference,
    is_complete,
    kinds_to_look_at,
    namespace_manifest,
    refused,
)
from facility.hub.kubernetes.tenants.plan import Plan, TenantError
from facility.hub.kubernetes.tenants.rights import Rights
from facility.hub.kubernetes.tenants.volumes import keep_volumes
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import ACCOUNT, CILIUM_POLICY, NAMESPACE, QUOTA, Kind
from facility.kubernetes.tenant import Tenant, is_counted

MANAGER = "facility-hub"
"""Owner of the fields that the hub sets."""
IN_FORCE_SECONDS = 330.0
"""Seconds until all quotas must be counted: Kubernetes looks at all of them every five minutes."""

logger = logging.getLogger("facility")
Object = dict[str, Any]


async def apply(api: Api, plan: Plan, *, creates: bool) -> None:
    """Make or repair a user's namespace, and wait until its limits are in force.

    Parameters
    ----------
    creates
        Whether the hub makes namespaces.

    Raises
    ------
    TenantError
        Where the namespace is somebody else's, or its quotas are not counted in time.
    VolumeError
        Where a shared volume cannot be made.
    KubernetesError
        Where Kubernetes refuses.
    """
    tenant = plan.tenant
    found = await api.get(NAMESPACE, tenant.namespace)
    reason = refused(plan, found, creates=creates)
    if reason:
        raise TenantError(reason)
    complete = is_complete(plan, found)
    made = await api.apply(namespace_manifest(plan, complete=complete), MANAGER)
    await api.apply(plan.binding, MANAGER)
    rights = Rights()

    async def write(manifest: Object) -> None:
        await rights.wait_for(partial(api.apply, manifest, MANAGER))

    inside = api.within(tenant.namespace)
    there = await _look(inside, tenant, kinds_to_look_at(plan, complete=complete), rights)
    todo = difference(plan, there, complete=complete)
    for manifest in todo.apply:
        await write(manifest)
    for kind, name in todo.delete:
        logger.info("%s: removing %s %s", tenant.namespace, kind.name, name)
        await inside.delete(kind, name)
    await keep_volumes(api, tenant, made["metadata"]["uid"], write)
    if not complete:
        await api.apply(namespace_manifest(plan, complete=True), MANAGER)
    await _wait_until_in_force(inside)


async def _look(
    inside: Api, tenant: Tenant, kinds: Iterable[Kind], rights: Rights
) -> dict[Kind, list[Object]]:
    """Return the release's objects in a namespace, by their kind."""
    selector = f"{names.HUB_LABEL}={tenant.release.name}"

    async def look(kind: Kind) -> tuple[Kind, list[Object]]:
        try:
            listed = await rights.wait_for(partial(inside.list, kind, selector))
        except KubernetesError as error:
            # No kind of Cilium where there is no Cilium.
            if error.status in (403, 404) and kind is CILIUM_POLICY:
                return kind, []
            raise
        return kind, list(listed["items"])

    return dict(await asyncio.gather(*map(look, kinds)))


async def _wait_until_in_force(inside: Api) -> None:
    started = time.monotonic()
    while True:
        quotas = (await inside.list(QUOTA))["items"]
        missing = [each["metadata"]["name"] for each in quotas if not is_counted(each)]
        # An account without which no pod is made comes a moment after the namespace.
        account = await inside.get(ACCOUNT, names.NOTEBOOK_ACCOUNT)
        if not missing and account is not None:
            return
        if time.monotonic() - started > IN_FORCE_SECONDS:
            raise TenantError(
                f"Kubernetes does not count the quotas {', '.join(missing)} of "
                f"{inside.namespace} after {IN_FORCE_SECONDS:.0f} s, and nothing may run "
                "there without; the administrators find the reason in the log of "
                "kube-controller-manager."
            )
        await asyncio.sleep(0.2)
