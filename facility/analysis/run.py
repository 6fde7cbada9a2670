"""The one call of an analysis: a processor over a fileset, with an account of every event."""

import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cloudpickle
from coffea.processor import ProcessorABC
from distributed import Client
from distributed.deploy.cluster import Cluster

from facility.analysis.files.chunk import TOLD
from facility.analysis.files.replicas import Caches, caches
from facility.analysis.files.rootfile import is_address
from facility.analysis.inputs.fileset import Fileset, Sources
from facility.analysis.inputs.fileset import fileset as checked
from facility.analysis.inputs.plan import Plan, plan
from facility.analysis.reading.file_cache import Settings
from facility.analysis.reading.physlite import PhysliteSchema
from facility.analysis.results.report import Report
from facility.analysis.runner.arguments import CHUNKSIZE, Processor, RunRequest
from facility.analysis.runner.checkpoint import Checkpoint, CheckpointWarning
from facility.analysis.runner.client import check_paths, client_of, resources_of
from facility.analysis.runner.control import Control
from facility.analysis.runner.distributed_reduction import ReductionError
from facility.analysis.runner.loop import RunLoop
from facility.analysis.runner.paused_workers import NoWorkersError
from facility.analysis.runner.process_chunk import result_of
from facility.analysis.runner.reduction import merge_here
from facility.analysis.runner.skim_folder import MissingSkimsError, SkimFolder
from facility.analysis.runner.tasks import SchedulerLostError
from facility.analysis.serialization.pickling import pickled
from facility.errors import RunError, RunInterrupted
from facility.security import credentials

NO_WORKERS = "There are no workers for the run, and no more are started:"


class PlainReadingWarning(UserWarning):
    """Files were read as coffea's Runner reads them; the message says why, and it takes longer."""


class MetadataWarning(UserWarning):
    """Metadata of the user's have a name that chunks' own metadata have."""


class PartialResultsWarning(UserWarning):
    """The results lack events; the message says how many and why."""


def run(
    processor: Processor,
    fileset: Sources,
    cluster_or_client: Cluster | Client | None = None,
    pool: str | None = None,
    *,
    schema: Any = PhysliteSchema,
    treename: str = "CollectionTree",
    chunksize: int = CHUNKSIZE,
    maxchunks: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    retries: int = 3,
    checkpoint: str | Path | None = None,
    metadata: Mapping[str, Any] | None = None,
    uproot_options: Mapping[str, Any] | None = None,
    weights: bool = False,
    output: str | Path | None = None,
    xcache: Caches | None = None,
    progress: bool = True,
    **unknown: Any,
) -> tuple[Any, Report]:
    """Process every event of a fileset and add up the results.

    Parameters
    ----------
    processor
        A coffea processor, or a function of the events that returns what can be added: numbers,
        histograms, dictionaries of these. Each chunk gets one of its own, just unpickled, so that
        nothing that it keeps in itself, its class or globals of the notebook reaches another
        chunk. What workers import by name stays as it is between chunks.
    fileset
        What `facility.analysis.inputs.fileset.fileset` takes or has returned.
    cluster_or_client
        Where to run; without one a Dask cluster is started, and closed at the end.
    pool
        Pool to run in; by default that of untagged work.
    schema
        A coffea schema.
    treename
        The tree to read where `fileset` does not say.
    chunksize
        Events that are processed together, at most.
    maxchunks
        Process only so many chunks of each dataset, its first ones, for a quick look. The report
        lists the other events as not asked for, and is not `complete`.
    on_error
        What to do about events that cannot be processed: ``"raise"`` at the end, with the results
        of all others on the exception; or ``"skip"`` them with a warning. The report lists them.
    retries
        How often a chunk is tried again, with growing pauses, after an error of reading.
    checkpoint
        Folder to keep the results of chunks in. A later run takes from it what was processed of
        the same files with the same code, parameters and schema.
    metadata
        What the processor sees as `events.metadata`, for all datasets; a dataset's own, such as
        its cross-section, stands in `fileset`. The report has it too. Where it has the name of
        something that a chunk has itself (`dataset`, `filename`, ...), the processor sees yours.
    uproot_options
        Arguments of `uproot.open`, such as ``{"timeout": 300}``.
    weights
        Sum up the weights that PHYSLITE's CutBookkeepers tell of all simulated events: the report
        has them as `weighted`. It takes about 2 s of CPU a file.
    output
        Folder for each `facility.analysis.Skim` that the processor returns, which workers share.
        The report lists its files as `outputs`. It may hold no skims of another run.
    xcache
        Caches through which files on XRootD servers are read, as ``["cache-1:1094", ...]``; by
        default those of the variable FACILITY_XCACHE. A file always goes to the same one, and to
        another and then to its origin where that fails.
    progress
        Show how far it is, and how it ended: a bar in a notebook, else a line on stderr.
    **unknown
        Nothing: arguments of coffea's Runner are answered with what stands for them here.

    Returns
    -------
    results : object
        The sum over all chunks. It is the same to the last bit for the same files and
        `chunksize`, whatever the workers and whatever failed on the way.
    report : Report
        What became of every event.

    Raises
    ------
    RequestError
        With everything that is wrong with the call.
    FilesetError
        With everything that is wrong with the files.
    RunError
        With ``on_error="raise"`` where events could not be processed, and where the Dask cluster
        was lost or results cannot be added; its `results` and `report` hold what was done.
    RunInterrupted
        A KeyboardInterrupt with the same, after Ctrl-C.

    Examples
    --------
    >>> results, report = facility.run(ZPeak(), "data/*.root.1")  # doctest: +SKIP
    """
    request = RunRequest(
        processor, fileset, cluster_or_client, pool,
        schema=schema, treename=treename, chunksize=chunksize, maxchunks=maxchunks,
        on_error=on_error, retries=retries, checkpoint=checkpoint, metadata=metadata,
        uproot_options=uproot_options, weights=weights, output=output, xcache=xcache,
        progress=progress, unknown=unknown,
    )  # fmt: skip
    work = prepared(request)
    return work.finish(), work.report


