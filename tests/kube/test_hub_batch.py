"""Batch beside users: Harvester's rights, what is refused, and how batch gives way and refills."""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.rest import ApiException

from facility import names
from facility.cli import main
from tests.kube.charts import CHART, Facility, installed_chart
from tests.kube.conftest import Kubernetes, until
from tests.kube.harvester import PROXY, STARTER, Harvester

# It fills a node, on which other tests' pods would wait.
pytestmark = [
    pytest.mark.kube,
    pytest.mark.usefixtures("here"),
    pytest.mark.last,
    pytest.mark.timeout(600),
]
CORES = 0.2
GRACE = 5
NOTICE = 10.0
"""Seconds from a user's pod to the notice of the batch pods that make room for it."""
WORKS = ["/bin/sh", "-c", "trap 'exit 143' TERM; sleep 3600 & wait"]
SAYS = ["/bin/sh", "-c", "echo said"]
USER_NAMESPACE = "unshare --user --map-root-user true 2>/dev/null && echo allowed || echo forbidden"
START = "from facility import cluster\nc = cluster(cpu=3, wait=3, timeout=120)\nprint('up')"
LEVEL = "pod-security.kubernetes.io/enforce"


@dataclass
class Site:
    """An installed facility with batch, and Harvester with its own kubeconfig alone."""

    facility: Facility
    harvester: Harvester
    kubeconfig: Path
    unserved: str
    """What `facility batch status` said before Harvester had begun."""

    @property
    def image(self) -> str:
        return str(self.facility.state["images"]["base"])

    @property
    def admin(self) -> Kubernetes:
        return Kubernetes(self.facility.state, self.harvester.namespace)

    def job(self, worker: str, command: list[str] = SAYS, **more: Any) -> dict[str, Any]:
        return self.harvester.job(worker, self.image, command, **{"cores": CORES, **more})


