"""The words that users of Dask's other classes bring along: done, or answered."""

import pytest

from facility.config import load
from facility.config.builtin import builtin
from facility.request.call_words import AskedWorkers, understand
from facility.request.dask_words import no_method, no_pool
from facility.system.machine import Machine

POOL = {"cpu": 2, "memory": "4Gi", "memoryMax": "8Gi", "maxWorkers": 200}
CONFIG = load({"pools": {"cpu": {**POOL, "default": True}, "big": POOL}})
MACHINE = Machine(2, 2**33, (), "amd64")


@pytest.mark.parametrize(
    ("call", "numbers", "words", "count"),
    [
        ("cluster", (3,), {}, 3),
        ("cluster", (None,), {"n_workers": 3}, 3),
        ("cluster", (None,), {"minimum": 1, "maximum": 5}, (1, 5)),
        ("cluster", (None,), {"maximum": 5}, (None, 5)),
        ("cluster", (2,), {"processes": True, "threads_per_worker": 2, "memory_limit": "auto"}, 2),
        ("cluster", (2,), {"dashboard_address": None, "security": None}, 2),
        ("scale", (3,), {}, 3),
        ("scale", (None,), {"n_workers": 3}, 3),
        ("adapt", (0, 2), {}, (0, 2)),
        ("adapt", ((0, 2), None), {}, (0, 2)),
        ("adapt", (None, 7), {"target_duration": None}, (None, 7)),
    ],
)
def test_what_can_be_meant_is_done(call, numbers, words, count):
    found = understand(call, CONFIG, numbers, words)
    assert found.problems == []
    assert [(name, asked.count) for name, asked in found.asked.items()] == [("cpu", count)]


@pytest.mark.parametrize(
    ("call", "words", "answer"),
    [
        (
            "cluster",
            {"threads_per_worker": 4},
            "threads_per_worker=4: what a worker has is its poo",
        ),
        ("cluster", {"cores": 8}, "facility.pools() shows: in pool cpu 2 cores and 2 threads"),
        ("cluster", {"memory_limit": "2GB"}, "memory={'cpu': '2G'} sets the memory of a worker"),
        ("cluster", {"memory_limit": 0.5}, "memory={'cpu': '4Gi'} sets the memory of a worker"),
        ("cluster", {"memory_limit": "lots"}, "of pool cpu, up to 8Gi"),
        ("cluster", {"jobs": 3}, "workers are counted, as in cluster(3); there are no batch jobs"),
        ("cluster", {"processes": False}, "what a worker has is its pool's"),
        ("cluster", {"dashboard_address": ":8787"}, "the dashboard is always on"),
        (
            "cluster",
            {"walltime": "02:00:00", "queue": "long"},
            "walltime='02:00:00', queue='long': ",
        ),
        ("cluster", {"image": "me/mine:1"}, "workers have the software of this notebook"),
        ("cluster", {"security": object()}, "every connection is encrypted"),
        ("cluster", {"tiemout": 5}, "there is no pool 'tiemout' (did you mean 'timeout'?)"),
        ("cluster", {"n_worker": 5}, "cluster has no such argument (did you mean 'n_workers'?)"),
        ("cluster", {"spam": "eggs"}, "no such argument; it has n, config, "),
        ("scale", {"cores": 3}, "as in c.scale(2); a worker of pool cpu has 2 cores"),
        ("scale", {"memory": "17GiB"}, "as in c.scale(5); a worker of pool cpu has 4Gi of memory"),
        ("scale", {"memory": "lots"}, "as in c.scale(2); a worker of pool cpu has 4Gi of memory"),
        ("scale", {"jobs": 4}, "as in c.scale(4); there are no batch jobs"),
        ("scale", {"worker_group": "big"}, "a pool is asked for by its name, as in c.scale(big=2)"),
        ("scale", {"minimum": 4}, "c.adapt(minimum, maximum) adapts between two"),
        (
            "adapt",
            {"minimum_cores": 7},
            "as in c.adapt(minimum=4); a worker of pool cpu has 2 core",
        ),
        (
            "adapt",
            {"maximum_cores": 7},
            "as in c.adapt(maximum=3); a worker of pool cpu has 2 core",
        ),
        ("adapt", {"maximum_memory": "20GiB"}, "as in c.adapt(maximum=5)"),
        ("adapt", {"maximum_jobs": 2}, "as in c.adapt(maximum=2); there are no batch jobs"),
        ("adapt", {"interval": "1s", "wait_count": 3}, "interval='1s', wait_count=3: a pool grows"),
        ("adapt", {"target_duration": "60s"}, "until what waits for it takes about 5 s"),
        ("adapt", {"Adaptive": type}, "the scheduler decides which workers leave"),
        ("adapt", {"active": False}, "until c.scale(cpu=...) fixes its number"),
        ("adapt", {"n": 3}, "c.adapt(0, 3) adapts up to it, and c.scale(3) fixes it"),
    ],
)
def test_the_rest_is_answered_with_what_there_is_here(call, words, answer):
    found = understand(call, CONFIG, (None, None) if call == "adapt" else (None,), words)
    assert found.asked == {}
    (problem,) = found.problems
    assert answer in problem