def prepared(request: RunRequest) -> "Prepared":
    """Look into the files and plan the work."""
    files, metadata = request.fileset, request.metadata
    if not isinstance(files, Fileset) or not files.found:
        files = checked(
            files, treename=request.treename, on_error=request.on_error, metadata=metadata,
            xcache=request.xcache, uproot_options=request.uproot_options, progress=request.progress,
        )  # fmt: skip
    elif metadata:
        datasets = {
            name: {**data, "metadata": {**(data.get("metadata") or {}), **metadata}}
            for name, data in files.items()
        }
        files = Fileset(datasets, files.events, files.skipped, files.found, files.replicas)
    maxchunks = None if request.maxchunks is None else int(request.maxchunks)
    work = plan(files, int(request.chunksize), maxchunks)
    _tell_shadows(work)
    code = pickled(request.processor)
    target = None if request.output is None else SkimFolder(request.output, work)
    folder = None if target is None else str(target.folder)
    settings = Settings(
        request.schema, dict(request.uproot_options or {}), request.weights,
        caches(request.xcache), folder,
    )  # fmt: skip
    kept = None
    if request.checkpoint is not None:
        # What was kept without weights does not tell them.
        extra = ["weights" if request.weights else None, folder]
        kept = Checkpoint(
            Path(request.checkpoint).expanduser(), work, request.processor, request.schema,
            extra if folder else extra[0], target.intact if target else None,
        )  # fmt: skip
    if target is not None:
        target.check_content(kept)
    report = Report.of(work, time.time())
    report.pickled = len(code)
    return Prepared(request, work, code, cloudpickle.dumps(settings), report, kept, target)


def _tell_shadows(work: Plan) -> None:
    """Tell which of the user's metadata the processor sees instead of what chunks have."""
    for dataset, data in work.metadata.items():
        names = [name for name in TOLD if name in data and (name, data[name]) != (TOLD[0], dataset)]
        if names:
            warnings.warn(
                f"the metadata of dataset {dataset!r} have {' and '.join(names)}, which the "
                "processor sees in events.metadata instead of what each chunk has; report, "
                "checkpoint and skims go by the latter",
                MetadataWarning,
                stacklevel=4,
            )


@dataclass(frozen=True)
class Prepared:
    """A run of which everything is checked, and nothing has begun."""

    request: RunRequest
    plan: Plan
    code: bytes
    settings: bytes
    report: Report
    kept: Checkpoint | None
    target: SkimFolder | None

    def finish(self, asked: Control | None = None) -> Any:
        """Run it; the results, or what `run` raises.

        Parameters
        ----------
        asked
            What other threads ask of it meanwhile.
        """
        asks, report, target = self.request, self.report, self.target
        with client_of(asks.cluster_or_client, asks.pool, len(self.plan.chunks)) as client:
            resources = resources_of(asks.pool)
            _check_paths(client, self)
            if target is not None:
                target.check_workers(client, resources)
            window = RunLoop(
                client, self.plan, self.code, self.settings, report,
                pool=asks.pool, retries=int(asks.retries), checkpoint=self.kept,
                stop_if_hopeless=asks.on_error == "raise", progress=asks.progress, asked=asked,
            )  # fmt: skip
            results = _finish(window, self)
        for note in report.notes:
            warnings.warn(note, CheckpointWarning, stacklevel=3)
        for note in report.read_plainly:
            warnings.warn(note, PlainReadingWarning, stacklevel=3)
        for note in report.without_events:
            warnings.warn(note, PartialResultsWarning, stacklevel=3)
        if report.skipped or any(record.state == "failed" for record in report.records):
            _tell_failures(report, results, asks.on_error)
        return results

    def postprocessed(self, results: Any) -> Any:
        """Let a coffea processor have the last word, as coffea's Runner does."""
        processor = self.request.processor
        if results is None or not isinstance(processor, ProcessorABC):
            return results
        found = processor.postprocess(results)
        return results if found is None else found