def command(facility: Facility, *words: str) -> int:
    """`facility batch`, as an administrator with a kubeconfig."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", facility.state["kubeconfig"])
        space = facility.values["batch"]["namespace"]
        return main(["batch", words[0], *words[1:], "--namespace", space])


@pytest.fixture(scope="module")
def site(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("batch")
    batch = {
        "enabled": True,
        "namespace": f"grid-{uuid.uuid4().hex[:8]}",
        "grace": GRACE,
        "largestJob": {"cpu": 1, "memory": "1Gi"},
        "nodeSelector": {"facility.test/pool": "cpu"},
    }
    with installed_chart(state, tmp_path_factory.mktemp("chart"), batch=batch) as facility:
        facility.open_shortly()
        try:
            kubeconfig = folder / "harvester.kubeconfig"
            queue = ("queue", "TEST_K8S", "--cores=1", "--memory=512Mi", f"--out={folder}")
            assert command(facility, "kubeconfig", str(kubeconfig), "--lifetime=1h") == 0
            assert command(facility, *queue, f"--kubeconfig={kubeconfig}") == 0
            template = folder / "TEST_K8S.job.yaml"
            found = Harvester(kubeconfig, template, str(batch["namespace"]))
            with redirect_stderr(StringIO()) as said:
                assert command(facility, "status", "TEST_K8S") == 1
            found.begin()
            yield Site(facility, found, kubeconfig, said.getvalue())
            found.api.close()
        finally:
            space = str(batch["namespace"])
            admin = Kubernetes(state)
            admin.run("delete", "namespace", space, "--ignore-not-found", "--wait=false")


# Harvester's rights.


def test_a_queue_that_nobody_serves_is_told(site: Site, capsys: Any) -> None:
    assert "no Harvester has begun here" in site.unserved
    assert command(site.facility, "status", "ANOTHER_K8S") == 1
    assert "a Harvester has begun here" in capsys.readouterr().err


def test_every_call_of_harvester_passes(site: Site) -> None:
    harvester = site.harvester
    harvester.submit(site.job("1"))
    until(lambda: [pod.status.phase for pod in harvester.pods("1")] == ["Succeeded"], 90)
    assert harvester.log("1").strip() == "said"
    assert [job.status.succeeded for job in harvester.jobs()] == [1]
    harvester.kill("1")
    until(lambda: not harvester.jobs() and not harvester.pods(), 60)
    config_map = {"metadata": {"name": "worker-1"}, "data": {}}
    harvester.core.create_namespaced_config_map(harvester.namespace, config_map)
    harvester.core.delete_namespaced_config_map("worker-1", harvester.namespace)


ELSEWHERE: dict[str, Callable[[Harvester, str, str], Any]] = {
    "pods of others": lambda h, hub, _: h.core.list_namespaced_pod(hub),
    "jobs of others": lambda h, hub, _: h.batch.list_namespaced_job(hub),
    "a job elsewhere": lambda h, hub, _: h.batch.create_namespaced_job(hub, h.template),
    "a secret elsewhere": lambda h, hub, _: h.core.create_namespaced_secret(hub, {}),
    "all pods": lambda h, *_: h.core.list_pod_for_all_namespaces(),
    "nodes": lambda h, *_: h.core.list_node(),
    "namespaces": lambda h, *_: h.core.list_namespace(),
    "its own secret": lambda h, _, own: h.core.read_namespaced_secret(PROXY, own),
    "its own secrets": lambda h, _, own: h.core.list_namespaced_secret(own),
    "an end of a secret": lambda h, _, own: h.core.delete_namespaced_secret(PROXY, own),
    "a config map": lambda h, _, own: h.core.read_namespaced_config_map(STARTER, own),
    "a pod": lambda h, _, own: h.core.create_namespaced_pod(own, {"spec": {}}),
    "a service": lambda h, _, own: h.core.create_namespaced_service(own, {"spec": {}}),
    "a token": lambda h, _, own: h.core.create_namespaced_service_account_token(
        "harvester", own, client.AuthenticationV1TokenRequest(spec={"audiences": []})
    ),
    "all jobs at once": lambda h, _, own: h.batch.delete_collection_namespaced_job(own),
    "a quota": lambda h, _, own: h.core.delete_namespaced_resource_quota("all", own),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_everything_else_is_refused(site: Site, what: str) -> None:
    with pytest.raises(ApiException) as caught:
        ELSEWHERE[what](site.harvester, site.facility.namespace, site.harvester.namespace)
    assert caught.value.status == 403


# What no rule of Harvester's can prevent.


def without_requests(job: dict[str, Any]) -> None:
    del job["spec"]["template"]["spec"]["containers"][0]["resources"]


def on_the_node(job: dict[str, Any]) -> None:
    volume = {"name": "node", "hostPath": {"path": "/"}}
    job["spec"]["template"]["spec"]["volumes"].append(volume)


def in_spec(**more: Any) -> Callable[[dict[str, Any]], None]:
    return lambda job: job["spec"]["template"]["spec"].update(more)


def of_cores(cores: str) -> Callable[[dict[str, Any]], None]:
    def change(job: dict[str, Any]) -> None:
        resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
        resources["limits"]["cpu"] = resources["requests"]["cpu"] = cores

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_requests, "give the PanDA queue corecount and maxrss in CRIC"),
        (of_cores("64"), "more cores than the largest job that the site takes, 1"),
        (on_the_node, "volumes of batch are configMap, secret"),
        (in_spec(priorityClassName="system-node-critical"), "the priorityClassName of batch is"),
        (in_spec(priorityClassName=None), "the priorityClassName of batch is"),
        (in_spec(serviceAccountName="harvester"), "is Harvester's alone, and no pod's"),
        (in_spec(terminationGracePeriodSeconds=600), "is at most 5 (batch.grace)"),
        (in_spec(nodeSelector={}), "batch runs on the nodes of batch.nodeSelector"),
        (in_spec(tolerations=[{"operator": "Exists"}]), "a toleration is not permitted"),
        (in_spec(nodeName="amd64"), "nodeName is not permitted"),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused_when_it_is_made(
    site: Site, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    job = site.job("refused")
    change(job)
    with pytest.raises(ApiException) as caught:
        site.harvester.submit(job)
    assert caught.value.status in (403, 422)
    assert told in caught.value.body


def test_a_token_without_end_cannot_be_made(site: Site) -> None:
    metadata = {
        "name": "lasting",
        "annotations": {"kubernetes.io/service-account.name": "harvester"},
    }
    secret = {"metadata": metadata, "type": "kubernetes.io/service-account-token"}
    with pytest.raises(ApiException) as caught:
        site.harvester.core.create_namespaced_secret(site.harvester.namespace, secret)
    assert "its token has no end" in caught.value.body


def test_a_template_that_pod_security_refuses_is_told_at_the_upgrade(site: Site) -> None:
    words = ("upgrade", site.facility.name, str(CHART), "-f", site.facility.write_values())
    pod = "batch.template.spec.template.spec"
    job = [
        "batch.template.apiVersion=batch/v1",
        "batch.template.kind=Job",
        "batch.template.metadata.name=own",
        f"{pod}.terminationGracePeriodSeconds=5",
        f"{pod}.containers[0].name=own",
        f"{pod}.containers[0].securityContext.privileged=true",
    ]
    told = site.facility.helm(*words, "--set", ",".join(job), fail=True)
    assert f"{pod}.containers[0].securityContext.privileged: true is refused by" in told


def test_a_largest_job_larger_than_any_node_is_told_at_the_upgrade(site: Site) -> None:
    words = ("upgrade", site.facility.name, str(CHART), "-f", site.facility.write_values())
    told = site.facility.helm(*words, "--set", "batch.largestJob.cpu=4000", fail=True)
    assert "batch.largestJob.cpu is 4000, more than any node of batch.nodeSelector" in told


def test_a_user_namespace_starts_where_the_kernel_allows_it_under_baseline_alone(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    """As Apptainer starts one for a payload."""
    here = ["unshare", "--user", "--map-root-user", "true"]
    ours = subprocess.run(here, user=1000, group=1000, extra_groups=[], check=False)
    kernel = "forbidden" if ours.returncode else "allowed"
    said = {}
    restricted = {
        "securityContext": {
            **site.harvester.template["spec"]["template"]["spec"]["securityContext"],
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    }
    # The namespace's own level comes back, whatever fails.
    try:
        for level, more in (("baseline", {}), ("restricted", restricted)):
            site.admin.run(
                *("label", "namespace", site.harvester.namespace, f"{LEVEL}={level}"),
                "--overwrite",
            )
            worker = f"userns-{level}"
            site.harvester.submit(site.job(worker, ["/bin/sh", "-c", USER_NAMESPACE], **more))
            until(lambda: _ended(site.harvester, worker), 90)  # noqa: B023
            said[level] = site.harvester.log(worker).strip()
            site.harvester.kill(worker)
    finally:
        site.admin.run(
            *("label", "namespace", site.harvester.namespace, f"{LEVEL}=baseline"), "--overwrite"
        )
    record_property("user namespaces", {"kernel": kernel, **said})
    assert said == {"baseline": kernel, "restricted": "forbidden"}


def _ended(harvester: Harvester, worker: str) -> bool:
    return [pod.status.phase for pod in harvester.pods(worker)] == ["Succeeded"]


# Giving way.


def running(harvester: Harvester) -> set[str]:
    return {
        pod.metadata.uid
        for pod in harvester.pods()
        if pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None
    }


def is_full(harvester: Harvester) -> bool:
    """Whether each pod runs, or finds no room."""
    waiting = 0
    for pod in harvester.pods():
        if pod.status.phase in ("Succeeded", "Failed"):
            continue
        found = {each.type: each for each in pod.status.conditions or ()}.get("PodScheduled")
        refused = found is not None and found.reason == "Unschedulable"
        runs = pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None
        if not (runs or refused):
            return False
        waiting += refused
    return waiting > 0


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_batch_gives_way_to_dask_workers_and_refills(site: Site) -> None:
    harvester, ada = site.harvester, site.facility.visitor("ada")
    ada.spawn()
    server = ada.open_server(240)
    notebook = ada.space.get("pod", "notebook")
    assert notebook["spec"]["priorityClassName"] == f"{site.facility.name}-preempting-notebook"
    capacity = site.admin.get("node", _node_of(notebook))["status"]["allocatable"]["cpu"]
    cores = int(capacity[:-1]) / 1000 if capacity.endswith("m") else float(capacity)
    for worker in range(int(cores / (CORES * 0.9)) + 3):
        harvester.submit(site.job(f"fill-{worker}", WORKS))
    until(lambda: is_full(harvester), 180)
    full = running(harvester)
    kernel = ada.start_kernel(server)
    try:
        assert "up" in ada.execute(server, kernel, START)
        workers = _workers(ada.space)
        assert len(workers) == 3
        told = preempted(site, workers)
        assert told, "no batch pod was told to make room for a worker"
        for seconds in told.values():
            assert seconds <= NOTICE
        # They have batch.grace to end, and are not among those that run any more.
        until(lambda: len(running(harvester) & full) < len(full), 60)
        # What waits of batch takes no place of a user's.
        assert _workers(ada.space).keys() == workers.keys()
        assert ada.space.get("pod", "notebook")["metadata"]["uid"] == notebook["metadata"]["uid"]
        ada.execute(server, kernel, "c.close()")
    finally:
        ada.end_kernel(server, kernel)
    ada.space.wait_until_gone("daskclusters")
    until(lambda: len(running(harvester)) >= len(full), 60)


def _node_of(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["nodeName"])


def _workers(space: Kubernetes) -> dict[str, datetime]:
    """When each worker's pod was made, under its uid."""
    listed = json.loads(space.run("get", "pods", "-l", names.POOL_LABEL, "-o", "json"))["items"]
    found = [each["metadata"] for each in listed]
    return {each["uid"]: moment(each["creationTimestamp"]) for each in found}