@pytest.mark.parametrize(
    ("call", "numbers", "answer"),
    [
        ("cluster", (0, 2), "cluster(0, 2): give one number, or a pair to adapt between"),
        ("cluster", ("big",), "cluster('big'): workers are a number, a pool has a name"),
        ("adapt", ("big", None), "adapt('big'): workers are a number, a pool has a name"),
        (
            "scale",
            (2, "big"),
            "scale(2, 'big'): workers are a number, a pool has a name, as in c.s",
        ),
        ("scale", (2, 3), "scale(2, 3): give one number; that of another pool has its name"),
        ("adapt", (0, 2, 3), "adapt(0, 2, 3): give two numbers; those of another pool have its"),
    ],
)
def test_numbers_that_are_none_or_too_many(call, numbers, answer):
    (problem,) = understand(call, CONFIG, numbers, {}).problems
    assert problem.startswith(answer)


def test_several_mistakes_are_told_together():
    words = {"threads_per_worker": 4, "memory_limit": "2GB", "big": 1, "security": True}
    found = understand("cluster", CONFIG, (4,), {**words, "n_workers": 3, "cpu": 2})
    assert found.asked["big"] == AskedWorkers(1, "big=1")
    first, *others = found.problems
    assert first.startswith("cluster(4) and n_workers=3 and cpu=2: each is for the default pool")
    assert len(others) == 3


def test_the_name_of_a_pool_stands_above_a_word():
    config = load({"pools": {"image": {**POOL, "default": True}, "jobs": POOL}})
    found = understand("cluster", config, (None,), {"image": 2, "jobs": 1})
    assert {name: asked.count for name, asked in found.asked.items()} == {"image": 2, "jobs": 1}


def pools(**more):
    return load({"pools": {"cpu": {**POOL, "default": True}, **more}})


@pytest.mark.parametrize(
    ("config", "name", "said"),
    [
        (pools(), "cup", "there is no pool 'cup' (did you mean 'cpu'?); there is only cpu ("),
        (pools(), "gpu", "there is no pool 'gpu', and none with GPUs; there is only cpu ("),
        (
            builtin(MACHINE),
            "gpus",
            "no pool 'gpus', since no GPU is seen on this machine; there is",
        ),
        (
            pools(a100={**POOL, "gpus": 1}),
            "gpu",
            "no pool 'gpu'; with GPUs there is a100; there ar",
        ),
        (pools(gpu={**POOL, "gpus": 1}), "gpuu", "no pool 'gpuu' (did you mean 'gpu'?); there are"),
        (pools(a1=POOL), "a2", "there is no pool 'a2'; there are cpu, a1"),
        (pools(), "tpu", "there is no pool 'tpu'; there is only cpu ("),
        (
            pools(far={**POOL, "architecture": "arm64"}),
            "arm",
            "with arm64 there is far; there are ",
        ),
        (pools(ram=POOL), "arm", "there is no pool 'arm', and none with arm64; there are cpu, ram"),
        (pools(), ["cpu"], "['cpu'] is not the name of a pool; there is only cpu"),
    ],
)
def test_a_pool_that_there_is_not(config, name, said):
    assert said in no_pool(name, config)


def test_methods_of_other_classes():
    assert no_method("shutdown") == "a Dask cluster here has no 'shutdown'; c.close() ends it"
    assert no_method("spam") == "a Dask cluster here has no 'spam'"


def test_every_argument_of_dasks_classes_is_answered_as_such():
    """None of what users may bring along is taken for a pool, whatever its value."""
    import inspect

    from dask_kubernetes.operator import KubeCluster
    from distributed import Adaptive, LocalCluster

    for call, classes in (("cluster", (LocalCluster, KubeCluster)), ("adapt", (Adaptive,))):
        for each in classes:
            words = set(inspect.signature(each.__init__).parameters) - {"self", "kwargs", "cluster"}
            own = {"name", "n_workers", "asynchronous", "idle_timeout", "minimum", "maximum"}
            for word in words - own - {"worker_kwargs"}:
                numbers = (None,) if call == "cluster" else (None, None)
                (problem,) = understand(call, CONFIG, numbers, {word: 12345}).problems
                assert problem.startswith(f"{word}=12345: "), problem
                assert "no such argument" not in problem
