"""Logs of bounded size: what is taken out is told, and what is read is neither lost nor twice."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facility.kubernetes.client import pod_logs as pods
from facility.system.logs import LOST, MARK, Follower, LogStream, end, shorten

LINES = [f"line {number:04d} {'x' * (number % 7)}\n" for number in range(1000)]
WHOLE = "".join(LINES)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def counted(text: str) -> int:
    """Check that a text is the end of all, after a line with how much is missing; that number."""
    first, rest = text.split("\n", 1)
    assert WHOLE.endswith(rest)
    assert f"{first}\n" == MARK.format(len(WHOLE) - len(rest))
    return len(WHOLE) - len(rest)


def test_a_short_log_is_left_alone(log: Path) -> None:
    log.write_text(WHOLE)
    shorten(log, len(WHOLE))
    assert log.read_text() == end(log) == WHOLE
    shorten(log.with_name("none"))
    assert end(log.with_name("none")) == ""


def test_what_is_taken_out_adds_up(log: Path) -> None:
    log.write_text("".join(LINES[:900]))
    shorten(log, 10_000)
    assert 4_900 < log.stat().st_size < 5_100
    with log.open("a") as more:
        more.write("".join(LINES[900:]))
    shorten(log, 3_000)
    left_out = counted(log.read_text())
    assert len(WHOLE) - left_out < 1_500
    assert counted(end(log, 500)) > left_out


def test_one_line_without_an_end_is_cut_too(log: Path) -> None:
    log.write_text("x" * 100_000)
    shorten(log, 1_000)
    assert log.read_text() == MARK.format(99_500) + "x" * 500


def test_who_holds_it_open_goes_on_at_its_end(log: Path) -> None:
    with log.open("a") as held:
        held.write(WHOLE)
        held.flush()
        shorten(log, 1_000)
        held.write("more\n")
    assert log.read_text().endswith(f"{LINES[-1]}more\n")


@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_follower_reads_all_once(log: Path, step: int) -> None:
    log.touch()
    follower, found = Follower(log), ""
    stream = LogStream(log, limit=1_000)
    for begin in range(0, len(LINES), step):
        stream.write("".join(LINES[begin : begin + step]).encode())
        found += follower.new()
    assert follower.new() == ""
    assert log.stat().st_size <= 1_000 + 60
    if step < 100:
        assert found == WHOLE
    else:
        kept = [line for line in found.splitlines(keepends=True) if line in set(LINES)]
        assert kept[-1] == LINES[-1]
        assert len(kept) == len(set(kept))
        assert "bytes of this log are left out" in found


def test_a_follower_waits_for_the_rest_of_a_letter(log: Path) -> None:
    log.write_bytes("ü".encode()[:1])
    follower = Follower(log)
    assert follower.new() == ""
    log.write_bytes("ü".encode())
    assert follower.new() == "ü"


@pytest.fixture
def few_bytes() -> Iterator[Callable[[int], None]]:
    """Let the system refuse to make files larger than this, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_what_a_full_disk_does_not_take_is_counted(
    log: Path, few_bytes: Callable[[int], None]
) -> None:
    log.write_text("first\n")
    stream = LogStream(log, os.open(log, os.O_WRONLY | os.O_APPEND))
    few_bytes(6)
    assert stream.write(b"lost") == 4
    assert stream.write(b"too") == 3
    few_bytes(1000)
    stream.write(b"back\n")
    assert log.read_text() == f"first\n{LOST.format(7)}back\n"
    os.close(stream.fileno())


def test_a_log_is_opened_once_that_is_possible(tmp_path: Path) -> None:
    stream = LogStream(tmp_path / "later" / "log")
    stream.write(b"lost")
    (tmp_path / "later").mkdir()
    stream.write(b"there\n")
    assert (tmp_path / "later" / "log").read_text() == f"{LOST.format(4)}there\n"
    assert (tmp_path / "later" / "log").stat().st_mode & 0o777 == 0o600
    os.close(stream.fileno())


class Node:
    """What the API says of a pod's log: the last lines, and of these the first bytes."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.asked = lines, 0

    def reading(self, kind: object, pod: str, part: str, **params: Any) -> dict[str, Any]:
        return params

    def now(self, params: dict[str, Any]) -> str:
        self.asked += 1
        return "".join(self.lines[-params["tailLines"] :])[: params["limitBytes"]]


@pytest.mark.parametrize(
    ("lines", "most", "first"),
    [
        (LINES[:50], 10_000, LINES[0]),
        (LINES, 100_000, "facility: the last 1,000 lines are shown here\n"),
        (LINES, 1_000, "facility: the last 62 lines are shown here\n"),
        (["y" * 5_000 + "\n"] * 9, 1_000, "facility: the last line is shown here, cut off after"),
        ([], 1_000, ""),
    ],
)
def test_the_end_of_a_pods_log(lines: list[str], most: int, first: str) -> None:
    found = pods.end(Node(lines), "pod", most)  # type: ignore[arg-type]
    assert found.startswith(first)
    assert len(found) <= most + 100
    if most > 1_000 or lines is LINES:
        assert found.endswith(lines[-1])
