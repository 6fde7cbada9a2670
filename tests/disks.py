"""Real disks of a few megabytes, which only the programs see that a test starts on them."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

OWN = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "-r", "--mount"]
"""A view of the file systems of its own, which ends with its last process."""
MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
FILL = """
import os
from pathlib import Path

HOME = Path(os.environ["HOME"])

def fill():
    with (HOME / "fill").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return

def clear():
    (HOME / "fill").unlink()
"""
"""What scripts start with: `fill` has the disk of the home take nothing more, `clear` ends that."""


def run_on_small_disk(home: Path, script: str, size: str = "6m") -> str:
    """Run a script whose home is a disk of this size; what it printed, its own errors included."""
    if subprocess.run([*OWN, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody but root mount a disk of their own")
    code = FILL + textwrap.dedent(script)
    command = [*OWN, "sh", "-c", MOUNT, "sh", size, str(home), sys.executable, "-c", code]
    private = {"HOME": str(home), "XDG_DATA_HOME": str(home / "data")}
    done = subprocess.run(
        command,
        env={**os.environ, **private},
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
