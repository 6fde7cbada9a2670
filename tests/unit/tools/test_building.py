"""Debian packages that two programs want at once."""

import subprocess
import sys
from pathlib import Path

APT = """#!/bin/sh
# Stands for apt-get, which gives up where another one runs.
exec flock --nonblock --conflict-exit-code 100 {folder}/dpkg sh -c 'sleep 0.3; touch {folder}/thing'
"""
INSTALL = (
    "import sys; from tools.building import install; install({'thing': sys.argv[1]}, ['thing'])"
)


def test_two_programs_that_install_packages_take_turns(tmp_path, monkeypatch):
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text(APT.format(folder=tmp_path))
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:/usr/bin:/bin")
    monkeypatch.setenv("KEPT_CACHE_HOME", str(tmp_path / "cache"))
    both = [
        subprocess.Popen(
            [sys.executable, "-c", INSTALL, str(tmp_path / "thing")],
            cwd=Path(__file__).resolve().parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    said = [each.communicate(timeout=60)[1].decode() for each in both]
    assert [each.returncode for each in both] == [0, 0], said
