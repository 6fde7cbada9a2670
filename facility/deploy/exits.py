"""What becomes of this process's Dask clusters when the interpreter ends, and in forked children.

Whatever ends something at an exit, or when nobody holds it any more, does so in the process that
made it alone: a forked child has copies of all of it.
"""

import atexit
import os
import selectors
import weakref
from contextlib import suppress
from typing import Any

from distributed.core import Status

from facility.deploy.clients import disown_clients, expect_ends
from facility.deploy.controller import Controller
from facility.system.signals import carried_through

_living: "weakref.WeakSet[Controller]" = weakref.WeakSet()


def watch(controller: Controller) -> None:
    """Have a Dask cluster end with the interpreter, and its clients take that for no alarm."""
    expect_ends()
    _living.add(controller)


@atexit.register
def _close_all() -> None:
    """End what the interpreter leaves behind at its exit."""
    left = [controller for controller in _living if not controller.over]

    def hurry() -> None:
        for controller in left:
            controller.backend.hurry()

    with suppress(KeyboardInterrupt), carried_through(hurry):
        for controller in left:
            controller.status = Status.closing
            controller.backend.abandon()
        for controller in left:
            controller.backend.close_now()
            controller.over = True


def _disown_all() -> None:
    """Have a forked child act on nothing that is its parent's."""
    for controller in list(_living):
        controller.disown()
        _look_elsewhere(controller.loop)
    disown_clients()


def _look_elsewhere(loop: Any) -> None:
    """Give a copied event loop a list of its own of the connections to look at.

    The kernel has one list for both processes: a connection that is closed here, be it by the
    garbage collection, would be looked at no more over there.
    """
    if hasattr(loop, "_selector"):
        loop._selector = selectors.DefaultSelector()


os.register_at_fork(after_in_child=_disown_all)
