"""coffea's own Runner on a Dask cluster, with the retries, blame and sums of `facility.run`."""

import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cloudpickle
from coffea.processor import accumulate
from coffea.processor.executor import ExecutorBase
from distributed import Client
from distributed.deploy.cluster import Cluster

from facility.analysis.files.chunk import PARTS, Chunk
from facility.analysis.inputs.plan import Plan
from facility.analysis.results.record import Receipt
from facility.analysis.results.report import Report
from facility.analysis.run import PartialResultsWarning
from facility.analysis.runner import process_chunk as chunks
from facility.analysis.runner.arguments import check_place
from facility.analysis.runner.chunk_events import tell
from facility.analysis.runner.client import client_of
from facility.analysis.runner.distributed_reduction import ReductionError
from facility.analysis.runner.loop import RunLoop
from facility.analysis.runner.paused_workers import NoWorkersError
from facility.analysis.runner.process_chunk import ChunkError
from facility.analysis.runner.tasks import SchedulerLostError
from facility.analysis.serialization.pickling import pickled
from facility.analysis.serialization.unpickling import Scope
from facility.errors import RunError, one_line

READERS = ("coffea.nanoevents", "uproot")
"""Modules through which coffea reads."""
LEFT_OUT = "coffea's skipbadfiles left it out"


@dataclass(frozen=True)
class _Item(Chunk):
    """One item of coffea's, with the place that it has in the sum."""

    item: Any


class Executor(ExecutorBase):
    """Executor for ``coffea.processor.Runner(executor=facility.Executor(client))``.

    An item whose worker dies is tried again, alone in the end, and is the only one that is
    blamed; errors of reading are tried again after pauses; results are added on the workers in
    the order of the items, to the same bits whatever failed on the way.

    Parameters
    ----------
    cluster_or_client
        Where to run; without one a Dask cluster is started for each step, and closed at its end.
    pool
        Pool to run in; by default that of untagged work.
    retries
        How often an item is given to the workers again after an error of reading. The Runner
        itself tries it as often each time, without a pause.
    **coffea
        What all of coffea's executors take: `status`, `desc`, `unit`, `function_name`.

    Attributes
    ----------
    reports
        One `Report` for each step of the Runner: preprocessing, processing.

    Raises
    ------
    RunError
        Items failed; with what was done. With the Runner's `skipbadfiles` they are left out with
        a warning instead.

    Examples
    --------
    >>> runner = processor.Runner(facility.Executor(client), schema=schema)  # doctest: +SKIP
    """

    def __init__(
        self,
        cluster_or_client: Cluster | Client | None = None,
        pool: str | None = None,
        retries: int = 3,
        *,
        reports: list[Report] | None = None,
        **coffea: Any,
    ) -> None:
        check_place(cluster_or_client, pool, retries)
        super().__init__(**coffea)
        self.cluster_or_client, self.pool, self.retries = cluster_or_client, pool, retries
        # The Runner works with copies, whose reports are wanted here too.
        self.reports: list[Report] = [] if reports is None else reports

    def __call__(
        self, items: Iterable[Any], function: Callable[[Any], Any], accumulator: Any
    ) -> tuple[Any, int]:
        """Do what coffea's executors do: add `function` of all items to the accumulator."""
        work = Plan(tuple(_item(number, item) for number, item in enumerate(items)), _Nothing())
        if not work.chunks:
            return accumulator, 0
        report = Report.of(work, time.time())
        self.reports.append(report)
        with client_of(self.cluster_or_client, self.pool, len(work.chunks)) as client:
            window = RunLoop(
                client, work, pickled(function), b"", report,
                pool=self.pool, retries=self.retries, checkpoint=None,
                stop_if_hopeless=True, progress=self.status, task=process_item,
            )  # fmt: skip
            clock = time.perf_counter()
            try:
                window.run()
                results = window.sums.collect()
            except (SchedulerLostError, NoWorkersError, ReductionError) as error:
                reason = str(error) or "the Dask cluster was lost"
                raise RunError(f"{reason}: {report.summary()}", None, report) from error
            finally:
                report.seconds = time.perf_counter() - clock
                window.close()
                window.tell_end()
        failed = [record for record in report.records if record.state == "failed"]
        if failed:
            text = "\n".join(f"  - {r.chunk}: {r.error} (tried {r.tries}x)" for r in failed)
            if any(LEFT_OUT not in str(record.error) for record in failed):
                details = failed[0].details
                raise RunError(f"{report.summary()}\n{text}\n{details}", results, report)
            warnings.warn(f"{report.summary()}\n{text}", PartialResultsWarning, stacklevel=2)
        return (accumulator if results is None else accumulate([results], accumulator)), 0


def process_item(
    chunk: _Item, metadata: Mapping[str, Any], processor: bytes, settings: bytes, topic: str
) -> tuple[bytes, Receipt]:
    """Do on a worker what coffea asks for one item; arguments as of `process_chunk`.

    Raises
    ------
    ChunkError
        Whatever went wrong.
    """
    chunks.get_ready()
    began, clock, worker = time.time(), time.perf_counter(), chunks.worker_name()
    tell(topic, chunk.index, worker)
    try:
        result = Scope().loads(processor)(chunk.item)
        if result is None:
            raise OSError(LEFT_OUT)
        packed = bytes(cloudpickle.dumps(result))
    except BaseException as error:  # noqa: BLE001 - the user's code, and damaged bytes
        reading = chunks.comes_through(error, READERS)
        # coffea wraps errors of reading.
        transient = any(chunks.is_transient(cause, reading) for cause in chunks.causes(error))
        seconds = time.perf_counter() - clock
        failure = ChunkError(one_line(error), transient, chunks.last_lines(error), worker, seconds)
        traceback.clear_frames(error.__traceback__)
    else:
        took = Receipt(worker, began, time.perf_counter() - clock, 0)
        tell(topic, chunk.index, took)
        return packed, took
    raise failure


def _item(number: int, item: Any) -> _Item:
    """Make a chunk of a file to look into, or of a range of events."""
    start, stop = getattr(item, "entrystart", 0), getattr(item, "entrystop", 0)
    identity = getattr(item, "fileuuid", b"")
    name = str(uuid.UUID(bytes=identity)) if identity else ""
    place = (item.dataset, item.filename, item.treename or "")
    # It is coffea's to say which events an item has, so that none is cut.
    return _Item(number, *place, start, stop, name, 0, stop, item, cuts=PARTS)


class _Nothing(dict[str, Any]):
    """Metadata that coffea's items carry themselves."""

    def __missing__(self, dataset: str) -> dict[str, Any]:
        return {}
