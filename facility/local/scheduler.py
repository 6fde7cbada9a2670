"""The scheduler's own process: ``python -m facility.local.scheduler``."""

import asyncio
import json
import os
import shutil
import signal
import time
from typing import Any

import dask
from distributed.scheduler import Scheduler
from distributed.security import Security
from tornado.web import Application, RequestHandler

from facility import names
from facility.local.child import close_when_asked, read_settings, write_answer
from facility.scheduler import SETTINGS_VARIABLE

WORKERS_CLOSE = 2.0
"""Seconds in which workers end after their scheduler."""


class DashboardStarting(RequestHandler):
    """Tells a browser to come back for the dashboard in a second."""

    def get(self) -> None:
        """Answer any page."""
        self.set_status(503)
        self.finish('<meta http-equiv="refresh" content="1">The dashboard is starting.')


async def serve(settings: dict[str, Any]) -> None:
    """Run a scheduler until it closes by itself or is asked to."""
    os.environ[SETTINGS_VARIABLE] = json.dumps(settings["facility"])
    # The dashboard's imports take as long as all others together, so that it
    # comes when the scheduler already serves.
    scheduler = Scheduler(
        protocol="tls",
        host=names.LOOPBACK,
        port=0,
        dashboard=False,
        dashboard_address=f"{names.LOOPBACK}:0",
        security=Security(**settings["security"]),
        preload=["facility.scheduler"],
    )
    async with scheduler:
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        starting = Application([(".*", DashboardStarting)])
        scheduler.http_application.add_application(starting)
        write_answer({"address": scheduler.address, "services": scheduler.identity()["services"]})
        await asyncio.to_thread(_import_dashboard)
        _add_dashboard(scheduler)
        scheduler.http_application.applications.remove(starting)
        await close_when_asked(scheduler, asked)


def _import_dashboard() -> None:
    import distributed.dashboard.scheduler  # noqa: F401


def _add_dashboard(scheduler: Scheduler) -> None:
    from distributed.dashboard.scheduler import connect

    connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="/")


def main() -> None:
    """Serve with the settings on standard input."""
    owner = os.getppid()
    settings = read_settings()
    with dask.config.set(settings["dask"]):
        asyncio.run(serve(settings))
    if os.getppid() != owner:
        # Nobody else is left to remove what the Dask cluster kept on disk.
        time.sleep(WORKERS_CLOSE)
        shutil.rmtree(settings["folder"], ignore_errors=True)


if __name__ == "__main__":
    main()
