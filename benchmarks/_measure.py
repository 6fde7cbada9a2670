"""What every benchmark shares: alternating runs, their statistics, the table and the JSON line.

The measurements of one benchmark take turns within one process tree, so that a slow minute of the
machine falls on all of them. Ratios are taken within a round, then summarised.

Examples
--------
>>> samples = alternate({"ours": seconds(start), "theirs": seconds(other)}, rounds=5)
>>> rows = {name: Summary.of(values) for name, values in samples.items()}
>>> rows["ours / theirs"] = ratio(samples["ours"], samples["theirs"])
>>> finish({"local_ratio": rows["ours / theirs"]}, json=arguments.json, table=table(rows))
"""

import argparse
import json as json_format
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from facility.table import Table


class Summary(NamedTuple):
    """Smallest, middle and largest of several samples, in the samples' unit."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> "Summary":
        """Summarise at least one sample."""
        values = sorted(samples)
        return cls(values[0], statistics.median(values), values[-1])


def options(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """Arguments that every benchmark has: ``--json``, ``--rounds`` and ``--smallest``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="end with one JSON object on one line")
    parser.add_argument(
        "--rounds", type=positive, default=rounds, help="how often each is measured (%(default)s)"
    )
    parser.add_argument(
        "--smallest",
        action=_Smallest,
        nargs=0,
        default=False,
        help="one round of little work, which shows that everything runs and measures nothing",
    )
    return parser


class _Smallest(argparse.Action):
    """Notes that the smallest size is asked for, which has one round."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object
    ) -> None:
        namespace.smallest, namespace.rounds = True, 1


def positive(text: str) -> int:
    """Read a number for an argument."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """Turn work into a measurement of how long it takes, in seconds of wall time."""

    def measured() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return measured


def alternate(
    measurements: Mapping[str, Callable[[], float]], rounds: int, *, unit: str = "s"
) -> dict[str, list[float]]:
    """Run measurements in turn, every other round in reverse order, with progress on stderr.

    Parameters
    ----------
    measurements
        Functions by name; each returns its own sample (see `seconds`).
    rounds
        How often each runs.
    unit
        Unit of the samples, for the progress lines.

    Returns
    -------
    dict of str to list of float
        The samples of each measurement, one for each round, in the order of the rounds.
    """
    samples: dict[str, list[float]] = {name: [] for name in measurements}
    began = time.perf_counter()
    total = rounds * len(measurements)
    done = 0
    for index in range(rounds):
        order = list(measurements.items())
        for name, measure in reversed(order) if index % 2 else order:
            note(f"[{done + 1}/{total}] {name} ...")
            value = measure()
            samples[name].append(value)
            done += 1
            left = (time.perf_counter() - began) / done * (total - done)
            note(f"[{done}/{total}] {name}: {number(value)} {unit} (about {left:.0f} s left)")
    return samples


def note(text: str) -> None:
    """Tell on stderr what goes on."""
    print(text, file=sys.stderr, flush=True)


def ratio(above: Sequence[float], below: Sequence[float]) -> Summary:
    """Summarise the ratios of two measurements, taken round by round."""
    return Summary.of(a / b for a, b in zip(above, below, strict=True))


def table(rows: Mapping[str, Summary], units: Mapping[str, str] | str = "s") -> Table:
    """Lay summaries out as a table.

    Parameters
    ----------
    rows
        Summaries by the name of their row.
    units
        One unit for all, or a unit for each row; a row without one is a ratio.
    """

    def label(name: str) -> str:
        unit = units if isinstance(units, str) else units.get(name, "")
        return f"{name} [{unit}]" if unit else name

    return Table(
        ("", *Summary._fields),
        tuple((label(name), *map(number, summary)) for name, summary in rows.items()),
    )


def number(value: float) -> str:
    """Write a number with three or four digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def finish(result: Mapping[str, object], *, json: bool, table: Table) -> None:
    """Print the table and, where asked for, the result as one JSON object on the last line.

    Summaries in the result become objects with `minimum`, `median` and `maximum`.
    """
    print(table)
    if json:
        print(json_format.dumps(_plain(result)), flush=True)


def _plain(value: object) -> object:
    if isinstance(value, Summary):
        return value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def cache_folder() -> Path:
    """Folder of input files that benchmarks make once and use again; made where it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "facility" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