def _check_paths(client: Client, work: Prepared) -> None:
    try:
        check_paths(client, work.plan, work.request.pool)
    except NoWorkersError as error:
        raise RunError(f"{NO_WORKERS} {error}", None, work.report) from None


def _finish(window: RunLoop, work: Prepared) -> Any:
    """Run the window to its end, whichever it is, and tell which it was."""
    try:
        return _ended(window, work)
    finally:
        window.tell_end()


def _ended(window: RunLoop, work: Prepared) -> Any:
    kept = work.kept
    report, clock = window.report, time.perf_counter()
    try:
        window.run()
        results = window.sums.collect()
        report.seconds = time.perf_counter() - clock
        window.close()
    except KeyboardInterrupt:
        report.interrupted = True
        report.seconds = time.perf_counter() - clock
        window.close()
        results = _last_word(work, window.sums.collect(), window)
        raise RunInterrupted(
            f"{report.summary()}. `results` and `report` of this exception hold what was done; in "
            "a notebook it is sys.last_value.",
            results,
            report,
        ) from None
    except (SchedulerLostError, NoWorkersError) as error:
        report.seconds = time.perf_counter() - clock
        window.close()
        results = _saved(window, report, kept)
        lost = "The Dask cluster was lost during the run:"
        if isinstance(error, NoWorkersError):
            lost = f"{NO_WORKERS} {error}\n"
        advice = (
            "Run it again with the same checkpoint, and it goes on from there."
            if kept
            else "What was processed is lost with it: `checkpoint=folder` keeps it."
        )
        raise RunError(
            f"{lost} {report.summary()}. {advice}",
            _last_word(work, results, window),
            report,
        ) from error
    except ReductionError as error:
        report.seconds = time.perf_counter() - clock
        window.close()
        _last_word(work, None, window)
        raise RunError(
            f"The results of chunks cannot be added ({error}): the processor has to return "
            "numbers, histograms with the same axes, or dictionaries of these.",
            None,
            report,
        ) from error
    return _last_word(work, results, window)


def _last_word(work: Prepared, results: Any, window: RunLoop) -> Any:
    """Complete the skims, and let the processor postprocess."""
    target = work.target
    if target is not None:
        try:
            window.report.skims = target.complete(results, window.tasks.name)
        except (MissingSkimsError, OSError) as error:
            text = f"The skims in {target.folder} are not complete: {error}"
            raise RunError(f"{text}. {window.report.summary()}", results, window.report) from error
    return work.postprocessed(results)


def _saved(window: RunLoop, report: Report, kept: Checkpoint | None) -> Any:
    """Add up what the checkpoint holds, and take the rest off the account."""
    found = {}
    for record in report.records:
        saved = kept.load(record.chunk) if kept and record.state == "processed" else None
        if saved is not None:
            found[record.chunk.index] = result_of(saved[0])
        elif record.state == "processed":
            record.state = "not reached"
    return merge_here(window.cuts.joined(found), len(window.plan.chunks))


def _tell_failures(report: Report, results: Any, on_error: str) -> None:
    failed = [record for record in report.records if record.state == "failed"]
    lines = [f"{record.chunk}: {record.error} (tried {record.tries}x)" for record in failed]
    lines += report.skipped
    if any(is_address(record.chunk.path) for record in failed):
        # What servers say of a credential that has ended is rarely that.
        lines += credentials.remarks(credentials.find(os.environ), time.time())
    text = f"{report.summary()}\n" + "\n".join(f"  - {line}" for line in lines)
    if on_error == "raise" and failed:
        details = f"\n{failed[0].details}" if failed[0].details else ""
        raise RunError(
            f"{text}{details}\n`results` of this exception holds the sum of the rest, `report` "
            'the account; on_error="skip" leaves out what fails.',
            results,
            report,
        )
    warnings.warn(text, PartialResultsWarning, stacklevel=4)
