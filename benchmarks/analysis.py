"""Z -> ll over synthetic files: events/s on a Dask cluster beside what one would do without it.

Four ways take turns, each warm (processes started, libraries loaded, files in the page cache) and
each on the same number of events for each core it may use:

- coffea on a Dask cluster of `facility` with two workers;
- coffea in one process;
- coffea in two independent processes at once, each with half of the files: the limit that a
  scheduler can come close to on this machine;
- uproot and NumPy by hand in one process.

The files are made once, in the user's cache folder. They are read again and again under different
names, until the Dask cluster takes as long as asked for.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import _measure
from facility.analysis.sample import write_files

WORKERS = 2
FILES = 8
EVENTS = 250_000
"""Events in a file, and in a chunk: small chunks spend their time on being opened."""
TREE = "CollectionTree"
NAMES = {
    "dask": "coffea on Dask, 2 workers",
    "one": "coffea, one process",
    "two": "coffea, two processes at once",
    "numpy": "uproot + NumPy, one process",
}


class Outcome(NamedTuple):
    """What one run did."""

    events: int
    pairs: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or one of its processes."""
    parser = _measure.options(__doc__.partition("\n")[0], rounds=3)
    parser.add_argument(
        "--seconds", type=float, default=32, help="duration of a run on Dask (%(default)s)"
    )
    parser.add_argument("--serve", choices=("coffea", "numpy"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve({"coffea": with_coffea, "numpy": with_numpy}[options.serve])
    else:
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    """Measure all four in turn and print the table."""
    originals = write_or_reuse()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analysis-")))
        first, second, by_hand = (
            stack.enter_context(process(kind)) for kind in ("coffea", "coffea", "numpy")
        )
        on_dask = stack.enter_context(dask_cluster())

        def files(passes: int) -> list[str]:
            return list(names(originals, folder, passes * FILES))

        _measure.note("Warming up ...")
        expected = on_dask(files(1))
        for other in (first, second, by_hand):
            check(together([other], [files(1)]), expected)
        single = on_dask(files(4)).seconds / 4
        passes = max(2, 2 * math.ceil(options.seconds / single / 2))
        work = files(passes)
        half, rest = work[: len(work) // 2], work[len(work) // 2 :]
        _measure.note(f"{len(work)} files, {len(work) * EVENTS:,} events for two cores")
        seconds: list[float] = []

        def dask() -> Outcome:
            outcome = on_dask(work)
            seconds.append(outcome.seconds)
            return outcome

        def rate(run: Callable[[], Outcome], files: int) -> Callable[[], float]:
            passes = files // FILES

            def kilohertz() -> float:
                outcome = run()
                check(outcome, Outcome(expected.events * passes, expected.pairs * passes, 0))
                return outcome.events / outcome.seconds / 1e3

            return kilohertz

        runs: dict[str, Callable[[], float]] = {
            "dask": rate(dask, len(work)),
            "one": rate(lambda: together([first], [half]), len(half)),
            "two": rate(lambda: together([first, second], [half, rest]), len(work)),
            "numpy": rate(lambda: together([by_hand], [half]), len(half)),
        }
        samples = _measure.alternate(
            {NAMES[name]: run for name, run in runs.items()}, options.rounds, unit="kHz"
        )
    report(options, {name: samples[label] for name, label in NAMES.items()}, seconds, len(work))


def report(
    options: argparse.Namespace, kilohertz: dict[str, list[float]], seconds: list[float], files: int
) -> None:
    """Print rates and the ratios within each round."""
    rates = {name: _measure.Summary.of(values) for name, values in kilohertz.items()}
    ratios = {
        "of_two_processes": _measure.ratio(kilohertz["dask"], kilohertz["two"]),
        "of_one_process": _measure.ratio(kilohertz["dask"], kilohertz["one"]),
        "of_uproot_numpy": _measure.ratio(kilohertz["dask"], kilohertz["numpy"]),
    }
    rows = {NAMES[name]: summary for name, summary in rates.items()}
    rows |= {f"Dask / {name.removeprefix('of_')}": row for name, row in ratios.items()}
    _measure.finish(
        {
            "events": files * EVENTS,
            "workers": WORKERS,
            "dask_seconds": _measure.Summary.of(seconds),
            "kilohertz": rates,
            **ratios,
        },
        json=options.json,
        table=_measure.table(rows, dict.fromkeys(NAMES.values(), "kHz")),
    )


def check(outcome: Outcome, expected: Outcome) -> None:
    """Refuse to compare rates of runs that did not find the same."""
    if outcome[:2] != expected[:2]:
        raise RuntimeError(f"{outcome} is not the expected {expected}")


# Files.


def write_or_reuse() -> list[Path]:
    """Give the original files, made when they are first asked for."""
    folder = _measure.cache_folder() / f"physlite-{FILES}x{EVENTS}"
    found = sorted(folder.glob("*.root.1"))
    if len(found) == FILES:
        return found
    _measure.note(f"Writing {FILES} files of {EVENTS:,} events to {folder} ...")
    return write_files(folder, FILES, EVENTS)


def names(originals: list[Path], folder: Path, count: int) -> Iterator[str]:
    """Give names of as many files; a scheduler would not read the same name twice."""
    for number in range(count):
        original = originals[number % len(originals)]
        link = folder / f"{number:05d}.root"
        if not link.is_symlink():
            link.symlink_to(original)
        yield str(link)


# The ways to do it.


@contextmanager
def dask_cluster() -> Iterator[Callable[[list[str]], Outcome]]:
    """Start a Dask cluster that stays for the whole benchmark."""
    from coffea import processor

    from facility import cluster
    from facility.analysis import physlite

    with cluster(WORKERS, wait=WORKERS) as c, c.get_client() as client:
        physlite.prepare(client)
        executor = processor.DaskExecutor(client=client, status=False)
        yield lambda files: run_coffea(files, executor, physlite.PhysliteSchema)


def with_coffea(files: list[str]) -> Outcome:
    """Run coffea in this process."""
    from coffea import processor
    from coffea.nanoevents import PHYSLITESchema

    return run_coffea(files, processor.IterativeExecutor(status=False), PHYSLITESchema)


def run_coffea(files: list[str], executor: Any, schema: type) -> Outcome:
    """Run the processor of notebook 03, without any metadata from an earlier run."""
    from coffea import processor

    from facility.analysis.zpeak import ZPeak

    runner = processor.Runner(executor, schema=schema, chunksize=EVENTS, metadata_cache={})
    began = time.perf_counter()
    result = runner({"data": {"files": dict.fromkeys(files, TREE)}}, ZPeak())
    seconds = time.perf_counter() - began
    return Outcome(result["events"]["data"], int(result["mass"].sum(flow=True)), seconds)


def with_numpy(files: list[str]) -> Outcome:
    """Do the same by hand."""
    import awkward as ak
    import numpy as np
    import uproot

    from facility.analysis.kinematics import pair_mass

    columns = ("pt", "eta", "phi", "charge")
    began = time.perf_counter()
    events = pairs = 0
    histograms = {name: np.zeros(160, np.int64) for name in ("Electrons", "Muons")}
    for path in files:
        with uproot.open(path) as file:
            tree = file[TREE]
            events += tree.num_entries
            for name, histogram in histograms.items():
                branches = [f"Analysis{name}AuxDyn.{column}" for column in columns]
                arrays = tree.arrays(branches, how=tuple)
                counts = ak.to_numpy(ak.num(arrays[0]))
                pt, eta, phi, charge = (ak.to_numpy(ak.flatten(array)) for array in arrays)
                good = (pt > 15e3) & (np.abs(eta) < 2.47)
                before = np.concatenate([[0], np.cumsum(good)])
                ends = np.concatenate([[0], np.cumsum(counts)])
                paired = np.diff(before[ends]) == 2
                chosen = np.flatnonzero(good & np.repeat(paired, counts)).reshape(-1, 2)
                chosen = chosen[charge[chosen].prod(axis=1) < 0]
                a, b = chosen.T
                momenta = (column.astype(np.float64) for column in (pt, eta, phi))
                pt64, eta64, phi64 = momenta
                mass = pair_mass(pt64[a], eta64[a], phi64[a], pt64[b], eta64[b], phi64[b])
                histogram += np.histogram(mass / 1e3, 160, (40, 140))[0]
                pairs += mass.size
    return Outcome(events, pairs, time.perf_counter() - began)


# Processes.


@contextmanager
def process(kind: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that runs one way whenever it is told to."""
    command = [sys.executable, "-m", "benchmarks.analysis", "--serve", kind]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def together(processes: list[subprocess.Popen[str]], shares: list[list[str]]) -> Outcome:
    """Let processes work at once, each on its share; the last one to end counts."""
    began = time.perf_counter()
    for started, share in zip(processes, shares, strict=True):
        assert started.stdin
        started.stdin.write(json.dumps(share) + "\n")
        started.stdin.flush()
    answers = []
    for started in processes:
        assert started.stdout
        answers.append(Outcome(*json.loads(started.stdout.readline())))
    seconds = time.perf_counter() - began
    return Outcome(sum(a.events for a in answers), sum(a.pairs for a in answers), seconds)


def serve(run: Callable[[list[str]], Outcome]) -> None:
    """Read lists of files from stdin, one a line, and answer with the outcome of each."""
    answers = sys.stdout
    with redirect_stdout(StringIO()):  # coffea's progress bar cannot be turned off entirely
        for line in sys.stdin:
            print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
