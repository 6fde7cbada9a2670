"""Run tiers of tests and say what came of them: `python -m tools.tiers unit local browser`.

`python -m tools.tiers summary unit local` says again what came of the tiers that ran last, and
fails where one of those named has left no report, or one with tests that had to run and did not.

A tier that ran no test fails, and so does a browser test that was skipped: a green run is to mean
that everything was tried. The last line holds the totals of all tiers.
"""

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tools.building import CACHE

ROOT = Path(__file__).resolve().parent.parent
ARTIFACTS = Path(os.environ.get("CI_ARTIFACTS") or CACHE / "artifacts")


@dataclass(frozen=True)
class Tier:
    """One group of tests and how pytest runs it."""

    about: str
    arguments: tuple[str, ...]
    may_skip: bool = True
    program: tuple[str, ...] = ("pytest",)
    """The module to run, and its arguments before those of pytest."""


# Processes side by side only where tests are not in each other's way: two unit tests on two cores,
# and two files of tests with Dask clusters; a browser and the hub behind it fill both.
TIERS = {
    "unit": Tier("no processes, no network", ("tests/unit", "tests/chart", "-n", "2")),
    "local": Tier(
        "real Dask clusters and a real hub",
        ("tests/local", "-m", "not browser and not gpu", "-n", "2", "--dist", "loadfile"),
    ),
    "browser": Tier("a real Chromium", ("tests", "-m", "browser"), may_skip=False),
    "gpu": Tier("an NVIDIA GPU", ("tests", "-m", "gpu"), may_skip=False),
    "long": Tier("full sweeps", ("tests/long",)),
    "images": Tier("containers of each image", ("tests/images", "-n", "2"), may_skip=False),
    "kube": Tier(
        "a real Kubernetes",
        (),
        may_skip=False,
        # It brings the Kubernetes up before the tests and takes it down after them.
        program=("tests.kube.bringup", "test", "--part=main"),
    ),
    # These wait more than they work: other tiers may run beside them.
    "kube-alone": Tier(
        "a Kubernetes that tests take away, and one with Cilium as it is by default",
        (),
        may_skip=False,
        program=("tests.kube.bringup", "test", "--part=last", "--part=cilium"),
    ),
}


@dataclass
class Counts:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    def add(self, other: "Counts") -> None:
        """Add another tier's."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def has_gpu() -> bool:
    """Whether NVIDIA's own tool finds a device."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def read_counts(report: Path) -> Counts:
    """Counts of pytest's JUnit report; a test that failed twice over counts once."""
    counts = Counts()
    outcomes: dict[tuple[str | None, str | None], str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = (case.get("classname"), case.get("name"))
        if case.find("failure") is not None or case.find("error") is not None:
            outcomes[name] = "failed"
        elif case.find("skipped") is not None:
            outcomes.setdefault(name, "skipped")
        else:
            outcomes.setdefault(name, "passed")
    for outcome in outcomes.values():
        setattr(counts, outcome, getattr(counts, outcome) + 1)
    return counts


def why_skipped(report: Path) -> str:
    """Say why how many tests of a report were skipped; empty where none was."""
    reasons = Counter(
        skipped.get("message", "no reason given")
        for skipped in ET.parse(report).getroot().iter("skipped")
    )
    return "".join(f"\n  {number} skipped: {why}" for why, number in reasons.most_common())


def tier_of(report: Path) -> str:
    """Name the tier that a report is of: it bears its name, maybe with that of a part."""
    names = [name for name in TIERS if f"{report.stem}-".startswith(f"{name}-")]
    return max(names, key=len, default="")


def reports_of(name: str) -> list[Path]:
    """Reports of a tier that are there; one that runs in parts leaves one for each."""
    found = (ARTIFACTS / "junit").glob(f"{name}*.xml")
    return sorted(report for report in found if tier_of(report) == name)


def run(name: str) -> tuple[Counts, str]:
    """Run one tier; return its counts and, if it is to fail, why."""
    tier = TIERS[name]
    report = ARTIFACTS / "junit" / f"{name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    for earlier in reports_of(name):
        earlier.unlink()
    print(f"\n== {name}: {tier.about}", flush=True)
    command = [sys.executable, "-m", *tier.program, *tier.arguments, f"--junitxml={report}"]
    environ = {**os.environ, "CI_ARTIFACTS": str(ARTIFACTS)}
    code = subprocess.run(command, cwd=ROOT, check=False, env=environ).returncode
    reports = reports_of(name)
    if not reports:
        return Counts(failed=1), f"pytest ended with code {code} and left no report"
    counts = Counts()
    for each in reports:
        counts.add(read_counts(each))
    if counts.passed + counts.failed == 0:
        return counts, "it ran no test"
    if code != 0:
        # A run can fail without a failed test, for example at its very end.
        counts.failed = max(counts.failed, 1)
        return counts, f"pytest ended with code {code}"
    if counts.skipped and not tier.may_skip:
        return counts, "tests were skipped that must run"
    return counts, ""


def summary(names: list[str]) -> int:
    """Print the totals of all tiers that have left a report; return the code to exit with.

    Parameters
    ----------
    names
        Tiers that have to be among them.
    """
    total, wrong = Counts(), []
    for report in sorted((ARTIFACTS / "junit").glob("*.xml")):
        counts = read_counts(report)
        print(f"{report.stem:8} {counts}{why_skipped(report)}")
        total.add(counts)
        tier = TIERS.get(tier_of(report))
        if counts.skipped and tier and not tier.may_skip:
            wrong.append(f"{report.stem} skipped tests that must run")
    for name in names:
        ran = Counts()
        for report in reports_of(name):
            ran.add(read_counts(report))
        if ran.passed + ran.failed == 0:
            wrong.append(f"{name} did not run")
    if wrong:
        print(f"FAILED: {'; '.join(wrong)}")
    print(total)
    return int(bool(wrong) or total.failed > 0 or total.passed == 0)


def main(names: list[str]) -> int:
    """Run the tiers and print their totals; return the code to exit with."""
    again = names[:1] == ["summary"]
    names = names[1:] if again else names
    unknown = [name for name in names if name not in TIERS]
    if again and not unknown:
        return summary(names)
    if unknown or not names:
        print(f"No such tier: {', '.join(unknown) or 'none named'}. There are {', '.join(TIERS)}.")
        return 2
    if "gpu" in names and not has_gpu():
        print("The gpu tier did not run: this machine has no NVIDIA GPU.")
        names = [name for name in names if name != "gpu"]
        if not names:
            return 0
    total, lines, wrong = Counts(), [], False
    for name in names:
        start = time.monotonic()
        counts, reason = run(name)
        total.add(counts)
        wrong = wrong or bool(reason)
        verdict = f"FAILED: {reason}" if reason else "ok"
        skips = "".join(why_skipped(report) for report in reports_of(name))
        lines.append(f"{name:8} {counts}, {time.monotonic() - start:.0f} s, {verdict}{skips}")
    print("\n" + "\n".join(lines))
    print(f"What can be looked at (screenshots, reports) is in {ARTIFACTS}")
    print(total)
    return int(wrong)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
