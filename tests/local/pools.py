"""Pools and tasks of the tests that start real Dask clusters."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL = {"cpu": "100m", "memory": "400Mi", "maxWorkers": 20}
POOLS: dict[str, Any] = {
    "pools": {
        "cpu": {**SMALL, "default": True, "grace": 20},
        "arm": {**SMALL, "grace": 20},
        "big": {**SMALL, "scarce": True, "maxWorkers": 4},
        "brief": {**SMALL, "grace": 1},
        "pairs": {**SMALL, "processes": 2},
    }
}


def where(_: object = None, seconds: float = 0.0) -> str:
    """Name the pool that a task runs in."""
    from distributed import get_worker

    time.sleep(seconds)
    return pool_of(str(get_worker().name))


def pool_of(worker: str) -> str:
    return worker.split("-")[0]


def count_and_sleep(folder: str, name: str, seconds: float) -> str:
    """Leave a mark for each time that a task starts, and then take a while."""
    import tempfile

    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{name}.", delete=False):
        pass
    time.sleep(seconds)
    return where()


def executions(folder: Path, name: str) -> int:
    return len(list(folder.glob(f"{name}.*")))


def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    """Wait for something that other processes do, and fail with what it is.

    It may take long where a machine does other things, and nobody waits longer than it takes.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition.__code__}"
        time.sleep(0.02)
