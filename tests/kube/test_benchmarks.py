"""Each benchmark that runs on a Kubernetes, at its smallest size."""

import pytest

from tests import benchmarked

pytestmark = [pytest.mark.kube, pytest.mark.usefixtures("here"), pytest.mark.timeout(300)]
KEYS = {
    "kube_base": {"kube", "images"},
    "kube_scale": {"out_vs_posts", "in_vs_deletes", "calls_per_worker", "client_mib", "seconds"},
    "kube_start": {"vs_pods", "seconds"},
}


# That with a stock operator beside ours takes two minutes even so.
LONG = ("kube_start",)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in LONG else [])
        for name in benchmarked.KUBE
    ],
)
def test_it_runs_to_its_result(name: str) -> None:
    """It finds the Kubernetes by itself, and leaves it up."""
    assert KEYS[name] <= benchmarked.result_of(name).keys()
