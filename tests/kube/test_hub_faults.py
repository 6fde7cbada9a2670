"""What fails under the hub, caused for real: it recovers, and other users' servers go on."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from facility import names
from tests.kube.bringup.places import Places
from tests.kube.bringup.process import Ledger
from tests.kube.charts import Facility, User, installed_chart
from tests.kube.conftest import Kubernetes, until
from tests.kube.test_bad_input import cache_of

pytestmark = [
    pytest.mark.kube,
    pytest.mark.usefixtures("here"),
    pytest.mark.last,
    pytest.mark.timeout(600),
]
AWAY = 30.0
"""Seconds in which the API server says nothing."""
FAILURES = 2
"""Failed starts in a row after which the hub starts anew."""
EVERYTHING = "daskclusters,pods,services,secrets"


@pytest.fixture(scope="module")
def facility(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    values = {
        "hub": {"consecutiveFailureLimit": FAILURES},
        "tenants": {"users": {"tiny": {"memory": "1Gi"}}},
    }
    with installed_chart(state, tmp_path_factory.mktemp("chart"), helm="3", **values) as found:
        # The way through the API server would end with it.
        found.open_inside()
        yield found


@dataclass
class Working:
    """A user with a server and a kernel, who needs neither the hub nor the API server to go on."""

    user: User
    server: str
    kernel: str

    def works(self) -> bool:
        return self.user.execute(self.server, self.kernel, "print(6 * 7)").strip() == "42"

    def works_again(self) -> bool:
        """As `works`, where the way to the server may be missing for a moment."""
        answer = self.user.http.get(f"{self.server}api/status", timeout=30, allow_redirects=False)
        return answer.ok and "started" in answer.text and self.works()

    @property
    def uid(self) -> str:
        return str(self.user.space.get("pod", "notebook")["metadata"]["uid"])


@pytest.fixture(scope="module")
def anna(facility: Facility) -> Working:
    user = facility.visitor("anna")
    user.spawn()
    server = user.open_server(240)
    return Working(user, server, user.start_kernel(server))


def pod_of(facility: Facility, component: str) -> dict[str, Any]:
    """The pod of the hub or the proxy."""
    words = ("get", "pods", "-l", f"app.kubernetes.io/component={component}", "-o", "json")
    found = json.loads(facility.kube.run(*words))["items"]
    (pod,) = [each for each in found if "deletionTimestamp" not in each["metadata"]]
    return dict(pod)


def life(facility: Facility) -> tuple[str, int]:
    """By which it is known whether the hub has started anew."""
    hub = pod_of(facility, "hub")
    return hub["metadata"]["uid"], hub["status"]["containerStatuses"][0]["restartCount"]


def kill(facility: Facility, component: str) -> None:
    name = pod_of(facility, component)["metadata"]["name"]
    facility.kube.run("delete", "pod", name, "--force", "--grace-period=0")


def hub_is_up(facility: Facility) -> None:
    facility.kube.run("rollout", "status", "deployment/hub", "--timeout=180s")
    facility.wait_until_it_answers()


def has_server(user: User) -> bool:
    found = user.server()
    return found is not None and bool(found["ready"])


@contextmanager
def without_rights_on_pods(facility: Facility, *parts: str) -> Iterator[None]:
    """As an administrator who has changed roles of the hub by hand."""
    admin = Kubernetes(facility.state)
    roles = {part: admin.get("clusterrole", f"{facility.name}-{part}")["rules"] for part in parts}

    def have(rules: dict[str, Any]) -> None:
        for part, each in rules.items():
            patch = json.dumps({"rules": each})
            name = f"{facility.name}-{part}"
            admin.run("patch", "clusterrole", name, "--type=merge", "-p", patch)

    less = {
        part: [
            {**rule, "resources": [each for each in rule["resources"] if each != "pods"]}
            for rule in rules
            if rule["resources"] != ["pods"]
        ]
        for part, rules in roles.items()
    }
    have(less)
    try:
        yield
    finally:
        have(roles)


# --- the hub itself ----------------------------------------------------------------------------


def test_a_hub_that_is_killed_during_a_start(facility: Facility, anna: Working) -> None:
    before = anna.uid
    bert = facility.visitor("bert")
    assert bert.begin() == ""
    until(lambda: "notebook" in bert.space.run("get", "pods", "-o", "name"), 60)
    kill(facility, "hub")
    assert anna.works()
    hub_is_up(facility)
    # With the server that had begun, or with a new one.
    bert.open_server(240)
    assert bert.space.run("get", "pods", "-o", "name").split() == ["pod/notebook"]
    assert anna.uid == before
    assert has_server(anna.user)


def test_no_failure_that_is_a_users_own_ends_the_hub(facility: Facility) -> None:
    before = life(facility)
    tiny, stranger = facility.visitor("tiny"), facility.visitor("monitoring")
    admin = Kubernetes(facility.state)
    admin.run("create", "namespace", stranger.space.namespace)
    try:
        for _ in range(FAILURES + 1):
            said = tiny.spawn()
            assert any("Your quota has no room for this server" in each for each in said), said
            said = stranger.spawn()
            assert any("exists and is no user's of a facility" in each for each in said), said
        found = admin.get("namespace", stranger.space.namespace)["metadata"]
        assert names.TENANT_LABEL not in found["labels"]
        with without_rights_on_pods(facility, "hub-tenant"):
            carl = facility.visitor("carl")
            for _ in range(FAILURES + 1):
                said = carl.spawn()
                assert any("Kubernetes refuses to start this server: pods" in s for s in said), said
    finally:
        admin.run("delete", "namespace", stranger.space.namespace, "--wait=false")
    # Given back, the next start is as any other.
    carl.spawn()
    assert has_server(carl)
    carl.stop_server()
    # It would end two seconds after the last of them.
    time.sleep(3)
    assert life(facility) == before


def test_a_hub_that_may_not_see_pods_says_so_and_waits(facility: Facility, anna: Working) -> None:
    dora = facility.visitor("dora")
    with without_rights_on_pods(facility, "hub", "hub-tenant"):
        kill(facility, "hub")
        hub_is_up(facility)
        assert dora.begin() == ""
        told = next(each for each in dora.progress() if "HTTP 403" in each)
        assert "Kubernetes could not get Pod" in told
        assert "cannot get resource" in told
        assert anna.works()
    until(lambda: has_server(dora), 240)
    assert has_server(anna.user)
    assert life(facility)[1] == 0
    dora.stop_server()


# --- what it relies on -------------------------------------------------------------------------


@contextmanager
def silent(state: dict[str, Any], name: str) -> Iterator[None]:
    """A process of the control plane that takes what it is sent, and answers nothing."""
    where = Places(cache_of(state) / "facility" / "kube")
    (process,) = [each for each in Ledger(where).processes if each.name == name]
    process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


def test_without_the_api_server_for_a_while(facility: Facility, anna: Working) -> None:
    before, hub = anna.uid, life(facility)
    emil = facility.visitor("emil")
    assert emil.begin() == ""
    with silent(facility.state, "apiserver"):
        end = time.monotonic() + AWAY
        while time.monotonic() < end:
            assert anna.works()
            assert anna.user.http.get(f"{anna.user.base}/hub/home", timeout=60).ok
            time.sleep(2)
    # By itself, with the start that was asked for before.
    until(lambda: has_server(emil), 240)
    assert anna.works()
    assert (anna.uid, life(facility)) == (before, hub)
    emil.stop_server()
    emil.space.wait_until_gone("pods", seconds=90)


def test_a_killed_proxy_learns_where_servers_are(facility: Facility, anna: Working) -> None:
    before, hub = anna.uid, life(facility)
    kill(facility, "proxy")
    facility.kube.run("rollout", "status", "deployment/proxy", "--timeout=120s")
    facility.wait_until_it_answers()
    until(anna.works_again, 90)
    assert (anna.uid, life(facility)) == (before, hub)


def test_a_node_is_drained_under_a_notebook(facility: Facility, anna: Working) -> None:
    bert = facility.visitor("bert")
    server = bert.open_server(240)
    other = Working(bert, server, bert.start_kernel(server))
    first, second = anna.uid, other.uid
    anna.user.execute(
        anna.server,
        anna.kernel,
        'from facility import cluster\nc = cluster(cpu=1, name="hers", wait=1, timeout=240)',
    )
    node = anna.user.space.get("pod", "notebook")["spec"]["nodeName"]
    selector = f"hub.jupyter.org/username=anna,{names.HUB_LABEL}={facility.name}"
    words = ("--force", "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=90s")
    admin = Kubernetes(facility.state)
    try:
        said = admin.run("drain", node, f"--pod-selector={selector}", *words)
        assert "pod/notebook evicted" in said
        # The hub notices, and what the pod owned ends.
        until(lambda: anna.user.server() is None, 120)
        anna.user.space.wait_until_gone(EVERYTHING, seconds=90)
        assert other.works()
    finally:
        admin.run("uncordon", node)
    anna.user.open_server(240)
    assert anna.uid != first
    assert other.works()
    assert other.uid == second
