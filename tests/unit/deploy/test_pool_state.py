"""The workers of one pool: what is started, retired, replaced and given up, and what is said."""

import pytest

from facility.config import load
from facility.deploy.adaptive import Demand
from facility.deploy.explain import explain, stopped, table
from facility.deploy.pool_state import (
    ABSENT_SECONDS,
    FAILED_STARTS,
    JOIN_SECONDS,
    LOSS_WINDOW,
    LOSSES,
    Plan,
    PoolState,
)
from facility.request.bounds import Bounds
from facility.request.checked_request import Ended, PoolRequest

POOL = {"cpu": 1, "memory": "1Gi", "maxWorkers": 99}
CONFIG = load({"pools": {"cpu": {**POOL, "default": True}, "pairs": {**POOL, "processes": 2}}})


def pool_state(pool: str, minimum: int, maximum: int | None = None) -> PoolState:
    bounds = Bounds(minimum, minimum if maximum is None else maximum)
    return PoolState(PoolRequest(CONFIG.pools[pool], bounds, 2**30))


def start(found: PoolState, now: float = 0.0) -> list[str]:
    plan = found.plan(now)
    return [name for _ in range(plan.start) for name in found.new_group(now)[1]]


def demand(*workers: str, **numbers: float) -> Demand:
    return Demand(workers={worker: {} for worker in workers}, **numbers)  # type: ignore[arg-type]


def killed(name: str) -> Ended:
    return Ended(name, "was killed by SIGKILL", "the last line", orderly=False)


def words(found: PoolState) -> str:
    return str(explain("x", "runs", [found], []))


def test_a_fixed_pool_starts_and_retires():
    found = pool_state("cpu", 2)
    assert start(found) == ["cpu-0", "cpu-1"]
    assert found.plan(0.0) == Plan()
    found.observe(demand("cpu-0", "cpu-1"), 1.0)
    assert found.joined == 2
    found.rescale(Bounds(1, 1))
    assert found.plan(2.0) == Plan(retire=1, idle_only=False)
    found.retiring = 1
    assert found.plan(2.0) == Plan()
    found.lose(Ended("cpu-0", "closed", "", orderly=True), 3.0)
    assert found.plan(3.0) == Plan(), "one that is being retired is not replaced"
    found.rescale(Bounds(2, 2))
    assert found.plan(3.0) == Plan(start=1)


def test_groups():
    found = pool_state("pairs", 4)
    assert start(found) == ["pairs-0-0", "pairs-0-1", "pairs-1-0", "pairs-1-1"]
    found.observe(demand("pairs-0-0", "pairs-0-1", "pairs-1-0"), 1.0)
    assert found.joined == 3
    found.lose(killed("pairs-0-1"), 2.0)
    assert found.plan(2.0) == Plan(), "a group that lost one worker is still there"
    ((group, member),) = found.missing(2.0)
    assert group == "pairs-0"
    assert member in found.groups["pairs-0"].members
    assert not found.missing(2.0)


def test_an_adapting_pool_follows_and_retires_idle_workers_only():
    found = pool_state("cpu", 0, 5)
    assert found.plan(0.0) == Plan()
    found.observe(demand(waiting=3, waiting_s=300.0), 1.0)
    assert found.plan(1.0) == Plan(start=3)
    start(found, 1.0)
    found.observe(demand("cpu-0", "cpu-1", "cpu-2"), 2.0)
    assert found.plan(30.0) == Plan(retire=3, idle_only=True)


def test_a_lost_worker_is_replaced_and_told():
    found = pool_state("cpu", 1)
    start(found)
    found.lose(killed("cpu-0"), 1.0)
    assert found.plan(1.0) == Plan(start=1)
    assert start(found, 1.0) == ["cpu-1"]
    assert "1 worker lost and replaced; the last one, cpu-0, was killed by SIGKILL." in words(found)


def test_a_worker_that_its_scheduler_closed_is_replaced_silently():
    found = pool_state("cpu", 1)
    start(found)
    found.lose(Ended("cpu-0", "closed", "", orderly=True), 1.0)
    assert found.plan(1.0) == Plan(start=1)
    assert "lost" not in words(found)


def test_workers_that_were_asked_to_leave_are_replaced_and_not_lost():
    found = pool_state("pairs", 4)
    first, second, *_ = start(found)
    found.observe(demand(first, second), 1.0)
    assert found.dismiss([first, "cpu-7"]) == [first]
    assert found.dismiss([first]) == [], "told of it again"
    assert found.missing(1.0) == [("pairs-0", "pairs-0-2r")]
    assert found.dismiss([second, "pairs-0-2r"]) == [second, "pairs-0-2r"]
    assert found.plan(1.0) == Plan(start=1)
    assert "lost" not in words(found)


