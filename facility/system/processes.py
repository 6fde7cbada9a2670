"""Processes of this machine that belong together, by what whoever starts one hands down to it."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping

import psutil

LOOK = 0.02
TRACKER = "resource_tracker"
"""In the command of processes in which `multiprocessing` and joblib tidy up after others: they
end by themselves after those, and must not before."""


def with_environment(fits: Callable[[Mapping[str, str]], bool]) -> list[psutil.Process]:
    """Find the processes, but for this one, whose environment fits.

    Whoever starts a process hands down its environment, so that those are found too whose parent
    is gone.
    """
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            # Ended meanwhile, or another user's: either way not ours.
            continue
        if fits(environment) and process.pid != os.getpid():
            found.append(process)
    return found


def of_sessions(leaders: Iterable[int]) -> list[psutil.Process]:
    """Find the processes, but for this one, of the sessions that some processes began.

    These have been started from there too, though with an environment of their own.
    """
    wanted = set(leaders)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) in wanted and process.pid != os.getpid():
                found.append(process)
    return found


def started_by(leader: int, fits: Callable[[Mapping[str, str]], bool]) -> list[psutil.Process]:
    """Find what a process has started, directly or not, whether it still runs or not.

    Parameters
    ----------
    leader
        Its id; it began a session.
    fits
        Whether an environment is that process's, or handed down by it.
    """
    found = dict.fromkeys([*with_environment(fits), *of_sessions([leader])])
    return [each for each in found if each.pid != leader and not serves_others(each)]


def end(processes: Iterable[psutil.Process], grace: float) -> None:
    """Ask processes to end, and after `grace` seconds make them."""
    left = wait(processes, 0)
    for step in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with contextlib.suppress(psutil.Error):
                step(process)
        left = wait(left, grace)


def wait(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait at most so long until processes have ended; those that still run.

    psutil's own function takes the exit codes of children, for which others may wait.
    """
    deadline = time.monotonic() + seconds
    left = [process for process in processes if runs(process)]
    while left and time.monotonic() < deadline:
        time.sleep(LOOK)
        left = [process for process in left if runs(process)]
    return left


def runs(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended does not, though nobody took its exit code.

    As long as one of its threads is about to end, its ports and files are still its own.
    """
    try:
        ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
        return process.is_running() and not ended
    except psutil.Error:
        return False


def serves_others(process: psutil.Process) -> bool:
    """Whether a process tidies up after others, and then ends by itself."""
    try:
        return any(TRACKER in part for part in process.cmdline())
    except psutil.Error:
        return True
