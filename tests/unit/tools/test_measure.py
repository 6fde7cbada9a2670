"""What benchmarks share."""

import json

import pytest

from benchmarks import _measure
from benchmarks._measure import Summary


def test_measurements_take_turns_in_alternating_order(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def sample(name: str, value: float) -> float:
        order.append(name)
        return value

    samples = _measure.alternate({"a": lambda: sample("a", 1), "b": lambda: sample("b", 2)}, 3)
    assert "".join(order) == "abbaab"
    assert samples == {"a": [1, 1, 1], "b": [2, 2, 2]}
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == ["[1/6] a ...", "[1/6] a: 1 s (about 0 s left)"]


def test_ratios_are_taken_within_a_round() -> None:
    assert _measure.ratio([1, 20, 3], [1, 10, 1]) == Summary(1, 2, 3)
    assert Summary.of([4, 1, 3, 2]) == (1, 2.5, 4)


def test_the_last_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"ours": Summary(0.5, 1234.5, 2e6), "ours / theirs": Summary(1, 1, 1)}
    table = _measure.table(rows, {"ours": "kHz"})
    _measure.finish({"rate": {"ours": rows["ours"]}, "n": 3}, json=True, table=table)
    *shown, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {
        "rate": {"ours": {"minimum": 0.5, "median": 1234.5, "maximum": 2e6}},
        "n": 3,
    }
    assert shown == [
        "               minimum  median  maximum",
        "ours [kHz]     0.5      1,234   2,000,000",
        "ours / theirs  1        1       1",
    ]
    _measure.finish({"n": 3}, json=False, table=table)
    assert "{" not in capsys.readouterr().out


def test_time_is_measured() -> None:
    assert 0 <= _measure.seconds(lambda: sum(range(10)))() < 1


def test_rounds_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    parser = _measure.options("Something.", rounds=4)
    assert parser.parse_args([]).rounds == 4
    for wrong in ("0", "-1", "many"):
        with pytest.raises(SystemExit):
            parser.parse_args(["--rounds", wrong])
        assert f"'{wrong}' is not a whole number of at least 1" in capsys.readouterr().err
