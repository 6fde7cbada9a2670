"""The scheduler's own process: ``python -m facility.local.scheduler``."""

import asyncio
import os
from pathlib import Path
from typing import Any, NoReturn

import dask
from distributed.security import Security

from facility import names
from facility.dask_process.dashboard_guard import Guarded
from facility.dask_process.serving import leave_at_once, look_seldom, serve_scheduler
from facility.local import registry
from facility.local.process import read_settings, write_answer
from facility.local.process_tree import of_cluster
from facility.scheduler.pooled import PooledScheduler
from facility.system import logs
from facility.system.processes import end, wait

WORKERS_CLOSE = 3.0
"""Seconds in which workers end after their scheduler, with what their tasks have started."""


class LocalScheduler(Guarded, PooledScheduler):
    """A scheduler whose dashboard asks for a token."""


async def serve(settings: dict[str, Any]) -> None:
    """Run a scheduler until it closes by itself or is asked to."""
    own = {**settings["facility"], "folder": settings["folder"]}
    scheduler = LocalScheduler(
        own,
        dashboard_token=settings["dashboard_token"],
        protocol="tls",
        host=names.LOOPBACK,
        port=0,
        dashboard=False,
        dashboard_address=f"{names.LOOPBACK}:0",
        security=Security(**settings["security"]),
    )

    def started() -> None:
        services = scheduler.identity()["services"]
        write_answer({"address": scheduler.address, "services": services}, settings["log"])

    keep = asyncio.ensure_future(logs.keep_short(Path(settings["log"])))
    await serve_scheduler(scheduler, started)
    keep.cancel()


def main() -> NoReturn:
    """Serve with the settings on standard input."""
    os.umask(0o077)
    settings = read_settings()
    look_seldom()
    try:
        with dask.config.set(settings["dask"]):
            asyncio.run(serve(settings))
    finally:
        finish(Path(settings["folder"]))
    leave_at_once()


def finish(folder: Path) -> None:
    """End and remove what is left of the Dask cluster, whoever else does.

    Its owner may be gone, or may have been cut off after it asked for the end.
    """
    if left := wait(of_cluster(folder), WORKERS_CLOSE):
        end(left, 0)
        end(of_cluster(folder), 0)  # what these had started
    registry.remove(folder)


if __name__ == "__main__":
    main()
