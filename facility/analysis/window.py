"""The loop of a run: a bounded number of chunks at work, what fails tried again, sums as they come.

It runs in the caller's thread and knows a `distributed.Client`, nothing of how its workers came
to be. Results stay on the workers; the client holds receipts, and the sum in the end.
"""

import queue
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from facility.analysis.checkpoint import Checkpoint
from facility.analysis.chunk import ChunkError, process_chunk, receipt
from facility.analysis.lineup import Lineup
from facility.analysis.merge import Node
from facility.analysis.plan import Plan
from facility.analysis.progress import Meter
from facility.analysis.report import Report
from facility.analysis.sums import Here, Sums

TICK = 0.5
"""Seconds after which the loop looks round if nothing happens."""
SMALLEST_WINDOW = 32
"""Chunks at work at least, so that a pool that starts at 0 workers grows."""
PER_THREAD = 3
HOPELESS = 8
"""Chunks that fail before any succeeds, after which a run that will raise goes no further."""
ALIVE_TIMEOUT = 10.0


class SchedulerLostError(Exception):
    """The Dask cluster is gone."""


@dataclass
class Flight:
    """A chunk at work: its result, and what tells that it is there."""

    outcome: Future[Any]
    watched: Future[Any]


class Window:
    """One run over one plan.

    Parameters
    ----------
    processor, settings
        Pickled; the latter is a `facility.analysis.chunk.Settings`.
    report
        Takes what becomes of each chunk.
    resources
        Arguments of `submit` that route to a pool.
    retries
        How often a chunk is tried again after an error that may be transient.
    stop_if_hopeless
        Stop when the first chunks all fail.
    """

    def __init__(
        self,
        client: Client,
        plan: Plan,
        processor: bytes,
        settings: bytes,
        report: Report,
        *,
        resources: Mapping[str, Any],
        retries: int,
        checkpoint: Checkpoint | None,
        stop_if_hopeless: bool,
        progress: bool,
    ) -> None:
        self.client, self.plan, self.report = client, plan, report
        self.resources, self.retries, self.checkpoint = resources, retries, checkpoint
        self.stop_if_hopeless = stop_if_hopeless
        self.meter = Meter(plan.events, show=progress)
        self.sums = Sums(client, len(plan.chunks), self._submit, self._watch)
        self.lineup = Lineup(())
        self.flights: dict[int, Flight] = {}
        self.done: queue.SimpleQueue[tuple[Node, Future[Any]]] = queue.SimpleQueue()
        self.name = secrets.token_hex(3)
        self.submitted = self.succeeded = self.failed = 0
        # As tasks and not scattered: what is scattered is lost with its worker.
        self.processor = self._submit("processor", bytes, processor)
        self.settings = self._submit("settings", bytes, settings)
        self._width, self._width_at = SMALLEST_WINDOW, 0.0

    # The loop.

    def run(self) -> None:
        """Work until everything is processed or has failed, and is added up.

        Raises
        ------
        SchedulerLostError
            With the Dask cluster.
        SumError
            Where results do not add.
        """
        self._restore()
        while not self.sums.complete and not self._hopeless():
            self._fill()
            self._take(self._wait())
            if self.meter.due():
                self.meter.tell(*self.report.so_far(), len(self.flights))
        self.meter.end()

    def abandon(self) -> None:
        """Cancel what is at work."""
        flights = [f for flight in self.flights.values() for f in (flight.outcome, flight.watched)]
        self.client.cancel([*flights, *self.sums.merges.values()], force=True)
        self.flights.clear()
        self.sums.merges.clear()

    def _hopeless(self) -> bool:
        return self.stop_if_hopeless and self.failed >= HOPELESS and not self.succeeded

    def _restore(self) -> None:
        """Take from the checkpoint what it has, and line up the rest."""
        for index, chunk in enumerate(self.plan.chunks):
            found = self.checkpoint.load(chunk) if self.checkpoint else None
            if found is None:
                self.lineup.add(index)
            else:
                self._processed(index, found[1], Here(found[0]), restored=True)

    # What is at work.

    def _fill(self) -> None:
        """Keep the window full; a suspect gets the Dask cluster for itself."""
        now = time.monotonic()
        while (index := self.lineup.next(now, len(self.flights), self._window(now))) is not None:
            self._start(index)

    def _window(self, now: float) -> int:
        if now - self._width_at > 2.0:
            try:
                threads = sum(self.client.nthreads().values())
            except OSError as error:
                raise SchedulerLostError from error
            self._width, self._width_at = max(SMALLEST_WINDOW, PER_THREAD * threads), now
        return self._width

    def _start(self, index: int) -> None:
        chunk = self.plan.chunks[index]
        self.report.records[index].tries += 1
        metadata = self.plan.metadata[chunk.dataset]
        arguments = (chunk, metadata, self.processor, self.settings)
        outcome = self._submit("chunk", process_chunk, *arguments)
        # A checkpoint needs the result here, and then no receipt apart from it.
        watched = outcome if self.checkpoint else self._submit("receipt", receipt, outcome)
        self.flights[index] = Flight(outcome, watched)
        self._watch(Node(0, index), watched)

    def _submit(self, what: str, function: Any, *arguments: Any) -> Future[Any]:
        self.submitted += 1
        # What is nearer to the end goes first, so that results do not pile up.
        urgent = 0 if what == "chunk" else 1
        return self.client.submit(
            function,
            *arguments,
            key=f"{what}-{self.name}-{self.submitted}",
            priority=urgent,
            pure=False,
            **self.resources,
        )

    def _watch(self, node: Node, future: Future[Any]) -> None:
        done = self.done
        future.add_done_callback(lambda found: done.put((node, found)))

    def _wait(self) -> list[tuple[Node, Future[Any]]]:
        """Wait for news, and return all there are."""
        pause = self.lineup.pause(time.monotonic(), TICK)
        news = []
        try:
            news.append(self.done.get(timeout=pause))
            while True:
                news.append(self.done.get_nowait())
        except queue.Empty:
            pass
        if not news and self.client.status != "running":
            raise SchedulerLostError
        return news

    def _take(self, news: list[tuple[Node, Future[Any]]]) -> None:
        """Take note of what has ended."""
        chunks = [
            (node.place, future)
            for node, future in news
            # News of what was given up may still come.
            if node.level == 0 and getattr(self.flights.get(node.place), "watched", None) is future
        ]
        good = [(index, future) for index, future in chunks if future.status == "finished"]
        try:
            values = self.client.gather([future for _, future in good])
        except Exception:  # noqa: BLE001 - lost in between; each is then looked at by itself
            values, good = [], []
        for (index, _), value in zip(good, values, strict=True):
            self._landed(index, value)
        for index, future in chunks:
            if index in self.flights:
                self._crashed(index, future)
        for node, future in news:
            if node.level > 0 and self.sums.merges.get(node) is future:
                if future.status == "finished":
                    self.sums.know(node, future)
                else:
                    self._unmerged(node, self._error(future))

    # What became of a chunk.

    def _landed(self, index: int, value: Any) -> None:
        self.lineup.ended(index)
        flight = self.flights.pop(index)
        if self.checkpoint is None:
            self._processed(index, value, flight.outcome)
            return
        result, found = value
        self._save(index, result, found)
        self._processed(index, found, flight.outcome)

    def _save(self, index: int, result: Any, found: Any) -> None:
        assert self.checkpoint is not None
        try:
            self.checkpoint.save(self.plan.chunks[index], result, found)
        except OSError as error:
            note = f"the checkpoint is not complete: {error.strerror}: {self.checkpoint.folder}"
            if note not in self.report.notes:
                self.report.notes.append(note)

    def _processed(
        self, index: int, found: Any, value: Future[Any] | Here, restored: bool = False
    ) -> None:
        self.succeeded += 1
        self.report.records[index].take(found, restored)
        self.sums.know(Node(0, index), value)

    def _crashed(self, index: int, future: Future[Any]) -> None:
        """Decide whether a chunk is tried again, alone or not at all."""
        alone = self.lineup.ended(index)
        del self.flights[index]
        record = self.report.records[index]
        error = self._error(future)
        if isinstance(error, KilledWorker):
            record.worker = str(getattr(error.last_worker, "name", "-"))
            record.error = "every worker that ran it died"
            if alone:
                record.error += ", also when it ran alone; memory is the usual cause"
                self._failed(index)
            else:
                self.lineup.suspect(index)
            return
        if isinstance(error, ChunkError):
            record.worker, record.error, record.details = error.worker, str(error), error.details
            record.seconds = error.seconds
            again = error.transient
        else:
            record.error = f"{type(error).__name__}: {error}"
            again = future.status != "error"
        if again and record.tries <= self.retries:
            self.lineup.delay(index, record.tries, time.monotonic())
        else:
            self._failed(index)

    def _failed(self, index: int) -> None:
        self.failed += 1
        self.report.records[index].state = "failed"
        self.sums.know(Node(0, index), None)

    def _error(self, future: Future[Any]) -> BaseException:
        """Say what is wrong with a future that has not finished well."""
        if future.status == "error":
            found: BaseException = future.exception(timeout=ALIVE_TIMEOUT)
            return found
        # Cancelled or lost: is it the future, or everything?
        try:
            scheduler: Any = self.client.scheduler
            self.client.sync(scheduler.identity, callback_timeout=ALIVE_TIMEOUT)
        except Exception as error:
            raise SchedulerLostError from error
        return ConnectionError(f"the Dask cluster gave it up ({future.status})")

    def _unmerged(self, node: Node, error: BaseException) -> None:
        """Process again what a sum needs that was lost and could not be had back."""
        for index in self.sums.reopen(node, error, self.retries + HOPELESS):
            record = self.report.records[index]
            if record.state == "failed":
                self.sums.know(Node(0, index), None)
            elif index not in self.flights:
                record.state = "not reached"
                self.lineup.add(index)
