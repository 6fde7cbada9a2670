"""Processes that belong to one Dask cluster on this machine, and what its tasks have started."""

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from facility.system.processes import of_sessions, serves_others, started_by, with_environment

VARIABLE = "FACILITY_PROCESS_OF"
"""Set in every process of a Dask cluster, and so in what its tasks start: a line with the path
that stands for the process, below those of the workers within whose tasks it was started."""


def environment(folder: Path, name: str) -> dict[str, str]:
    """Return the variable of a process that this one starts.

    Parameters
    ----------
    folder
        Of the Dask cluster.
    name
        Of the worker, or the scheduler.
    """
    return {VARIABLE: "\n".join([*_marks(os.environ), _mark(folder, name)])}


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for what is to outlive the task that starts it."""
    return {name: value for name, value in environment.items() if name != VARIABLE}


def of_worker(folder: Path, name: str, pid: int) -> list[psutil.Process]:
    """Find what the tasks of a worker have started, whether it still runs or not."""
    mark = _mark(folder, name)
    return started_by(pid, lambda environment: mark in _marks(environment))


def of_cluster(folder: Path) -> list[psutil.Process]:
    """Find the processes of a Dask cluster, but for this one, and what they have started."""
    start = _mark(folder, "")

    def fits(environment: Mapping[str, str]) -> bool:
        return any(mark.startswith(start) for mark in _marks(environment))

    found = with_environment(fits)
    found += of_sessions(each.pid for each in found)
    return [each for each in dict.fromkeys(found) if not serves_others(each)]


def _mark(folder: Path, name: str) -> str:
    return f"{folder}{os.sep}{name}"


def _marks(environment: Mapping[str, str]) -> list[str]:
    return environment.get(VARIABLE, "").splitlines()
