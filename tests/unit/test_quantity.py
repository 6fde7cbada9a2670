"""Quantities: what is read, what is refused, and that both directions agree."""

import random

import pytest

from facility.quantity import format_cores, format_memory, parse_cores, parse_memory, parse_seconds


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("4Gi", 4 * 2**30),
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        (".5Ki", 512),
        ("2G", 2 * 10**9),
        ("3k", 3000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1.5e9", 1_500_000_000),
        ("0.5", 1),
        (" 4Gi ", 4 * 2**30),
        ("+1Gi", 2**30),
        (1024, 1024),
        (2.5, 3),
        ("1Pi", 2**50),
    ],
)
def test_memory(value, count):
    assert parse_memory(value) == count


@pytest.mark.parametrize(
    ("value", "cores"),
    [("500m", 0.5), ("1", 1.0), (2, 2.0), (0.5, 0.5), ("1e3", 1000.0), ("0.001", 0.001)],
)
def test_cores(value, cores):
    assert parse_cores(value) == cores


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("4GB", "did you mean '4G' or '4Gi'?"),
        ("4gb", "did you mean '4G' or '4Gi'?"),
        ("4gib", "did you mean '4Gi'?"),
        ("4K", "did you mean '4k' or '4Ki'?"),
        ("4Bananas", "'Bananas' is no suffix"),
        ("500m", "did you mean '500M' or '500Mi'?"),
        ("4 Gi", "such as 4Gi"),
        ("", "such as 4Gi"),
        ("Gi", "such as 4Gi"),
        ("much", "such as 4Gi"),
        (True, "such as 4Gi"),
        (None, "such as 4Gi"),
        ([4], "such as 4Gi"),
        (float("nan"), "such as 4Gi"),
        (float("inf"), "such as 4Gi"),
        (0, "more than 0"),
        ("0Gi", "more than 0"),
        (-1, "more than 0"),
        ("-4Gi", "more than 0"),
        ("2Pi", "at most 1Pi"),
        ("1E", "at most 1Pi"),
        ("9e999", "at most 1Pi"),
        ("1" * 40, "such as 4Gi"),
    ],
)
def test_refused_memory(value, said):
    with pytest.raises(ValueError, match=r"^must be ") as caught:
        parse_memory(value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("4Gi", "'Gi' counts memory"),
        ("1.0005", "thousandths"),
        ("1u", "thousandths"),
        (0, "more than 0"),
        (-0.5, "more than 0"),
        (5000, "at most 4096"),
        ("two", "such as 1, 0.5 or 500m"),
        (False, "such as 1, 0.5 or 500m"),
    ],
)
def test_refused_cores(value, said):
    with pytest.raises(ValueError, match=r"^must be ") as caught:
        parse_cores(value)
    assert said in str(caught.value)


def test_memory_is_written_short_and_exact():
    assert format_memory(4 * 2**30) == "4Gi"
    assert format_memory(3 * 2**29) == "1536Mi"
    assert format_memory(2 * 10**9) == "2G"
    assert format_memory(1001) == "1001"
    assert format_memory(0) == "0"


def test_cores_are_written_short():
    assert [format_cores(cores) for cores in (1.0, 0.5, 2.25, 16)] == ["1", "500m", "2250m", "16"]


def test_what_is_written_reads_back():
    numbers = random.Random(7)
    for _ in range(2000):
        scale = numbers.choice([1, 1000, 2**10, 10**6, 2**20, 10**9, 2**30])
        count = numbers.randint(1, 2**20) * scale
        assert parse_memory(format_memory(count)) == count
        thousandths = numbers.randint(1, 4_096_000)
        assert parse_cores(format_cores(thousandths / 1000)) == thousandths / 1000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(90, 90.0), (1.5, 1.5), ("90", 90.0), ("2 min", 120.0), ("1.5H", 5400.0), ("1d", 86400.0)],
)
def test_seconds(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "", "5 parsecs", None, True, [], float("nan")])
def test_no_time(text):
    with pytest.raises(ValueError, match="give seconds, or a text such as"):
        parse_seconds(text)


@pytest.mark.parametrize("text", [-1, "-5 min"])
def test_negative_time(text):
    with pytest.raises(ValueError, match="cannot be negative"):
        parse_seconds(text)
