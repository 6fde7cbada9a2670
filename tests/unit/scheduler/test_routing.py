"""Which pools run tasks without a tag."""

import pytest

from facility.scheduler.routing import Route, tagged_pool, untagged_pools

CPU = Route("cpu", default=True, architecture="amd64", maximum=4)
FAT = Route("fat", architecture="amd64", maximum=4)
ARM = Route("arm", architecture="arm64", maximum=4)
GPU = Route("gpu", scarce=True, architecture="amd64", maximum=1)
BIG = Route("big", scarce=True, architecture="arm64", maximum=1)


def without(route: Route) -> Route:
    return Route(route.name, route.default, route.scarce, route.architecture, 0)


@pytest.mark.parametrize(
    ("routes", "chosen", "expected"),
    [
        ([CPU, FAT, ARM, GPU], None, {"cpu"}),
        ([without(CPU), FAT, ARM, GPU], None, {"fat"}),
        ([without(CPU), ARM, FAT, GPU], None, {"arm"}),
        ([without(CPU), GPU, BIG], None, {"gpu"}),
        ([without(CPU), GPU], None, {"gpu"}),
        ([CPU, FAT, ARM, GPU], ["cpu", "arm"], {"cpu", "arm"}),
        ([without(CPU)], None, set()),
    ],
)
def test_untagged(routes, chosen, expected):
    assert untagged_pools(routes, chosen) == expected


def test_tags():
    assert tagged_pool({"GPU": 1, "pool-gpu": 1}) == "gpu"
    assert tagged_pool({"GPU": 1}) is None
    assert tagged_pool(None) is None
