"""The processes of one hub, found by the mark in their environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from facility.hub.local.settings import FOLDER_VARIABLE
from facility.system import logs
from facility.system.processes import end, with_environment

SERVER_VARIABLE = "FACILITY_HUB_SERVER"
"""Set in every process of a notebook server to the name of that server."""
CLOCK_TOLERANCE = 2.0
"""Seconds by which a start time may differ between two looks at the same process."""


def belonging_to(folder: Path, server: str | None = None) -> list[psutil.Process]:
    """Find every process of a hub, or of one of its notebook servers, but the caller.

    Whoever starts a process hands down its environment, so kernels, Dask
    workers and terminals are found too, also when their parent is gone.

    Parameters
    ----------
    folder
        Folder of the hub's state.
    server
        Name of one notebook server, as in `SERVER_VARIABLE`.
    """

    def fits(environment: Mapping[str, str]) -> bool:
        return environment.get(FOLDER_VARIABLE) == str(folder) and (
            server is None or environment.get(SERVER_VARIABLE) == server
        )

    return with_environment(fits)


def running(folder: Path, module: str) -> list[psutil.Process]:
    """Those of `belonging_to` whose command names this module or file."""
    found = []
    for process in belonging_to(folder):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if any(part == module or part.endswith(f"/{module}") for part in command):
            found.append(process)
    return found


def end_all(folder: Path, server: str | None = None, grace: float = 5.0) -> None:
    """End what belongs to a hub or server until nothing is left of it."""
    # What starts a process while it is being ended leaves a new one behind.
    for _ in range(3):
        left = belonging_to(folder, server)
        if not left:
            return
        end(left, grace)


def started(pid: int) -> float:
    """Time at which a process started, in seconds since 1970; 0 if there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def same(pid: int, start: float) -> bool:
    """Whether this number still means the process that started then."""
    return pid > 0 and abs(started(pid) - start) < CLOCK_TOLERANCE


def last_lines(path: Path, count: int = 15) -> Sequence[str]:
    """Return the end of a log, nothing where there is none."""
    return logs.end(path).splitlines()[-count:]
