"""The plan of a trial, its Jobs, and what is reckoned of what was seen. It runs in tests/kube."""

import signal
import ssl
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from facility import cli
from facility.errors import FacilityError, KubernetesError, RequestError
from facility.kubernetes.client import kinds
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.site.acceptance.manifests import LABEL, NAME, job
from facility.site.acceptance.outcomes import by_fault, outcomes
from facility.site.acceptance.page import Verdict, chart
from facility.site.acceptance.plan import ENDS, End, Fault, PlannedJob, plan, sizes
from facility.site.acceptance.trial import Seen, Settings, Trial, counts
from facility.site.acceptance.usage import Sample, ServerCost, cores_of, server_cost, usage
from tests.api_server import Objects, serving

MIX = {1.0: 3, 8.0: 1}
PLAN = plan("t", 40, MIX, 5, 2, seed=7)
IMAGE = "registry.example:5000/hub:1.0"


# The plan.


def test_a_seed_gives_the_same_plan_again() -> None:
    assert plan("t", 40, MIX, 5, 2, seed=7) == PLAN
    assert plan("t", 40, MIX, 5, 2, seed=8) != PLAN
    assert len({each.name for each in PLAN}) == 40
    assert Counter(each.cores for each in PLAN) == {1.0: 30, 8.0: 10}
    faults = Counter(each.fault for each in PLAN)
    assert faults == {fault: 32 if fault is Fault.NONE else 2 for fault in Fault}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_there_are_as_many_jobs_as_asked_for(count: int) -> None:
    assert len(plan("t", count, MIX, 5, 0, seed=1)) == count


def test_mistakes_in_a_plan_are_told_together() -> None:
    with pytest.raises(RequestError) as told:
        sizes(["1:3", "1:2", "x:1", "2:0", "4:1.5"])
    assert [text.partition(":")[0].strip("'") for text in told.value.problems] == [
        "1",
        "x",
        "2",
        "4",
    ]
    assert sizes(["1:3", "500m"]) == {1.0: 3, 0.5: 1}
    with pytest.raises(RequestError, match="12 of 10 jobs; ask for at most 2 with --faults"):
        plan("t", 10, MIX, 5, 3, seed=1)


# Jobs.


