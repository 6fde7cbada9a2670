"""The arguments of cluster(), scale() and adapt(): what is granted and what is refused."""

import math

import numpy as np
import pytest

from facility.config import load
from facility.errors import RequestError
from facility.request.bounds import Bounds
from facility.request.call_words import understand
from facility.request.checked_request import Limit, rescaled
from facility.request.checked_request import request as checked

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


def ask(n=None, *more, **arguments):
    known = {"memory", "wait", "timeout", "idle_timeout", "untagged", "name"}
    words = {key: value for key, value in arguments.items() if key not in known}
    others = {key: value for key, value in arguments.items() if key in known}
    spoken = understand("cluster", CONFIG, (n, *more), words)
    return checked(CONFIG, LIMITS, spoken.asked, spoken.problems, **others)


def refused(*numbers, **arguments) -> str:
    with pytest.raises(RequestError) as caught:
        ask(*numbers, **arguments)
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
    assert ask(2.0, pairs=1e0).pools["cpu"].bounds == Bounds(2, 2)


@pytest.mark.parametrize("end", [math.inf, np.inf, np.float32(math.inf), None])
def test_an_open_end_is_all_there_is(end):
    asked = ask(cpu=(1, end), pairs=(None, 2))
    assert (asked.pools["cpu"].bounds, asked.pools["pairs"].bounds) == (Bounds(1, 8), Bounds(0, 2))
    assert not asked.notes


def test_a_minimum_beyond_what_there_is_speaks_of_no_maximum():
    asked = ask(cpu=(50, math.inf))
    assert asked.pools["cpu"].bounds == Bounds(8, 8)
    assert asked.notes == (
        "pool cpu gets at most 8 workers instead of 50: " + LIMITS["cpu"].reason,
    )
    message = refused(cpu=(500, None))
    assert message.endswith("cpu=(500, None): pool cpu allows at most 200 workers")


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
        ({"cpu": (math.inf, math.inf)}, "counted in whole numbers"),
        ({"cpu": math.inf}, "cpu=inf: a number is finite; (0, math.inf) adapts up to all there is"),
        ({"cpu": None}, "counted in whole numbers"),
        ({"cpu": (1, 2, 3)}, "a number of workers or a pair (minimum, maximum)"),
        ({"n": 4, "cpu": (0, 10)}, "cluster(4) and cpu=(0, 10): each is for the default pool, cpu"),
        ({"gpu": (0, None)}, "gpu=(0, None): pool gpu needs 1 GPU a worker"),
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
    bounds, notes = rescaled(CONFIG, LIMITS, (3,), {"pairs": 1}, call="scale")
    assert bounds == {"cpu": Bounds(3, 3), "pairs": Bounds(2, 2)}
    assert len(notes) == 1
    with pytest.raises(RequestError, match=r"give a number or pools, as in c\.scale\(cpu=2\)"):
        rescaled(CONFIG, LIMITS, (None,), {}, call="scale")
    with pytest.raises(RequestError, match="scale fixes a number; use adapt for a range"):
        rescaled(CONFIG, LIMITS, (None,), {"cpu": (0, 2)}, call="scale")
    for ends in ((None, None), (0, math.inf), (0, 8), ((0, 8), None)):
        assert rescaled(CONFIG, LIMITS, ends, {}, call="adapt") == ({"cpu": Bounds(0, 8)}, [])
    bounds, notes = rescaled(CONFIG, LIMITS, (50, None), {}, call="adapt")
    assert bounds == {"cpu": Bounds(8, 8)}
    assert notes == ["pool cpu gets at most 8 workers instead of 50: " + LIMITS["cpu"].reason]
    with pytest.raises(RequestError, match=r"^adapt cannot be granted: minimum=-1: a number of"):
        rescaled(CONFIG, LIMITS, (-1, None), {}, call="adapt")
