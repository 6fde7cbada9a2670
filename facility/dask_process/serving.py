"""How a scheduler or a worker runs in a process of its own until it is asked to close."""

import asyncio
import atexit
import gc
import importlib
import io
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

import dask
from distributed.scheduler import Scheduler
from tornado.web import Application, RequestHandler

from facility.system.signals import keep_signals_from_forks

logger = logging.getLogger("facility")

DASHBOARD_SECONDS = 5.0
"""Seconds after which the dashboard starts though nobody looks."""
SCHEDULER_DASHBOARD = "distributed.dashboard.scheduler"
WORKER_DASHBOARD = "distributed.dashboard.worker"
"""Modules whose ``connect`` adds it."""
IMPORT_SECONDS = 20.0
"""Seconds for which a browser waits for it."""
LOOKS = {
    "distributed.worker.profile.interval": ("10ms", "100ms"),
    "distributed.admin.tick.interval": ("20ms", "200ms"),
}
"""How often Dask looks at a scheduler or worker by default, and how often it does here.

Each look takes the interpreter from whoever has it, a task for example; all of them took 3 % of an
analysis (`benchmarks.analysis`). A minute's profile says the same with a tenth of the samples, and
an event loop counts as late after 3 s.
"""


def look_seldom() -> None:
    """Set `LOOKS` in this process, before it makes a scheduler or worker, unless told otherwise."""
    found = {key: dask.config.get(key, usual) for key, (usual, _) in LOOKS.items()}
    dask.config.set({key: seldom for key, (usual, seldom) in LOOKS.items() if found[key] == usual})


def asked_to_close() -> asyncio.Event:
    """Return what SIGTERM and Ctrl-C set, in the running event loop.

    asyncio's own handlers go with its loop. These stay: who asks once more does not cut off what
    this process has to tidy up after its loop.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    keep_signals_from_forks(signal.SIGTERM, signal.SIGINT)

    def ask(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(asked.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return asked


def leave_at_once() -> NoReturn:
    """End this process in order, but without taking the interpreter apart.

    That takes as long as all that went before, and others wait for it. Exit handlers run, and files
    are written that tasks have left open.
    """
    atexit._run_exitfuncs()
    for each in gc.get_objects():
        if isinstance(each, io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom):
            with suppress(OSError, ValueError):  # closed meanwhile, or a full disk
                each.flush()
    os._exit(0)


async def close_when_asked(
    server: Any, asked: asyncio.Event, close: Callable[[], Awaitable[Any]] | None = None
) -> None:
    """Wait until a scheduler or worker ends, and close it when asked to.

    Parameters
    ----------
    close
        How it closes when asked to; by default at once.
    """
    finished = asyncio.ensure_future(server.finished())
    asking = asyncio.ensure_future(asked.wait())
    await asyncio.wait([finished, asking], return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    if not finished.done():
        await (close() if close else server.close(reason="asked to"))
    await finished


class DashboardStarting(RequestHandler):
    """Has a browser wait until the dashboard is there, and come again."""

    def initialize(self, opened: asyncio.Event, ready: asyncio.Event) -> None:
        """Take what says that somebody wants to see it, and that it is there."""
        self.opened, self.ready = opened, ready

    async def get(self) -> None:
        """Answer any page."""
        self.opened.set()
        try:
            await asyncio.wait_for(self.ready.wait(), IMPORT_SECONDS)
        except TimeoutError:
            self.set_status(503)
            self.finish('<meta http-equiv="refresh" content="1">The dashboard is starting.')
        else:
            # Relative, since a proxy may have taken away what stands before the path.
            page = self.request.path.rpartition("/")[2] or "."
            self.set_status(307)
            self.set_header("Location", f"{page}?{self.request.query}".rstrip("?"))
            self.finish()


async def serve_scheduler(scheduler: Scheduler, started: Callable[[], None]) -> None:
    """Run a scheduler, made without a dashboard, until it closes or is asked to.

    Parameters
    ----------
    started
        Called when the scheduler can be spoken to.
    """
    async with scheduler:
        asked = asked_to_close()
        async with dashboard(scheduler, SCHEDULER_DASHBOARD, DASHBOARD_SECONDS):
            started()
            await close_when_asked(scheduler, asked)


@asynccontextmanager
async def dashboard(server: Any, module: str, seconds: float | None = None) -> AsyncIterator[None]:
    """Have a scheduler or a worker, made without a dashboard, get one.

    Parameters
    ----------
    module
        Of distributed; holds ``connect``.
    seconds
        When, though nobody looks; without it, once somebody does.
    """
    coming = asyncio.ensure_future(_bring_dashboard(server, module, seconds))
    coming.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        coming.cancel()


async def _bring_dashboard(server: Any, module: str, seconds: float | None) -> None:
    """Add the dashboard once somebody looks, or once what starts first has had its time.

    Its imports take as long as all others together, and workers start meanwhile.
    """
    opened, ready = asyncio.Event(), asyncio.Event()
    starting = Application([(".*", DashboardStarting, {"opened": opened, "ready": ready})])
    server.http_application.add_application(starting)
    with suppress(TimeoutError):
        await asyncio.wait_for(opened.wait(), seconds)
    found = await asyncio.to_thread(importlib.import_module, module)
    found.connect(server.http_application, server.http_server, server, prefix="/")
    server.http_application.applications.remove(starting)
    ready.set()


def _tell_failure(coming: "asyncio.Future[None]") -> None:
    if not coming.cancelled() and (error := coming.exception()):
        logger.error("The dashboard does not start", exc_info=error)