def preempted(site: Site, workers: dict[str, datetime]) -> dict[str, float]:
    """Seconds after which each batch pod was told, that made room for a worker."""
    words = ("get", "events", "--field-selector", "reason=Preempted", "-o", "json")
    found = {}
    for event in json.loads(site.admin.run(*words))["items"]:
        uid = (event.get("related") or {}).get("uid", "")
        if uid in workers:
            when = moment(event.get("eventTime") or event["firstTimestamp"])
            found[event["involvedObject"]["name"]] = (when - workers[uid]).total_seconds()
    return found


# The token's end; last, since Harvester has no other.


def test_the_next_kubeconfig_ends_the_token_of_the_one_before(
    site: Site, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "next.kubeconfig"
    assert command(site.facility, "kubeconfig", str(path), "--lifetime=1h") == 0
    assert "Ended: 1 token of before." in capsys.readouterr().out

    def is_refused() -> bool:
        try:
            site.harvester.pods()
        except ApiException as error:
            return bool(error.status == 401)
        return False

    # The API server believes a token that it has seen for some seconds more.
    until(is_refused, 60)
    queue = ("queue", "TEST_K8S", "--cores=1", "--memory=512Mi", f"--out={tmp_path}")
    assert command(site.facility, *queue, f"--kubeconfig={site.kubeconfig}") == 1
    assert "has ended" in capsys.readouterr().err
    assert command(site.facility, *queue, f"--kubeconfig={path}") == 0
