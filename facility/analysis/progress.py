"""Progress of work that lasts, told on stderr."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PATIENCE = 2.0
"""Seconds after which work is worth telling about, and between two lines of a log."""


def track(
    items: Iterable[Item], total: int, what: str, *, unit: str, show: bool = True
) -> Iterator[Item]:
    """Pass items on and, once that takes longer than two seconds, tell how far it is.

    A terminal shows one line that is written over; anything else gets a line every two seconds.

    Parameters
    ----------
    items
        What is worked through.
    total
        How many there are.
    what
        What is done, as the beginning of the line.
    unit
        What the items are called.
    show
        False to be silent.
    """
    terminal = sys.stderr.isatty()
    interval = 0.2 if terminal else PATIENCE
    began = time.monotonic()
    told: float | None = None
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if not show or now - began < PATIENCE:
            continue
        if done == total or told is None or now - told >= interval:
            told = now
            left = (now - began) / done * (total - done)
            text = f"{what}: {done} of {total} {unit}, about {left:.0f} s left"
            print(
                f"\r{text:<78}" if terminal else text,
                end="" if terminal else "\n",
                file=sys.stderr,
                flush=True,
            )
    if terminal and told is not None:
        print(file=sys.stderr)
