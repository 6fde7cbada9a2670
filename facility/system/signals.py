"""Signals: what reaches a process of ours by way of its forked children, and what Ctrl-C cuts off.

A forked child has its parent's handlers and the file descriptor by which they wake asyncio's loop,
which both of them share: a SIGTERM that ends the child, as `multiprocessing` and the loaders of
machine learning send it, would reach the parent's loop as one of its own.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

HURRIED_SECONDS = 5.0
"""Seconds that an end may take after Ctrl-C has hastened it."""

_usual: dict[signal.Signals, Any] = {}
"""Handlers that forked children get, by signal."""
_forking = threading.local()


def keep_signals_from_forks(*numbers: signal.Signals) -> None:
    """Have forked children handle signals as any Python does; what is ignored here stays so.

    To be called before this process sets handlers of its own.
    """
    if not _usual:
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_reset)
    for number in numbers:
        plain = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        ignored = signal.getsignal(number) == signal.SIG_IGN
        _usual.setdefault(number, signal.SIG_IGN if ignored else plain)


def _hold() -> None:
    # A signal that comes before the child has its own handlers waits until it has.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _usual)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _reset() -> None:
    signal.set_wakeup_fd(-1)
    for number, handler in _usual.items():
        signal.signal(number, handler)
    _release()


@contextmanager
def carried_through(hurry: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C hasten what is done here, and not cut it off; it counts when that is done.

    Only where it takes longer than `HURRIED_SECONDS` then, another Ctrl-C cuts it off.

    Parameters
    ----------
    hurry
        Called in a signal handler, so that it may take no lock.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual in (None, signal.SIG_IGN):
        yield
        return
    first: float | None = None

    def pressed(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            hurry()
        elif time.monotonic() - first > HURRIED_SECONDS:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, pressed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if first is not None:
            signal.raise_signal(signal.SIGINT)
