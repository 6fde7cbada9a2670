"""Tasks of one run: what is given to the Dask cluster, and news of how it ended."""

import queue
import secrets
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from distributed import Client, Future

from facility.analysis.files.chunk import Chunk
from facility.analysis.runner.paused_workers import gathered
from facility.analysis.runner.process_chunk import process_chunk
from facility.analysis.runner.reduction import Node

SMALLEST_WINDOW = 32
"""Chunks at work at least, so that a pool that starts at 0 workers grows."""
PER_THREAD = 3
WIDTH_SECONDS = 2.0
"""Seconds for which the number of threads is believed."""
ALIVE_TIMEOUT = 10.0


class SchedulerLostError(Exception):
    """The Dask cluster is gone."""


class LostTaskError(Exception):
    """The scheduler has forgotten a task; the Dask cluster is there."""

    transient = True


class Tasks:
    """Gives tasks to a Dask cluster.

    Parameters
    ----------
    processor, settings
        Pickled arguments of `process_chunk`.
    resources
        Arguments of `submit` that route to a pool.
    task
        What is done with each chunk.

    Attributes
    ----------
    news
        Futures that have ended, with their places; None for a chunk that has begun.
    """

    def __init__(
        self,
        client: Client,
        processor: bytes,
        settings: bytes,
        pool: str | None,
        resources: Mapping[str, Any],
        task: Callable[..., Any] = process_chunk,
    ) -> None:
        self._task, self._pool = task, pool
        self.client, self._resources = client, resources
        self.name = f"run-{secrets.token_hex(3)}"
        self.news: queue.SimpleQueue[tuple[Node, Future[Any] | None]] = queue.SimpleQueue()
        self._submitted = 0
        # As tasks and not scattered: what is scattered is lost with its worker.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # the report says
            self._processor = self.submit("processor", bytes, processor)
        self._settings = self.submit("settings", bytes, settings)
        self._width, self._width_at = SMALLEST_WINDOW, 0.0

    @property
    def width(self) -> int:
        """How many chunks to have at work."""
        now = time.monotonic()
        if now - self._width_at > WIDTH_SECONDS:
            try:
                threads = sum(self.client.nthreads().values())
            except OSError as error:
                raise SchedulerLostError from error
            self._width, self._width_at = max(SMALLEST_WINDOW, PER_THREAD * threads), now
        return self._width

    def start(
        self, chunks: list[Chunk], metadata: Mapping[str, Mapping[str, Any]]
    ) -> dict[int, Future[Any]]:
        """Give chunks to the workers.

        Returns
        -------
        dict
            Their futures, by index.
        """
        self._submitted += 1
        futures = self.client.map(
            self._task,
            chunks,
            [metadata[chunk.dataset] for chunk in chunks],
            key=[f"chunk-{self.name}-{self._submitted}-{chunk.index}" for chunk in chunks],
            processor=self._processor,
            settings=self._settings,
            topic=self.name,
            pure=False,
            **self._resources,
        )
        started = {chunk.index: future for chunk, future in zip(chunks, futures, strict=True)}
        for index, future in started.items():
            self.watch(Node(0, index), future)
        return started

    def submit(self, what: str, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Give a task to the workers that goes before chunks, so that results do not pile up."""
        self._submitted += 1
        return self.client.submit(
            function,
            *arguments,
            key=f"{what}-{self.name}-{self._submitted}",
            priority=1,
            pure=False,
            **self._resources,
        )

    def watch(self, node: Node, future: Future[Any]) -> None:
        """Ask for news of a future."""
        news = self.news
        future.add_done_callback(lambda found: news.put((node, found)))

    def wait(self, longest: float) -> list[tuple[Node, Future[Any] | None]]:
        """Wait for news, and return all there are.

        Raises
        ------
        SchedulerLostError
            Where none can come any more.
        """
        found = []
        try:
            found.append(self.news.get(timeout=longest))
            while True:
                found.append(self.news.get_nowait())
        except queue.Empty:
            pass
        if not found and self.client.status != "running":
            raise SchedulerLostError
        return found

    def gather(self, futures: list[Future[Any]]) -> list[Any]:
        """Fetch what futures hold.

        Raises
        ------
        NoWorkersError
            Where something was lost, and there are no workers to make it again.
        """
        return gathered(self.client, futures, self._pool)

    def cancel(self, futures: list[Future[Any]]) -> None:
        """Stop what has not begun; what has goes on, and nobody hears of it."""
        if futures and self.client.status == "running":
            self.client.cancel(futures, force=True)

    def error(self, future: Future[Any]) -> BaseException:
        """Say what is wrong with a future that has not finished well.

        Raises
        ------
        SchedulerLostError
            Where it is not the future, but everything.
        """
        if future.status == "error":
            found: BaseException = future.exception(timeout=ALIVE_TIMEOUT)
            return found
        try:
            scheduler: Any = self.client.scheduler
            self.client.sync(scheduler.identity, callback_timeout=ALIVE_TIMEOUT)
        except Exception as error:
            raise SchedulerLostError from error
        return LostTaskError(f"the Dask cluster gave it up ({future.status})")
