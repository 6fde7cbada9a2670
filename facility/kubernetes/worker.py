"""The workers' container: ``python -m facility.kubernetes.worker``.

One worker process, or several of a pod: then the first one that fails ends the pod, whose
workers are replaced together.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from facility import names
from facility.environment import bootstrap
from facility.kubernetes.mounted_secret import BELONGINGS_FOLDER, MountedSecret
from facility.kubernetes.readiness import until_it_listens
from facility.system.processes import started_by
from facility.system.signals import keep_signals_from_forks
from facility.worker.software import OTHER_SOFTWARE, differences, software

MEMBER_VARIABLE = "FACILITY_MEMBER"
ENVIRONMENT = "environment"
"""Folder beside a worker's own, with what the notebook has above the image."""
LEAVE_SECONDS = 3.0
"""Seconds kept for closing, of those that Kubernetes leaves a worker to end in."""


async def serve(
    settings: dict[str, Any], name: str, remarks: list[str], received: MountedSecret
) -> None:
    """Run a worker until its scheduler is gone or it is asked to leave."""
    from facility.dask_process.serving import (
        WORKER_DASHBOARD,
        asked_to_close,
        close_when_asked,
        dashboard,
        look_seldom,
    )
    from facility.worker.pool_worker import PoolWorker, leave

    look_seldom()
    worker = PoolWorker(
        settings["scheduler"],
        name=name,
        nthreads=settings["threads"],
        memory_limit=settings["memory"],
        resources=settings["resources"],
        local_directory=settings["folder"],
        host=os.environ[names.POD_ADDRESS_VARIABLE],
        dashboard=False,
        dashboard_address=f":{names.WORKER_DASHBOARD_PORT + settings['members'].index(name)}",
        death_timeout=settings["death_timeout"],
        startup_information={"facility": lambda _: remarks},
    )

    patience = max(1.0, settings["grace"] - LEAVE_SECONDS)

    async def hand_on() -> None:
        # A node that is drained gives it time to hand on the results that it holds.
        try:
            await asyncio.wait_for(worker.close_gracefully(restart=False), patience)
        except (OSError, TimeoutError):
            await worker.close(reason="asked to")

    await until_it_listens(settings["scheduler"])
    try:
        async with worker, dashboard(worker, WORKER_DASHBOARD):
            keep = asyncio.ensure_future(received.keep())
            await close_when_asked(worker, asked_to_close(), hand_on)
            keep.cancel()
    finally:
        leave(started_by(os.getpid(), lambda env: env.get(MEMBER_VARIABLE) == name))


def main() -> int:
    """Run what the variable says; the exit code."""
    settings = json.loads(os.environ[names.WORKER_VARIABLE])
    members: list[str] = settings["members"]
    member = os.environ.get(MEMBER_VARIABLE, members[0] if len(members) == 1 else "")
    remarks: list[str] = []
    if settings["client"]:
        wrong, remarks = differences(settings["client"], software())
        if wrong:
            print(f"The image of this worker does not fit the notebook: {'; '.join(wrong)}")
            return OTHER_SOFTWARE
    first = MEMBER_VARIABLE not in os.environ and bootstrap.VARIABLE not in os.environ
    if first and (problem := _fetch(settings)) is not None:
        print(problem)
        return OTHER_SOFTWARE
    if not member:
        return _several(members)
    if (found := bootstrap.received()) is not None:
        if (failing := found.failing_import()) is not None:
            print(failing)
            return OTHER_SOFTWARE
        remarks += [f"{name} is compiled for another architecture" for name in found.skipped]
    # Before libraries are imported, which read variables once.
    own = Path(settings["folder"]).with_name(f"belongings-{member}")
    received = MountedSecret(Path(BELONGINGS_FOLDER), own, settings["pool"])
    received.take()
    import dask

    from facility.dask_process.dask_settings import OURS

    with dask.config.set({**OURS, **settings["dask"]}):
        try:
            asyncio.run(serve(settings, member, remarks, received))
        except RuntimeError as error:
            # distributed says only that it failed, and what stands last is what users are told.
            if error.__cause__ is not None:
                error.add_note(f"The cause: {error.__cause__!r}")
            raise
    return 0


def _fetch(settings: dict[str, Any]) -> str | None:
    """Fetch what the notebook has above the image, and start anew with it; what is wrong with it.

    Returns where there is nothing to start anew for.
    """
    import dask
    from distributed.security import Security

    from facility.dask_process.dask_settings import OURS

    async def fetch() -> bootstrap.Environment | None:
        await until_it_listens(settings["scheduler"])
        connection = Security().get_connection_args("worker")
        folder = Path(settings["folder"]).with_name(ENVIRONMENT)
        return await bootstrap.obtain(
            settings["scheduler"], folder, connection, settings.get("disk")
        )

    with dask.config.set({**OURS, **settings["dask"]}):
        try:
            found = asyncio.run(fetch())
        except bootstrap.EnvironmentTroubleError as error:
            return str(error)
        except OSError as error:
            sys.exit(f"The scheduler at {settings['scheduler']} does not answer: {error}")
    if found is not None:
        bootstrap.start_anew(found)
    return None


def _several(members: list[str]) -> int:
    """Run a process for each member until the first one fails, or all have ended."""
    asked = False
    command = [sys.executable, "-P", "-m", "facility.kubernetes.worker"]
    children = [
        subprocess.Popen(
            command,
            env={**os.environ, MEMBER_VARIABLE: member},
            start_new_session=True,  # by which it finds what its tasks have started
        )
        for member in members
    ]

    running = {child.pid: member for child, member in zip(children, members, strict=True)}

    def pass_on(number: int) -> None:
        for pid in running:
            # Not by Popen, which takes the exit code of one that has ended, so that nobody else
            # ever hears of it.
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def leave(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        pass_on(number)

    keep_signals_from_forks(signal.SIGTERM, signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    failed = 0
    while running:
        pid, status = os.wait()
        member = running.pop(pid, None)
        if member is None:
            continue  # An orphan of a task, which comes to the first process of a container.
        code = os.waitstatus_to_exitcode(status)
        if code and not failed and not asked:
            failed = 128 - code if code < 0 else code
            print(f"Worker {member} ended with exit code {code}.")
            pass_on(signal.SIGTERM)
    return failed


if __name__ == "__main__":
    sys.exit(main())
