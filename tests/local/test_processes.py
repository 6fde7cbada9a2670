"""Tasks that fork, children that outlive them, and forked children of the client."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.core import Status

from facility import cluster
from facility.deploy.cluster import PooledCluster
from facility.system.processes import runs
from tests.local.pools import POOLS, until


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[PooledCluster, Client]]:
    with cluster(1, config=POOLS) as c, Client(c) as client:
        yield c, client


# What tasks do, and plain Python lets them. Each runs on the worker.


def ends_a_loader(_: int) -> int | None:
    """As the loaders of machine learning: a child that waits is ended by SIGTERM."""
    import multiprocessing

    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
    child.start()
    child.terminate()
    child.join()
    return child.exitcode


def ends_a_pool(_: int) -> list[int]:
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2])


def interrupts_a_child(_: int) -> int:
    """A child of its own that is ended as Ctrl-C does."""
    ready, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, b".")
            time.sleep(300)
        except KeyboardInterrupt:
            os._exit(4)
    os.read(ready, 1)
    while True:
        # Python 3.13 has a forked child of a thread miss a signal unless it waits in the kernel.
        os.kill(pid, signal.SIGINT)
        time.sleep(0.5)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)


def exits_in_a_child(_: int) -> list[int]:
    """Children that come to an end in each of the ways that there are."""

    def leave(how: str) -> None:
        if how == "code":
            sys.exit(3)
        if how == "word":
            sys.exit("said")
        if how == "error":
            raise ValueError(how)

    codes = []
    for how in ("code", "word", "error", "return", "at once"):
        pid = os.fork()
        if pid == 0:
            if how == "at once":
                os._exit(5)
            leave(how)
            return []
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return codes


def maps_in_processes(_: int) -> list[int]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context) as processes:
        return list(processes.map(abs, [-1, -2]))


def ends_a_program(_: int) -> int:
    """With a function that is run between fork and exec."""
    with subprocess.Popen(["sleep", "300"], preexec_fn=os.setpgrp) as program:
        program.terminate()
    return program.returncode


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (ends_a_loader, -signal.SIGTERM),
        (ends_a_pool, [1, 2]),
        (interrupts_a_child, 4),
        (exits_in_a_child, [3, 1, 1, 0, 5]),
        (maps_in_processes, [1, 2]),
        (ends_a_program, -signal.SIGTERM),
    ],
)
def test_a_task_may_fork(
    both: tuple[PooledCluster, Client], task: Callable[[int], Any], expected: object
) -> None:
    c, client = both
    held = client.scatter([1, 2, 3], hash=False)
    (worker,) = client.run(os.getpid).values()
    futures = client.map(task, range(3), pure=False)
    assert client.gather(futures) == [expected] * 3
    assert list(client.run(os.getpid).values()) == [worker]
    assert client.submit(sum, held).result() == 6
    assert "lost" not in c.explain()


def test_a_fork_of_the_scheduler_is_ended(both: tuple[PooledCluster, Client]) -> None:
    c, client = both
    assert client.run_on_scheduler(lambda: ends_a_loader(0)) == -signal.SIGTERM
    assert client.submit(abs, -1, pure=False).result() == 1
    assert c.status == Status.running


# What tasks have started.

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(300)
"""


def starts(_: int) -> list[int]:
    """Start what stays: plainly, in a session, with nothing inherited, as an orphan, as a fork."""
    import multiprocessing

    command = [sys.executable, "-c", STUBBORN]
    out: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    orphan = f"import subprocess, sys; subprocess.Popen({command!r})"
    begun = [
        subprocess.Popen(command, **out),
        subprocess.Popen(command, start_new_session=True, **out),
        subprocess.Popen(command, env={}, **out),
        subprocess.Popen([sys.executable, "-c", orphan], start_new_session=True, **out),
    ]
    pids = [int(each.stdout.readline()) for each in begun if each.stdout]
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
    child.start()
    assert child.pid
    return [*pids, child.pid]


def shares_memory(_: int) -> str:
    """Leave a block of shared memory, which Python removes after the last who knows of it."""
    from multiprocessing.shared_memory import SharedMemory

    return SharedMemory(create=True, size=10).name


def leaves_open(path: str) -> None:
    """Have Python write a file, and run an exit handler, when the interpreter ends."""
    import atexit
    import builtins

    file = builtins.kept = open(path, "w")  # type: ignore[attr-defined] # noqa: SIM115, PTH123
    file.write("written ")
    atexit.register(file.write, "at the exit of the interpreter")


def test_what_tasks_started_ends_with_their_worker(tmp_path: Path) -> None:
    with cluster(1, config=POOLS) as c, Client(c) as client:

        def begin() -> tuple[int, list[psutil.Process], Path]:
            pids = client.submit(starts, 0, pure=False).result()
            block = client.submit(shares_memory, 0, pure=False).result()
            (worker,) = client.run(os.getpid).values()
            return worker, list(map(psutil.Process, pids)), Path("/dev/shm", block)

        for how in ("killed", "closed", "restarted"):
            worker, found, block = begin()
            assert all(map(runs, found))
            if how == "restarted":
                client.restart()
            else:
                os.kill(worker, signal.SIGKILL if how == "killed" else signal.SIGTERM)
            until(lambda found=found: not any(map(runs, found)))  # type: ignore[misc]
            until(lambda block=block: not block.exists())  # type: ignore[misc]
            client.wait_for_workers(1)
        assert "1 worker lost" in c.explain(), "the one that was killed"
        _, found, block = begin()
        path = tmp_path / "written"
        client.submit(leaves_open, str(path), pure=False).result()
        folder = c._controller.backend.folder  # type: ignore[attr-defined]
    assert not any(map(runs, found))
    assert not folder.exists()
    until(lambda: not block.exists())
    assert path.read_text() == "written at the exit of the interpreter"


# Forked children of the client.

CLIENT = """
    import gc, os, sys
    from facility import ClusterFailedError, cluster

    def end_of(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def child(how):
        global c, client, held
        if how == "closes":
            client.close()
            c.close()
        elif how == "collects":
            del c, client, held
            gc.collect()
        elif how == "uses":
            try:
                c.scale(2)
            except ClusterFailedError as error:
                assert f"process {os.getppid()} has it" in str(error), error
            try:
                client.submit(abs, -1).result()
            except Exception as error:
                assert "Client is closed" in str(error), error
            print(c.explain())
        sys.exit(3)

    if __name__ == "__main__":
        with cluster(1) as c, c.get_client() as client:
            held = client.scatter([1, 2, 3])
            folder = c._controller.backend.folder
            for how in ("exits", "collects", "closes", "uses"):
                sys.stdout.flush()
                if (pid := os.fork()) == 0:
                    child(how)  # leaves both blocks
                assert end_of(pid) == 3, how
                assert folder.exists(), how
                assert client.submit(sum, held, pure=False).result() == 6, how
                assert "1 of 1 worker" in c.explain(), c.explain()
        assert not folder.exists()
        # At the exit too, and of what is lost in a child.
        c = cluster(1)
        folder = c._controller.backend.folder
        if (pid := os.fork()) == 0:
            del c
            gc.collect()
            sys.exit(3)
        assert end_of(pid) == 3
        assert folder.exists()
        assert c.get_client().submit(abs, -1).result() == 1
        print("done", folder)
"""


def test_a_forked_child_of_the_client_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(CLIENT))
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    said, folder = done.stdout.splitlines()[-1].split()
    assert said == "done"
    assert not Path(folder).exists()
    assert "and a forked child cannot use it" in done.stdout
    assert "Traceback" not in done.stderr
