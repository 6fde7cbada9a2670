"""Containers of the other architecture need its emulation for as long as the tests run."""

import os
from collections.abc import Iterator

import pytest

from tools import emulation


@pytest.fixture(scope="session", autouse=True)
def emulated() -> Iterator[None]:
    """As root; others rely on what an administrator has set up, as `make images` tells them."""
    if os.getuid() != 0:
        yield
        return
    with emulation.emulating():
        yield