@pytest.mark.parametrize("fault", Fault)
def test_each_job_is_one_that_kubernetes_takes(fault: Fault) -> None:
    found = job(PlannedJob("t-1", 8, 5, fault), "t", IMAGE, "batch", busy=True)
    kubernetes_validate.validate(found, "1.30", strict=True)
    spec = found["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["resources"]["requests"]["cpu"] == "8"
    assert spec["priorityClassName"] == "batch"
    absent = "registry.example:5000/hub:there-is-no-such-tag"
    assert container["image"] == (absent if fault is Fault.IMAGE else IMAGE)
    assert ("activeDeadlineSeconds" in spec) == (fault is Fault.IMAGE)


def command(fault: Fault, seconds: float, *, busy: bool = False) -> list[str]:
    (container,) = job(PlannedJob("t-1", 2, seconds, fault), "t", IMAGE, busy=busy)["spec"][
        "template"
    ]["spec"]["containers"]
    return [sys.executable, *container["command"][1:]]


@pytest.mark.parametrize("busy", [False, True])
def test_what_a_job_runs_ends_as_planned(busy: bool) -> None:
    for fault, code in ((Fault.NONE, 0), (Fault.EXIT, 1)):
        done = subprocess.run(command(fault, 0.2, busy=busy), check=False, timeout=60)
        assert done.returncode == code


def test_a_deleted_pods_end_is_told_apart_from_the_payloads_own() -> None:
    words = command(Fault.DELETED, 600)
    # It says when it listens to signals.
    words[-1] = words[-1].replace("ends =", "print('ready', flush=True)\nends =")
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    process.stdout.close()


# Outcomes.


def found_job(name: str, end: End | None, succeeded: int = 0) -> dict[str, Any]:
    kind = "Complete" if end is End.DONE else "Failed"
    condition = {"type": kind, "status": "True", "message": f"it is {end}"}
    conditions = [] if end is None else [condition]
    return {
        "metadata": {"name": name},
        "status": {"conditions": conditions, "succeeded": succeeded},
    }


def pod(name: str, phase: str, node: str = "n1", cpu: str = "1", run: str = "t") -> dict[str, Any]:
    return {
        "metadata": {"labels": {NAME: name, LABEL: run}},
        "spec": {
            "nodeName": node,
            "containers": [{"resources": {"requests": {"cpu": cpu}}}],
        },
        "status": {"phase": phase},
    }


def as_planned() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    jobs, pods = [], {}
    for each in PLAN:
        done = each.end is End.DONE
        jobs.append(found_job(each.name, each.end, int(done)))
        pods[each.name] = pod(each.name, "Succeeded" if done else "Failed")
        if each.fault is Fault.DELETED:
            pods[f"{each.name}-first"] = pod(each.name, "Failed")
    return jobs, pods


def test_jobs_that_end_as_planned_are_right() -> None:
    found = outcomes(PLAN, *as_planned())
    assert all(each.right for each in found)
    counted = by_fault(found)
    assert (counted[Fault.DELETED]["jobs"], counted[Fault.DELETED]["right"]) == (2, 2)
    assert {each.pods for each in found if each.planned.fault is Fault.DELETED} == {2}


def test_what_is_lost_twice_or_without_an_end_is_named() -> None:
    jobs, pods = as_planned()
    lost, twice, open_, failed = [each for each in PLAN if each.fault is Fault.NONE][:4]
    jobs = [each for each in jobs if each["metadata"]["name"] != lost.name]
    pods["again"] = pod(twice.name, "Succeeded")
    for each in jobs:
        if each["metadata"]["name"] == open_.name:
            each["status"] = {}
        if each["metadata"]["name"] == failed.name:
            each["status"] = found_job("", End.FAILED)["status"]
    wrong = {each.planned.name: each for each in outcomes(PLAN, jobs, pods) if not each.right}
    assert set(wrong) == {lost.name, twice.name, open_.name, failed.name}
    assert wrong[lost.name].lost
    assert wrong[twice.name].twice
    assert wrong[open_.name].end is None
    assert wrong[failed.name].why == "Failed: it is failed"
    count = by_fault(wrong.values())[Fault.NONE]
    assert (count["lost"], count["twice"], count["no end"]) == (1, 1, 1)


def test_each_fault_has_its_end() -> None:
    assert set(ENDS) == set(Fault)
    assert {fault for fault in Fault if ENDS[fault] is End.DONE} == {Fault.NONE, Fault.DELETED}


# Usage.

SAMPLES = [
    Sample(0, 0, 0.2, 40, 0, 0),
    Sample(10, 5, 3, 35, 5, 0),
    Sample(20, 9.5, 8, 20, 10, 10),
    Sample(30, 9.1, None, 5, 10, 25),
    Sample(40, 6, 5, 0, 6, 34),
    Sample(60, 0, 0.2, 0, 0, 40),
]


def test_how_full_it_was_while_jobs_waited() -> None:
    found = usage(SAMPLES, 10, 0.9)
    assert found.to_fill == 20
    assert found.to_drain == 20
    assert found.requested == pytest.approx(0.93)
    # A node that says nothing counts as nothing known, and not as idle.
    assert found.used == pytest.approx(0.8)
    assert found.peak == pytest.approx(0.95)
    assert found.per_minute == pytest.approx(40)


def test_what_is_never_filled_and_what_never_waits() -> None:
    never = usage(SAMPLES[:4], 100, 0.9)
    assert (never.to_fill, never.to_drain) == (None, None)
    assert never.requested == pytest.approx((0.05 + 0.095 + 0.091) / 3)
    # What is only being made waits for nothing yet.
    begin = [Sample(0, 0, None, 9, 0, 0, making=True), Sample(1, 1, None, 3, 6, 0)]
    assert usage([*begin, Sample(2, 1, None, 0, 9, 0)], 100, 0.9).requested is None
    roomy = usage([Sample(1, 1, None, 0, 3, 0), Sample(5, 0, None, 0, 0, 3)], 100, 0.9)
    assert (roomy.to_fill, roomy.to_drain, roomy.requested, roomy.used) == (1, 4, None, None)


def test_cores_are_those_of_pods_that_run_on_these_nodes() -> None:
    pods = [
        pod("a", "Running"),
        pod("b", "Pending", cpu="500m"),
        pod("c", "Succeeded"),
        pod("d", "Running", node="other"),
        pod("e", "Pending", node=""),
    ]
    assert cores_of(pods, ["n1"]) == 1.5


def test_a_job_between_two_pods_waits_for_no_node() -> None:
    live = [pod("runs", "Running"), pod("waits", "Pending", node="")]
    seen = [*live, pod("again", "Failed")]
    unended = {"runs", "waits", "again", "not-made-yet"}
    assert counts(unended, live, seen) == (2, 1)


METRICS = """# TYPE apiserver_request_total counter
apiserver_request_total{code="200",verb="GET"} 100
apiserver_request_total{code="201",verb="POST"} 2.5e+01
apiserver_request_total_other{code="200"} 7
process_cpu_seconds_total 12.5
"""


def test_what_a_job_costs_the_api_server() -> None:
    before = server_cost(METRICS)
    assert before == ServerCost(125, 12.5)
    after = server_cost(METRICS.replace(" 100", " 300").replace("12.5", "14.5"))
    assert after.since(before, 40) == ServerCost(5, 0.05)
    assert server_cost("").cpu is None


# The verdict and its page.


def verdict(**changes: Any) -> Verdict:
    seen = Seen(outcomes(PLAN, *as_planned()), SAMPLES, 10, 2, ServerCost(5, 0.05), 3, True)
    return Verdict(Settings("t", IMAGE, PLAN), replace(seen, **changes), 0.9)


def test_a_good_trial() -> None:
    found = verdict()
    assert (found.reliable, found.full, found.good) == (True, True, True)
    text = str(found)
    assert "none lost, none twice" in text
    assert "93.0 % of the cores were requested while jobs waited" in text
    page = found.html()
    assert page.count("<svg") == page.count("</svg>") == 2
    assert page.count("<polyline") == 6
    assert "50.0 ms" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_trial_that_is_not_good_says_why() -> None:
    jobs, pods = as_planned()
    one = verdict(outcomes=outcomes(PLAN, jobs[1:], pods))
    assert not one.good
    assert f"{PLAN[0].name} ({PLAN[0].fault}) should be {PLAN[0].end} and is lost" in str(one)
    assert not verdict(in_time=False).reliable
    assert verdict(allocatable=100.0).full is False
    assert "Look at quotas" in str(verdict(allocatable=100.0))
    roomy = verdict(samples=[Sample(5, 0, None, 0, 0, 40)], cost=None)
    assert (roomy.full, roomy.good) == (None, True)
    assert "no job ever waited" in str(roomy)
    assert "it does not say" in str(roomy)


def test_a_picture_of_nothing_is_one() -> None:
    assert "<polyline" in chart("Nothing", [0.0], {"a": [0.0], "b": [None]})


# What it asks.


def account(url: str) -> Account:
    return Account(url, "batch", ssl.create_default_context())


def node(name: str, cpu: str, **spec: Any) -> tuple[Any, dict[str, Any]]:
    status = {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]}
    return kinds.NODE, {"metadata": {"name": name}, "spec": spec, "status": status}


