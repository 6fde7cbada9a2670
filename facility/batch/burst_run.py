"""Send a burst to Kubernetes, and watch what becomes of it."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from facility.batch.accounts import BurstAccount, account
from facility.batch.burst_pods import PodLedger
from facility.batch.bursts import LABEL, Burst, jobs
from facility.errors import KubernetesError, RequestError
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Object
from facility.kubernetes.client.kinds import JOB, POD
from facility.progress import Line

LOOK = 2.0
"""Seconds between two looks; longer where there are many pods."""
PODS_A_SECOND = 1_000


class BurstRun:
    """One burst in its namespace.

    Parameters
    ----------
    api
        Asks in the namespace of batch.
    """

    def __init__(self, api: Api, wanted: Burst) -> None:
        self.api, self.wanted = api, wanted
        self.asked = jobs(wanted)
        self.ledger = PodLedger()

    async def begin(self) -> None:
        """Create all Jobs, or none.

        Raises
        ------
        RequestError
            There is a burst of that name.
        KubernetesError
            Where one is refused.
        """
        there = (await self.api.list(JOB, f"{LABEL}={self.wanted.name}"))["items"]
        if there:
            raise RequestError(
                f"The burst {self.wanted.name} cannot begin",
                [f"there is one of that name in {self.wanted.namespace}; choose another --name"],
            )
        made: list[str] = []
        try:
            for body in self.asked:
                await self.api.create(JOB, body)
                made.append(body["metadata"]["name"])
        except BaseException:
            for name in made:
                with suppress(KubernetesError):
                    await self.api.delete(JOB, name)
            raise

    async def look(self) -> BurstAccount:
        """Say how far it is."""
        selector = f"{LABEL}={self.wanted.name}"
        # Pods first: what a Job's status counts has been seen here then, or is yet to come.
        pods = (await self.api.list(POD, selector, keep=_slim))["items"]
        found = (await self.api.list(JOB, selector))["items"]
        self.ledger.see(pods, time.time())
        return account(self.wanted.name, self.asked, found, self.ledger)

    async def follow(self, *, progress: bool = True) -> BurstAccount:
        """Watch it to its end."""
        line = Line(show=progress)
        while True:
            now = await self.look()
            if now.over:
                # Pods that ended between the two lists of this look.
                last = await self.look()
                line.end(f"Burst {self.wanted.name}: {last.summary()}")
                return last
            if line.due():
                line.tell(
                    f"Burst {self.wanted.name}: {now.summary()}",
                    now.count("done") + now.count("failed"),
                    len(now.indices),
                )
            await asyncio.sleep(max(LOOK, len(self.ledger.pods) / PODS_A_SECOND))


def _slim(pod: Object) -> Object:
    """Keep of a pod what an account needs."""
    metadata, status = pod["metadata"], pod.get("status", {})
    kept: Mapping[str, Any] = {
        key: metadata[key]
        for key in ("uid", "name", "labels", "annotations", "deletionTimestamp")
        if key in metadata
    }
    return {
        "metadata": dict(kept),
        "spec": {"containers": [
            {"resources": each.get("resources", {})} for each in pod["spec"]["containers"]
        ]},
        "status": {
            key: status[key]
            for key in ("phase", "reason", "message", "conditions", "containerStatuses")
            if key in status
        },
    }  # fmt: skip
