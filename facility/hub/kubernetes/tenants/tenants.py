"""Users' namespaces: made before the first spawn, repaired at every spawn, kept up to date."""

import asyncio
import base64
import datetime
import hashlib
import json
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from facility import names
from facility.errors import FacilityError, KubernetesError
from facility.hub.kubernetes.pod_identity import Identity, fixed
from facility.hub.kubernetes.tenants.difference import is_as_made
from facility.hub.kubernetes.tenants.rights import Rights
from facility.hub.kubernetes.tenants.volumes import keep_volumes
from facility.hub.kubernetes.values.tenant_model import Installation, is_tenant_of, manifests
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import (
    ACCOUNT,
    CILIUM_POLICY,
    ENDPOINTS,
    NAMESPACE,
    NETWORK_POLICY,
    QUOTA,
    ROLE_BINDING,
    SECRET,
    Kind,
    kind_of,
)
from facility.kubernetes.tenant import Network, Tenant, is_counted, refusal, tenant_set

MANAGER = "facility-hub"
"""Owner of the fields that the hub sets."""
USED_ANNOTATION = "facility/used"
"""Annotation of a user's namespace: when a server was last started in it."""
GROUPS_ANNOTATION = "facility/groups"
"""Annotation of a user's namespace: groups of the last login, for its quota."""
NOTES = (GROUPS_ANNOTATION, USED_ANNOTATION)
MADE_ANNOTATION = "facility/made"
"""Annotation of a user's namespace: hash of the manifests of which all in it was last made."""
IDENTITY_NOTES = (names.UID_ANNOTATION, names.GID_ANNOTATION, names.GIDS_ANNOTATION)
IN_FORCE_SECONDS = 330.0
"""Seconds until all quotas must be counted: Kubernetes looks at all of them every five minutes."""
REMOVED = (QUOTA, NETWORK_POLICY, CILIUM_POLICY, ROLE_BINDING)
"""Kinds of which nothing stays that the values no longer ask for."""

logger = logging.getLogger("facility")
Object = dict[str, Any]


class TenantError(FacilityError):
    """A user cannot have a namespace."""


def digest_of(made: list[Object]) -> str:
    """Return a hash of manifests."""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Surroundings:
    """What all users' namespaces depend on, as it is at a moment.

    Parameters
    ----------
    network
        What users' pods may reach, with the API server's present addresses.
    pull_secrets
        Content of ``.dockerconfigjson`` of each Secret for pulling images, under its name.
    """

    network: Network
    pull_secrets: Mapping[str, str]


