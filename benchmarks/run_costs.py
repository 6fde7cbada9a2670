"""What facility.run costs beside the analysis itself.

- `account_and_checkpoint`: CPU seconds of a worker's chunks with receipts, pickled results and
  checkpoints over those of the bare loop (open, process, add), on the same files in one process;
- `ten_thousand`: seconds, and memory that client and scheduler gain, for 10,000 chunks without any
  work, through facility.run's loop and through coffea's DaskExecutor, each on a Dask cluster of its
  own.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import _measure
from benchmarks._samples import EVENTS, FILES, narrow
from benchmarks._ways import processed

CHUNKS = 10_000
WORKERS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = _measure.options(__doc__.partition("\n")[0], rounds=5)
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {}
    rows: dict[str, _measure.Summary] = {}
    units: dict[str, str] = {}
    account(options, result, rows, units)
    many(options, result, rows, units)
    _measure.finish(result, json=options.json, table=_measure.table(rows, units))


def account(
    options: argparse.Namespace,
    result: dict[str, Any],
    rows: dict[str, _measure.Summary],
    units: dict[str, str],
) -> None:
    """Measure what the account of a chunk and its checkpoint cost."""
    files = [str(path) for path in narrow(FILES["narrow"])]
    names = {"bare": "the bare loop", "full": "with account and checkpoint"}
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], object]] = {
            "bare": lambda: bare(files),
            "full": lambda: full(files, Path(folder)),
        }
        for run in runs.values():
            run()
        samples = _measure.alternate(
            {name: cpu(run) for name, run in runs.items()}, options.rounds, unit="s of CPU"
        )
    for name, label in names.items():
        rows[label], units[label] = _measure.Summary.of(samples[name]), "s of CPU"
    ratio = _measure.ratio(samples["full"], samples["bare"])
    rows["account_and_checkpoint"] = ratio
    result["account_and_checkpoint"] = ratio


def cpu(work: Callable[[], object]) -> Callable[[], float]:
    """Measure CPU seconds of this process."""

    def measured() -> float:
        before = time.process_time()
        work()
        return time.process_time() - before

    return measured


def bare(files: list[str]) -> Any:
    """Open files and process them as a worker does, and keep no account."""
    from facility.analysis.chunk import get_ready
    from facility.analysis.fileset import fileset
    from facility.analysis.merge import merge_here
    from facility.analysis.openfile import Settings, open_file
    from facility.analysis.physlite import PhysliteSchema
    from facility.analysis.plan import plan
    from facility.analysis.zpeak import ZPeak

    get_ready()
    work, settings, zpeak = plan(fileset(files, progress=False), EVENTS), SETTINGS, ZPeak()
    if not settings:
        settings.append(Settings(PhysliteSchema))
    results = {
        chunk.index: zpeak.process(open_file(chunk, settings[0]).events(chunk, {}))
        for chunk in work.chunks
    }
    return merge_here(results, len(work.chunks))


SETTINGS: list[Any] = []
"""The same in each round, as on a worker, or files would be opened again."""


def full(files: list[str], folder: Path) -> Any:
    """Do all that a run does with a chunk."""
    from facility.analysis.checkpoint import Checkpoint
    from facility.analysis.fileset import fileset
    from facility.analysis.physlite import PhysliteSchema
    from facility.analysis.plan import plan
    from facility.analysis.report import Report
    from facility.analysis.zpeak import ZPeak

    work = plan(fileset(files, progress=False), EVENTS)
    kept = Checkpoint(folder, work, ZPeak(), PhysliteSchema)
    report = Report.of(work, time.time())

    def keep(chunk: Any, packed: bytes, receipt: Any) -> None:
        kept.save(chunk, packed, receipt)
        report.records[chunk.index].take(receipt)
        report.records[chunk.index].state = "processed"

    result = processed(files, EVENTS, keep)
    assert report.complete
    report.to_json()
    return result


# Many chunks.


def many(
    options: argparse.Namespace,
    result: dict[str, Any],
    rows: dict[str, _measure.Summary],
    units: dict[str, str],
) -> None:
    """Measure loops over chunks without any work."""
    seconds: dict[str, list[float]] = {"facility": [], "coffea": []}
    memory: dict[str, list[dict[str, float]]] = {"facility": [], "coffea": []}

    def measured(way: str) -> Callable[[], float]:
        def run() -> float:
            took, gained = ten_thousand(way)
            memory[way].append(gained)
            return took

        return run

    seconds = _measure.alternate({way: measured(way) for way in memory}, options.rounds)
    for way, name in (("facility", "facility.Executor"), ("coffea", "coffea's DaskExecutor")):
        label = f"{CHUNKS:,} empty chunks, {name}"
        rows[label], units[label] = _measure.Summary.of(seconds[way]), "s"
        for part in ("client", "scheduler"):
            values = [gained[part] for gained in memory[way]]
            rows[f"{label}, {part} gains"] = _measure.Summary.of(values)
            units[f"{label}, {part} gains"] = "MiB"
            result[f"ten_thousand_{way}_{part}_mib"] = _measure.Summary.of(values)
        result[f"ten_thousand_{way}_seconds"] = _measure.Summary.of(seconds[way])
    rows["ten_thousand"] = _measure.ratio(seconds["facility"], seconds["coffea"])
    result["ten_thousand"] = rows["ten_thousand"]


def ten_thousand(way: str) -> tuple[float, dict[str, float]]:
    """Give both executors the same items, as coffea's Runner does."""
    import uuid

    from coffea.processor import DaskExecutor
    from coffea.processor.executor import WorkItem

    from facility import Executor, cluster

    identity = uuid.uuid4().bytes
    items = [
        WorkItem("data", "/none.root", "tree", 100 * i, 100 * i + 100, identity, {})
        for i in range(CHUNKS)
    ]
    with cluster(WORKERS, wait=WORKERS) as c, c.get_client() as client:
        make: Any = Executor(client, status=False)
        if way == "coffea":
            make = DaskExecutor(client=client, status=False)
        make(items[:100], nothing, None)
        before, clock = resident(), time.perf_counter()
        found = make(items, nothing, None)[0]
        seconds = time.perf_counter() - clock
        if found["n"] != CHUNKS:
            raise RuntimeError(f"{way} has added {found}")
        return seconds, {part: size - before[part] for part, size in resident().items()}


def nothing(item: Any) -> dict[str, int]:
    """Stand for an analysis."""
    return {"n": 1}


def resident() -> dict[str, float]:
    """MiB that client and scheduler hold."""
    schedulers = [
        child.memory_info().rss
        for child in psutil.Process().children(recursive=True)
        if "scheduler" in " ".join(child.cmdline())
    ]
    return {
        "client": psutil.Process().memory_info().rss / 2**20,
        "scheduler": max(schedulers) / 2**20,
    }


if __name__ == "__main__":
    main()
