"""Processes that end between two looks at them: whoever looks finds them ended, and no more."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks import _processes
from facility.cli import main
from facility.hub.local import stopping
from facility.hub.local.lock import only_one
from facility.jobs import local
from facility.local.registry import Record
from facility.system.processes import with_environment
from tests.kube.bringup.process import Process, start_time
from tests.local import leaks
from tests.local.pools import until

DEAF = "import signal, time; signal.signal(15, 1); print(1, flush=True); time.sleep(60)"
Started = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Started]:
    """Start Python, which runs until it is ended."""
    found = []

    def started(code: str = DEAF) -> "subprocess.Popen[str]":
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        found.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield started
    for process in found:
        process.kill()
        process.communicate()


def ends_before(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, process: "subprocess.Popen[str]"
) -> None:
    """Have a process end, and be taken away, just before it is asked something."""
    original = getattr(owner, name)

    def late(*given: object) -> object:
        monkeypatch.setattr(owner, name, original)
        process.kill()
        process.wait()
        return original(*given)

    monkeypatch.setattr(owner, name, late)


@pytest.mark.parametrize("question", ["status", "cmdline", "parents", "kill"])
def test_what_a_test_has_left(start: Started, monkeypatch: pytest.MonkeyPatch, question: str):
    monkeypatch.setattr(leaks, "GRACE", 0.1)
    process = start(DEAF)
    seen = psutil.Process(process.pid)
    assert not leaks.ended(seen)
    assert leaks.command(seen)[-1] == DEAF
    ends_before(monkeypatch, psutil.Process, question, process)
    leaks.end_and_report(leaks.wait_for_the_last(lambda: leaks.without([seen], [])), "this test")
    assert leaks.ended(seen)
    assert leaks.command(seen) == []


def test_one_whose_exit_code_nobody_has_asked_for(start: Started):
    process = start("print()")
    seen = psutil.Process(process.pid)
    until(lambda: seen.status() == psutil.STATUS_ZOMBIE)
    assert leaks.ended(seen)
    assert seen not in leaks.started_here([])


@pytest.mark.parametrize("question", ["terminate", "kill"])
def test_the_scheduler_of_a_dask_cluster_that_is_stopped(
    start: Started, monkeypatch: pytest.MonkeyPatch, question: str
):
    process = start(DEAF)
    born = psutil.Process(process.pid).create_time()
    record = Record("name", "", "", (), 0.0, process.pid, born, 0)
    assert record.runs
    ends_before(monkeypatch, psutil.Process, question, process)
    record.stop(0.1)
    assert not record.runs
    record.stop()


def test_a_job_that_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text("import time; print('here', flush=True); time.sleep(600)")
    assert main(["submit", "script.py", "--name", "mine"]) == 0
    jobs = local.MachineJobs()
    folder = jobs._find("mine")
    until(lambda: "here" in (folder / local.LOG).read_text())
    watcher, terminate = local._read(folder).pid, psutil.Process.terminate

    def late(process: psutil.Process) -> None:
        if process.pid == watcher:
            os.kill(watcher, signal.SIGKILL)
            os.waitpid(watcher, 0)
        terminate(process)

    monkeypatch.setattr(psutil.Process, "terminate", late)
    assert main(["jobs", "stop", "mine"]) == 0
    assert "Traceback" not in capfd.readouterr().err
    left = with_environment(lambda found: found.get(local.FOLDER_VARIABLE) == str(folder))
    assert left == []


def test_a_hub_that_is_stopped_from_elsewhere(
    start: Started,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(stopping, "STOP_TIMEOUT", 0.1)
    process = start(DEAF)
    with only_one(tmp_path):
        (tmp_path / "running").write_text(f"{process.pid} http://127.0.0.1/")
        process.kill()
        process.wait()
        assert stopping.stop_other(tmp_path) == 0
    assert "Stopped." in capfd.readouterr().out


def test_a_part_of_the_test_kubernetes(start: Started, monkeypatch: pytest.MonkeyPatch):
    process = start(DEAF)
    found = Process("thing", process.pid, start_time(process.pid) or 0)
    ends_before(monkeypatch, os, "kill", process)
    found.send(signal.SIGTERM)
    assert not found.alive


def test_what_a_benchmark_looks_at(start: Started):
    process, other = start(DEAF), start(DEAF)

    def look(seen: psutil.Process) -> int:
        if seen.pid == process.pid:
            process.kill()
            process.wait()
        return seen.memory_info().rss

    (size,) = [size for command, size in _processes.of_each(look) if DEAF in command]
    assert size > 0
    assert other.poll() is None
