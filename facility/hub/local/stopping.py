"""How a hub is asked to stop, and how all of it ends."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType

from facility.hub.local import hub_processes
from facility.hub.local.lock import holder
from facility.system.signals import keep_signals_from_forks
from facility.wording import counted

PROGRESS_INTERVAL = 3.0
"""Seconds between two lines that say what is waited for."""
STOP_TIMEOUT = 60.0
"""Seconds in which JupyterHub may stop its servers, before they are made to."""
SECOND_PRESS = 1.0
"""Seconds after which another Ctrl-C means it; `make` repeats the first at once."""


class StopRequest:
    """What Ctrl-C, `kill` and a closed terminal set, instead of an exception anywhere."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.forced = False
        numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
        keep_signals_from_forks(*numbers)
        for number in numbers:
            signal.signal(number, self._received)

    def _received(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = now
        elif number == signal.SIGINT and now - self.first > SECOND_PRESS:
            self.forced = True

    def __bool__(self) -> bool:
        return self.first is not None


def stop_everything(hub: "subprocess.Popen[bytes]", folder: Path, stop: StopRequest) -> None:
    """Stop hub, proxy, servers, kernels and Dask clusters, in that order of politeness."""
    print("\nStopping the hub and its notebooks ...", flush=True)
    begun = told = time.monotonic()
    hub.terminate()
    while hub.poll() is None and not stop.forced and time.monotonic() - begun < STOP_TIMEOUT:
        time.sleep(0.1)
        if time.monotonic() - told > PROGRESS_INTERVAL:
            told = time.monotonic()
            print(
                f"Stopping ... {told - begun:.0f} s (Ctrl-C again: at once)",
                flush=True,
            )
    if hub.poll() is None:
        hub.kill()
        hub.wait()
    hub_processes.end_all(folder, grace=0.5 if stop.forced else 5.0)
    (folder / "jupyterhub-proxy.pid").unlink(missing_ok=True)
    print("Stopped.", flush=True)


def stop_other(folder: Path) -> int:
    """Stop the hub that another launcher started, or what is left of it."""
    pid = holder(folder)
    if pid is not None:
        print(f"Stopping the hub of process {pid} ...", flush=True)
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_TIMEOUT
        while holder(folder) is not None and time.monotonic() < end:
            time.sleep(0.2)
    left = len(hub_processes.belonging_to(folder))
    if left:
        print(f"Stopping {counted(left, 'process', 'processes')} of a hub ...", flush=True)
        hub_processes.end_all(folder)
    print("Nothing of your hub runs." if pid is None and not left else "Stopped.", flush=True)
    return 0
