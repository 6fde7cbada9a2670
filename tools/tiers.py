"""Run tiers of tests and say what came of them: `python -m tools.tiers unit local browser`.

`python -m tools.tiers conclude unit local` says what came of the tiers that ran last, and fails
where one of those named has not run, or has left out tests that had to run. A few failures in some
tiers are looked at once more before (`tools.again`). What failed beside the tests is named with
`--failed=NAME`.

A tier that ran no test fails, and so does a browser test that was skipped: a green run is to mean
that everything was tried. The last line holds the totals of all tiers.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import again
from tools.building import CACHE
from tools.reports import Counts, Ending, read_counts, why_skipped

ROOT = Path(__file__).resolve().parent.parent
ARTIFACTS = Path(os.environ.get("CI_ARTIFACTS") or CACHE / "artifacts")
FAILED = "--failed="


@dataclass(frozen=True)
class Tier:
    """One group of tests and how pytest runs it."""

    about: str
    arguments: tuple[str, ...]
    may_skip: bool = True
    program: tuple[str, ...] = ("pytest",)
    """The module to run, and its arguments before those of pytest."""
    again: bool = False
    """Whether a few failures are looked at once more before a change lands."""
    beside: bool = False
    """Whether it takes what time other tiers leave; its output comes in one piece."""
    environment: str = ""
    """Folder with the environment that it runs in; the one that this runs in without any."""

    @property
    def python(self) -> str:
        """The interpreter that it runs with."""
        return str(ROOT / self.environment / "bin/python") if self.environment else sys.executable


# They take what time other tiers leave, so that one test may last.
UNIT = ("-n", "2", "--timeout=600", "tests/unit")
# Processes side by side only where tests are not in each other's way: two unit tests on two cores,
# and three files of tests with Dask clusters, which wait a third of their time, in the order that
# tests/local/conftest.py says; a browser and the hub behind it fill both.
TIERS = {
    "unit": Tier("no processes, no network", (*UNIT, "tests/chart"), beside=True),
    "unit-3.11": Tier(
        "what users run, on the oldest supported Python",
        # Tools, chart and the hub on Kubernetes, which has its image's, run on the newest alone.
        (*UNIT, "--ignore=tests/unit/tools", "--ignore-glob=tests/unit/hub/test_*.py"),
        environment=".venv-3.11",
    ),
    "local": Tier(
        "real Dask clusters and a real hub",
        (
            *("tests/local", "-m", "not browser and not gpu and not long"),
            *("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"),
        ),
        again=True,
    ),
    "browser": Tier("a real Chromium", ("tests", "-m", "browser"), may_skip=False, again=True),
    "gpu": Tier("an NVIDIA GPU", ("tests", "-m", "gpu"), may_skip=False),
    "long": Tier(
        "full sweeps, and Dask clusters for minutes", ("tests/long", "tests/local", "-m", "long")
    ),
    "images-long": Tier(
        "programs in containers of another architecture",
        ("tests/images", "-m", "long"),
        may_skip=False,
    ),
    "kube-long": Tier(
        "tests on a real Kubernetes that take minutes each",
        (),
        may_skip=False,
        program=("tests.kube.bringup", "test", "--part=long"),
    ),
    "images": Tier(
        "containers of each image",
        ("tests/images", "-m", "not long", "-n", "2"),
        may_skip=False,
    ),
    "kube": Tier(
        "a real Kubernetes",
        (),
        may_skip=False,
        # It brings the Kubernetes up before the tests and takes it down after them.
        program=("tests.kube.bringup", "test", "--part=main"),
        again=True,
    ),
    # These wait more than they work: other tiers may run beside them.
    "kube-alone": Tier(
        "a Kubernetes that tests take away, and one with Cilium as it is by default",
        (),
        may_skip=False,
        program=("tests.kube.bringup", "test", "--part=last", "--part=cilium"),
        again=True,
    ),
}


def has_gpu() -> bool:
    """Whether NVIDIA's own tool finds a device."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def tier_of(report: Path) -> str:
    """Name the tier that a report is of: it bears its name, maybe with that of a part."""
    names = [name for name in TIERS if f"{report.stem}-".startswith(f"{name}-")]
    return max(names, key=len, default="")


def reports_of(name: str) -> list[Path]:
    """Reports of a tier that are there; one that runs in parts leaves one for each."""
    found = (ARTIFACTS / "junit").glob(f"{name}*.xml")
    return sorted(report for report in found if tier_of(report) == name)


def run(name: str) -> tuple[Counts, str]:
    """Run one tier; return its counts and, if it is to fail, why. Both are kept."""
    report = ARTIFACTS / "junit" / f"{name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    for earlier in (*reports_of(name), ending_of(name)):
        earlier.unlink(missing_ok=True)
    counts, ending = ran(name, report)
    ending.write(ending_of(name))
    return counts, ending.reason


def ending_of(name: str) -> Path:
    """File that says how a tier ended; a tier that was ended from outside has none."""
    return ARTIFACTS / "junit" / f"{name}.json"


