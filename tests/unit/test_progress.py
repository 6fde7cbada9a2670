"""What is told of work that lasts: in a log, in a terminal, and at its end."""

import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from facility import progress
from facility.analysis import run_progress
from facility.analysis.results.record import Receipt
from facility.analysis.results.report import Report
from facility.analysis.run_progress import Meter, track
from facility.progress import Line
from tests.unit.analysis.runner.test_runner import files, plan


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    monkeypatch.setattr(run_progress, "time", made)
    return made


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Make stderr a terminal of 60 columns; in the end the list holds what was written to it.

    No fixture: pytest puts its own stderr in place after those.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    written: list[str] = []
    with os.fdopen(theirs, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        yield written
    with suppress(OSError):  # with which it ends
        while True:
            written.append(os.read(ours, 65536).decode())
    os.close(ours)


def seen(written: str) -> list[str]:
    """Rows of a terminal after something was written to it, as it writes over what stands there."""
    rows = []
    for row in written.split("\r\n"):
        shown = ""
        for part in row.split("\r"):
            shown = part + shown[len(part) :]
        rows.append(shown.rstrip())
    return rows


def test_a_log_gets_a_line_after_two_seconds_and_then_ever_more_rarely(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = Meter(10_000)
    told = []
    for second in range(1, 600):
        clock.now = 100.0 + second
        if meter.due():
            told.append(second)
            meter.tell(10 * second, 10 * second, 0, 0, 1)
    meter.end("5,990 of 10,000 events processed", 5_990)
    assert told[:4] == [2, 4, 6, 8]
    assert 20 < len(told) < 60
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == len(told)
    assert lines[0] == (
        "20 of 10,000 events, 10 events/s, about 998 s left, 1 chunk at work, 0.00 Gbit/s"
    )
    assert last == "5,990 of 10,000 events processed"


def test_pools_are_told_where_there_are_several(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = Meter(1_000)
    clock.now += 10
    meter.tell(0, 0, 0, 2, 3, {"cpu": (0, 0)})
    meter.tell(400, 400, 5 * 10**9, 0, 3, {"cpu": (300, 4 * 10**9), "arm": (100, 10**9)})
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        "0 of 1,000 events, no event yet, 2 chunks failed, 3 chunks at work, 0.00 Gbit/s"
    )
    assert second.endswith("(arm: 10 events/s, 0.80 Gbit/s; cpu: 30 events/s, 3.20 Gbit/s)")


def test_in_a_terminal_the_outcome_stands_where_the_progress_was(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = "900 of 1,000 events processed in 8.0 s (112 events/s), 100 failed, interrupted"
    with terminal(monkeypatch) as written:
        meter = Meter(1_000)
        clock.now += 4
        meter.tell(100, 100, 10**9, 0, 12)
        clock.now += 4
        meter.tell(900, 900, 10**9, 11, 1)
        meter.end(summary, 1_000)
    before, _ = "".join(written).split(summary)
    # One row, cut off where it would go on in the next.
    assert seen(before) == ["900 of 1,000 events, 112 events/s, about 1 s left, 11 chunks"[:59]]
    assert seen("".join(written)) == [summary, ""]


def test_in_a_terminal_details_are_told_once_above_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with terminal(monkeypatch) as written:
        line = Line()
        line.tell("0 of 2 workers, 16 s")
        for seconds in (17, 18):
            line.tell(f"0 of 2 workers, {seconds} s", details="no room\nfor more")
        line.tell("1 of 2 workers, 19 s", details="room")
        line.end("ready")
    assert seen("".join(written)) == ["no room", "for more", "room", "ready", ""]


def test_what_took_no_time_is_not_told_at_its_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    Line().end("ready")
    Meter(1).end("1 of 1 event processed", 1)
    assert list(track("ab", 2, "Reading", unit="letter")) == ["a", "b"]
    clock.now += 10
    assert list(track("ab", 2, "Reading", unit="letter", show=False)) == ["a", "b"]
    assert capsys.readouterr().err == ""
    assert not Line(show=False).due()


def slow(clock: Clock, letters: str) -> Iterator[str]:
    for letter in letters:
        clock.now += 1
        if letter == "!":
            raise KeyboardInterrupt
        yield letter


def test_slow_work_tells_how_far_it_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(slow(clock, "abcde"), 5, "Reading", unit="letter")) == list("abcde")
    assert capsys.readouterr().err.splitlines() == [
        "Reading: 2 of 5 letters, about 3 s left",
        "Reading: 4 of 5 letters, about 1 s left",
        "Reading: done, 5 of 5 letters in 5.0 s",
    ]


def test_work_that_is_interrupted_says_where(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(track(slow(clock, "abc!"), 4, "Reading", unit="letter"))
    first, last = capsys.readouterr().err.splitlines()
    assert first == "Reading: 2 of 4 letters, about 2 s left"
    assert last == "Reading: stopped after 3 of 4 letters in 4.0 s"


def test_a_report_knows_what_each_pool_has_read() -> None:
    report: Any = Report.of(plan(files(100, 250), 100), 0.0)
    for record, worker in zip(
        report.records, ("cpu-0", "big-arm-11", "cpu-1", "host-b"), strict=True
    ):
        record.state = "processed"
        record.take(Receipt(worker, 1.0, 1.0, 1_000))
    report.records[2].restored = True
    assert report.by_pool() == {"cpu": (100, 1_000), "big-arm": (83, 1_000)}
