"""A line about work that lasts: written over in a terminal, a bar in a notebook, lines in a log."""

import os
import sys
import time
from html import escape
from typing import Any

PATIENCE = 2.0
"""Seconds after which work is worth telling about, and between the first lines of a log."""
LIVE = 0.5
"""Seconds between two states of what is written over."""


class Line:
    """One line that tells how far something is.

    It is progress and no alarm: a notebook shows it as it shows results, not in stderr's red.

    Parameters
    ----------
    show
        False to be silent.
    """

    def __init__(self, *, show: bool = True) -> None:
        self.show = show
        self.terminal = sys.stderr.isatty()
        self.began = self.told = time.monotonic()
        self.lines = 0
        """How often something was told."""
        self._width = 0
        self._details = ""
        self._shown: Any = None

    def due(self) -> bool:
        """Whether it is time to tell something."""
        now = time.monotonic()
        # A log gets a line every two seconds at first and every minute in the end.
        live = self.terminal or self._shown is not None
        interval = LIVE if live else min(60.0, PATIENCE * (1 + self.lines // 5))
        late = not self.lines or now - self.told >= interval
        return self.show and late and now - self.began >= PATIENCE

    def tell(self, text: str, done: int = 0, total: int = 0, details: str = "") -> None:
        """Tell how far it is.

        Parameters
        ----------
        text
            In one line, what matters most first: a narrow terminal cuts it off.
        done, total
            Length of the bar, in a notebook.
        details
            Further lines.
        """
        self.told = time.monotonic()
        self.lines += 1
        if not self.terminal and self._in_notebook(text, done, total, details):
            return
        # In a log and above a line that is written over they would stand again and again.
        new = f"{details}\n" if details not in ("", self._details) else ""
        self._details = details or self._details
        if not self.terminal:
            _write(f"{text}\n{new}")
            return
        if new:
            _write(f"\r{'':<{self._width}}\r{new}")
        short = text[: _columns() - 1]
        _write(f"\r{short:<{self._width}}")
        self._width = len(short)

    def end(self, text: str, done: int = 0, total: int = 0) -> None:
        """Put the outcome in its place; nothing where nothing was told.

        Parameters
        ----------
        text, done, total
            As those of `tell`; the text is not cut off.
        """
        if not self.lines or (not self.terminal and self._in_notebook(text, done, total)):
            return
        _write(f"\r{text:<{self._width}}\n" if self.terminal else f"{text}\n")

    def _in_notebook(self, text: str, done: int, total: int, details: str = "") -> bool:
        """Show it in a notebook's cell; whether this runs in one."""
        if "IPython" not in sys.modules:
            return False
        from IPython.core.getipython import get_ipython
        from IPython.display import HTML, display

        if not hasattr(get_ipython(), "kernel"):
            return False
        html = f'<progress value="{done}" max="{total}"></progress> {escape(text)}'
        html += f"<pre>{escape(details)}</pre>" if details else ""
        page: Any = HTML(html)
        if self._shown is None:
            self._shown = display(page, display_id=True)
        else:
            self._shown.update(page)
        return True


def _columns() -> int:
    """Width of the terminal."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _write(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
