"""The arguments of cluster(), scale() and adapt(): what is granted and what is refused."""

import numpy as np
import pytest

from facility.adaptive import Bounds
from facility.config import load
from facility.errors import RequestError
from facility.request import Limit, rescaled
from facility.request import request as checked

CONFIG = load(
    {
        "pools": {
            "cpu": {
                "cpu": 1,
                "memory": "4Gi",
                "memoryMax": "8Gi",
                "maxWorkers": 200,
                "default": True,
            },
            "gpu": {"cpu": 4, "memory": "16Gi", "gpus": 1, "maxWorkers": 4, "scarce": True},
            "pairs": {"cpu": 1, "memory": "1Gi", "maxWorkers": 9, "processes": 2},
        }
    }
)
LIMITS = {
    "cpu": Limit(8, "this machine has 8 cores, and a worker takes 1"),
    "gpu": Limit(0, "pool gpu needs 1 GPU a worker and this machine has no GPU"),
    "pairs": Limit(100, "roomy"),
}


def ask(n=None, **arguments):
    known = {"memory", "wait", "timeout", "idle_timeout", "untagged", "name"}
    pools = {key: value for key, value in arguments.items() if key not in known}
    others = {key: value for key, value in arguments.items() if key in known}
    return checked(CONFIG, LIMITS, n, pools=pools, **others)


def refused(n=None, **arguments) -> str:
    with pytest.raises(RequestError) as caught:
        ask(n, **arguments)
    return str(caught.value)


def test_no_number_is_all_that_the_pool_and_the_machine_allow():
    asked = ask()
    assert asked.pools["cpu"].bounds == Bounds(0, 8)
    assert asked.pools["gpu"].bounds == Bounds(0, 0)
    assert asked.wait == 0


def test_numbers_and_ranges():
    asked = ask(3, pairs=(0, 4))
    assert asked.pools["cpu"].bounds == Bounds(3, 3)
    assert not asked.pools["cpu"].bounds.adapts
    assert asked.pools["pairs"].bounds == Bounds(0, 4)
    assert asked.wait == 1
    assert not asked.notes
    assert ask(np.int64(2)).pools["cpu"].bounds == Bounds(2, 2)
    assert ask(cpu=[1, 2]).pools["cpu"].bounds == Bounds(1, 2)


def test_the_machine_grants_less_and_says_so():
    asked = ask(cpu=(0, 200))
    assert asked.pools["cpu"].bounds == Bounds(0, 8)
    (note,) = asked.notes
    assert note.startswith("pool cpu gets at most 8 workers instead of 200: this machine has 8")


def test_groups_are_rounded_up_but_not_beyond_the_pool():
    asked = ask(pairs=3)
    assert asked.pools["pairs"].bounds == Bounds(4, 4)
    assert "groups of 2: 4 instead of 3" in asked.notes[0]
    assert ask(pairs=9).pools["pairs"].bounds == Bounds(8, 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cpv": 2}, "there is no pool 'cpv' (did you mean 'cpu'?); there are cpu, gpu, pairs"),
        ({"cpu": -1}, "cpu=-1: a number of workers cannot be negative"),
        ({"cpu": (-2, 3)}, "cannot be negative"),
        ({"cpu": 201}, "cpu=201: pool cpu allows at most 200 workers"),
        ({"cpu": 10**30}, "allows at most 200 workers"),
        ({"cpu": (5, 2)}, "the minimum is above the maximum; did you mean (2, 5)?"),
        ({"cpu": 1.5}, "counted in whole numbers"),
        ({"cpu": True}, "counted in whole numbers"),
        ({"cpu": "4"}, "counted in whole numbers"),
        ({"cpu": (1, float("inf"))}, "counted in whole numbers"),
        ({"cpu": (1, 2, 3)}, "a number of workers or a pair (minimum, maximum)"),
        ({"n": 4, "cpu": (0, 10)}, "both 4 and cpu=(0, 10): a number without a name"),
        ({"gpu": 1}, "gpu=1: pool gpu needs 1 GPU a worker and this machine has no GPU"),
        ({"cpu": 1, "memory": {"cpu": "9Gi"}}, "memory of cpu='9Gi': pool cpu allows at most 8Gi"),
        ({"cpu": 1, "memory": {"cpu": "lots"}}, "memory of cpu: "),
        ({"cpu": 1, "memory": {"cpv": "1Gi"}}, "there is no pool 'cpv'"),
        ({"cpu": 1, "memory": "1Gi"}, "memory='1Gi': name the pool, as in memory={'cpu': '8Gi'}"),
        ({"cpu": 2, "wait": 3}, "wait=3: only 2 workers start by themselves"),
        ({"cpu": 2, "wait": -1}, "wait=-1: give a number of workers, or a fraction"),
        ({"cpu": 2, "wait": 1.5}, "wait=1.5: give a number"),
        ({"timeout": "soon"}, "timeout='soon': give seconds, or a text such as"),
        ({"timeout": -5}, "a time cannot be negative"),
        ({"idle_timeout": []}, "idle_timeout=[]: give seconds"),
        ({"untagged": ["cpv"]}, "there is no pool 'cpv'"),
        ({"name": "My Cluster"}, "name='My Cluster': use up to 40 lower-case letters"),
        ({"name": "a" * 41}, "use up to 40 lower-case letters"),
    ],
)
def test_what_is_refused(arguments, words):
    assert words in refused(**arguments)


def test_all_mistakes_at_once():
    message = refused(cpu=-1, cpv=2, memory={"gpu": "99Gi"}, wait="all", name="?")
    assert message.startswith("This Dask cluster cannot be started:\n  - ")
    assert message.count("\n  - ") == 5


def test_waiting():
    assert ask(4, wait=0.5).wait == 2
    assert ask(4, wait=1.0).wait == 4
    assert ask(4, wait=0).wait == 0
    assert ask(cpu=(1, 4)).wait == 1
    assert ask(cpu=(0, 4), wait=0.5).wait == 0


def test_times_and_names():
    asked = ask(1, timeout="2 min", idle_timeout="1h", name="my-run", untagged="pairs")
    assert (asked.timeout, asked.idle_timeout, asked.name) == (120.0, 3600.0, "my-run")
    assert asked.untagged == ("pairs",)


def test_memory_within_the_pools_maximum():
    assert ask(1, memory={"cpu": "8Gi"}).pools["cpu"].memory == 8 * 2**30
    assert ask(1).pools["cpu"].memory == 4 * 2**30


def test_scale_and_adapt():
    bounds, notes = rescaled(CONFIG, LIMITS, 3, {"pairs": 1}, call="scale")
    assert bounds == {"cpu": Bounds(3, 3), "pairs": Bounds(2, 2)}
    assert len(notes) == 1
    with pytest.raises(RequestError, match=r"name a number or pools, as in scale\(cpu=2\)"):
        rescaled(CONFIG, LIMITS, None, {}, call="scale")
    with pytest.raises(RequestError, match="scale fixes a number; use adapt for a range"):
        rescaled(CONFIG, LIMITS, None, {"cpu": (0, 2)}, call="scale")
