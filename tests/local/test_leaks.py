"""The check that no test leaves a process behind, against processes that stay."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.local import leaks

FOR_A_MINUTE = [sys.executable, "-c", "import time; time.sleep(60)"]
SPAWN = "import sys, subprocess as s; print(s.Popen(sys.argv[1:], stdout=-3, stderr=-3).pid)"
"""Starts what its arguments say, prints its number and leaves it an orphan."""


@pytest.fixture
def lasting() -> Iterator[psutil.Process]:
    with subprocess.Popen(FOR_A_MINUTE) as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_what_a_known_process_starts_is_known() -> None:
    keep_open = [sys.executable, "-c", f"{SPAWN}; sys.stdin.read()", *FOR_A_MINUTE]
    with subprocess.Popen(
        keep_open, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        found = leaks.started_here([])
        assert {child, psutil.Process(parent.pid)} <= found
        assert leaks.without(found, [psutil.Process(parent.pid)]) == []
        child.kill()


def test_orphans_are_found_by_their_environment(home) -> None:
    spawn = [sys.executable, "-c", SPAWN, *FOR_A_MINUTE]
    started = subprocess.run(spawn, capture_output=True, text=True, check=True)
    orphan = psutil.Process(int(started.stdout))
    try:
        assert leaks.started_here([]) == set()
        assert leaks.started_here([str(home)]) == {orphan}
    finally:
        orphan.kill()


def test_what_stays_is_named_and_killed(lasting, monkeypatch) -> None:
    monkeypatch.setattr(leaks, "GRACE", 0.1)
    left = leaks.wait_for_the_last(lambda: leaks.started_here([]))
    with pytest.raises(pytest.fail.Exception, match=f"(?s)this test left 1.*{lasting.pid} "):
        leaks.end_and_report(left, "this test")
    assert lasting.wait() != 0


def test_what_ends_in_time_is_no_leak() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]):
        assert leaks.wait_for_the_last(lambda: leaks.started_here([])) == []
