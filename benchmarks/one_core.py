"""Z -> ll on one core: a worker of facility.run beside coffea's Runner, RDataFrame and NumPy.

Every way is a process of its own, warm, on the same files in the page cache; they take turns.
Rates are events per second of CPU, since other programs share the machine; wall times are in the
JSON. The Runner works with whole files as chunks or with 100,000 events, whichever was faster.

- `vs_runner_narrow`, `vs_runner_wide`, `vs_runner_vector`: files of few branches, with 600 unused
  ones, with std::vector branches (where there is a Python with ROOT: --root);
- `fixed_vs_runner`: a chunk of a real file of which one column is read, in a file that is not open
  and whose structure is known; `kept_vs_runner`: in one that is.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import _measure
from benchmarks._samples import sample, size_of
from benchmarks._served import Process, alone, process
from benchmarks._ways import Outcome
from tools.samples import fetch

CHUNK = 100_000
"""Events of the chunks that the Runner is tried with, beside those of whole files."""
NAMES = {
    "facility": "a worker of facility.run",
    "runner": "coffea's Runner",
    "numpy": "uproot + NumPy by hand",
    "rdataframe": "RDataFrame",
}
CHUNKS = 5
"""Chunks of the real file in a measurement; one in the smallest."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = _measure.options(__doc__.partition("\n")[0], rounds=5)
    parser.add_argument("--root", help="a Python that can import ROOT", default=sys.executable)
    options = parser.parse_args(arguments)
    root = options.root if has_root(options.root) else None
    if root is None:
        _measure.note("No ROOT here: no std::vector files, no RDataFrame (pip install ROOT).")
    result: dict[str, Any] = {}
    rows: dict[str, _measure.Summary] = {}
    units: dict[str, str] = {}
    for kind in size_of(options).files:
        if kind != "vector" or root is not None:
            measure(kind, root, options, result, rows, units)
    fixed(options, result, rows, units)
    _measure.finish(result, json=options.json, table=_measure.table(rows, units))


def has_root(python: str) -> bool:
    """Whether a Python can import ROOT."""
    command = [python, "-W", "ignore", "-c", "import ROOT, numpy"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def measure(
    kind: str,
    root: str | None,
    options: argparse.Namespace,
    result: dict[str, Any],
    rows: dict[str, _measure.Summary],
    units: dict[str, str],
) -> None:
    """Measure all ways on files of one kind."""
    size = size_of(options)
    files, whole = [str(path) for path in sample(kind, size, root)], size.events
    ways = [way for way in NAMES if way != "rdataframe" or root is not None]
    with ExitStack() as stack:
        served = {way: stack.enter_context(process(way, root)) for way in ways}
        _measure.note(f"Warming up for {kind} files ...")
        expected = {way: alone(started, files, whole)[:2] for way, started in served.items()}
        if len(set(expected.values())) != 1:
            raise RuntimeError(f"{expected} are not the same")
        tried = {chunk: alone(served["runner"], files, chunk).cpu for chunk in (whole, CHUNK)}
        best = min(tried, key=lambda chunk: tried[chunk])
        outcomes: dict[str, list[Outcome]] = {way: [] for way in ways}
        _measure.alternate(
            {
                f"{kind}, {NAMES[way]}": kilohertz(
                    served[way], files, best if way == "runner" else whole, outcomes[way]
                )
                for way in ways
            },
            options.rounds,
            unit="kHz",
        )
    rates = {way: [o.events / o.cpu / 1e3 for o in found] for way, found in outcomes.items()}
    for way, values in rates.items():
        rows[f"{kind}: {NAMES[way]}"] = _measure.Summary.of(values)
        units[f"{kind}: {NAMES[way]}"] = "kHz of CPU"
    ratio = _measure.ratio(rates["facility"], rates["runner"])
    walls = {way: [o.events / o.wall / 1e3 for o in found] for way, found in outcomes.items()}
    rows[f"vs_runner_{kind}"] = ratio
    result |= {
        f"vs_runner_{kind}": ratio,
        f"vs_runner_{kind}_wall": _measure.ratio(walls["facility"], walls["runner"]),
        f"{kind}_runner_chunk": best,
        f"{kind}_kilohertz": {way: _measure.Summary.of(values) for way, values in rates.items()},
    }


def kilohertz(
    started: Process, files: list[str], chunksize: int, outcomes: list[Outcome]
) -> Callable[[], float]:
    """Make a measurement of a rate that keeps the outcome."""

    def measured() -> float:
        outcomes.append(alone(started, files, chunksize))
        return outcomes[-1].events / outcomes[-1].cpu / 1e3

    return measured


def fixed(
    options: argparse.Namespace,
    result: dict[str, Any],
    rows: dict[str, _measure.Summary],
    units: dict[str, str],
) -> None:
    """Measure what a chunk of a real file costs before its events are read."""
    names = {
        "fixed_runner": "a chunk of a real file: coffea's Runner",
        "fixed_new": "a chunk of a real file: a worker, in a new file",
        "fixed_kept": "a chunk of a real file: a worker, in an open file",
    }
    real = str(fetch() / "PHYSLITE_example.root")
    chunks = 1 if options.smallest else CHUNKS
    with ExitStack() as stack:
        served = {way: stack.enter_context(process(way)) for way in names}
        _measure.note("Warming up on the real file ...")
        for started in served.values():
            for _ in range(2):
                alone(started, [real], CHUNK)

        def milliseconds(way: str) -> Callable[[], float]:
            def measured() -> float:
                found = [alone(served[way], [real], CHUNK).cpu for _ in range(chunks)]
                return sum(found) / chunks * 1e3

            return measured

        samples = _measure.alternate(
            {way: milliseconds(way) for way in names}, options.rounds, unit="ms"
        )
    for way, name in names.items():
        rows[name], units[name] = _measure.Summary.of(samples[way]), "ms of CPU"
    ratios = {
        "fixed_vs_runner": _measure.ratio(samples["fixed_new"], samples["fixed_runner"]),
        "kept_vs_runner": _measure.ratio(samples["fixed_kept"], samples["fixed_runner"]),
    }
    rows.update(ratios)
    result |= ratios | {way: _measure.Summary.of(values) for way, values in samples.items()}


if __name__ == "__main__":
    main()