async def test_a_job_that_no_node_takes_is_told_before_anything_is_made() -> None:
    taints = [{"key": "gpu", "effect": "NoSchedule"}]
    objects = Objects([node("small", "4"), node("tainted", "64", taints=taints)])
    async with serving(objects) as server:
        api = Api(account(server.url))
        with pytest.raises(
            FacilityError, match=r"No node takes a job of --size=8: 1 node .* takes 4\."
        ):
            await Trial(api, Settings("t", IMAGE, PLAN), lambda text: None).run()
        await api.aclose()
    assert not objects.asked


async def test_jobs_that_are_refused_end_the_trial_and_go() -> None:
    objects = Objects([node("n1", "64")])
    objects.refuses = lambda method, path: 403 if method == "POST" else None
    async with serving(objects) as server:
        api = Api(account(server.url))
        with pytest.raises(KubernetesError, match="403 it is"):
            await Trial(api, Settings("t", IMAGE, PLAN, every=0.01), lambda text: None).run()
        await api.aclose()
    assert objects.asked[-1][:2] == ("DELETE", "/apis/batch/v1/namespaces/batch/jobs")


def test_the_command_tells_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["site", "test", "--namespace=batch", f"--image={IMAGE}"]
    assert cli.main([*words, "--size=nine"]) == 1
    assert "'nine': the cores must be a number of cores" in capsys.readouterr().err
    assert cli.main([*words, "--faults=1000"]) == 1
    assert "ask for at most 50 with --faults" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*words, "--count=0"])
    assert "0 is not at least 1" in capsys.readouterr().err
