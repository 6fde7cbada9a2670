"""What became of every index, from what Kubernetes says of Jobs and pods."""

import json
from pathlib import Path
from typing import Any

import pytest

from facility.batch.accounts import account, indices
from facility.batch.burst_pods import (
    FAILURES,
    IGNORED,
    INDEX,
    JOB_NAME,
    Ending,
    PodLedger,
    ending_of,
)
from facility.batch.burst_run import BurstRun
from facility.batch.bursts import burst, jobs
from facility.errors import KubernetesError, RequestError
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import JOB, POD
from facility.system.tls import trusting
from tests.api_server import Objects, serving

TEMPLATE = Path(__file__).resolve().parents[2] / "data/batch/template.yaml"
WANTED = burst(TEMPLATE, "batch", count=6, name="mc23", cores=2.0)
HOUR = 3600
NOW = 1_790_000_000.0 + 2 * HOUR


def at(hours: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(NOW + hours * HOUR, UTC).isoformat().replace("+00:00", "Z")


def pod(uid: str, index: int, phase: str, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    notes = {INDEX: str(index), **more.get("notes", {})}
    return {
        "metadata": {
            "uid": uid, "name": uid, "namespace": "batch", "annotations": notes,
            "labels": {JOB_NAME: "mc23-000", "facility/burst": "mc23"}, **more.get("metadata", {}),
        },
        "spec": WANTED.template["spec"],
        "status": {
            "phase": phase,
            "conditions": more.get("conditions", []),
            "containerStatuses": [{"state": state}] if state else [],
            **more.get("status", {}),
        },
    }  # fmt: skip


def ended(code: int, hours: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "startedAt": at(-hours), "finishedAt": at(0), **more}}


def disrupted(reason: str) -> list[dict[str, str]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason}]


def job(**status: Any) -> dict[str, Any]:
    return {**jobs(WANTED)[0], "status": status}


PREEMPTED = pod("b", 1, "Failed", ended(143, 0.5), conditions=disrupted("PreemptionByScheduler"))
PODS = [
    pod("a", 0, "Succeeded", ended(0)),
    PREEMPTED,
    pod("c", 1, "Succeeded", ended(0), notes={IGNORED: "1"}),
    pod("d", 2, "Failed", ended(1)),
    pod("e", 2, "Failed", ended(137, reason="OOMKilled"), notes={FAILURES: "1"}),
    pod("f", 3, "Running", {"running": {"startedAt": at(-0.25)}}),
    pod("g", 4, "Pending", {}),
]


def test_the_account_of_every_index() -> None:
    ledger = PodLedger()
    ledger.see(PODS, NOW)
    found = account("mc23", jobs(WANTED), [job(completedIndexes="0-1", failedIndexes="2")], ledger)
    assert [(r.index, r.state, r.tries, r.setbacks) for r in found.indices] == [
        (0, "done", 1, ()),
        (1, "done", 2, ("[preempted]",)),
        (2, "failed", 2, ("exit code 1", "out of memory")),
        (3, "runs", 1, ()),
        (4, "waits", 0 + 1, ()),
        (5, "waits", 0, ()),
    ]
    # Two cores each: 1 + 0.5 + 1 + 1 + 1 + 0.25 hours.
    assert found.core_hours == pytest.approx(9.5)
    assert found.summary() == (
        "2 of 6 indices done, 1 failed, 1 runs, 2 waits, 2 indices tried again, 9.50 core-hours"
    )
    assert not found.over
    told = json.loads(found.to_json())
    assert (told["done"], told["failed"], told["not_reached"], told["retried"]) == (2, 1, 0, 2)
    assert "out of memory" in str(found.failures)
    assert [row[0] for row in found.reasons.rows] == ["[preempted]", "exit code 1", "out of memory"]


def test_a_job_that_was_ended_leaves_indices_not_reached() -> None:
    ended_early = job(
        completedIndexes="0",
        conditions=[{"type": "Failed", "status": "True", "reason": "DeadlineExceeded",
                     "message": "too long"}],
    )  # fmt: skip
    found = account("mc23", jobs(WANTED), [ended_early], PodLedger())
    assert found.over
    assert found.count("not reached") == 5
    assert found.problems == ("mc23-000: DeadlineExceeded: too long",)


