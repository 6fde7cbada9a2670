"""A worker process of a pool, wherever it runs: it ends when it is asked to, with its children."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import Any, NoReturn

from distributed.threadpoolexecutor import ThreadPoolExecutor
from distributed.worker import Worker
from psutil import Process

from facility.system import processes

CHILDREN_CLOSE = 1.0
"""Seconds in which what tasks have started may end by itself."""
EXIT_SECONDS = 2.0
"""Seconds in which exit handlers may run, and threads end that tasks have left."""


class PoolWorker(Worker):
    """A worker that does not wait for running tasks when it closes.

    distributed's waits for up to 30 s, though nobody hears of what they return: by then the
    scheduler has given them to others.
    """

    def __init__(self, scheduler: str, *, nthreads: int, **arguments: Any) -> None:
        executors: dict[str, Executor] = {
            name: TaskThreadPoolExecutor(
                threads, thread_name_prefix=f"{arguments['name']}-Dask-{name}-threads"
            )
            for name, threads in (("default", nthreads), ("actor", 1))
        }
        super().__init__(scheduler, nthreads=nthreads, executor=executors, **arguments)
        self.handlers["facility_archive"] = self.read_archive

    def read_archive(self, digest: str, offset: int) -> bytes:
        """Give another worker a block of an archive that this one has fetched."""
        from facility.environment.on_worker import shelf_of

        return shelf_of(self).read(digest, offset)

    async def close(  # type: ignore[override]
        self, timeout: float = 30, executor_wait: bool = False, **arguments: Any
    ) -> str | None:
        """Close at once, whatever runs."""
        return await super().close(timeout, executor_wait=False, **arguments)


class TaskThreadPoolExecutor(ThreadPoolExecutor):
    """Threads of tasks; a child that a task forks ends where the task ends.

    It would wait for the next task otherwise, for ever: nobody gives it one.
    """

    def submit(  # type: ignore[override]
        self, fn: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> "Future[Any]":
        """Run it in a thread."""
        future: Future[Any] = super().submit(_run, fn, *args, **kwargs)
        return future


def _run(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    own = os.getpid()
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:
        if os.getpid() != own:
            _exit(error)
        raise
    if os.getpid() != own:
        _exit(result.get("actual_exception") if isinstance(result, dict) else None)
    return result


def _exit(error: BaseException | None) -> NoReturn:
    """End a forked child as Python ends a process, but for what is its parent's to tidy up."""
    code: Any = 0
    if isinstance(error, SystemExit):
        code = error.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code & 0xFF)


def leave(started: Iterable[Process]) -> None:
    """End what tasks have left: their processes now, and threads that would keep this one.

    Called when the worker has closed.

    Parameters
    ----------
    started
        Processes that tasks have started.
    """
    code = 0 if sys.exc_info()[0] is None else 1
    processes.end(started, CHILDREN_CLOSE)
    threading.Thread(target=_insist, args=(code,), daemon=True).start()


def _insist(code: int) -> None:
    time.sleep(EXIT_SECONDS)
    os._exit(code)
