"""Every branch of real files of many kinds is read as coffea's Runner reads it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.samples import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(7200)]


def sweep(folder: Path) -> str:
    command = [sys.executable, "-m", "tools.sweep", str(folder)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()[-1]


def test_files_that_coffea_is_tested_with(real_files: Path) -> None:
    assert sweep(real_files).startswith("34 files, ")


def test_old_and_strange_files(public_files: Path) -> None:
    assert sweep(public_files).startswith("92 files, ")
