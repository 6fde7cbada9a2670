"""What a run tells of how far it is, where nothing can be written over."""

from typing import Any

import pytest

from facility.analysis import progress
from facility.analysis.progress import Meter
from facility.analysis.record import Receipt
from facility.analysis.report import Report
from tests.unit.test_run_parts import files, plan


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
    return made


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
    meter.end()
    assert told[:4] == [2, 4, 6, 8]
    assert 20 < len(told) < 60
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(told)
    assert (
        lines[0]
        == "20 of 10,000 events, 10 events/s, 0.00 Gbit/s, 1 chunks at work, about 998 s left"
    )


def test_pools_are_told_where_there_are_several(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = Meter(1_000)
    clock.now += 10
    meter.tell(0, 0, 0, 2, 3, {"cpu": (0, 0)})
    meter.tell(400, 400, 5 * 10**9, 0, 3, {"cpu": (300, 4 * 10**9), "arm": (100, 10**9)})
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("no event yet, 2 chunks failed")
    assert second.endswith("(arm: 10 events/s, 0.80 Gbit/s; cpu: 30 events/s, 3.20 Gbit/s)")


def test_a_report_knows_what_each_pool_has_read() -> None:
    report: Any = Report.of(plan(files(100, 250), 100), 0.0)
    for record, worker in zip(
        report.records, ("cpu-0", "big-arm-11", "cpu-1", "host-b"), strict=True
    ):
        record.state = "processed"
        record.take(Receipt(worker, 1.0, 1.0, 1_000))
    report.records[2].restored = True
    assert report.by_pool() == {"cpu": (100, 1_000), "big-arm": (83, 1_000)}
    assert not Meter(1, show=False).due()
