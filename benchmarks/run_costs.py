"""What facility.run costs beside the analysis itself.

- `account_and_checkpoint`: CPU seconds of a run's chunks in one process, with fingerprints,
  receipts, pickled results, checkpoints and the report, over those of planning, reading,
  processing and adding alone, measured in the same pass;
- `ten_thousand`: seconds, and memory that client and scheduler gain, for 10,000 chunks without any
  work, through facility.run's loop and through coffea's DaskExecutor, each on a Dask cluster of its
  own.
"""

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import psutil

from benchmarks import _measure
from benchmarks._processes import of_each
from benchmarks._samples import sample, size_of

CHUNKS, LEAST = 10_000, 200
"""Chunks, and in the smallest size."""
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
    """Measure what the account of chunks and their checkpoints cost."""
    size = size_of(options)
    files = [str(path) for path in sample("narrow", size)]
    spent: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:

        def run() -> float:
            spent.append(account_of(files, size.events, Path(folder) / str(len(spent))))
            return spent[-1][1] / spent[-1][0]

        run()
        spent.clear()
        _measure.alternate({"the analysis alone / with account": run}, options.rounds, unit="")
    for label, place in (("the analysis alone", 0), ("with account and checkpoint", 1)):
        rows[label], units[label] = _measure.Summary.of(pair[place] for pair in spent), "s of CPU"
    ratio = _measure.ratio([full for _, full in spent], [bare for bare, _ in spent])
    rows["account_and_checkpoint"] = result["account_and_checkpoint"] = ratio


def account_of(files: list[str], chunksize: int, folder: Path) -> tuple[float, float]:
    """Process files as a run does, with an empty checkpoint in a folder.

    Returns
    -------
    bare, full : float
        CPU seconds of planning, reading, processing and adding; and of everything.
    """
    from facility.analysis.inputs.fileset import fileset
    from facility.analysis.inputs.plan import plan
    from facility.analysis.reading.file_cache import Settings
    from facility.analysis.reading.physlite import PhysliteSchema
    from facility.analysis.results.report import Report
    from facility.analysis.runner import process_chunk as chunks
    from facility.analysis.runner.checkpoint import Checkpoint
    from facility.analysis.runner.reduction import merge_here
    from facility.analysis.samples.zpeak import ZPeak

    bare, process = 0.0, chunks._processed

    def timed(work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*given: Any) -> Any:
            nonlocal bare
            before = time.process_time()
            try:
                return work(*given)
            finally:
                bare += time.process_time() - before

        return measured

    zpeak, schema = ZPeak(), PhysliteSchema
    began = time.process_time()
    work = timed(lambda: plan(fileset(files, progress=False), chunksize))()
    kept, report = Checkpoint(folder, work, zpeak, schema), Report.of(work, time.time())
    code, settings = cloudpickle.dumps(zpeak), cloudpickle.dumps(Settings(schema))
    chunks._processed = timed(process)
    results = {}
    try:
        for chunk in work.chunks:
            packed, receipt = chunks.process_chunk(chunk, {}, code, settings, "none")
            kept.save(chunk, packed, receipt)
            record = report.records[chunk.index]
            record.take(receipt)
            record.state = "processed"
            results[chunk.index] = pickle.loads(packed)
    finally:
        chunks._processed = process
    timed(merge_here)(results, len(work.chunks))
    report.to_json()
    assert report.complete
    return bare, time.process_time() - began


# Many chunks.


def many(
    options: argparse.Namespace,
    result: dict[str, Any],
    rows: dict[str, _measure.Summary],
    units: dict[str, str],
) -> None:
    """Measure loops over chunks without any work."""
    count = LEAST if options.smallest else CHUNKS
    memory: dict[str, list[dict[str, float]]] = {"facility": [], "coffea": []}

    def measured(way: str) -> Callable[[], float]:
        def run() -> float:
            took, gained = empty_chunks(way, count)
            memory[way].append(gained)
            return took

        return run

    seconds = _measure.alternate({way: measured(way) for way in memory}, options.rounds)
    for way, name in (("facility", "facility.Executor"), ("coffea", "coffea's DaskExecutor")):
        label = f"{count:,} empty chunks, {name}"
        rows[label], units[label] = _measure.Summary.of(seconds[way]), "s"
        for part in ("client", "scheduler"):
            values = [gained[part] for gained in memory[way]]
            rows[f"{label}, {part} gains"] = _measure.Summary.of(values)
            units[f"{label}, {part} gains"] = "MiB"
            result[f"ten_thousand_{way}_{part}_mib"] = _measure.Summary.of(values)
        result[f"ten_thousand_{way}_seconds"] = _measure.Summary.of(seconds[way])
    rows["ten_thousand"] = _measure.ratio(seconds["facility"], seconds["coffea"])
    result["ten_thousand"] = rows["ten_thousand"]


def empty_chunks(way: str, count: int) -> tuple[float, dict[str, float]]:
    """Give both executors the same items, as coffea's Runner does."""
    import uuid

    from coffea.processor import DaskExecutor
    from coffea.processor.executor import WorkItem

    from facility import Executor, cluster

    identity = uuid.uuid4().bytes
    items = [
        WorkItem("data", "/none.root", "tree", 100 * i, 100 * i + 100, identity, {})
        for i in range(count)
    ]
    with cluster(WORKERS, wait=WORKERS) as c, c.get_client() as client:
        make: Any = Executor(client, status=False)
        if way == "coffea":
            make = DaskExecutor(client=client, status=False)
        make(items[:100], nothing, None)
        before, clock = resident(), time.perf_counter()
        found = make(items, nothing, None)[0]
        seconds = time.perf_counter() - clock
        if found["n"] != count:
            raise RuntimeError(f"{way} has added {found}")
        return seconds, {part: size - before[part] for part, size in resident().items()}


def nothing(item: Any) -> dict[str, int]:
    """Stand for an analysis."""
    return {"n": 1}


def resident() -> dict[str, float]:
    """MiB that client and scheduler hold."""
    sizes = of_each(lambda process: process.memory_info().rss)
    schedulers = [size for command, size in sizes if "scheduler" in command]
    return {
        "client": psutil.Process().memory_info().rss / 2**20,
        "scheduler": max(schedulers) / 2**20,
    }


if __name__ == "__main__":
    main()
