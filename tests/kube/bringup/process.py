"""Processes that are started here and ended by what was written down about them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.kube.bringup.places import Places
from tools.building import BuildError

PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""
COLLECT_SELDOM = {"GOGC": "400"}
"""For programs in Go: a fifth of the API server's time went into a heap that may well be larger."""


def start_time(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None if there is none.

    The first process may not take away the dead ones, so that a zombie counts as gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Process:
    """One process: a pid alone could meanwhile be another's."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal, to it alone."""
        if self.alive:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(self.pid, number)


def end(processes: Iterable[Process], patience: float = PATIENCE) -> None:
    """End processes side by side, those that do not listen by force."""
    left = [process for process in processes if process.alive]
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, PATIENCE)):
        for process in left:
            process.send(number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = [process for process in left if process.alive]


class Ledger:
    """What was started, on disk before anything else happens, so that any later run can end it."""

    def __init__(self, where: Places) -> None:
        self.file = where.ledger
        self.logs = where.logs
        self.processes: list[Process] = []
        if self.file.exists():
            self.processes = [Process(**item) for item in json.loads(self.file.read_text())]

    def write(self) -> None:
        """Put the list on disk; without processes there is none."""
        if not self.processes:
            self.file.unlink(missing_ok=True)
            return
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(process) for process in self.processes], indent=1))
        fresh.replace(self.file)

    def start(
        self, name: str, command: Iterable[str], environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start a process of its own session, its output in a log of its name."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | COLLECT_SELDOM | dict(environment or {}),
            )
        # It outlives this program, which is not to complain about that.
        child.returncode = 0
        process = Process(name, child.pid, start_time(child.pid) or 0)
        self.processes.append(process)
        self.write()
        return process

    def end(self, *prefixes: str) -> None:
        """End the processes whose names start with one of `prefixes`."""
        chosen = [process for process in self.processes if process.name.startswith(prefixes)]
        end(chosen)
        self.processes = [process for process in self.processes if process not in chosen]
        self.write()

    def check(self) -> None:
        """Raise a BuildError with the last lines of the log of a process that has ended."""
        for process in self.processes:
            if not process.alive:
                log = self.logs / f"{process.name}.log"
                lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
                raise BuildError(
                    f"{process.name} ended while Kubernetes was starting; the last lines of {log}:"
                    + "".join(f"\n    {line[:300]}" for line in lines)
                )

    def wait(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until something is ready and every process still runs.

        Raises
        ------
        BuildError
            It took longer than `seconds`, or a process ended.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise BuildError(f"Waited {seconds:.0f} s for {what}: the logs are in {self.logs}.")
            time.sleep(0.1)
