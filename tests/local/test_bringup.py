"""The parts of the Kubernetes bring-up that start and end processes, without a Kubernetes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kube.bringup import __main__ as program
from tests.kube.bringup.places import Places
from tests.kube.bringup.process import Ledger, end
from tools.building import BuildError, run


def test_a_build_that_fails_says_why(tmp_path):
    command = ["sh", "-c", "echo the reason; exit 3"]
    with pytest.raises(BuildError, match=r"(?s)a thing could not be built.*the reason"):
        run(command, "a thing", tmp_path / "log")


def test_processes_are_ended_by_what_was_written_down(tmp_path):
    ledger = Ledger(Places(tmp_path))
    deaf = "import signal, time; signal.signal(15, 1); print(1, flush=True); time.sleep(60)"
    ledger.start("listens", ["sleep", "60"])
    ledger.start("deaf", [sys.executable, "-c", deaf])
    log = tmp_path / "logs" / "deaf.log"
    deadline = time.monotonic() + 20
    while not log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # A later run reads what this one wrote.
    later = Ledger(Places(tmp_path))
    assert [process.alive for process in later.processes] == [True, True]
    later.end("listens")
    assert [process.name for process in later.processes] == ["deaf"]
    end(later.processes, patience=0.2)
    assert not later.processes[0].alive
    later.end("")
    assert not Places(tmp_path).ledger.exists()


def test_a_process_that_ends_at_once_is_named_with_its_log(tmp_path):
    ledger = Ledger(Places(tmp_path))
    ledger.start("thing", ["sh", "-c", "echo address already in use; exit 1"])
    with pytest.raises(BuildError, match=r"(?s)thing ended.*address already in use"):
        ledger.wait("the thing", lambda: False, 20)
    ledger.end("")


def test_a_kubernetes_that_does_not_answer_is_a_sentence(tmp_path, monkeypatch, capsys):
    tool = tmp_path / "kubectl"
    tool.write_text("#!/bin/sh\necho 'connection refused' >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp/none")
    monkeypatch.setenv("KUBECONFIG", "/other")
    assert program.main(["up"]) == 1
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "connection refused" in said
    assert "Traceback" not in said


def test_the_action_must_be_known():
    done = subprocess.run(
        [sys.executable, "-m", "tests.kube.bringup", "sideways"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice" in done.stderr
