"""Keeps users' namespaces in order while the hub runs, as a service of its own.

A process beside the hub: what it waits for holds no page of the hub up.
"""

import asyncio
import logging
import os
import signal
import sys

from facility import names
from facility.errors import FacilityError
from facility.hub.kubernetes.release import read_site
from facility.hub.kubernetes.tenants.leftovers import sweep
from facility.hub.kubernetes.tenants.tenants import Tenants
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api

INTERVAL = 20.0
"""Seconds between two rounds."""
REPAIR_ROUNDS = 45
"""Rounds after which namespaces are repaired that ought to be in order: a quarter of an hour."""

logger = logging.getLogger("facility")


async def keep(tenants: Tenants, parent: int) -> None:
    """Bring namespaces up to date and sweep them, until the hub ends."""
    known: dict[str, str] = {}
    told: set[str] = set()
    server_classes = names.server_priority_classes(tenants.release.name)
    rounds = 0
    while os.getppid() == parent:
        if rounds % REPAIR_ROUNDS == 0:
            known.clear()
            told.clear()
        try:
            behind = await tenants.refresh(known)
            if behind:
                logger.info("%d namespaces of users are up to date again", behind)
            found = {each["metadata"]["name"] for each in await tenants.namespaces()}
            for cleared in await sweep(tenants.api, found, server_classes, told):
                logger.info("Cleared away %s", cleared)
        except FacilityError as error:
            logger.error("%s", error)
        except Exception:  # of whatever stands in a namespace, nothing ends the order of all others
            logger.exception("This round ended early")
        rounds += 1
        await asyncio.sleep(INTERVAL)


def main() -> None:
    """Keep order with the hub's account."""
    # The hub asks with SIGINT; there is nothing here to be tidied up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="[%(levelname)s %(asctime)s keeper] %(message)s",
    )
    asyncio.run(keep(Tenants(read_site(), Api(pod_account())), os.getppid()))


if __name__ == "__main__":
    main()
