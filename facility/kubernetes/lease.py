"""A Dask cluster that a process outside of Kubernetes starts: it has no pod that could own it.

What owns it instead is a Lease, which this process renews for as long as it lives.
"""

import asyncio
import getpass
import logging
import os
import platform
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from facility import names
from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call, deletion
from facility.kubernetes.client.kinds import LEASE
from facility.kubernetes.pod_template import PodTemplate, identity_of, said_by_hub

IMAGE_VARIABLE = "FACILITY_IMAGE"
LEASE_SECONDS = 300
"""Seconds for which a Lease holds that is not renewed."""
RENEW_EVERY = 60.0

logger = logging.getLogger("facility")


def outside(api: Api) -> PodTemplate:
    """Return where the pods come from.

    Raises
    ------
    FacilityError
        Where nothing says which image they run.
    """
    image = os.environ.get(IMAGE_VARIABLE)
    if not image:
        raise FacilityError(
            f"Set {IMAGE_VARIABLE} to the image that scheduler and workers are to run: this "
            "process has none of its own to take, since it does not run in a pod. The image has "
            "to hold the Python, dask and distributed of this process; your administrator knows "
            "its name."
        )
    return PodTemplate(api.namespace, image, identity=identity_of(api), **said_by_hub(api))


class Lease:
    """Owns what belongs to one Dask cluster; without renewal everybody may see that it is over.

    Parameters
    ----------
    cluster
        Name of the Dask cluster.
    """

    def __init__(self, api: Api, cluster: str) -> None:
        self.api = api
        self.cluster = cluster
        self.name = f"{cluster}-{secrets.token_hex(3)}"
        self.taken = False

    async def take(self) -> dict[str, str]:
        """Make it; the reference by which it owns.

        Raises
        ------
        KubernetesError
            Where it is refused.
        """
        now = _written(datetime.now(UTC))
        body = {
            "apiVersion": LEASE.version,
            "kind": LEASE.name,
            "metadata": {
                "name": self.name,
                "labels": {
                    names.CLUSTER_LABEL: self.cluster,
                    "app.kubernetes.io/managed-by": "facility",
                },
            },
            "spec": {
                "holderIdentity": f"{getpass.getuser()}@{platform.node()}",
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": now,
                "renewTime": now,
            },
        }
        self.taken = True
        made = await self.api.create(LEASE, body)
        # Without blockOwnerDeletion, as everywhere: OpenShift refuses it.
        return {
            "apiVersion": LEASE.version,
            "kind": LEASE.name,
            "name": self.name,
            "uid": str(made["metadata"]["uid"]),
        }

    async def keep(self) -> None:
        """Renew it again and again."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            body = {"spec": {"renewTime": _written(datetime.now(UTC))}}
            try:
                await self.api.patch(LEASE, self.name, body)
            except KubernetesError as error:
                logger.debug("%s", error)

    def deletions(self) -> list[Call]:
        """Return the call that ends it, if it was ever asked for."""
        return [deletion(self.api.namespace, LEASE, self.name)] if self.taken else []


def holder(lease: Mapping[str, Any], now: datetime | None = None) -> str:
    """Say who holds a Lease, and for how long nobody has renewed it where that is too long."""
    who = str((lease.get("spec") or {}).get("holderIdentity") or "a client without a name")
    unseen = (now or datetime.now(UTC)) - renewed(lease)
    if unseen <= lasting(lease):
        return who
    return f"{who}, unseen for {unseen.total_seconds() / 60:.0f} min"


def renewed(lease: Mapping[str, Any]) -> datetime:
    """Return when a Lease was renewed last; one that does not say, when it was made."""
    said = (lease.get("spec") or {}).get("renewTime")
    return datetime.fromisoformat(said or lease["metadata"]["creationTimestamp"])


def lasting(lease: Mapping[str, Any]) -> timedelta:
    """Return how long a Lease lasts; one that does not say, as long as ours."""
    said = (lease.get("spec") or {}).get("leaseDurationSeconds")
    return timedelta(seconds=said or LEASE_SECONDS)


def _written(moment: datetime) -> str:
    """Write a time as Kubernetes wants it here, with microseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
