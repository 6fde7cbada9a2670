"""Which Python `make` takes of those that a machine has."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def python(path: Path, version: str, *, venv: bool = True) -> str:
    """Make a program that answers the questions of tools/environment, as a Python would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = f"echo {version}" if version else "exit 127"
    path.write_text(
        f'#!/bin/sh\ncase "$2" in\n*ensurepip*) exit {int(not venv)} ;;\nesac\n{answer}\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def find(tmp_path: Path):
    """Ask for the Python; `here` is a folder on PATH that hides those of this machine."""
    here, pyenv = tmp_path / "here", tmp_path / "pyenv"
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        python(here / name, "")

    def ask(*wanted: str) -> tuple[int, str]:
        environ = {**os.environ, "PATH": f"{here}:/usr/bin:/bin", "PYENV_ROOT": str(pyenv)}
        words = [str(ROOT / "tools/environment"), "--find", *wanted]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.strip()

    ask.here, ask.pyenv = here, pyenv
    return ask


def test_the_newest_supported_one_is_taken(find):
    python(find.here / "python3", "3.11")
    python(find.pyenv / "versions/3.12.1/bin/python3.12", "3.12")
    python(find.pyenv / "versions/3.13.0/bin/python3.13", "3.13")
    newest = python(find.pyenv / "versions/3.13.10/bin/python3.13", "3.13")
    python(find.pyenv / "versions/3.14.0/bin/python3.14", "3.14")
    assert find() == (0, newest)
    assert find("3.11") == (0, str(find.here / "python3"))


def test_a_name_on_path_that_does_not_run_is_passed_over(find):
    assert find() == (1, "")
    kept = python(find.pyenv / "versions/3.13.0/bin/python3.13", "3.13")
    assert find("3.13") == (0, kept)
    assert find("3.11") == (1, "")


def test_one_that_makes_environments_goes_before_a_newer_one_that_does_not(find):
    newer = python(find.here / "python3.13", "3.13", venv=False)
    assert find() == (0, newer)
    older = python(find.here / "python3.12", "3.12")
    assert find() == (0, older)
