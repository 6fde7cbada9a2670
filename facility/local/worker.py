"""A worker's own process: ``python -m facility.local.worker``."""

import asyncio
import os
from pathlib import Path
from typing import Any, NoReturn

import dask
from distributed.security import Security

from facility import names
from facility.dask_process.dashboard_guard import Guarded
from facility.dask_process.serving import (
    WORKER_DASHBOARD,
    asked_to_close,
    close_when_asked,
    dashboard,
    leave_at_once,
    look_seldom,
)
from facility.local import process_tree, registry
from facility.local.process import keep_settings, leave_pipe, read_settings
from facility.system import logs
from facility.system.private_files import private_umask
from facility.worker.pool_worker import PoolWorker, leave
from facility.worker.software import OTHER_SOFTWARE


class LocalWorker(Guarded, PoolWorker):
    """A worker whose dashboard asks for a token, the one of its scheduler's."""


async def serve(settings: dict[str, Any]) -> None:
    """Run a worker until its scheduler is gone or it is asked to close."""
    folder = Path(settings["folder"])
    # What tasks make is the user's own.
    with private_umask():
        worker = LocalWorker(
            settings["scheduler"],
            dashboard_token=settings["dashboard_token"],
            name=settings["name"],
            nthreads=settings["threads"],
            memory_limit=settings["memory"],
            resources=settings["resources"],
            local_directory=str(folder / registry.SCRATCH),
            security=Security(**settings["security"]),
            host=names.LOOPBACK,
            dashboard=False,
            dashboard_address=f"{names.LOOPBACK}:0",
            death_timeout=settings["death_timeout"],
        )
    try:
        async with worker, dashboard(worker, WORKER_DASHBOARD):
            keep = asyncio.ensure_future(logs.keep_short(Path(settings["log"])))
            await close_when_asked(worker, asked_to_close())
            keep.cancel()
    finally:
        leave(process_tree.of_worker(folder, settings["name"], os.getpid()))


def _take_environment(settings: dict[str, Any]) -> None:
    """Fetch what the process that started this one has above this interpreter, and start anew."""
    from facility.environment import bootstrap

    found = bootstrap.received()
    try:
        if found is None:
            folder = Path(settings["folder"]) / registry.SCRATCH / f"{settings['name']}-environment"
            connection = Security(**settings["security"]).get_connection_args("worker")
            found = asyncio.run(bootstrap.obtain(settings["scheduler"], folder, connection))
            if found is not None:
                keep_settings(settings)
                bootstrap.start_anew(found)
        elif (problem := found.failing_import()) is not None:
            raise bootstrap.EnvironmentTroubleError(problem)
    except bootstrap.EnvironmentTroubleError as error:
        print(error, flush=True)
        os._exit(OTHER_SOFTWARE)


def main() -> NoReturn:
    """Serve with the settings on standard input."""
    settings = read_settings()
    leave_pipe(settings["log"])
    look_seldom()
    with dask.config.set(settings["dask"]):
        if not settings["shares_files"]:
            _take_environment(settings)
        asyncio.run(serve(settings))
    leave_at_once()


if __name__ == "__main__":
    main()
