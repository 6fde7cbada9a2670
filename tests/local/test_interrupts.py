"""An end that has begun is carried through: Ctrl-C again, and scripts that are killed meanwhile.

A worker that is stopped cannot close, so that the end takes as long as it may, and a SIGTERM that
waits for it shows that the end has begun.
"""

import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from facility import names
from facility.system.processes import runs
from tests.local.pools import until

BEGIN = """
    import os, sys, threading, time
    import facility
    from facility import cluster

    def told(c, client):
        backend = c._controller.backend
        client.map(time.sleep, [300] * 2, pure=False)
        print(backend._scheduler.pid, *(m.child.pid for m in backend.members.values()), flush=True)
"""
BLOCK = """
    if __name__ == "__main__":
        with cluster(1, wait=1) as c, c.get_client() as client:
            told(c, client)
            time.sleep(300)
"""
EXIT = """
    if __name__ == "__main__":
        c = cluster(1, wait=1)
        told(c, c.get_client())
        time.sleep(300)
"""
AWAITED = """
    import asyncio

    async def main():
        async with cluster(1, wait=1, asynchronous=True) as c:
            backend = c._controller.backend
            print(backend._scheduler.pid, *(m.child.pid for m in backend.members.values()))
            sys.stdout.flush()
            await asyncio.sleep(300)

    if __name__ == "__main__":
        asyncio.run(main())
"""
THREAD = """
    def work():
        with cluster(1, wait=1) as c, c.get_client() as client:
            told(c, client)
            closing.wait()

    closing = threading.Event()
    if __name__ == "__main__":
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            thread.join()
        finally:
            closing.set()
"""


@contextmanager
def script(folder: Path, code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(BEGIN) + textwrap.dedent(code))
    command = [sys.executable, path, *arguments]
    out = subprocess.PIPE
    with subprocess.Popen(command, stdout=out, stderr=out, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def stopped(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a script's Dask cluster, the workers of which can do nothing any more."""
    assert process.stdout
    found = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
    for worker in found[1:]:
        worker.suspend()
    until(lambda: all(worker.status() == psutil.STATUS_STOPPED for worker in found[1:]))
    return found


def asked_to_end(process: psutil.Process) -> bool:
    """Whether a SIGTERM waits for a process that is stopped."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return True
    pending = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return pending is None or bool(int(pending[1], 16) >> (signal.SIGTERM - 1) & 1)


def nothing_is_left(found: list[psutil.Process]) -> bool:
    folder = names.clusters_folder()
    return not any(map(runs, found)) and not (folder.exists() and list(folder.iterdir()))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left among temporary files either, whatever was killed."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "code", [BLOCK, EXIT, AWAITED, THREAD], ids=["block", "exit", "awaited", "thread"]
)
def test_ctrl_c_again_cuts_no_end_off(tmp_path: Path, code: str) -> None:
    with script(tmp_path, code) as process:
        found = stopped(process)
        process.send_signal(signal.SIGINT)
        until(lambda: asked_to_end(found[1]))
        assert runs(found[1])
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert nothing_is_left(found)


STARTING = """
    if __name__ == "__main__":
        def tell():
            from facility.deploy import exits
            while not (left := [each.backend for each in exits._living if each.backend.members]):
                time.sleep(0.01)
            pids = [m.child.pid for m in left[0].members.values()]
            print(left[0]._scheduler.pid, *pids, flush=True)

        threading.Thread(target=tell, daemon=True).start()
        cluster(1, wait=1)
"""


def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    with script(tmp_path, STARTING) as process:
        found = stopped(process)
        process.send_signal(signal.SIGINT)
        until(lambda: asked_to_end(found[1]))
        assert runs(found[1])
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
        assert nothing_is_left(found)


def test_a_script_that_is_killed_while_it_ends_leaves_nothing(tmp_path: Path) -> None:
    with script(tmp_path, BLOCK) as process:
        found = stopped(process)
        process.send_signal(signal.SIGINT)
        until(lambda: asked_to_end(found[1]))
        assert runs(found[1])
        process.kill()
        process.wait()
        until(lambda: nothing_is_left(found))


def test_a_scheduler_that_is_asked_again_and_again_tidies_up_all_the_same(tmp_path: Path) -> None:
    with script(tmp_path, BLOCK) as process:
        found = stopped(process)
        process.kill()
        process.wait()

        def ask_again() -> bool:
            with suppress(psutil.NoSuchProcess):
                found[0].terminate()
            return not runs(found[0])

        until(ask_again)
        assert nothing_is_left(found)
