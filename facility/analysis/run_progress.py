"""Progress of an analysis: of files that are looked into or written, and of events."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from facility.progress import Line
from facility.wording import counted

Item = TypeVar("Item")


def track(
    items: Iterable[Item], total: int, what: str, *, unit: str, show: bool = True
) -> Iterator[Item]:
    """Pass items on and, once that takes longer than two seconds, tell how far it is.

    Parameters
    ----------
    items
        What is worked through.
    total
        How many there are.
    what
        What is done, as the beginning of the line.
    unit
        What one item is called.
    show
        False to be silent.
    """
    line = Line(show=show)
    done = 0
    ended = "stopped after"
    try:
        for done, item in enumerate(items, start=1):
            yield item
            if done < total and line.due():
                left = (time.monotonic() - line.began) / done * (total - done)
                text = f"{what}: {done:,} of {counted(total, unit)}, about {left:,.0f} s left"
                line.tell(text, done, total)
        ended = "done,"
    finally:
        seconds = time.monotonic() - line.began
        text = f"{what}: {ended} {done:,} of {counted(total, unit)} in {seconds:.1f} s"
        line.end(text, done, total)


class Meter:
    """One line about a run, told every now and then: events, rates, what is left, failures.

    Parameters
    ----------
    total
        Number of events.
    show
        False to be silent.
    """

    def __init__(self, total: int, *, show: bool = True) -> None:
        self.total = total
        self.line = Line(show=show)
        self.due = self.line.due

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
        seconds = time.monotonic() - self.line.began
        rate = fresh / seconds
        left = (self.total - events) / rate if rate else 0.0
        pace = f"{rate:,.0f} events/s, about {left:,.0f} s left" if rate else "no event yet"
        text = f"{events:,} of {counted(self.total, 'event')}, {pace}"
        text += f", {counted(failures, 'chunk')} failed" if failures else ""
        text += f", {counted(running, 'chunk')} at work, {read * 8e-9 / seconds:.2f} Gbit/s"
        if pools and len(pools) > 1:
            each = (
                f"{name}: {done / seconds:,.0f} events/s, {size * 8e-9 / seconds:.2f} Gbit/s"
                for name, (done, size) in sorted(pools.items())
            )
            text += f" ({'; '.join(each)})"
        self.line.tell(text, events, self.total)

    def end(self, summary: str, events: int) -> None:
        """Put how it went in the line's place.

        Parameters
        ----------
        events
            Done in the end, failed ones included.
        """
        self.line.end(summary, events, self.total)
