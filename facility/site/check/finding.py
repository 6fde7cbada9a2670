"""One thing that was looked at: what asked for it, what there is, what to do."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from facility.wording import counted


class State(StrEnum):
    """How it is with what was asked for; those of most concern come first."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    ADVICE = "advice"
    GOOD = "good"


@dataclass(frozen=True)
class Finding:
    """What was looked at.

    Parameters
    ----------
    name
        What it is, as Kubernetes calls it.
    state
        `missing` where the facility cannot work without, `advice` where it can, `unknown` where
        nothing tells.
    asked
        What asks for it: the chart, or one of its values by name.
    told
        What there is.
    todo
        What to do; nothing where all is good.
    """

    name: str
    state: State
    asked: str
    told: str
    todo: str = ""


def good(name: str, asked: str, told: str) -> Finding:
    """Say that what was asked for is there."""
    return Finding(name, State.GOOD, asked, told)


def missing(name: str, asked: str, told: str, todo: str) -> Finding:
    """Say that the facility cannot work with what is there."""
    return Finding(name, State.MISSING, asked, told, todo)


def advice(name: str, asked: str, told: str, todo: str) -> Finding:
    """Say what would be better, and is not needed."""
    return Finding(name, State.ADVICE, asked, told, todo)


def unknown(name: str, asked: str, told: str, todo: str) -> Finding:
    """Say that nothing tells."""
    return Finding(name, State.UNKNOWN, asked, told, todo)


@dataclass(frozen=True)
class Report:
    """All that was looked at."""

    findings: Sequence[Finding]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that is needed."""
        return not any(each.state is State.MISSING for each in self.findings)

    def json(self) -> str:
        """Write it for programs."""
        content = {
            "complete": self.complete,
            "findings": [asdict(each) for each in self.findings],
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        titles = {
            State.MISSING: "Missing:",
            State.UNKNOWN: "Could not be told:",
            State.ADVICE: "To know:",
            State.GOOD: "Good:",
        }
        lines: list[str] = []
        for state, title in titles.items():
            those = [each for each in self.findings if each.state is state]
            if those:
                lines += [title, *_items(those), ""]
        counts = Counter(each.state for each in self.findings)
        lines.append(
            f"{counted(len(self.findings), 'thing')} looked at: "
            + ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
        )
        return "\n".join(lines)


def _items(findings: Iterable[Finding]) -> Iterable[str]:
    for each in findings:
        yield f"  - {each.name}, for {each.asked}: {each.told}"
        if each.todo:
            yield f"    {each.todo}"
