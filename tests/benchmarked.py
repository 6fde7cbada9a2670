"""Benchmarks at their smallest size: that each still runs to its end, not how fast."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ("analysis", "cluster_start", "environment", "one_core", "run_costs")
KUBE = ("kube_base", "kube_scale", "kube_start")
HUB = "hub_spawn"


def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def result_of(name: str) -> dict[str, Any]:
    """What a benchmark says on its last line; all numbers in it are numbers."""
    done = run(name, "--smallest", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    table, _, last = done.stdout.strip().rpartition("\n")
    assert "minimum  median  maximum" in table
    found = json.loads(last, parse_constant=_refuse)
    assert isinstance(found, dict)
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
