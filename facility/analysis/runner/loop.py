"""The loop of a run: a bounded number of chunks at work, what fails tried again, sums as they come.

It runs in the caller's thread and knows a `distributed.Client`, nothing of how its workers came
to be. Results stay on the workers; the client holds receipts, and the sum in the end.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from facility.analysis.inputs.plan import Plan
from facility.analysis.results.record import NOT_ASKED, Receipt, Record
from facility.analysis.results.report import Report
from facility.analysis.run_progress import Meter
from facility.analysis.runner.checkpoint import CHOOSE, Checkpoint
from facility.analysis.runner.chunk_events import ChunkEvents
from facility.analysis.runner.chunk_splits import ChunkSplits
from facility.analysis.runner.client import resources_of
from facility.analysis.runner.control import Control
from facility.analysis.runner.distributed_reduction import (
    DistributedReduction,
    LocalResult,
    ReductionError,
)
from facility.analysis.runner.paused_workers import NoWorkersError, PausedWorkers
from facility.analysis.runner.process_chunk import ChunkError, process_chunk
from facility.analysis.runner.reduction import MergeError, Node
from facility.analysis.runner.retry_queue import RetryQueue
from facility.analysis.runner.tasks import LostTaskError, Tasks
from facility.system.private_files import refusal

TICK = 0.5
"""Seconds after which the loop looks round if nothing happens."""
REFILL = 0.75
"""How full the window may be when it is filled: several chunks cost little more than one."""
DEATHS = 2
"""Workers that a chunk may lose before it is tried alone, and then again; a part of one half."""
HOPELESS = 8
"""Chunks that fail before any succeeds, after which a run that will raise goes no further."""


class RunLoop:
    """One run over one plan.

    Parameters
    ----------
    processor, settings
        Pickled; the latter is a `facility.analysis.runner.process_chunk.Settings`.
    report
        Takes what becomes of each chunk.
    pool
        In which it takes place; None for that of untagged work.
    retries
        How often a chunk is tried again after an error that may be transient.
    stop_if_hopeless
        Stop when the first chunks all fail.
    task
        What is done with each chunk.
    asked
        What other threads ask of it.
    """

    def __init__(
        self,
        client: Client,
        plan: Plan,
        processor: bytes,
        settings: bytes,
        report: Report,
        *,
        pool: str | None,
        retries: int,
        checkpoint: Checkpoint | None,
        stop_if_hopeless: bool,
        progress: bool,
        task: Callable[..., Any] = process_chunk,
        asked: Control | None = None,
    ) -> None:
        self.plan, self.report = plan, report
        self.asked = asked or Control()
        self.cuts = ChunkSplits(plan.chunks)
        wanted = (record for record in report.records if record.state != NOT_ASKED)
        self.records = {record.chunk.index: record for record in wanted}
        self.retries, self.checkpoint = retries, checkpoint
        self.stop_if_hopeless = stop_if_hopeless
        self.meter = Meter(plan.events, show=progress)
        self.tasks = tasks = Tasks(client, processor, settings, pool, resources_of(pool), task)
        self.sums = DistributedReduction(tasks, len(plan.chunks))
        self.retry_queue = RetryQueue(())
        self.flights: dict[int, Future[Any]] = {}
        """Chunks at work."""
        self.succeeded = self.failed = 0
        self.paused_workers = PausedWorkers(client, pool)
        self.chunk_events = ChunkEvents(
            client, tasks.name, lambda index: tasks.news.put((Node(0, index), None))
        )
        self.begun: dict[int, int] = {}
        """How often chunks at work had begun before they were given to the Dask cluster."""
        self.turns: Counter[int] = Counter()
        """How often reading each chunk has failed."""

    # The loop.

    def run(self) -> None:
        """Work until everything is processed or has failed, and is added up.

        Raises
        ------
        NoWorkersError
            Where there are no workers, and no more are started.
        SchedulerLostError
            With the Dask cluster.
        ReductionError
            Where results do not add.
        """
        clock = time.perf_counter()
        self._restore()
        while not self.sums.complete and not self._hopeless():
            self.report.seconds = time.perf_counter() - clock
            self.asked.answer(self.sums.collect)
            self._fill()
            self._take(self.tasks.wait(self.retry_queue.pause(time.monotonic(), TICK)))
            self._look_at_stalls()
            if self.meter.due():
                report = self.report
                self.meter.tell(*report.so_far(), len(self.flights), report.by_pool())

    def close(self) -> None:
        """Cancel what is at work, and complete the report."""
        self.chunk_events.wait(lambda: not self._write_down())
        self.chunk_events.close()
        self.tasks.cancel([*self.flights.values(), *self.sums.merges.values()])
        self.flights.clear()
        self.sums.merges.clear()

    def tell_end(self) -> None:
        """Put how it went in the place of how far it is."""
        self.meter.end(self.report.summary(), self.report.so_far()[0])

    def _write_down(self) -> bool:
        """Take into the report what workers told; whether that was all."""
        missing = 0
        for record in self.report.records:
            index = record.chunk.index
            record.tries = max(record.tries, self.chunk_events.starts[index])
            if record.state == "processed" and record.began is None:
                receipt = self.chunk_events.receipts.get(index)
                if receipt is None:
                    missing += 1
                else:
                    record.take(receipt)
        return not missing

    def _hopeless(self) -> bool:
        return self.stop_if_hopeless and self.failed >= HOPELESS and not self.succeeded

    def _restore(self) -> None:
        """Take from the checkpoint what it has, and line up the rest."""
        for index in range(len(self.plan.chunks)):
            self._restore_one(index)
        if self.checkpoint:
            self.report.notes += self.checkpoint.remarks()

    def _restore_one(self, index: int) -> None:
        chunk = self.cuts.chunks[index]
        found = self.checkpoint.load(chunk) if self.checkpoint else None
        if found is not None:
            self.records[index].restored = True
            self._processed(index, found[1], LocalResult(found[0]))
        elif self.checkpoint and self.checkpoint.has_part(chunk):
            for part in self._cut(index, "it was cut in an earlier run"):
                self._restore_one(part)
        else:
            self.retry_queue.add(index)

    # What is at work.

    def _fill(self) -> None:
        """Keep the window full, a few chunks at a time; a suspect has the Dask cluster alone."""
        now, at_work, width = time.monotonic(), len(self.flights), self.tasks.width
        if at_work > REFILL * width:
            return
        batch: list[int] = []
        while (index := self.retry_queue.next(now, at_work + len(batch), width)) is not None:
            batch.append(index)
        for index in batch:
            self.records[index].tries += 1
            self.begun[index] = self.chunk_events.starts[index]
        if batch:
            chunks = [replace(self.cuts.chunks[i], turn=self.turns[i]) for i in batch]
            self.flights |= self.tasks.start(chunks, self.plan.metadata)

    def _take(self, news: list[tuple[Node, Future[Any] | None]]) -> None:
        """Take note of what has ended."""
        if any(future is not None for _, future in news):
            self.paused_workers.heard()
        chunks = [
            (node.place, future)
            for node, future in news
            # News of what was given up may still come.
            if node.level == 0 and future is not None and self.flights.get(node.place) is future
        ]
        good = [(index, future) for index, future in chunks if future.status == "finished"]
        values: list[Any] = [None] * len(good)
        if self.checkpoint or any(index in self.cuts.whole for index, _ in good):
            try:
                values = self.tasks.gather([future for _, future in good])
            except NoWorkersError:
                raise
            except Exception:  # noqa: BLE001 - lost in between; each is then looked at by itself
                values, good = [], []
        for (index, ended), value in zip(good, values, strict=True):
            self._landed(index, ended, value)
        for index, ended in chunks:
            if index in self.flights:
                self._crashed(index, self.tasks.error(ended))
        for index in {node.place for node, future in news if future is None}:
            self._look_at_deaths(index)
        for node, future in news:
            if future is not None and self.sums.merges.get(node) is future:
                if future.status == "finished":
                    self.sums.know(node, future)
                else:
                    self._unmerged(node, self.tasks.error(future))

    # What became of a chunk.

    def _landed(self, index: int, future: Future[Any], value: tuple[bytes, Receipt] | None) -> None:
        self.retry_queue.ended(index)
        del self.flights[index]
        receipt = self.chunk_events.receipts.get(index)
        if value is not None:
            receipt = value[1]
            self._save(index, *value)
        part = index in self.cuts.whole and value is not None
        self._processed(index, receipt, LocalResult(value[0]) if part and value else future)

    def _save(self, index: int, packed: bytes, receipt: Receipt) -> None:
        if self.checkpoint is None:
            return
        try:
            self.checkpoint.save(self.cuts.chunks[index], packed, receipt)
        except OSError as error:
            folder = self.checkpoint.folder
            note = f"the checkpoint in {folder} is not complete: "
            if not any(each.startswith(note) for each in self.report.notes):
                self.report.notes.append(note + refusal(error, folder, CHOOSE))

    def _processed(
        self, index: int, receipt: Receipt | None, value: Future[Any] | LocalResult
    ) -> None:
        record = self.records[index]
        self.succeeded += 1
        record.state, record.error, record.details = "processed", None, ""
        if receipt is not None:
            record.take(receipt)
        self._know(index, value)

    def _know(self, index: int, value: Future[Any] | LocalResult | None) -> None:
        """Take a chunk's value into the sums; of a part, once all of its chunk is known."""
        if index not in self.cuts.whole:
            self.sums.know(Node(0, index), value)
            return
        try:
            whole = self.cuts.know(index, value.packed if isinstance(value, LocalResult) else None)
        except MergeError as error:
            raise ReductionError(str(error)) from error
        if whole is not None:
            self._know_again(whole)

    def _know_again(self, index: int) -> None:
        """Take the value of a chunk that was cut, which stays here."""
        packed = self.cuts.sums[index]
        self.sums.know(Node(0, index), None if packed is None else LocalResult(packed))

    def _look_at_deaths(self, index: int) -> None:
        """Count how often a chunk has begun without an end: each time it lost its worker.

        distributed gives up after four, whoever is to blame; two are enough to try it alone.
        """
        if self.chunk_events.starts[index] - self.begun.get(index, 0) > 1:
            self.sums.take_home()
        most = DEATHS if index not in self.cuts.whole else DEATHS // 2
        if index in self.flights and self.chunk_events.starts[index] - self.begun[index] > most:
            self.tasks.cancel([self.flights[index]])
            self._crashed(index, None)

    def _look_at_stalls(self) -> None:
        """End workers that would be paused for ever, after what they hold has been fetched."""
        paused = self.paused_workers.paused()
        if paused:
            self.sums.take_home()
            self.paused_workers.end(paused)
            self.report.full_workers += len(paused)

    def _crashed(self, index: int, error: BaseException | None) -> None:
        """Decide whether a chunk is tried again, alone, in two parts or not at all.

        Parameters
        ----------
        error
            What it ended with; None where its workers died.
        """
        alone = self.retry_queue.ended(index)
        del self.flights[index]
        record = self.records[index]
        if error is None or isinstance(error, KilledWorker):
            record.error = "the workers that ran it died"
            record.worker = self.chunk_events.workers.get(index)
            if not alone:
                record.setbacks.append(record.error)
                self.retry_queue.suspect(index)
                return
            record.error += ", also when it ran alone; memory is the usual cause"
            for part in self._cut(index, record.error) or self._failed(index):
                self.retry_queue.suspect(part)
            return
        if isinstance(error, ChunkError):
            record.worker, record.error, record.details = error.worker, str(error), error.details
            record.seconds = error.seconds
        else:
            record.error = f"{type(error).__name__}: {error}"
        # What it had found went with a worker that died: not the chunk's fault.
        retries = self.retries + (HOPELESS if isinstance(error, LostTaskError) else 0)
        if getattr(error, "short", False):
            for part in self._cut(index, record.error) or self._failed(index):
                self.retry_queue.add(part)
        elif getattr(error, "transient", False) and record.tries <= retries:
            self.turns[index] += 1
            record.setbacks.append(record.error)
            self.retry_queue.delay(index, record.tries, time.monotonic())
        else:
            self._failed(index)

    def _cut(self, index: int, why: str) -> tuple[int, ...]:
        """Put two parts of a chunk in its place; none where it is too small for that."""
        parts = self.cuts.cut(index) or ()
        if parts:
            made = [Record(self.cuts.chunks[part], cut=why) for part in parts]
            self.records |= dict(zip(parts, made, strict=True))
            whole, records = self.records.pop(index), self.report.records
            at = next(i for i, record in enumerate(records) if record is whole)
            records[at : at + 1] = made
        return parts

    def _failed(self, index: int) -> tuple[int, ...]:
        """Give a chunk up, of which no part is left to try."""
        self.failed += 1
        self.records[index].state = "failed"
        self._know(index, None)
        return ()

    def _unmerged(self, node: Node, error: BaseException) -> None:
        """Process again what a sum needs that was lost and could not be had back."""
        for index in self.sums.reopen(node, error, self.retries + HOPELESS):
            if index in self.cuts.sums:
                self._know_again(index)
                continue
            record = self.records[index]
            if record.state == "failed":
                self.sums.know(Node(0, index), None)
            elif index not in self.flights:
                record.state = "not reached"
                self.retry_queue.add(index)
