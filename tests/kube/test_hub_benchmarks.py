"""The benchmark that installs the chart, at its smallest size."""

import pytest

from tests import benchmarked

pytestmark = [
    pytest.mark.kube,
    pytest.mark.long,
    pytest.mark.usefixtures("here"),
    pytest.mark.timeout(600),
]


def test_it_runs_to_its_result() -> None:
    found = benchmarked.result_of(benchmarked.HUB)
    for whose in ("", "stock_"):
        assert found[f"{whose}failed_20"] == 0
        assert found[f"{whose}started_20"] == 1
    assert {"login_first_s", "login_s", "cpu_20_vs_0", "render_s_helm3"} <= found.keys()
