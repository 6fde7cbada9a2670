"""What users write stays out of the hub: its memory, its loops, and what it takes for a server."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from facility import names
from tests.kube.charts import Facility, User, installed_chart
from tests.kube.conftest import Kubernetes, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]
PODS = 11
VARIABLES, SIZE = 1000, 1000
"""Of each pod: a megabyte, of which etcd takes one and a half."""
SECONDS = 45
"""In which the hub has followed a change several times, and its keeper has made its rounds."""


@pytest.fixture(scope="module")
def facility(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    with installed_chart(state, tmp_path_factory.mktemp("chart"), helm="4") as found:
        found.open_shortly()
        yield found


@pytest.fixture(scope="module")
def eve(facility: Facility) -> User:
    found = facility.visitor("eve")
    found.spawn()
    return found


def memory(facility: Facility) -> int:
    """MiB that all processes in the hub's pod hold together."""
    said = facility.hub("sh", "-c", "grep -h VmRSS /proc/[0-9]*/status")
    return sum(map(int, re.findall(r"VmRSS:\s+([0-9]+) kB", said))) // 1024


def huge(eve: User, name: str) -> dict[str, Any]:
    """A worker pod of the user's, with a server's labels and an environment of a megabyte."""
    server = eve.space.get("pod", "notebook")
    labels = {
        "component": names.USER_SERVER_COMPONENT,
        names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT,
    }
    container = {
        "name": "notebook",
        "image": server["spec"]["containers"][0]["image"],
        "command": ["sleep", "600"],
        "env": [{"name": f"V{n}", "value": "x" * SIZE} for n in range(VARIABLES)],
        "resources": {"limits": {"cpu": "10m", "memory": "16Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    of_server = server["spec"]["securityContext"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "containers": [container],
            "priorityClassName": names.pool_priority_class("cpu", eve.facility.name),
            "restartPolicy": "Never",
            "securityContext": {**of_server, "runAsUser": 1000, "runAsNonRoot": True},
        },
    }


def test_huge_pods_with_a_servers_labels_stay_out_of_the_hub(eve: User) -> None:
    token = eve.space.run("create", "token", names.NOTEBOOK_ACCOUNT).strip()
    own = eve.facility.with_token(token, eve.space.namespace)
    before = memory(eve.facility)
    made = [name for n in range(PODS) if make(own, huge(eve, name := f"huge-{n}"))]
    if not made:
        # A rule that forbids it does so before the hub has to.
        return
    time.sleep(SECONDS)
    after = memory(eve.facility)
    # Each is decoded alone, and nothing of it is kept.
    assert after - before < 100, f"{before} MiB with none, {after} MiB with {len(made)}"
    # The honest server of the same user is followed as ever.
    assert eve.server() is not None
    assert eve.python("print(6 * 7)").strip() == "42"
    own.run("delete", "pod", *made, "--wait=false")


def make(own: Kubernetes, made: dict[str, Any] | str) -> bool:
    """Whether an object may be made with the user's own token."""
    text = made if isinstance(made, str) else json.dumps(made)
    try:
        # Not by `apply`, which writes all of it into an annotation too.
        own.run("create", "--validate=false", "-f", "-", text=text)
    except AssertionError as error:
        if "denied request" in str(error) or "forbidden" in str(error):
            return False
        raise
    return True


def test_a_nested_dask_cluster_holds_up_no_round_of_the_keeper(eve: User) -> None:
    """Its levels are more than Python reads; an ended server elsewhere goes all the same."""
    token = eve.space.run("create", "token", names.NOTEBOOK_ACCOUNT).strip()
    own = eve.facility.with_token(token, eve.space.namespace)
    levels = 5000
    nested = "[" * levels + "]" * levels
    text = (
        '{"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", '
        f'"metadata": {{"name": "deep"}}, "spec": {{"deep": {nested}}}}}'
    )
    made = make(own, text)
    ada = eve.facility.visitor("ada")
    ada.spawn()
    ada.space.run("exec", "notebook", "--", "sh", "-c", "kill 1")
    until(lambda: not ada.space.run("get", "pod", "notebook", "-o", "name", "--ignore-not-found"))
    said = eve.facility.kube.run("logs", "deployment/hub", "--since=2m")
    assert "This round ended early" not in said
    if made:
        own.run("delete", "daskcluster", "deep", "--wait=false")