def test_workers_that_had_joined_may_be_lost_more_often():
    found = pool_state("cpu", 1)
    for number in range(LOSSES):
        assert not found.broken
        start(found, float(number))
        found.observe(demand(f"cpu-{number}"), float(number))
        found.lose(killed(f"cpu-{number}"), float(number))
    assert found.broken


def test_too_many_failed_starts_end_the_starting_until_scaled_again():
    found = pool_state("cpu", 1)
    for number in range(FAILED_STARTS):
        assert not found.broken
        start(found, float(number))
        found.lose(killed(f"cpu-{number}"), float(number))
    assert found.plan(10.0) == Plan()
    said = words(found)
    assert "no more workers are started, since 5 workers were lost within 60 s" in said
    assert "c.scale(cpu=...) tries again" in said
    assert "the last line" in said
    found.rescale(Bounds(1, 1))
    assert found.plan(11.0) == Plan(start=1)


def test_losses_far_apart_are_replaced_for_ever():
    found = pool_state("cpu", 1)
    for number in range(3 * FAILED_STARTS):
        now = number * LOSS_WINDOW / 2
        start(found, now)
        found.lose(killed(f"cpu-{number}"), now)
    assert not found.broken


def test_workers_that_never_join_or_stay_away_are_overdue():
    found = pool_state("cpu", 2)
    start(found)
    assert found.observe(demand("cpu-0"), 1.0) == []
    assert found.observe(demand("cpu-0"), JOIN_SECONDS + 1) == ["cpu-1"]
    later = JOIN_SECONDS + 2
    found = pool_state("cpu", 1)
    start(found, later)
    found.observe(demand("cpu-0"), later)
    assert found.observe(demand(), later + 1) == []
    assert found.observe(demand("cpu-0"), later + 2) == []
    assert found.observe(demand(), later + 3) == []
    assert found.observe(demand(), later + 4 + ABSENT_SECONDS) == ["cpu-0"]


def test_the_time_to_join_begins_once_what_is_sent_is_there():
    found = pool_state("cpu", 1)
    (name,) = start(found)
    found.await_anew(1000.0)
    assert found.observe(demand(), 1100.0) == []
    assert found.observe(demand(), 1121.0) == [name]


def test_words():
    found = pool_state("cpu", 0, 4)
    found.observe(demand(waiting=7, processing=2), 0.0)
    assert words(found) == (
        "Dask cluster x runs.\n"
        "  cpu: 0 of 0 workers running (adapts from 0 to 4); 2 tasks run there, 7 wait."
    )
    found.observe(demand(waiting=1, processing=1), 0.0)
    assert str(words(found)).endswith("; 1 task runs there, 1 waits.")
    found.no_room = "all memory is given away"
    found.kept = "cpu-0 holds 1 result"
    assert "cpu: no room for more: all memory is given away." in words(found)
    assert "cpu: cpu-0 holds 1 result." in words(found)


@pytest.mark.parametrize("waiting", [0, 3])
def test_a_pool_without_workers_is_mentioned_when_tasks_wait(waiting):
    found = pool_state("pairs", 0)
    found.observe(demand(waiting=waiting), 0.0)
    assert ("3 tasks wait for pool pairs, which has no workers" in words(found)) == bool(waiting)


def test_table():
    found = pool_state("cpu", 1)
    start(found)
    (row,) = table([found], lambda pool: ())
    assert row["pool"] == "cpu (default)"
    assert row["memory"] == "1Gi"
    assert row["wanted"] == 1
    assert "has not" not in row
    (row,) = table([found], lambda pool: ("/home/jovyan", "/data"))
    assert row["has not"] == "/home/jovyan, /data"


def test_when_nobody_may_wait_for_workers_any_more():
    cpu, pairs, none = pool_state("cpu", 2), pool_state("pairs", 1), pool_state("pairs", 0)
    assert stopped([none]) is None, "it may get some when somebody scales it"
    start(cpu)
    assert stopped([cpu, none]) is None
    cpu.broken = "worker cpu-1 ended with exit code 3"
    assert stopped([cpu, none]) is None, "the other one may join yet"
    for name in ("cpu-0", "cpu-1"):
        cpu.lose(killed(name), 1.0)
    said = stopped([cpu, none])
    assert said
    assert said.startswith("cpu: no more workers are started, since worker cpu-1 ended with exit")
    assert "the last line" in said
    assert stopped([cpu, pairs]) is None, "another pool works"