def test_failed_indices_are_no_problem_of_the_job() -> None:
    conditions = [{"type": "Failed", "status": "True", "reason": "FailedIndexes"}]
    body = job(completedIndexes="0-4", failedIndexes="5", conditions=conditions)
    found = account("mc23", jobs(WANTED), [body], PodLedger())
    assert (found.over, found.problems, found.count("failed")) == (True, (), 1)


def test_a_job_that_is_gone() -> None:
    ledger = PodLedger()
    ledger.see(PODS[:1], NOW)
    ledger.see([], NOW + 60)
    found = account("mc23", jobs(WANTED), [], ledger)
    assert found.over
    assert (found.count("done"), found.count("not reached")) == (1, 5)
    assert found.problems == ("mc23-000: it is gone: somebody has deleted it",)


def test_a_pod_that_is_gone_before_its_end_was_deleted() -> None:
    ledger = PodLedger()
    ledger.see([PODS[5]], NOW)
    ledger.see([], NOW + 900)
    [record] = ledger.pods.values()
    assert record.ending == Ending("pod deleted", False)
    assert record.core_seconds == pytest.approx(2 * 0.5 * HOUR)


def test_pods_that_nobody_has_seen_count_as_tries() -> None:
    """Whoever looks for the first time finds what was before in the pod's annotations."""
    ledger = PodLedger()
    ledger.see([pod("z", 3, "Running", {}, notes={FAILURES: "1", IGNORED: "2"})], NOW)
    found = account("mc23", jobs(WANTED), [job()], ledger)
    assert found.indices[3].tries == 4


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        (PREEMPTED, Ending("preempted", True)),
        (pod("x", 0, "Failed", {}, conditions=disrupted("DeletionByPodGC")),
         Ending("its node is gone", True)),
        (pod("x", 0, "Failed", {}, conditions=disrupted("Other")), Ending("Other", True)),
        (pod("x", 0, "Failed", ended(3)), Ending("exit code 3", False)),
        (pod("x", 0, "Failed", ended(143), metadata={"deletionTimestamp": at(0)}),
         Ending("pod deleted", False)),
        (pod("x", 0, "Failed", {}, status={"reason": "Evicted", "message": "too much disk"}),
         Ending("Evicted: too much disk", False)),
        (pod("x", 0, "Failed", {}), Ending("Kubernetes has told no reason", False)),
    ],
)  # fmt: skip
def test_whose_fault_an_end_was(body: dict[str, Any], ending: Ending) -> None:
    assert ending_of(body) == ending


def test_lists_of_indices() -> None:
    assert indices("") == set()
    assert indices("0,3-5,9") == {0, 3, 4, 5, 9}


def api(objects: Objects) -> Api:
    return Api(Account(objects.url, "batch", trusting()))


async def test_a_burst_is_begun_and_followed() -> None:
    conditions = [{"type": "Failed", "status": "True", "reason": "FailedIndexes"}]
    async with serving(Objects()) as objects:
        run = BurstRun(api(objects), WANTED)
        try:
            await run.begin()
            [(method, path, body)] = objects.asked
            assert (method, path) == ("POST", "/apis/batch/v1/namespaces/batch/jobs")
            assert body == jobs(WANTED)[0]
            # What the job controller makes of it.
            objects.lists.clear()
            status = {"completedIndexes": "0-1,3-5", "failedIndexes": "2", "conditions": conditions}
            objects.objects = [(JOB, job(**status)), *((POD, each) for each in PODS)]
            found = await run.follow(progress=False)
            assert (found.count("done"), found.count("failed"), found.over) == (5, 1, True)
            assert found.core_hours > 9
            with pytest.raises(RequestError, match="there is one of that name in batch"):
                await run.begin()
        finally:
            await run.api.aclose()


async def test_a_burst_begins_whole_or_not_at_all() -> None:
    many = burst(TEMPLATE, "batch", count=2_500, name="mc23")
    async with serving(Objects()) as objects:
        calls: list[str] = []

        def refuse(method: str, path: str) -> int | None:
            calls.append(method)
            return 403 if method == "POST" and calls.count("POST") == 3 else None

        objects.refuses = refuse
        run = BurstRun(api(objects), many)
        try:
            with pytest.raises(KubernetesError):
                await run.begin()
        finally:
            await run.api.aclose()
        deleted = [
            path.rpartition("/")[2] for method, path, _ in objects.asked if method == "DELETE"
        ]
        assert deleted == ["mc23-000", "mc23-001"]
