"""What runs of tests leave behind: JUnit reports of pytest, and how each tier ended."""

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

COLLECTION = "collection failure"
"""What pytest says of a file that it could not read."""
CRASH = "crashed while running"
"""What pytest-xdist says of a test in which its process ended."""


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


class Test(NamedTuple):
    """A test, as a report names it."""

    place: str
    name: str

    def node(self, root: Path) -> str | None:
        """Name it as pytest's command line does; None if it is no test of a file below `root`."""
        parts = self.place.split(".")
        for count in range(len(parts), 0, -1):
            file = Path(*parts[: count - 1], f"{parts[count - 1]}.py")
            if (root / file).is_file():
                return "::".join([file.as_posix(), *parts[count:], self.name])
        return None


class Outcome(NamedTuple):
    """How a test ended (`passed`, `failed` or `skipped`), and why."""

    word: str
    said: str = ""

    @property
    def is_of_the_test(self) -> bool:
        """Whether it is a test that failed, and not the reading of its file or its process."""
        return COLLECTION not in self.said and CRASH not in self.said


def outcomes(report: Path) -> dict[Test, Outcome]:
    """Outcomes of a report's tests; of several the worst. A report cut off half-way has none."""
    found: dict[Test, Outcome] = {}
    for test, outcome in _cases(report):
        if outcome.word == "failed" or test not in found:
            found[test] = outcome
    return found


def _cases(report: Path) -> Iterator[tuple[Test, Outcome]]:
    try:
        cases = list(ET.parse(report).getroot().iter("testcase"))
    except ET.ParseError:
        return
    for case in cases:
        test = Test(case.get("classname", ""), case.get("name", ""))
        wrong = [*case.findall("failure"), *case.findall("error")]
        if wrong:
            yield test, Outcome("failed", "\n".join(each.get("message", "") for each in wrong))
        elif (skipped := case.find("skipped")) is not None:
            yield test, Outcome("skipped", skipped.get("message", "no reason given"))
        else:
            yield test, Outcome("passed")


def read_counts(report: Path) -> Counts:
    """Counts of a report; a test that failed twice over counts once."""
    counts = Counts()
    for outcome in outcomes(report).values():
        setattr(counts, outcome.word, getattr(counts, outcome.word) + 1)
    return counts


def why_skipped(report: Path) -> str:
    """Say why how many tests of a report were skipped; empty where none was."""
    reasons = Counter(
        outcome.said for outcome in outcomes(report).values() if outcome.word == "skipped"
    )
    return "".join(f"\n  {number} skipped: {why}" for why, number in reasons.most_common())


@dataclass(frozen=True)
class Ending:
    """How a tier ended: the code of its program and, if it is to fail, why."""

    code: int
    reason: str = ""

    def write(self, file: Path) -> None:
        """Keep it for who concludes."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> "Ending":
        """Return what was kept."""
        return cls(**json.loads(file.read_text()))
