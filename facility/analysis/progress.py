"""Progress of work that lasts, told on stderr."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, TypeVar

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


class Meter:
    """One line about a run, told every now and then: events, rates, what is left, failures.

    A terminal shows one line that is written over, a notebook one with a bar; anything else gets
    a line now and then.

    Parameters
    ----------
    total
        Number of events.
    show
        False to be silent.
    """

    def __init__(self, total: int, *, show: bool = True) -> None:
        self.total = total
        self.show = show
        self.terminal = sys.stderr.isatty()
        self.began = self.told = time.monotonic()
        self.lines = 0
        self._shown: Any = None

    def due(self) -> bool:
        """Whether it is time to tell something."""
        now = time.monotonic()
        # A log gets a line every two seconds at first and every minute in the end.
        live = self.terminal or self._shown is not None
        interval = 0.5 if live else min(60.0, PATIENCE * (1 + self.lines // 5))
        return self.show and now - self.told >= interval and now - self.began >= PATIENCE

    def tell(
        self,
        events: int,
        fresh: int,
        read: int,
        failures: int,
        running: int,
        pools: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        """Tell how far it is.

        Parameters
        ----------
        events
            Done so far, failed ones included.
        fresh
            Those among them that do not come from a checkpoint.
        read
            Bytes read so far.
        failures, running
            Numbers of chunks.
        pools
            Fresh events and bytes by pool, told where there are several.
        """
        self.told = time.monotonic()
        seconds = self.told - self.began
        rate = fresh / seconds
        left = f"about {(self.total - events) / rate:,.0f} s left" if rate else "no event yet"
        text = (
            f"{events:,} of {self.total:,} events, {rate:,.0f} events/s, "
            f"{read * 8e-9 / seconds:.2f} Gbit/s, {running} chunks at work, {left}"
        ) + (f", {failures} chunks failed" if failures else "")
        if pools and len(pools) > 1:
            each = (
                f"{name}: {done / seconds:,.0f} events/s, {size * 8e-9 / seconds:.2f} Gbit/s"
                for name, (done, size) in sorted(pools.items())
            )
            text += f" ({'; '.join(each)})"
        self.lines += 1
        if not self.terminal and self._show(text, events):
            return
        end = "" if self.terminal else "\n"
        print(f"\r{text:<110}" if self.terminal else text, end=end, file=sys.stderr, flush=True)

    def _show(self, text: str, events: int) -> bool:
        """Show it in a notebook's cell; whether this runs in one."""
        if "IPython" not in sys.modules:
            return False
        from IPython.core.getipython import get_ipython
        from IPython.display import HTML, display

        if not hasattr(get_ipython(), "kernel"):
            return False

        bar = f'<progress value="{events}" max="{self.total}"></progress> {escape(text)}'
        if self._shown is None:
            self._shown = display(HTML(bar), display_id=True)
        else:
            self._shown.update(HTML(bar))
        return True

    def end(self) -> None:
        """Leave the line."""
        if self.terminal and self.lines:
            print(file=sys.stderr)
