"""What came of a trial, as one page that needs nothing else. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from facility.site.acceptance.outcomes import Outcome, by_fault
from facility.site.acceptance.trial import Seen, Settings
from facility.site.acceptance.usage import Usage, usage
from facility.table import Table

WIDTH, HEIGHT, MARGIN = 760, 220, 44
COLOURS = ("#1b6ca8", "#c2491d", "#4b7f2c")
MOST_WRONG = 100
"""Jobs that have ended otherwise than they should which are told one by one."""


@dataclass(frozen=True)
class Verdict:
    """What is judged of a trial.

    Parameters
    ----------
    settings, seen
        The trial.
    least
        Share of the cores that is to be asked for while jobs wait.
    """

    settings: Settings
    seen: Seen
    least: float

    @property
    def usage(self) -> Usage:
        """How full and how fast it was."""
        return usage(self.seen.samples, self.seen.allocatable, self.least)

    @property
    def wrong(self) -> list[Outcome]:
        """Jobs that have not ended as they should."""
        return [each for each in self.seen.outcomes if not each.right]

    @property
    def reliable(self) -> bool:
        """Whether each job has ended as it should, once."""
        return not self.wrong and self.seen.in_time

    @property
    def full(self) -> bool | None:
        """Whether the cores were asked for as they should be; None where no job waited."""
        share = self.usage.requested
        return None if share is None else share >= self.least

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.reliable and self.full is not False

    @property
    def reliability(self) -> Table:
        """Count jobs by what was done to them."""
        columns = ("jobs", "right", "lost", "twice", "no end")
        return Table(
            ("fault", *columns),
            tuple(
                (str(fault), *(count[each] for each in columns))
                for fault, count in sorted(by_fault(self.seen.outcomes).items())
            ),
        )

    @property
    def numbers(self) -> Table:
        """Name what was measured."""
        found, cost = self.usage, self.seen.cost
        rows = (
            ("nodes", f"{self.seen.nodes:,}"),
            ("allocatable cores", f"{found.allocatable:.1f}"),
            ("requested while jobs waited", _percent(found.requested)),
            ("used while jobs waited", _percent(found.used)),
            ("requested at most", _percent(found.peak)),
            ("time to fill", _seconds(found.to_fill)),
            ("time to drain", _seconds(found.to_drain)),
            ("whole time", _seconds(found.seconds)),
            ("jobs a minute", f"{found.per_minute:.1f}"),
            ("API server, requests a job", f"{cost.requests:.1f}" if cost else "it does not say"),
            (
                "API server, processor time a job",
                f"{1000 * cost.cpu:.1f} ms" if cost and cost.cpu is not None else "it does not say",
            ),
            ("calls of this test, a job", f"{self.seen.calls:.1f}"),
        )
        return Table(("measured", "value"), rows)

    def __str__(self) -> str:
        parts = [str(self.reliability), str(self.numbers), *self.sentences()]
        return "\n\n".join(parts)

    def sentences(self) -> list[str]:
        """Say what is good and what is wrong."""
        found = []
        if self.reliable:
            found.append("Reliability: each job has ended as it should, none lost, none twice.")
        else:
            shown = [
                f"  - {each.planned.name} ({each.planned.fault}) should be {each.planned.end} and "
                f"is {_state(each)}: {each.why}"
                for each in self.wrong[:MOST_WRONG]
            ]
            found.append("\n".join(["Reliability: not as it should be.", *shown]))
        share = _percent(self.usage.requested)
        if self.full is None:
            found.append("Utilisation: no job ever waited; ask for more jobs with --count.")
        elif self.full:
            found.append(f"Utilisation: {share} of the cores were requested while jobs waited.")
        else:
            found.append(
                f"Utilisation: {share} of the cores were requested while jobs waited, at most "
                f"{_percent(self.usage.peak)}, and {_percent(self.least)} should be. Look at "
                "quotas of the namespace, at memory, and whether such jobs fit into what is left."
            )
        return found

    def html(self) -> str:
        """Write the page."""
        samples, cores = self.seen.samples, self.seen.allocatable
        at = [each.at for each in samples]
        asked = chart(
            "Cores over time",
            at,
            {
                "requested": [each.requested for each in samples],
                "used": [each.used for each in samples],
                "allocatable": [cores] * len(samples),
            },
        )
        jobs = chart(
            "Jobs over time",
            at,
            {
                "waiting": [float(each.waiting) for each in samples],
                "running": [float(each.running) for each in samples],
                "ended": [float(each.ended) for each in samples],
            },
        )
        told = "".join(f"<p>{escape(text)}</p>".replace("\n", "<br>") for text in self.sentences())
        title = escape(f"Test of a site: {self.settings.run}")
        style = (
            "body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
            "td,th{text-align:left;padding:.1rem 1rem .1rem 0}"
        )
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{style}</style></head><body><h1>{title}</h1>{told}"
            f"<h2>Reliability</h2>{self.reliability._repr_html_()}"
            f"<h2>Utilisation and scale</h2>{self.numbers._repr_html_()}{asked}{jobs}"
            "</body></html>\n"
        )


def chart(title: str, at: Sequence[float], lines: Mapping[str, Sequence[float | None]]) -> str:
    """Draw lines over time.

    Parameters
    ----------
    at
        Seconds.
    lines
        Values at these times, by the line's name; None where there is none.
    """
    last = max(at, default=0.0) or 1.0
    told = [value for values in lines.values() for value in values if value is not None]
    most = max(told, default=0.0) or 1.0
    wide, high = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    labels = (
        (MARGIN - 6, MARGIN + 5, "end", f"{most:.0f}"),
        (MARGIN - 6, bottom, "end", "0"),
        (right, HEIGHT - 16, "end", f"{last:.0f} s"),
        (MARGIN, 18, "start", escape(title)),
    )
    parts = [
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
        f'<path d="M{MARGIN} {MARGIN}V{bottom}H{right}" fill="none" stroke="#555"/>',
    ]
    for x, y, anchor, text in labels:
        parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>')
    for number, (name, values) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{MARGIN + wide * x / last:.1f},{bottom - high * y / most:.1f}"
            for x, y in zip(at, values, strict=True)
            if y is not None
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{200 + 160 * number}" y="18" fill="{colour}">{escape(name)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _state(outcome: Outcome) -> str:
    if outcome.lost:
        return "lost"
    if outcome.twice:
        return f"done {outcome.done} times"
    return str(outcome.end) if outcome.end else "without an end"
