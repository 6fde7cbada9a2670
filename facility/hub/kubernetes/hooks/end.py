"""Before the facility is taken away: all servers and Dask clusters of its users end.

A Job of the chart runs it with the hub's account. Namespaces and homes stay: they are the users'.
"""

import argparse
import asyncio
import sys
import time

from facility import names
from facility.errors import FacilityError, KubernetesError
from facility.kubernetes import deletion
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import DASK_CLUSTER, NAMESPACE, POD
from facility.wording import counted

PATIENCE = 120.0
"""Seconds in which all ought to be gone."""
OPERATOR_SECONDS = 10.0
"""Seconds after which a DaskCluster no longer waits for an operator."""
SERVERS = f"{names.APP_COMPONENT_LABEL}={names.USER_SERVER_COMPONENT}"


async def user_namespaces(api: Api, release: str) -> list[str]:
    """Return the names of the namespaces of a release's users."""
    selector = f"{names.HUB_LABEL}={release},{names.TENANT_LABEL}"
    return [each["metadata"]["name"] for each in (await api.list(NAMESPACE, selector))["items"]]


async def dask_clusters(api: Api) -> list[dict[str, object]]:
    """Return the DaskClusters of a namespace; none where there is no such kind."""
    try:
        return list((await api.list(DASK_CLUSTER))["items"])
    except KubernetesError as error:
        if error.status != 404:
            raise
        return []


async def end(api: Api, *, servers: bool = True) -> int:
    """End all Dask clusters of a namespace and, with `servers`, the user's servers.

    Returns
    -------
    int
        How many Dask clusters there were.

    Raises
    ------
    FacilityError
        Where something is still there after two minutes.
    """
    found = len(await dask_clusters(api))
    if servers:
        await api.delete_all(POD, SERVERS)
    started = time.monotonic()
    while True:
        left = await dask_clusters(api)
        elapsed = time.monotonic() - started
        for cluster in left:
            metadata = cluster["metadata"]
            assert isinstance(metadata, dict)
            name = metadata["name"]
            for call in deletion.deletions(api.namespace, name):
                try:
                    await api.ask(call)
                except KubernetesError as error:
                    if error.status != 404:
                        raise
            if metadata.get("finalizers") and elapsed > OPERATOR_SECONDS:
                await api.ask(deletion.released(api.namespace, name))
        pods = (await api.list(POD, SERVERS))["items"] if servers else []
        if not left and not pods:
            return found
        if elapsed > PATIENCE:
            clusters, user_servers = (
                counted(len(left), "Dask cluster"),
                counted(len(pods), "server"),
            )
            raise FacilityError(
                f"{clusters} and {user_servers} are still in {api.namespace} "
                f"after {PATIENCE:.0f} s; `kubectl -n {api.namespace} get pods,daskclusters` "
                "shows them."
            )
        await asyncio.sleep(0.5)


async def end_all(api: Api, release: str) -> None:
    """End everything of all users of a release, many at a time."""
    found = await user_namespaces(api, release)
    counts = await asyncio.gather(*(end(api.within(name)) for name in found))
    ended = counted(sum(counts), "Dask cluster")
    print(f"{ended} of {counted(len(found), 'user')} ended.")
    await api.aclose()


def main() -> None:
    """End with the hub's account."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--release", required=True)
    given = parser.parse_args()
    try:
        asyncio.run(end_all(Api(pod_account()), given.release))
    except FacilityError as error:
        sys.exit(f"Not all has ended: {error}")


if __name__ == "__main__":
    main()
