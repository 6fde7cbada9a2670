"""Which release and which commit of `facility` this is."""

import os
import subprocess
from pathlib import Path

COMMIT_FILE = Path(__file__).with_name("commit.txt")
"""Written into released packages by `hatch_build.py`."""
CHECKOUT = Path(__file__).resolve().parent.parent


def commit() -> str | None:
    """Return the commit, with ``-dirty`` where files have changed since; None where nobody knows.

    A released package holds it, a checkout is asked for it.
    """
    if COMMIT_FILE.exists():
        return COMMIT_FILE.read_text().strip() or None
    if not (CHECKOUT / ".git").exists():
        return None
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12"]
    # What another repository's hooks have set is not about this one.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, check=False, env=environ
        )
    except OSError:  # there is no git
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def described(release: str) -> str:
    """Return a release and its commit, as in ``0.2.0 (commit 5554b740e9d0)``."""
    return f"{release} (commit {commit() or 'unknown'})"
