"""Processes that a benchmark has started, any of which may end between two looks at it."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psutil

T = TypeVar("T")


def of_each(
    look: Callable[[psutil.Process], T], of: psutil.Process | None = None
) -> list[tuple[str, T]]:
    """Look at each process that another has started, directly or not.

    Parameters
    ----------
    look
        Called with each.
    of
        The other; by default this one.

    Returns
    -------
    list of tuple
        Each command, and what was seen of it. Processes that have ended are left out.
    """
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in (of or psutil.Process()).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found.append((" ".join(process.cmdline()), look(process)))
    return found
