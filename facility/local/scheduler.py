"""The scheduler's own process: ``python -m facility.local.scheduler``."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import dask
from distributed.scheduler import Scheduler
from distributed.security import Security

from facility import logs, names
from facility.local import registry
from facility.local.child import read_settings, write_answer
from facility.scheduler import SETTINGS_VARIABLE
from facility.serving import look_seldom, serve_scheduler

WORKERS_CLOSE = 2.0
"""Seconds in which workers end after their scheduler."""


async def serve(settings: dict[str, Any]) -> None:
    """Run a scheduler until it closes by itself or is asked to."""
    os.environ[SETTINGS_VARIABLE] = json.dumps(settings["facility"])
    scheduler = Scheduler(
        protocol="tls",
        host=names.LOOPBACK,
        port=0,
        dashboard=False,
        dashboard_address=f"{names.LOOPBACK}:0",
        security=Security(**settings["security"]),
        preload=["facility.scheduler"],
    )

    def started() -> None:
        services = scheduler.identity()["services"]
        write_answer({"address": scheduler.address, "services": services}, settings["log"])

    keep = asyncio.ensure_future(logs.keep_short(Path(settings["log"])))
    await serve_scheduler(scheduler, started)
    keep.cancel()


def main() -> None:
    """Serve with the settings on standard input."""
    owner = os.getppid()
    os.umask(0o077)
    settings = read_settings()
    look_seldom()
    with dask.config.set(settings["dask"]):
        asyncio.run(serve(settings))
    if os.getppid() != owner:
        # Nobody else is left to remove what the Dask cluster kept on disk.
        time.sleep(WORKERS_CLOSE)
        registry.remove(Path(settings["folder"]))


if __name__ == "__main__":
    main()