class Tenants:
    """Makes users' namespaces what they should be.

    Parameters
    ----------
    installation
        What to make them from.
    api
        Asks with the hub's account.
    """

    def __init__(self, installation: Installation, api: Api) -> None:
        self.installation = installation
        self.release = installation.release
        self.api = api
        self._locks: dict[str, asyncio.Lock] = {}

    async def surroundings(self) -> Surroundings:
        """Look at what all users' namespaces depend on.

        Raises
        ------
        FacilityError
            Where some of it is missing.
        """
        slices = await self.api.within("default").list(ENDPOINTS, fields="metadata.name=kubernetes")
        wanted = self.installation.values.images.pull_secrets
        secrets = {name: await self._pull_secret(name) for name in wanted}
        return Surroundings(self.installation.network(slices["items"]), secrets)

    def tenant(self, user: str, groups: Collection[str], around: Surroundings) -> Tenant:
        """Return what a user's namespace is made from."""
        quota = self.installation.quota(user, groups)
        return Tenant(user, self.release, quota, around.network, around.pull_secrets)

    async def _pull_secret(self, name: str) -> str:
        found = await self.api.within(self.release.namespace).get(SECRET, name)
        content = (found or {}).get("data", {}).get(".dockerconfigjson")
        if content is None:
            raise TenantError(
                f"images.pullSecrets names the Secret {name!r}, and the namespace "
                f"{self.release.namespace} has none of type kubernetes.io/dockerconfigjson so "
                "named. Make it there, or take it out of the values."
            )
        return base64.b64decode(content).decode()

    async def ensure(
        self, user: str, groups: Collection[str] = (), identity: Identity | None = None
    ) -> Tenant:
        """Make or repair a user's namespace, and wait until its limits are in force.

        Parameters
        ----------
        identity
            As whom its pods run; by default as the values say for all.

        Returns
        -------
        Tenant
            What it was made from.

        Raises
        ------
        TenantError
            Where the namespace is somebody else's, or its quotas are not counted in time.
        KubernetesError
            Where Kubernetes refuses.
        """
        tenant = self.tenant(user, groups, await self.surroundings())
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        identity = identity or fixed(self.installation.values.singleuser)
        notes = {GROUPS_ANNOTATION: json.dumps(sorted(groups)), USED_ANNOTATION: now}
        notes |= identity.notes
        await self._ensure(tenant, notes)
        return tenant

    async def _ensure(self, tenant: Tenant, notes: Mapping[str, str]) -> None:
        async with self._locks.setdefault(tenant.namespace, asyncio.Lock()):
            found = await self._own(tenant)
            await self._apply(tenant, notes, found)
            await self._in_force(tenant)

    async def _own(self, tenant: Tenant) -> Object | None:
        """Return the namespace, None where there is none; refuse one that is not this user's."""
        found = await self.api.get(NAMESPACE, tenant.namespace)
        if found is not None:
            reason = refusal(tenant, found)
            if reason:
                raise TenantError(reason)
        elif not self.installation.values.tenants.create_namespaces:
            raise TenantError(
                f"The namespace {tenant.namespace} does not exist, and tenants.createNamespaces "
                "is false: the site makes it, with the labels "
                f"{names.HUB_LABEL}={tenant.release.name} and {names.TENANT_LABEL}={tenant.slug} "
                f"and the annotation {names.USER_ANNOTATION}={tenant.user}."
            )
        return found

    async def _apply(self, tenant: Tenant, notes: Mapping[str, str], found: Object | None) -> None:
        """Make what is missing or changed.

        Writing costs hub and Kubernetes much more than looking, so that what was made from the
        same manifests before is looked at first.

        Parameters
        ----------
        found
            The namespace as it was, if it was there.
        """
        namespace, binding, *others = tenant_set(tenant)
        digest = digest_of([binding, *others])
        annotations = namespace["metadata"]["annotations"]
        annotations.update(notes)
        before = (found or {}).get("metadata", {}).get("annotations") or {}
        same = before.get(MADE_ANNOTATION) == digest
        if same:
            annotations[MADE_ANNOTATION] = digest
        uid = (await self.api.apply(namespace, MANAGER))["metadata"]["uid"]
        await self.api.apply(binding, MANAGER)
        rights = Rights()

        async def apply(manifest: Object) -> None:
            await rights.wait_for(partial(self.api.apply, manifest, MANAGER))

        if not same:
            for manifest in others:
                await apply(manifest)
        there = await self._there(tenant, [binding, *others], rights, everything=not same)
        for manifest in others if same else ():
            if not is_as_made(manifest, there.get(kind_of(manifest), ())):
                await apply(manifest)
        await self._remove_others(tenant, [binding, *others], there)
        await keep_volumes(self.api, tenant, uid, apply)
        if not same:
            annotations[MADE_ANNOTATION] = digest
            await self.api.apply(namespace, MANAGER)

    async def _there(
        self, tenant: Tenant, made: list[Object], rights: Rights, *, everything: bool
    ) -> dict[Kind, list[Object]]:
        """Return the release's objects in a namespace, by their kind.

        Parameters
        ----------
        everything
            Whether kinds too of which nothing is made any more.
        """
        inside = self.api.within(tenant.namespace)
        selector = f"{names.HUB_LABEL}={tenant.release.name}"
        # What is in a Secret is not looked at.
        kinds = {kind_of(manifest): None for manifest in made if kind_of(manifest) is not SECRET}
        kinds |= dict.fromkeys(REMOVED) if everything else {}

        async def look(kind: Kind) -> list[Object]:
            try:
                listed = await rights.wait_for(partial(inside.list, kind, selector))
            except KubernetesError as error:
                # No kind of Cilium where there is no Cilium.
                if error.status in (403, 404) and kind is CILIUM_POLICY:
                    return []
                raise
            return list(listed["items"])

        found = await asyncio.gather(*map(look, kinds))
        return dict(zip(kinds, found, strict=True))

    async def _remove_others(
        self, tenant: Tenant, made: list[Object], there: Mapping[Kind, list[Object]]
    ) -> None:
        """Remove limits and policies that an earlier release or other values have left."""
        inside = self.api.within(tenant.namespace)
        for kind in REMOVED:
            expected = {each["metadata"]["name"] for each in made if kind_of(each) is kind}
            for each in there.get(kind, ()):
                name = each["metadata"]["name"]
                if name not in expected:
                    logger.info("%s: removing %s %s", tenant.namespace, kind.name, name)
                    await inside.delete(kind, name)

    async def _in_force(self, tenant: Tenant) -> None:
        inside = self.api.within(tenant.namespace)
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
                    f"{tenant.namespace} after {IN_FORCE_SECONDS:.0f} s, and nothing may run "
                    "there without; the administrators find the reason in the log of "
                    "kube-controller-manager."
                )
            await asyncio.sleep(0.2)

    async def namespaces(self) -> list[Object]:
        """Return the namespaces of this release's users."""
        listed = await self.api.list(NAMESPACE, f"{names.HUB_LABEL}={self.release.name}")
        return [each for each in listed["items"] if is_tenant_of(each, self.release)]

    async def refresh(self, known: dict[str, str]) -> int:
        """Bring all users' namespaces up to date; return how many were behind.

        One that fails is told in the log and left for the next time.

        Parameters
        ----------
        known
            What each was when it was last brought up to date, as a hash; changed in place.
        """
        around = await self.surroundings()
        behind = 0
        for each in await self.namespaces():
            notes = each["metadata"].get("annotations") or {}
            user = notes.get(names.USER_ANNOTATION, "")
            if not user or "deletionTimestamp" in each["metadata"]:
                continue
            try:
                groups = json.loads(notes.get(GROUPS_ANNOTATION, "[]"))
                tenant = self.tenant(user, groups, around)
                digest = digest_of(manifests(tenant))
                if known.get(tenant.namespace) != digest:
                    behind += 1
                    await self._ensure(tenant, self._kept(notes))
                    known[tenant.namespace] = digest
            except (FacilityError, ValueError) as error:
                logger.error("The namespace of %s is not up to date: %s", user, error)
        return behind

    def _kept(self, notes: Mapping[str, str]) -> dict[str, str]:
        """Return what is said of a namespace beside what it is made from."""
        servers = self.installation.values.singleuser
        kept = {key: notes[key] for key in NOTES if key in notes}
        if servers.identity is None:
            return kept | fixed(servers).notes
        # What a login says is known at a start alone.
        return kept | {key: notes[key] for key in IDENTITY_NOTES if key in notes}
