"""Tests with real processes: each is marked `local`, and none may leave a process behind."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.local.hub_driver import Hub
from tests.local.leaks import end_and_report, started_here, wait_for_the_last, without

HERE = Path(__file__).parent
FIRST = (
    *("test_hub_ends", "test_notebooks", "test_run", "test_scaling", "test_ends"),
    *("test_benchmarks", "test_interrupts", "test_bad_input", "test_faces", "test_hub"),
    *("test_memory", "test_skims", "test_jobs", "test_disks", "test_xrootd", "test_executor"),
)
"""Files that take longest: they begin first, so that none is left alone in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.local)
    place = {name: index for index, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def folders_of_this_run(run_home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of which one stands in the environment of whatever a test starts."""
    return [str(run_home), str(tmp_path_factory.getbasetemp())]


@pytest.fixture(autouse=True)
def no_process_stays(
    home: Path, folders_of_this_run: list[str], request: pytest.FixtureRequest
) -> Iterator[None]:
    """Fail a test after which a process of its own still runs.

    What is there before it starts belongs to fixtures that outlive it.
    """
    before = started_here(folders_of_this_run)

    def find() -> list[psutil.Process]:
        return without(started_here(folders_of_this_run), before)

    yield
    end_and_report(wait_for_the_last(find), request.node.name)


@pytest.fixture(autouse=True, scope="session")
def no_process_stays_at_the_end(folders_of_this_run: list[str]) -> Iterator[None]:
    """Fail a run after which a process still runs, whoever started it."""
    yield
    left = wait_for_the_last(lambda: started_here(folders_of_this_run))
    end_and_report(left, "The run")


PORT = 18000 + 10 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Of hubs that are started again: another process of the tests has others."""


@pytest.fixture
def start_hub(tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    """Start hubs that share one data folder, and end them whatever happens."""
    started: list[Hub] = []

    def start(*arguments: str) -> Hub:
        started.append(Hub(tmp_path / "data", "--port", str(PORT), *arguments))
        return started[-1]

    yield start
    for hub in started:
        hub.clean_up()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Give one running hub for the tests of a module that leave it as it is."""
    running = Hub(tmp_path_factory.mktemp("hub") / "data", "--port", "18100")
    try:
        yield running.ready()
    finally:
        print(running.output, running.logs())
        running.clean_up()
