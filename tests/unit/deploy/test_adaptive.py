"""Demand of a pool -> target of a pool."""

from facility.deploy.adaptive import Demand, Follower, desired
from facility.request.bounds import DOWN_AFTER, Bounds


def test_nothing_to_do():
    assert desired(Demand(), threads=1) == 0


def test_one_task_is_worth_one_worker_however_short():
    assert desired(Demand(waiting=1, waiting_s=0.001), threads=1) == 1


def test_many_short_tasks_need_few_workers():
    assert desired(Demand(waiting=1000, waiting_s=10.0), threads=1) == 2


def test_many_long_tasks_need_a_worker_each():
    assert desired(Demand(waiting=50, waiting_s=50 * 60.0), threads=1) == 50


def test_threads_count():
    assert desired(Demand(waiting=50, waiting_s=50 * 60.0), threads=4) == 13


def test_a_task_that_runs_long_corrects_the_guess():
    guess = Demand(waiting=20, waiting_s=10.0, processing=1, occupancy_s=0.5)
    assert desired(guess, threads=1) == 3
    known = Demand(waiting=20, waiting_s=10.0, processing=1, occupancy_s=0.5, longest_s=30.0)
    assert desired(known, threads=1) == 21


def test_full_memory_doubles():
    full = Demand(processing=1, occupancy_s=1.0, nbytes=70, memory=100, workers={"a": {}, "b": {}})
    assert desired(full, threads=1) == 4


def test_up_at_once_and_down_when_it_stays_low():
    follower, bounds = Follower(), Bounds(0, 10)
    much = Demand(waiting=100, waiting_s=1000.0)
    assert follower.target(0.0, Demand(), bounds, 1) == 0
    assert follower.target(1.0, much, bounds, 1) == 10
    assert follower.target(2.0, Demand(), bounds, 1) == 10
    assert follower.target(1.0 + DOWN_AFTER, Demand(), bounds, 1) == 10
    assert follower.target(1.1 + DOWN_AFTER, Demand(), bounds, 1) == 0


def test_bounds():
    assert Bounds(2, 5).clip(1) == 2
    assert Bounds(2, 5).clip(9) == 5
    assert str(Bounds(2, 5)) == "2 to 5"
    assert str(Bounds(2, 2)) == "2"
    assert not Bounds(2, 2).adapts
