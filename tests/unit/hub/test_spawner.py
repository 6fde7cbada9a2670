"""Parts of the benchmark of the hub that need no Kubernetes."""

import datetime
import json

import pytest
from traitlets.config import Config

from benchmarks import _hubs, hub_spawn
from benchmarks._events import TOLD, event, steps
from benchmarks._hubs import Batch, Start

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)
BATCHES = [(0, 50), (50, 100)]


def test_events_are_made_and_removed_in_batches() -> None:
    assert steps(BATCHES, 0, 100) == [(0, (0, 50)), (1, (50, 100))]
    assert steps(BATCHES, 100, 50) == [(1, (50, 100))]
    assert steps(BATCHES, 100, 0) == [(1, (50, 100)), (0, (0, 50))]
    assert steps(BATCHES, 50, 50) == []


def test_each_pod_of_a_worker_leaves_its_events() -> None:
    made = [event("space", number, "0", NOW) for number in range(2 * len(TOLD))]
    assert len({each["metadata"]["name"] for each in made}) == len(made)
    assert len({each["involvedObject"]["name"] for each in made}) == 2
    assert [each["reason"] for each in made[: len(TOLD)]] == [reason for reason, *_ in TOLD]
    for each in made:
        # KubeSpawner sorts by either, and every event has one of them.
        assert (each["lastTimestamp"] or each["eventTime"]).startswith("2026-01-02T03:04:05")
        assert each["involvedObject"]["namespace"] == each["metadata"]["namespace"] == "space"
    # As large as those of a real worker: 500 to 1000 bytes.
    assert 500 < len(json.dumps(made[1])) < 1000


def test_a_batch_counts_what_failed() -> None:
    starts = (Start(3.0, None), Start(9.0, "no"), Start(2.0, None))
    batch = Batch(starts, cpu=1, pod_cpu=2, mib=3)
    assert batch.failed == 1
    assert batch.ready == [2.0, 3.0]


def test_both_hubs_know_the_service_and_the_kinds_of_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POD_IP", "192.0.2.1")
    stock, chart = Config(), Config()
    exec(_hubs.STOCK.format(prefix="a-", image="b"), {"c": stock})
    chart.JupyterHub.services, chart.JupyterHub.load_roles = [{"name": "keeper"}], []
    for c in (stock, chart):
        exec(_hubs.common("secret"), {"c": c})
        assert [each["slug"] for each in c.KubeSpawner.profile_list] == ["whole", "tiny"]
    assert stock.JupyterHub.services.get_value([]) == [{"name": "benchmark", "api_token": "secret"}]
    assert [each["name"] for each in chart.JupyterHub.services] == ["keeper", "benchmark"]
    assert stock.KubeSpawner.user_namespace_template == "a-{username}"


def test_no_events_are_measured_before_and_after_many() -> None:
    assert hub_spawn.plan([5, 0, 9], 3) == [0, 0, 5, 5, 5, 9, 9, 9, 0]
    assert hub_spawn.plan([0, 5], 1) == [0, 5]


def test_numbers_of_events_are_short() -> None:
    assert [hub_spawn.label(each) for each in (0, 50, 50_000, 100_000)] == [
        *("0", "50", "50k", "100k")
    ]
