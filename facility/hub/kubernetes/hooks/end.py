"""Before the facility is taken away: all that runs in its users' namespaces ends.

A Job of the chart runs it with the hub's account. Namespaces and homes stay: they are the users'.
What a user has made such that it does not end is told, and holds nothing up: Helm takes the rest
away.
"""

import argparse
import asyncio
import sys

from facility import names
from facility.errors import FacilityError
from facility.hub.kubernetes import ends
from facility.hub.kubernetes.ends import Outcome
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import DASK_CLUSTER, JOB, NAMESPACE
from facility.wording import counted


async def user_namespaces(api: Api, release: str) -> list[str]:
    """Return the names of the namespaces of a release's users."""
    selector = f"{names.HUB_LABEL}={release},{names.TENANT_LABEL}"
    return [each["metadata"]["name"] for each in (await api.list(NAMESPACE, selector))["items"]]


async def end_all(api: Api, release: str, patience: float = ends.PATIENCE) -> list[str]:
    """End everything of all users of a release, many at a time; say what is left.

    Parameters
    ----------
    patience
        Seconds for each of them.
    """
    found = await user_namespaces(api, release)
    outcomes: list[Outcome] = await asyncio.gather(
        *(ends.end(api.within(name), ends.RUNNING, patience) for name in found)
    )
    clusters, jobs = (
        sum(each.asked.get(kind.name, 0) for each in outcomes) for kind in (DASK_CLUSTER, JOB)
    )
    ended = f"{counted(clusters, 'Dask cluster')} and {counted(jobs, 'job')}"
    print(f"{ended} of {counted(len(found), 'user')} asked to end, and all other pods.")
    return [said for each in outcomes for said in each.left]


async def _run(release: str) -> list[str]:
    api = Api(pod_account())
    try:
        return await end_all(api, release)
    finally:
        await api.aclose()


def main() -> None:
    """End with the hub's account."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--release", required=True)
    given = parser.parse_args()
    try:
        left = asyncio.run(_run(given.release))
    except FacilityError as error:
        sys.exit(f"Not all has ended: {error}")
    for said in left:
        print(f"Left: {said}.")


if __name__ == "__main__":
    main()
