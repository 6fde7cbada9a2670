"""Finding processes that a test left behind."""

import os
import time
from collections.abc import Callable, Iterable

import psutil
import pytest

from facility.system.processes import runs

GRACE = 10.0
"""Seconds in which processes that were told to end may do so."""
LASTING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Python keeps these until the interpreter ends, by design."""


def started_here(folders: Iterable[str]) -> set[psutil.Process]:
    """Find what descends from this process, or was started with one of its folders in a variable.

    A process whose parent is gone is no descendant any more, but whoever started it handed down
    a home, a configuration or a data folder, and those are folders of the test.
    """
    found = set(psutil.Process().children(recursive=True))
    for process in psutil.process_iter():
        try:
            values = process.environ().values()
        except psutil.Error:
            # Ended meanwhile, or another user's: either way not ours.
            continue
        if any(value.startswith(folder) for value in values for folder in folders):
            found.add(process)
    return {process for process in found if process.pid != os.getpid() and not ended(process)}


def ended(process: psutil.Process) -> bool:
    """Whether it has ended; that nobody asked for its exit code yet is no leak."""
    return not runs(process)


def command(process: psutil.Process) -> list[str]:
    """Words of its command; none once it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def without(
    processes: Iterable[psutil.Process], known: Iterable[psutil.Process]
) -> list[psutil.Process]:
    """Leave out `known` processes and what those started."""
    known = set(known)
    left = []
    for process in processes:
        try:
            ancestry = {process, *process.parents()}
        except psutil.NoSuchProcess:
            continue
        if not ancestry & known:
            left.append(process)
    return left


def wait_for_the_last(find: Callable[[], Iterable[psutil.Process]]) -> list[psutil.Process]:
    """Wait until `find` finds none that still runs; return those that stay."""
    deadline = time.monotonic() + GRACE
    while True:
        left = [process for process in find() if not ended(process) and not _lasts(process)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _lasts(process: psutil.Process) -> bool:
    words = " ".join(command(process))
    return not words or any(name in words for name in LASTING)


def end_and_report(left: Iterable[psutil.Process], culprit: str) -> None:
    """Kill these, so that later tests are not disturbed, and fail."""
    lines = []
    for process in left:
        words = " ".join(command(process))
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
        lines.append(f"  {process.pid} {words[:200]}")
    if lines:
        pytest.fail(
            "\n".join([f"{culprit} left {len(lines)} process(es) behind:", *lines]), pytrace=False
        )
