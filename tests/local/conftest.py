"""Tests with real processes: each is marked `local`, and none may leave a process behind."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
import pytest

GRACE = 10.0
"""Seconds in which processes that were told to end may do so."""
HERE = Path(__file__).parent
RUN_MARK = "TEST_RUN_MARK"
"""Set by tests/conftest.py in the environment of every process of this run."""
LASTING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Python keeps these until the interpreter ends, by design."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("local")


def is_left_behind(process: psutil.Process) -> bool:
    """Whether it still runs and nothing but a mistake keeps it."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        command = " ".join(process.cmdline())
        return not any(name in command for name in LASTING)
    except psutil.NoSuchProcess:
        return False


def descendants(known: Iterable[psutil.Process] = ()) -> list[psutil.Process]:
    """Processes that this one started, without `known` ones and what those started."""
    me = psutil.Process()
    own = [process for process in known if process != me]
    found = []
    for process in me.children(recursive=True):
        try:
            ancestry = [process, *process.parents()]
        except psutil.NoSuchProcess:
            continue
        if not any(ancestor in own for ancestor in ancestry):
            found.append(process)
    return found


def with_variable(name: str, value: str) -> list[psutil.Process]:
    """Processes other than this one that were started with this environment variable."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(name) == value:
                found.append(process)
        except psutil.Error:
            # Ended meanwhile, or another user's: either way not ours.
            continue
    return found


def wait_for_the_last(find: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    """Wait until `find` finds none that is left behind; return those that stay."""
    deadline = time.monotonic() + GRACE
    while True:
        left = [process for process in find() if is_left_behind(process)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def end_and_report(left: list[psutil.Process], culprit: str) -> None:
    """Kill these, so that later tests are not disturbed, and fail."""
    lines = []
    for process in left:
        try:
            lines.append(f"  {process.pid} {' '.join(process.cmdline())[:200]}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    if lines:
        pytest.fail(
            "\n".join([f"{culprit} left {len(lines)} process(es) behind:", *lines]), pytrace=False
        )


@pytest.fixture(autouse=True)
def no_process_stays(home: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which a process of its own still runs.

    Processes of fixtures that outlive the test are there before it starts, and belong to the
    whole run.
    """
    before = descendants()

    def find() -> list[psutil.Process]:
        return [*{*descendants(before), *with_variable("XDG_DATA_HOME", str(home / "data"))}]

    yield
    end_and_report(wait_for_the_last(find), request.node.name)


@pytest.fixture(autouse=True, scope="session")
def no_process_stays_at_the_end() -> Iterator[None]:
    """Fail the run after which a process still runs, whoever started it."""
    mark = os.environ[RUN_MARK]

    def find() -> list[psutil.Process]:
        return [*{*descendants(), *with_variable(RUN_MARK, mark)}]

    yield
    end_and_report(wait_for_the_last(find), "The run")
