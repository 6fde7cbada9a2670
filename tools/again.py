"""A second look at tests that failed: once more, alone, after everything else.

A failure that it does not confirm is told and does not count, of at most three tests. Only tests
get one: a run that crashed, was ended, could not read a file or ran no test is as bad as it looks.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.reports import Counts, Ending, outcomes, read_counts

MOST = 3
"""Tests; where more have failed, it was no accident."""
BRING_UP = "tests.kube.bringup"


@dataclass(frozen=True)
class Run:
    """A tier that has failed.

    Parameters
    ----------
    module
        What runs it: pytest, or what brings a Kubernetes up for it.
    ending
        How it ended.
    reports
        That it has left.
    """

    module: str
    ending: Ending
    reports: Sequence[Path]


@dataclass
class Look:
    """What came of it.

    Attributes
    ----------
    flaky
        Tests that failed, and passed alone.
    wrong
        Of each tier that fails all the same, why.
    counts
        Of each report of the second look.
    """

    flaky: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)


def tests_of(run: Run, root: Path) -> dict[Path, list[str]]:
    """Tests of a tier to look at again, by report, as pytest names them; none if it has no chance.

    Parameters
    ----------
    root
        Folder that the names of files start from.
    """
    if run.ending.code != pytest.ExitCode.TESTS_FAILED:
        return {}
    found: dict[Path, list[str]] = {}
    for report in run.reports:
        for test, outcome in outcomes(report).items():
            if outcome.word != "failed":
                continue
            node = test.node(root)
            if node is None or not outcome.is_of_the_test:
                return {}
            found.setdefault(report, []).append(node)
    return found


def part_of(report: Path) -> str:
    """Name the part of the tests on Kubernetes that has left a report."""
    return re.sub(r"^kube(-alone)?-?", "", report.stem) or "main"


def commands(
    runs: Mapping[str, Run], tests: Mapping[str, Mapping[Path, Sequence[str]]], folder: Path
) -> dict[str, list[str]]:
    """Return what to run, by the name of the report: one run a tier, one Kubernetes for all.

    Parameters
    ----------
    runs, tests
        By tier.
    folder
        For the reports.
    """
    found: dict[str, list[str]] = {}
    inside = {name: by_report for name, by_report in tests.items() if runs[name].module == BRING_UP}
    for name, by_report in tests.items():
        if name not in inside:
            nodes = [node for each in by_report.values() for node in each]
            found[name] = ["pytest", *nodes]
    if inside:
        reports = {report: each for by in inside.values() for report, each in by.items()}
        parts = [f"--part={part_of(report)}" for report in reports]
        # Not side by side, as the first time.
        nodes = [*("-n", "0"), *(node for each in reports.values() for node in each)]
        found["kube"] = [BRING_UP, "test", *parts, *nodes]
    return {
        name: [sys.executable, "-m", *words, f"--junitxml={folder / name}.xml"]
        for name, words in found.items()
    }


def look(runs: Mapping[str, Run], root: Path, artifacts: Path) -> Look:
    """Look again at what failed.

    Parameters
    ----------
    runs
        Tiers that have failed, by name.
    root
        Folder to run in.
    artifacts
        Folder for what the second look leaves.
    """
    found = Look()
    tests = {name: tests_of(run, root) for name, run in runs.items()}
    found.wrong |= {name: runs[name].ending.reason for name, some in tests.items() if not some}
    tests = {name: some for name, some in tests.items() if some}
    count = sum(len(nodes) for some in tests.values() for nodes in some.values())
    if count > MOST:
        why = f"{count} tests failed, and only up to {MOST} are looked at again"
        found.wrong |= dict.fromkeys(tests, why)
        tests = {}
    if not tests:
        return found
    junit = artifacts / "junit"
    junit.mkdir(parents=True, exist_ok=True)
    passed: set[str] = set()
    for name, command in commands(runs, tests, junit).items():
        print(f"\n== once more, alone: what failed of {name}", flush=True)
        environ = {**os.environ, "CI_ARTIFACTS": str(artifacts)}
        code = subprocess.run(command, cwd=root, check=False, env=environ).returncode
        reports = sorted(junit.glob(f"{name}*.xml"))
        for report in reports:
            found.counts[report.stem] = read_counts(report)
        if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            passed |= _passed(reports, root)
    for name, some in tests.items():
        nodes = [node for each in some.values() for node in each]
        found.flaky += [node for node in nodes if node in passed]
        again = [node for node in nodes if node not in passed]
        if again:
            found.wrong[name] = f"did not pass alone either: {', '.join(again)}"
    return found


def _passed(reports: Iterable[Path], root: Path) -> set[str]:
    return {
        str(test.node(root))
        for report in reports
        for test, outcome in outcomes(report).items()
        if outcome.word == "passed"
    }
