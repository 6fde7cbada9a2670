"""Users' namespaces: made before the first spawn, repaired at every spawn, kept up to date.

A namespace goes one way: `plan` says what it should hold, `difference` compares that with what is
there, `apply` does what differs.
"""

import asyncio
import base64
import datetime
import logging
from collections.abc import Collection
from typing import Any

from facility import names
from facility.errors import FacilityError, one_line
from facility.hub.kubernetes.pod_identity import Identity
from facility.hub.kubernetes.tenants.apply import apply
from facility.hub.kubernetes.tenants.plan import (
    Plan,
    Surroundings,
    TenantError,
    plan_as_left,
    plan_for_start,
)
from facility.hub.kubernetes.values.tenant_model import Installation, is_tenant_of
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import ENDPOINTS, NAMESPACE, SECRET
from facility.kubernetes.tenant import Tenant

logger = logging.getLogger("facility")
Object = dict[str, Any]


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
        around = await self.surroundings()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        plan = plan_for_start(self.installation, around, user, groups, identity, now)
        await self._apply(plan)
        return plan.tenant

    async def _apply(self, plan: Plan) -> None:
        """Do one thing at a time in each namespace."""
        async with self._locks.setdefault(plan.tenant.namespace, asyncio.Lock()):
            creates = self.installation.values.tenants.create_namespaces
            await apply(self.api, plan, creates=creates)

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
                plan = plan_as_left(self.installation, around, user, notes)
                if known.get(plan.tenant.namespace) != plan.digest:
                    behind += 1
                    await self._apply(plan)
                    known[plan.tenant.namespace] = plan.digest
            except FacilityError as error:
                logger.error("The namespace of %s is not up to date: %s", user, error)
            except Exception as error:  # noqa: BLE001 - what stands in one namespace is not others'
                said = one_line(error)
                logger.error("The namespace of %s is not up to date: %s", user, said)
        return behind