def ran(name: str, report: Path) -> tuple[Counts, Ending]:
    """Run one tier; return its counts and how it ended."""
    tier = TIERS[name]
    print(f"\n== {name}: {tier.about}", flush=True)
    command = [tier.python, "-m", *tier.program, *tier.arguments, f"--junitxml={report}"]
    environ = {**os.environ, "CI_ARTIFACTS": str(ARTIFACTS)}
    code = subprocess.run(command, cwd=ROOT, check=False, env=environ).returncode
    reports = reports_of(name)
    if not reports:
        reason = f"{tier.program[0]} ended with code {code} and left no report"
        return Counts(failed=1), Ending(code, reason)
    counts = Counts()
    for each in reports:
        counts.add(read_counts(each))
    if counts.passed + counts.failed == 0:
        return counts, Ending(code, "it ran no test")
    if code != 0:
        # A run can fail without a failed test, for example at its very end.
        counts.failed = max(counts.failed, 1)
        return counts, Ending(code, f"{tier.program[0]} ended with code {code}")
    if counts.skipped and not tier.may_skip:
        return counts, Ending(code, "tests were skipped that must run")
    return counts, Ending(code)


def conclude(names: Sequence[str], failed: Sequence[str] = ()) -> int:
    """Look again at a few failures, and print what came of all tiers; return the code to exit with.

    Parameters
    ----------
    names
        Tiers that have to be among them.
    failed
        What beside the tiers has failed.
    """
    endings = {name: Ending.read(ending_of(name)) for name in TIERS if ending_of(name).exists()}
    reasons = {name: "did not run to its end" for name in names if name not in endings}
    reasons |= {name: ending.reason for name, ending in endings.items() if ending.reason}
    runs = {
        name: again.Run(TIERS[name].program[0], endings[name], reports_of(name))
        for name in reasons
        if name in endings and TIERS[name].again
    }
    second = again.look(runs, ROOT, ARTIFACTS / "again")
    reasons = {name: why for name, why in reasons.items() if name not in runs} | second.wrong
    wrong = [*failed, *(f"{name}: {why}" for name, why in reasons.items())]
    total = Counts()
    print()
    for report in sorted((ARTIFACTS / "junit").glob("*.xml")):
        counts = read_counts(report)
        print(f"{report.stem:12} {counts}{why_skipped(report)}")
        total.add(counts)
        name = tier_of(report)
        if counts.skipped and name and not TIERS[name].may_skip and name not in reasons:
            wrong.append(f"{report.stem} skipped tests that must run")
    for name, counts in second.counts.items():
        print(f"{name:12} {counts}, once more and alone: {ARTIFACTS / 'again'}")
    for test in second.flaky:
        print(f"flaky: {test}")
    # The last line says how many tests have failed in the end, and never less than went wrong.
    total.passed += len(second.flaky)
    total.failed -= len(second.flaky)
    if wrong:
        total.failed = max(total.failed, 1)
        print(f"FAILED: {'; '.join(wrong)}")
    print(total)
    return int(bool(wrong) or total.failed > 0 or total.passed == 0)


def main(arguments: Sequence[str]) -> int:
    """Run the tiers and print their totals; return the code to exit with."""
    names = [word for word in arguments if not word.startswith(FAILED)]
    concludes = names[:1] == ["conclude"]
    names = names[1:] if concludes else names
    unknown = [name for name in names if name not in TIERS]
    if unknown or not names:
        print(f"No such tier: {', '.join(unknown) or 'none named'}. There are {', '.join(TIERS)}.")
        return 2
    if concludes:
        failed = [word.removeprefix(FAILED) for word in arguments if word.startswith(FAILED)]
        return conclude(names, failed)
    if "gpu" in names and not has_gpu():
        print("The gpu tier did not run: this machine has no NVIDIA GPU.")
        names = [name for name in names if name != "gpu"]
        if not names:
            return 0
    others = [name for name in names if not TIERS[name].beside]
    beside = {name: begin(name) for name in names if others and name not in others}
    total, lines, wrong = Counts(), [], False
    for name in [*(others or names), *beside]:
        start = time.monotonic()
        counts, reason = ended(name, beside[name]) if name in beside else run(name)
        total.add(counts)
        wrong = wrong or bool(reason)
        verdict = f"FAILED: {reason}" if reason else "ok"
        skips = "".join(why_skipped(report) for report in reports_of(name))
        took = "beside" if name in beside else f"{time.monotonic() - start:.0f} s"
        lines.append(f"{name:8} {counts}, {took}, {verdict}{skips}")
    print("\n" + "\n".join(lines))
    print(f"What can be looked at (screenshots, reports) is in {ARTIFACTS}")
    print(total)
    return int(wrong)


def begin(name: str) -> subprocess.Popen[bytes]:
    """Start a tier that runs beside others."""
    for earlier in (*reports_of(name), ending_of(name)):
        earlier.unlink(missing_ok=True)
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    command = ["nice", sys.executable, "-m", "tools.tiers", name]
    with log_of(name).open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)


def ended(name: str, process: subprocess.Popen[bytes]) -> tuple[Counts, str]:
    """Wait for a tier that runs beside others; return its counts and, if it is to fail, why."""
    process.wait()
    print(log_of(name).read_text(errors="replace"), flush=True)
    counts = Counts()
    for report in reports_of(name):
        counts.add(read_counts(report))
    if not ending_of(name).exists():
        return counts, "did not run to its end"
    return counts, Ending.read(ending_of(name)).reason


def log_of(name: str) -> Path:
    """File with what a tier prints that runs beside others."""
    return ARTIFACTS / f"{name}.log"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
