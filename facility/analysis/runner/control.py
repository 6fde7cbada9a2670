"""What other threads ask of a run that goes on: the sum so far, or its end."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Control:
    """Questions to a run, which the thread that runs it answers between two chunks."""

    def __init__(self) -> None:
        self._questions: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._stop = threading.Event()

    def ask(self) -> "Future[Any]":
        """Ask for the sum of what has been processed so far."""
        question: Future[Any] = Future()
        self._questions.put(question)
        return question

    def stop(self) -> None:
        """Ask for the end, as Ctrl-C does."""
        self._stop.set()

    def answer(self, collect: Callable[[], Any]) -> None:
        """Answer what was asked.

        Parameters
        ----------
        collect
            Adds up what there is.

        Raises
        ------
        KeyboardInterrupt
            Where the end was asked for.
        """
        if self._stop.is_set():
            raise KeyboardInterrupt
        while not self._questions.empty():
            question = self._questions.get()
            try:
                question.set_result(collect())
            except Exception as error:  # noqa: BLE001 - of a lost result or the user's code
                question.set_exception(error)
