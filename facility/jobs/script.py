"""Run a script to its end: output as it comes, an orderly end when it is asked for."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from io import RawIOBase
from pathlib import Path
from types import FrameType
from typing import IO

from facility import names
from facility.system.signals import keep_signals_from_forks

GRACE = 20.0
"""Seconds that a script has to end after Ctrl-C: to tell its results and to close."""
LOOK = 0.2
FINISH = 5.0
"""Seconds in which what it has printed is passed on after its end."""


class Running:
    """One process of a script.

    Asked to end (SIGTERM, SIGINT) this process interrupts the script as Ctrl-C does, so that
    `facility.run` hands over what it has and `cluster()` closes; what then still runs is killed.

    Parameters
    ----------
    environment
        Variables that it gets beside those of this process.
    output
        Takes what it prints, also where that fails; by default it prints to where this process
        does.
    grace
        Seconds between the interrupt and the end.
    """

    def __init__(
        self,
        script: Path,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        output: RawIOBase | None = None,
        grace: float = GRACE,
    ) -> None:
        self._command = [sys.executable, str(script), *arguments]
        self._folder, self._output, self._grace = folder, output, grace
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._until: float | None = None
        self._passing: threading.Thread | None = None

    @property
    def stopped(self) -> bool:
        """Whether its end was asked for."""
        return self._until is not None

    def listen(self) -> None:
        """Take signals for the script."""
        # A handled signal is at its default again in what is started; an ignored one were not.
        keep_signals_from_forks(signal.SIGTERM, signal.SIGINT)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self) -> int:
        """Run it once; its exit code, negative where a signal ended it."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._output else None,
            stderr=subprocess.STDOUT if self._output else None,
        )
        if self._process.stdout is not None:
            passing = threading.Thread(target=self._pass_on, args=(self._process.stdout,))
            passing.daemon = True  # what the script has left running may hold its end open
            passing.start()
            self._passing = passing
        if self.stopped:
            self._interrupt()
        while True:
            try:
                return self._process.wait(LOOK)
            except subprocess.TimeoutExpired:
                if self._until is not None and time.monotonic() > self._until:
                    self._process.kill()

    def finish(self) -> None:
        """Wait until all is passed on that it has printed, which ends with its last process."""
        if self._passing is not None:
            self._passing.join(FINISH)

    def _pass_on(self, pipe: IO[bytes]) -> None:
        assert self._output is not None
        with pipe:
            while data := os.read(pipe.fileno(), 2**16):
                self._output.write(data)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.stopped:
            self._until = time.monotonic() + self._grace
            self._interrupt()

    def _interrupt(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)


def told(code: int) -> str:
    """Say how a script ended."""
    if code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}"


def environment(name: str, pools: str) -> dict[str, str]:
    """Return the variables that a job's script gets."""
    return {names.JOB_VARIABLE: name, **({names.POOLS_VARIABLE: pools} if pools else {})}
