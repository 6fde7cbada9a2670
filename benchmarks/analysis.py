"""Z -> ll on a Dask cluster with two workers: facility.run beside what one would do without it.

The ways take turns, warm (processes started, libraries loaded, files in the page cache); looking
into the files and adding up are part of each. Each turn has a Dask cluster of its own, so that no
way finds what another has left in its workers, nor works beside idle ones. Two coffea processes at
once, each with half of the files and nothing in common, are what a scheduler is measured against
(`ideal_fraction`: the rate of facility.run over theirs; `ideal_fraction_cpu` by CPU seconds of all
processes, where other programs share the machine). Besides them coffea's DaskExecutor at its
defaults, with `skipbadfiles=True` and with `use_result_type=True`, on a part of the files; and what
each loses when reading fails once, and when a chunk kills its worker.

The files are made once, in the user's cache folder, and read again and again under different
names. A way on one core is `benchmarks.one_core`.
"""

import argparse
import math
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import psutil

from benchmarks import _measure
from benchmarks._processes import of_each
from benchmarks._samples import TREE, sample, size_of
from benchmarks._served import alone, process, together
from benchmarks._ways import Outcome, counts, nothing_known

Turn = Callable[[], AbstractContextManager[Any]]
"""Gives the client of a Dask cluster that is ready, for one measurement."""
WORKERS = 2
PART = 4
"""coffea's executors get one of so many files: they take longer."""
KILL_SECONDS, SOON = 10.0, 0.1
"""Between the workers that are killed; in the smallest size one is, since a run takes no second."""
RUNNERS: dict[str, dict[str, Any]] = {
    "coffea": {},
    "skipbadfiles": {"skipbadfiles": True},
    "result_type": {"skipbadfiles": True, "use_result_type": True},
}
"""Arguments of coffea's Runner."""
NAMES = {
    "facility": "facility.run, 2 workers",
    "two": "two coffea processes at once",
    "coffea": "coffea's DaskExecutor, 2 workers",
    "skipbadfiles": "the same with skipbadfiles=True",
    "result_type": "the same with use_result_type=True",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = _measure.options(__doc__.partition("\n")[0], rounds=5)
    parser.add_argument(
        "--seconds", type=float, default=32, help="duration of a facility.run (%(default)s)"
    )
    benchmark(parser.parse_args(arguments))


def benchmark(options: argparse.Namespace) -> None:
    """Measure all in turn and print the table."""
    size = size_of(options)
    originals, events = sample("narrow", size), size.events
    with ExitStack() as stack:
        turn: Turn = dask_cluster
        if options.smallest:
            # Most of the time goes into starting them.
            same = stack.enter_context(dask_cluster())
            turn = partial(nullcontext, same)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analysis-")))

        def files(number: int) -> list[str]:
            return list(links(originals, folder, number))

        cold = {
            way: measure_cold(way, turn, files(len(originals)), events)
            for way in ("facility", "coffea")
        }
        pair = [stack.enter_context(process("runner")) for _ in range(WORKERS)]
        _measure.note("Warming up ...")
        step = PART * len(originals)
        with turn() as client:
            expected = analysed("facility", client, files(len(originals)), events)
            single = analysed("facility", client, files(step), events).wall / step
        for one in pair:
            check(alone(one, files(len(originals)), events), expected)
        number = step
        if not options.smallest:
            number = max(step, step * math.ceil(options.seconds / single / step))
        work, part = files(number), files(number // PART)
        _measure.note(f"{number} files, {number * events:,} events for two cores")
        outcomes: dict[str, list[Outcome]] = {way: [] for way in NAMES}
        shares: list[dict[str, float]] = []

        def run(way: str) -> Outcome:
            if way == "two":
                return together(pair, [work[::2], work[1::2]], events)[0]
            with turn() as client:
                check(analysed(way, client, files(len(originals)), events), expected)
                before = cpu_seconds()
                outcome = analysed(way, client, work if way == "facility" else part, events)
                used = {name: now - before[name] for name, now in cpu_seconds().items()}
            if way == "facility":
                shares.append({name: spent / outcome.cpu for name, spent in used.items()})
            return outcome

        def kilohertz(way: str) -> Callable[[], float]:
            def measured() -> float:
                outcome = run(way)
                check_rate(outcome, expected)
                outcomes[way].append(outcome)
                return outcome.events / outcome.wall / 1e3

            return measured

        _measure.alternate(
            {NAMES[way]: kilohertz(way) for way in NAMES}, options.rounds, unit="kHz"
        )
        kinds = ("read",) if options.smallest else ("read", "exit")
        lost = losses(turn, kinds, files(len(originals)), events)
        with turn() as client:
            often = (SOON, 1) if options.smallest else (KILL_SECONDS, math.inf)
            killed = with_killed_workers(client, work, events, expected, *often)
    report(options, outcomes, shares, number * events, cold, lost, killed)


def report(
    options: argparse.Namespace,
    outcomes: dict[str, list[Outcome]],
    shares: list[dict[str, float]],
    events: int,
    cold: dict[str, float],
    lost: dict[str, dict[str, str]],
    killed: dict[str, Any],
) -> None:
    """Print rates and the ratios within each round."""
    rates = {way: [o.events / o.wall / 1e3 for o in found] for way, found in outcomes.items()}
    by_cpu = {way: [o.events / o.cpu / 1e3 for o in found] for way, found in outcomes.items()}
    ratios = {
        "ideal_fraction": _measure.ratio(rates["facility"], rates["two"]),
        "ideal_fraction_cpu": _measure.ratio(by_cpu["facility"], by_cpu["two"]),
        "vs_dask_executor_cpu": _measure.ratio(by_cpu["facility"], by_cpu["coffea"]),
    }
    rows = {NAMES[way]: _measure.Summary.of(values) for way, values in rates.items()}
    result: dict[str, Any] = {
        "events": events,
        "workers": WORKERS,
        "seconds": _measure.Summary.of(o.wall for o in outcomes["facility"]),
        "kilohertz": {way: _measure.Summary.of(values) for way, values in rates.items()},
        "kilohertz_cpu": {way: _measure.Summary.of(values) for way, values in by_cpu.items()},
        **ratios,
        "share_of_cpu": {
            name: _measure.Summary.of(share[name] for share in shares) for name in shares[0]
        },
        "cold_seconds": cold,
        "events_of_2000000_after": lost,
        "killed_workers": killed,
    }
    _measure.finish(
        result,
        json=options.json,
        table=_measure.table(rows | ratios, dict.fromkeys(NAMES.values(), "kHz")),
    )


def check(outcome: Outcome, expected: Outcome) -> None:
    """Refuse to compare rates of runs that did not find the same."""
    if outcome[:2] != expected[:2]:
        raise RuntimeError(f"{outcome} is not the expected {expected}")


def check_rate(outcome: Outcome, expected: Outcome) -> None:
    """Refuse a run that did not find as many pairs for its events."""
    if outcome.pairs * expected.events != expected.pairs * outcome.events:
        raise RuntimeError(f"{outcome} does not go with {expected}")


def links(originals: list[Path], folder: Path, count: int) -> Iterator[str]:
    """Give names of as many files; a scheduler would not read the same name twice."""
    for number in range(count):
        link = folder / f"{number:05d}.root"
        if not link.is_symlink():
            link.symlink_to(originals[number % len(originals)])
        yield str(link)


# The ways that use Dask.


@contextmanager
def dask_cluster() -> Iterator[Any]:
    """Start a Dask cluster whose workers are ready to read PHYSLITE."""
    from facility import cluster
    from facility.analysis.reading import physlite

    with cluster(WORKERS, wait=WORKERS) as c, c.get_client() as client:
        physlite.prepare(client)
        yield client


def analysed(
    way: str, client: Any, files: list[str], chunksize: int, processor: Any = None
) -> Outcome:
    """Run one of them; CPU seconds are those of all processes."""
    from facility.analysis.samples.zpeak import ZPeak

    run = facility_run if way == "facility" else coffea_run
    before, clock = sum(cpu_seconds().values()), time.perf_counter()
    result = run(way, client, files, chunksize, processor or ZPeak())
    wall = time.perf_counter() - clock
    return Outcome(*counts(result), sum(cpu_seconds().values()) - before, wall)


def facility_run(way: str, client: Any, files: list[str], chunksize: int, processor: Any) -> Any:
    """Run facility.run; what is known of files from an earlier run is not used."""
    from facility import run

    with nothing_known():
        return run(processor, files, client, chunksize=chunksize, progress=False)[0]


def coffea_run(way: str, client: Any, files: list[str], chunksize: int, processor: Any) -> Any:
    """Run coffea's Runner with its DaskExecutor."""
    from coffea import processor as coffea

    from facility.analysis.reading.physlite import PhysliteSchema

    runner = coffea.Runner(
        coffea.DaskExecutor(client=client, status=False),
        schema=PhysliteSchema,
        chunksize=chunksize,
        metadata_cache={},
        **RUNNERS[way],
    )
    with redirect_stdout(StringIO()):  # its progress bar cannot be turned off entirely
        result = runner({"data": {"files": dict.fromkeys(files, TREE)}}, processor)
    return result.unwrap() if hasattr(result, "unwrap") else result


def cpu_seconds() -> dict[str, float]:
    """CPU seconds that client, scheduler and workers have used so far."""
    found = {"client": sum(psutil.Process().cpu_times()[:2]), "scheduler": 0.0, "workers": 0.0}
    for command, times in of_each(psutil.Process.cpu_times):
        if "benchmarks._ways" not in command:
            found["scheduler" if "scheduler" in command else "workers"] += sum(times[:2])
    return found


# Once.


def measure_cold(way: str, turn: Turn, files: list[str], events: int) -> float:
    """Seconds from nothing to the result of some files."""
    _measure.note(f"{NAMES[way]}, cold ...")
    clock = time.perf_counter()
    with turn() as client:
        analysed(way, client, files, events)
        return time.perf_counter() - clock


def losses(
    turn: Turn, kinds: Sequence[str], files: list[str], events: int
) -> dict[str, dict[str, str]]:
    """Say how many of the events of each way are in its result after trouble of several kinds."""
    import cloudpickle

    from benchmarks import _trouble

    cloudpickle.register_pickle_by_value(_trouble)
    found: dict[str, dict[str, str]] = {}
    for kind in kinds:
        for way in ("facility", *RUNNERS):
            _measure.note(f"{NAMES[way]}: trouble, {kind} ...")
            with (
                turn() as client,
                tempfile.TemporaryDirectory() as marks,
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                trouble = _trouble.Trouble(kind, Path(files[1]).name, marks)
                try:
                    told = f"{analysed(way, client, files, events, trouble).events:,}"
                except Exception as error:  # noqa: BLE001 - that is what is asked for
                    results = getattr(error, "results", None)
                    kept = counts(results)[0] if results else 0
                    told = f"{kept:,}, {type(error).__name__}"
            found.setdefault(kind, {})[way] = told
    return found


def with_killed_workers(
    client: Any, files: list[str], events: int, expected: Outcome, seconds: float, most: float
) -> dict[str, Any]:
    """Kill a worker every so many seconds of a run, but not more than the most."""
    undisturbed = analysed("facility", client, files, events)
    over, killed = threading.Event(), 0

    def kill() -> None:
        nonlocal killed
        while killed < most and not over.wait(seconds):
            workers = [
                process
                for command, process in of_each(lambda process: process)
                if "worker" in command.lower() and "scheduler" not in command
            ]
            if workers:
                with suppress(psutil.NoSuchProcess):
                    workers[killed % len(workers)].kill()
                    killed += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        disturbed = analysed("facility", client, files, events)
    finally:
        over.set()
        killer.join()
    check_rate(disturbed, expected)
    return {
        "killed": killed,
        "same": disturbed[:2] == undisturbed[:2],
        "seconds": disturbed.wall,
        "undisturbed_seconds": undisturbed.wall,
    }


if __name__ == "__main__":
    main()
