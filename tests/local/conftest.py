"""Tests with real processes on this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.local.hub_driver import Hub

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.local)


@pytest.fixture
def start_hub(tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    """Start hubs that share one data folder, and end them whatever happens."""
    started: list[Hub] = []

    def start(*arguments: str) -> Hub:
        started.append(Hub(tmp_path / "data", "--port", "18000", *arguments))
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
