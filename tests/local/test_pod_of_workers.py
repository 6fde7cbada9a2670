"""The first process of a pod with several workers, with workers that end at once."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FIRST = """
import os, signal, sys, time
import psutil
from facility.kubernetes import worker
sys.executable = sys.argv[1]
wait = os.wait

def late():
    workers = psutil.Process().children()
    while sum(each.status() == psutil.STATUS_ZOMBIE for each in workers) < min(
        int(sys.argv[2]), len(workers)
    ):
        time.sleep(0.01)
    for number in map(int, sys.argv[3:]):
        os.kill(os.getpid(), number)
    return wait()

os.wait = late
sys.exit(worker._several(["pairs-0-0", "pairs-0-1"]))
"""


def ended(
    folder: Path, script: str, *signals: int, first: int = 2
) -> subprocess.CompletedProcess[str]:
    """What comes of a pod whose workers are a script.

    Parameters
    ----------
    signals
        Sent to the pod before it hears of an end.
    first
        Workers that have ended by then.
    """
    program = folder / "worker"
    program.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}")
    program.chmod(0o755)
    command = [sys.executable, "-c", FIRST, str(program), str(first), *map(str, signals)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_all_that_end_at_once_leave_the_exit_code_of_the_first(tmp_path: Path) -> None:
    done = ended(tmp_path, "exit 7")
    assert done.returncode == 7, done.stderr
    assert done.stdout.count("ended with exit code 7") == 1
    assert done.stderr == ""


def test_one_that_fails_takes_the_others_with_it(tmp_path: Path) -> None:
    script = '[ "$FACILITY_MEMBER" = pairs-0-0 ] && kill -KILL $$\nexec sleep 50'
    done = ended(tmp_path, script, first=1)
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    assert "Worker pairs-0-0 ended with exit code -9." in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_asked_to_leave_has_not_failed(tmp_path: Path, number: signal.Signals) -> None:
    done = ended(tmp_path, "exit 7", number)
    assert (done.returncode, done.stderr) == (0, "")
