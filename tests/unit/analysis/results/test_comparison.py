"""`facility.analysis.compare`: numbers that scipy and boost-histogram give by hand."""

from typing import Any

import boost_histogram as bh
import numpy as np
import pytest
from coffea.processor import defaultdict_accumulator, value_accumulator
from hist import Hist, storage
from hist import axis as axes
from scipy import stats

from facility import RequestError
from facility.analysis import compare
from facility.analysis.results.comparison import ks_test


def filled(values: list[float], weight: float | None = None, bins: int = 3) -> Any:
    histogram = Hist(axes.Regular(bins, 0, 3, name="x"), storage=storage.Weight())
    return histogram.fill(values, weight=weight)


def test_equal_results_in_nested_collections() -> None:
    def result() -> object:
        counts = defaultdict_accumulator(lambda: value_accumulator(int))
        counts["ee"] += 3
        return {"Z": {"mass": filled([0.5, 1.5])}, "n": counts, "list": [1, np.arange(3)], "t": "a"}

    found = compare(result(), result())
    assert found.ok
    assert [item.name for item in found.items] == ["Z/mass", "n/ee", "list/0", "list/1", "t"]
    assert "5 of 5 are equal" in str(found)
    assert "Z/mass" in found._repr_html_()


def test_chi2_and_ks_by_hand() -> None:
    # Bins 4, 2, 1 (weight 2: variances 16, 8, 4) against 6, 5, 3 (variances 6, 5, 3).
    a = filled([0.5] * 4 + [1.5] * 2 + [2.5], weight=2.0)
    b = filled([0.5] * 6 + [1.5] * 5 + [2.5] * 3)
    [item] = compare(a, b).items
    assert item.chi2 == pytest.approx(2**2 / 22 + 1 / 13 + 1 / 7)
    assert item.ndf == 3
    assert item.p == pytest.approx(stats.chi2.sf(item.chi2, 3))
    # Cumulated: 8/14, 12/14, 1 and 6/14, 11/14, 1; 7 and 14 effective events.
    assert item.ks == pytest.approx(2 / 14)
    assert item.ks_p == pytest.approx(stats.kstwobign.sf(2 / 14 * np.sqrt(7 * 14 / 21)))
    assert (item.bins, item.outside, item.absolute) == (5, 3, 10.0)
    assert item.relative == pytest.approx(10 / 16)  # the variance of the first bin
    assert not item.ok


def test_ks_distance_is_that_of_scipy_for_unbinned_data() -> None:
    random = np.random.default_rng(1)
    x, y = random.integers(0, 50, 400), random.integers(3, 50, 300)
    a, b = np.bincount(x, minlength=50), np.bincount(y, minlength=50)
    distance, p = ks_test(a, a, b, b)
    assert distance == pytest.approx(stats.ks_2samp(x, y).statistic)
    assert p == pytest.approx(stats.ks_2samp(x, y, method="asymp").pvalue, rel=0.05)
    assert ks_test([0], [0], [0], [0]) == (0.0, 1.0)
    assert ks_test([0], [0], [2], [2]) == (1.0, 0.0)


def test_tolerances() -> None:
    a, b = {"x": 1.0, "y": 5, "big": 2**60}, {"x": 1.0 + 1e-10, "y": 6, "big": 2**60 + 1}
    assert [item.ok for item in compare(a, b).items] == [True, False, True]
    assert compare(a, b, absolute=1).ok
    assert not compare(a, b, relative=1e-12).items[0].ok
    assert compare(float("nan"), float("nan")).ok
    [item] = compare(float("nan"), 1.0, relative=1, absolute=9).items
    assert (item.absolute, item.outside) == (float("inf"), 1)
    with pytest.raises(RequestError, match="relative=-1"):
        compare(a, b, relative=-1)


def test_what_is_in_one_of_them_only() -> None:
    found = compare({"a": 1, "b": 2}, {"b": 2, "c": {"d": 3}})
    assert (found.only_a, found.only_b) == (("a",), ("c/d",))
    assert not found.ok
    assert "1 only in the first, 1 only in the second" in found.summary()
    assert "only in the second: c/d" in str(found)


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (filled([1]), filled([1], bins=4), r"axis x: 3 bins and 4"),
        (filled([1]), Hist(axes.Regular(3, 0, 4, name="x"), storage=storage.Weight()),
         r"edges differ \(3 from 0 to 3 and 3 from 0 to 4\)"),
        (filled([1]), Hist(axes.Regular(3, 0, 3, name="x")), "stores Weight, the other Double"),
        (filled([1]), Hist(axes.StrCategory(["a"], name="x"), storage=storage.Weight()),
         "one has categories"),
        (filled([1]), Hist.new.Reg(3, 0, 3).Reg(2, 0, 1).Weight(), "1 axis, the other 2"),
        (filled([1]), 3, "one is a Hist, the other a int"),
        (np.zeros(3), np.zeros(2), r"shapes differ: \(3,\) and \(2,\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_told_in_a_sentence(a: object, b: object, told: str) -> None:
    found = compare(a, b)
    assert not found.ok
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(str(found))


def test_categories_are_matched_by_name() -> None:
    def of(*labels: str) -> Any:
        new: Any = Hist(
            axes.StrCategory([], growth=True, name="c"), axes.Regular(2, 0, 2, name="x")
        )
        for label in labels:
            new.fill(c=label, x=[0.5] * ord(label[0]))
        return new

    assert compare(of("a", "b"), of("b", "a")).ok
    [item] = compare(of("a", "b"), of("b", "c")).items
    assert item.problem == "axis c: only in the first: a; only in the second: c"
    assert (item.outside, item.bins, item.ks) == (0, 4, 0.0)


def test_means_compare_with_their_counts() -> None:
    a, b = (bh.Histogram(bh.axis.Regular(2, 0, 2), storage=bh.storage.Mean()) for _ in "ab")
    a.fill([0.5, 0.5], sample=[1.0, 3.0])
    b.fill([0.5] * 4, sample=[1.0, 3.0, 1.0, 3.0])
    [item] = compare(a, b).items
    assert (item.outside, item.ks) == (1, None)  # the same mean of twice as many


def test_the_picture() -> None:
    a, b = {"h": filled([1]), "n": 1}, {"h": filled([1, 2]), "n": 1}
    assert len(compare(a, b).plot().subfigs) == 1
    assert len(compare({"n": 1}, {"n": 1}).plot().axes) == 0
