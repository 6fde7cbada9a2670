"""The scheduler's container: ``python -m facility.kubernetes.scheduler``.

Certificates stand where Dask's configuration, set as environment variables, finds them.
"""

import asyncio
import json
import os

import dask

from facility import names
from facility.dask_process.dask_settings import OURS
from facility.dask_process.serving import look_seldom, serve_scheduler
from facility.scheduler.pooled import PooledScheduler

WORKER_TTL = "5 minutes"
"""After which a worker counts as lost whose pod is there and says nothing."""


async def serve() -> None:
    """Run a scheduler until it closes by itself or is asked to."""
    look_seldom()
    address = os.environ[names.POD_ADDRESS_VARIABLE]
    scheduler = PooledScheduler(
        json.loads(os.environ.get(names.SCHEDULER_VARIABLE, "{}")),
        protocol="tls",
        host="0.0.0.0",  # kubectl port-forward comes from the pod's loopback
        port=names.SCHEDULER_PORT,
        contact_address=f"tls://{address}:{names.SCHEDULER_PORT}",
        dashboard=False,
        dashboard_address=f":{names.DASHBOARD_PORT}",
    )
    await serve_scheduler(scheduler, lambda: print("The scheduler serves.", flush=True))


if __name__ == "__main__":
    # Whatever the image's files and the pod's variables say.
    with dask.config.set({**OURS, "distributed.scheduler.worker-ttl": WORKER_TTL}):
        asyncio.run(serve())
