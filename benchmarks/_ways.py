"""Ways to fill the histograms of a Z peak in one process, told what to read line by line.

    python -m benchmarks._ways runner      coffea's Runner, as a user writes it
    python -m benchmarks._ways facility    what a worker does in facility.run, without Dask
    python -m benchmarks._ways numpy       uproot and NumPy by hand

Each line on stdin is an object with `files` and `chunksize`; each answer an `Outcome`.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

from benchmarks._samples import TREE


class Outcome(NamedTuple):
    """What one run did.

    Attributes
    ----------
    cpu, wall
        Seconds.
    """

    events: int
    pairs: int
    cpu: float
    wall: float


def timed(work: Callable[[], tuple[int, int]]) -> Outcome:
    """Measure a run of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    events, pairs = work()
    return Outcome(events, pairs, time.process_time() - cpu, time.perf_counter() - wall)


def counts(result: Any) -> tuple[int, int]:
    """Events and pairs of what `ZPeak` returns."""
    return sum(result["events"].values()), int(result["mass"].sum(flow=True))


def runner(files: list[str], chunksize: int) -> tuple[int, int]:
    """Run coffea, without any metadata from an earlier run."""
    from coffea import processor
    from coffea.nanoevents import PHYSLITESchema

    from facility.analysis.samples.zpeak import ZPeak

    executor = processor.IterativeExecutor(status=False)
    run = processor.Runner(executor, schema=PHYSLITESchema, chunksize=chunksize, metadata_cache={})
    return counts(run({"data": {"files": dict.fromkeys(files, TREE)}}, ZPeak()))


def facility(files: list[str], chunksize: int) -> tuple[int, int]:
    """Do what facility.run does, but for Dask: look at files, plan, process, account, add."""
    with nothing_known():
        return counts(processed(files, chunksize))


@contextmanager
def nothing_known() -> Iterator[None]:
    """Have files looked into anew, which otherwise are remembered from one run to the next."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def processed(
    files: list[str], chunksize: int, keep: Callable[[Any, bytes, Any], None] | None = None
) -> Any:
    """Process chunks as a worker does.

    Parameters
    ----------
    keep
        Called with each chunk, its result and its receipt.
    """
    import pickle

    import cloudpickle

    from facility.analysis.inputs.fileset import fileset
    from facility.analysis.inputs.plan import plan
    from facility.analysis.reading.file_cache import Settings
    from facility.analysis.reading.physlite import PhysliteSchema
    from facility.analysis.runner.process_chunk import process_chunk
    from facility.analysis.runner.reduction import merge_here
    from facility.analysis.samples.zpeak import ZPeak

    work = plan(fileset(files, progress=False), chunksize)
    code, settings = cloudpickle.dumps(ZPeak()), cloudpickle.dumps(Settings(PhysliteSchema))
    results = {}
    for chunk in work.chunks:
        packed, receipt = process_chunk(chunk, work.metadata[chunk.dataset], code, settings, "none")
        if keep is not None:
            keep(chunk, packed, receipt)
        results[chunk.index] = pickle.loads(packed)
    return merge_here(results, len(work.chunks))


def by_hand(files: list[str], chunksize: int) -> tuple[int, int]:
    """Do it with uproot and NumPy; whole files at once."""
    import awkward as ak
    import numpy as np
    import uproot

    from facility.analysis.samples.kinematics import pair_mass

    columns = ("pt", "eta", "phi", "charge")
    events = pairs = 0
    histograms = {name: np.zeros(160, np.int64) for name in ("Electrons", "Muons")}
    for path in files:
        with uproot.open(path) as file:
            tree = file[TREE]
            events += tree.num_entries
            for name, histogram in histograms.items():
                branches = [f"Analysis{name}AuxDyn.{column}" for column in columns]
                arrays = tree.arrays(branches, how=tuple)
                numbers = ak.to_numpy(ak.num(arrays[0]))
                pt, eta, phi, charge = (ak.to_numpy(ak.flatten(array)) for array in arrays)
                good = (pt > 15e3) & (np.abs(eta) < 2.47)
                before = np.concatenate([[0], np.cumsum(good)])
                ends = np.concatenate([[0], np.cumsum(numbers)])
                paired = np.diff(before[ends]) == 2
                chosen = np.flatnonzero(good & np.repeat(paired, numbers)).reshape(-1, 2)
                chosen = chosen[charge[chosen].prod(axis=1) < 0]
                a, b = chosen.T
                momenta = (column.astype(np.float64) for column in (pt, eta, phi))
                pt64, eta64, phi64 = momenta
                mass = pair_mass(pt64[a], eta64[a], phi64[a], pt64[b], eta64[b], phi64[b])
                histogram += np.histogram(mass / 1e3, 160, (40, 140))[0]
                pairs += mass.size
    return events, pairs


# One chunk of a real file.


def one_column(events: Any) -> int:
    """Read one column: what is left is the cost of the chunk."""
    return len(events.Muons.pt)


def fixed_runner(files: list[str], chunksize: int) -> tuple[int, int]:
    """Run coffea on a chunk that it has found before."""
    from coffea import processor

    run, items = _prepared(files[0])
    assert isinstance(run, processor.Runner)
    return int(run.run(items, one_column)["out"]), 0


_prepared_runs: dict[str, tuple[Any, Any]] = {}


def _prepared(path: str) -> tuple[Any, Any]:
    """Look into the file once: coffea's preprocessing is no part of a chunk's cost."""
    if path not in _prepared_runs:
        from coffea import processor

        from facility.analysis.reading.physlite import PhysliteSchema

        executor = processor.IterativeExecutor(status=False)
        run = processor.Runner(executor, schema=PhysliteSchema, metadata_cache={})
        _prepared_runs[path] = run, list(run.preprocess({"data": {"files": {path: TREE}}}))
    return _prepared_runs[path]


def fixed_new(files: list[str], chunksize: int) -> tuple[int, int]:
    """Do a worker's work on a file that is not open, of a structure that it knows."""
    from facility.analysis.reading.file_cache import close_files

    close_files()
    return fixed_kept(files, chunksize)


def fixed_kept(files: list[str], chunksize: int) -> tuple[int, int]:
    """Do a worker's work on a file that is open."""
    import pickle

    import cloudpickle

    from facility.analysis.inputs.fileset import fileset
    from facility.analysis.inputs.plan import plan
    from facility.analysis.reading.file_cache import Settings
    from facility.analysis.reading.physlite import PhysliteSchema
    from facility.analysis.runner.process_chunk import process_chunk

    with nothing_known():
        [chunk] = plan(fileset(files[0], progress=False), 10**6).chunks
    arguments = cloudpickle.dumps(one_column), cloudpickle.dumps(Settings(PhysliteSchema))
    return int(pickle.loads(process_chunk(chunk, {}, *arguments, "none")[0])), 0


WAYS = {
    "runner": runner,
    "facility": facility,
    "numpy": by_hand,
    "fixed_runner": fixed_runner,
    "fixed_new": fixed_new,
    "fixed_kept": fixed_kept,
}


def serve(way: Callable[[list[str], int], tuple[int, int]]) -> None:
    """Answer each line of stdin."""
    answers = sys.stdout
    with redirect_stdout(StringIO()):  # coffea's progress bar cannot be turned off entirely
        for line in sys.stdin:
            told = json.loads(line)
            outcome = timed(lambda told=told: way(told["files"], told["chunksize"]))  # type: ignore[misc]
            print(json.dumps(outcome._asdict()), file=answers, flush=True)


if __name__ == "__main__":
    serve(WAYS[sys.argv[1]])
