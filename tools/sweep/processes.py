"""Compare several files at once, each in a process of its own."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import Any

from tools.sweep.compare import Account


def side_by_side(
    compare: Callable[[Any], Account], items: Iterable[Any], processes: int
) -> Iterator[Account]:
    """Compare in several processes; one that dies is a difference too."""
    left = iter(items)
    at_work: dict[Future[Account], Any] = {}
    with ProcessPoolExecutor(processes, get_context("spawn"), end_with_parent) as pool:
        while True:
            for item in islice(left, processes - len(at_work)):
                at_work[pool.submit(compare, item)] = item
            if not at_work:
                return
            done = wait(at_work, return_when=FIRST_COMPLETED).done
            try:
                yield from [future.result() for future in done]
            except BrokenProcessPool:
                names = ", ".join(map(str, at_work.values()))
                yield Account(different=[f"{names}: a process died of one of these"])
                return
            for future in done:
                del at_work[future]


def end_with_parent() -> None:
    """Let this process end when the one that started it does, whatever it is doing."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
