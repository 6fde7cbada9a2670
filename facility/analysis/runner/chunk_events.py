"""What workers tell of chunks while they are at work, apart from results.

A task that ends says nothing of where it ran, and one whose worker dies nothing at all. So each
chunk tells its beginning and its end as an event, which costs a fraction of a task. What is told
goes into the report; no result and no count of events depends on it.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, replace
from typing import Any

from distributed import Client, get_worker

from facility.analysis.inputs.cut_bookkeepers import Weights
from facility.analysis.results.record import Receipt

PATIENCE = 1.0
"""Seconds to wait at the end for what is under way."""


class ChunkEvents:
    """What was told of a run's chunks.

    Parameters
    ----------
    topic
        Name of the run.
    began
        Called, in another thread, with a chunk that has begun.

    Attributes
    ----------
    starts
        How often each chunk has begun.
    workers
        Where each has begun last.
    receipts
        What each took, of those that ended well.
    """

    def __init__(self, client: Client, topic: str, began: Callable[[int], None]) -> None:
        self.starts: Counter[int] = Counter()
        self.workers: dict[int, str] = {}
        self.receipts: dict[int, Receipt] = {}
        self._client, self._topic, self._began = client, topic, began
        client.subscribe_topic(topic, self._read)

    def _read(self, event: tuple[float, tuple[int, str | list[Any]]]) -> None:
        chunk, told = event[1]
        if isinstance(told, str):
            self.starts[chunk] += 1
            self.workers[chunk] = told
            self._began(chunk)
        else:
            receipt = Receipt(*told)
            made = Weights(*receipt.weights) if receipt.weights else None
            self.receipts[chunk] = replace(receipt, weights=made)

    def wait(self, missing: Callable[[], bool]) -> None:
        """Wait a moment for what is under way."""
        deadline = time.monotonic() + PATIENCE
        while missing() and time.monotonic() < deadline:
            time.sleep(0.01)

    def close(self) -> None:
        """Hear no more."""
        with suppress(Exception):  # a lost scheduler tells nothing anyway
            self._client.unsubscribe_topic(self._topic)


def tell(topic: str, chunk: int, news: str | Receipt) -> None:
    """Tell, on a worker, that a chunk has begun there, or what it took."""
    with suppress(ValueError):  # not on a worker
        message = news if isinstance(news, str) else astuple(news)
        get_worker().log_event(topic, (chunk, message))
