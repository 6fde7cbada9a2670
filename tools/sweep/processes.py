"""Work on several things at once, each in a process of its own."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    processes: int,
    died: Callable[[str], Result],
) -> Iterator[Result]:
    """Do some work for each item, and give the results as they come.

    Parameters
    ----------
    work
        A function of a module that can be imported by its name.
    died
        Makes the last result of what was at work when a process died.
    """
    left = iter(items)
    at_work: dict[Future[Result], Item] = {}
    with ProcessPoolExecutor(processes, get_context("spawn"), end_with_parent) as pool:
        while True:
            try:
                for item in islice(left, processes - len(at_work)):
                    at_work[pool.submit(work, item)] = item
                if not at_work:
                    return
                done = wait(at_work, return_when=FIRST_COMPLETED).done
                results = [future.result() for future in done]
            except BrokenProcessPool:
                yield died(", ".join(map(str, at_work.values())))
                return
            for future in done:
                del at_work[future]
            yield from results


def end_with_parent() -> None:
    """Let this process end when the one that started it does, whatever it is doing."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
