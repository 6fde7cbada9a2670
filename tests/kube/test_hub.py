"""The facility as its chart installs it: log in, get a notebook, call `cluster()`, and go."""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from facility import names
from facility.hub.kubernetes.configuration import POOLS_FOLDER
from tests.kube.charts import POOLS, SMALL, Facility, User, installed_chart
from tests.kube.conftest import Kubernetes, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]
WORK = "daskclusters,deployments,replicasets,services,pods"


@pytest.fixture(scope="module")
def facility(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    quota = {"cpu": 8, "memory": "16Gi", "pools": {"arm": 2}}
    tenants = {"users": {"tiny": {"memory": "1Gi"}}, "quota": quota}
    with installed_chart(state, tmp_path_factory.mktemp("chart")) as found:
        found.upgrade(tenants={**found.values["tenants"], **tenants})
        found.open_shortly()
        yield found


@pytest.fixture(scope="module")
def ada(facility: Facility) -> User:
    user = facility.visitor("ada")
    user.said = user.spawn_and_watch()  # type: ignore[attr-defined]
    user.open_server(200)
    return user


def test_the_start_of_a_server_is_told_in_words(ada: User) -> None:
    said = ada.said  # type: ignore[attr-defined]
    assert "Server ready" in said
    assert re.search(r"is being prepared|does not run yet|JupyterLab starts", said), said


def test_a_wrong_password_lets_nobody_in(facility: Facility) -> None:
    user = User(facility, "eve")
    answer = user.log_in("wrong password")
    assert "Invalid username or password" in answer.text


def test_a_connection_is_kept_longer_than_what_stands_before_the_proxy_keeps_it(
    facility: Facility,
) -> None:
    """An ingress that uses one as the proxy ends it answers 502."""
    answer = requests.get(f"{facility.address}_chp_healthz", timeout=60)
    kept = re.fullmatch(r"timeout=(\d+)", answer.headers["Keep-Alive"])
    assert kept is not None
    nginx, traefik = 60, 90
    assert int(kept[1]) > max(nginx, traefik)
    # Longer than the proxy does by itself.
    way = urlsplit(facility.address)
    with contextlib.closing(HTTPConnection(str(way.hostname), way.port, timeout=60)) as connection:
        connection.connect()
        way_there = connection.sock
        for pause in (6, 0):
            connection.request("GET", "/hub/login")
            assert connection.getresponse().read()
            time.sleep(pause)
        assert connection.sock is way_there


def test_the_server_is_in_its_users_namespace_and_obeys_its_rules(ada: User) -> None:
    pod = ada.space.get("pod", "notebook")
    assert pod["spec"]["serviceAccountName"] == names.NOTEBOOK_ACCOUNT
    assert pod["spec"]["priorityClassName"] == f"{ada.facility.name}-notebook"
    space = Kubernetes(ada.facility.state).get("namespace", ada.space.namespace)
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert space["metadata"]["labels"][names.HUB_LABEL] == ada.facility.name


def test_what_is_taken_away_or_changed_is_back_with_the_next_start(facility: Facility) -> None:
    mona = facility.visitor("mona")
    kinds = "resourcequotas,limitranges,networkpolicies,rolebindings,configmaps,serviceaccounts"
    selector = ("-l", f"{names.HUB_LABEL}={facility.name}")

    def rules() -> dict[str, Any]:
        listed = json.loads(mona.space.run("get", kinds, *selector, "-o", "json"))["items"]
        kept = ("spec", "data", "roleRef", "subjects")
        return {
            f"{each['kind']}/{each['metadata']['name']}": {key: each.get(key) for key in kept}
            for each in listed
        }

    mona.spawn()
    mona.stop_server()
    made = rules()
    assert {name.partition("/")[0] for name in made} >= {"ResourceQuota", "NetworkPolicy"}
    mona.space.run("delete", "limitrange,networkpolicy,rolebinding", *selector)
    (quota, *_) = [name.partition("/")[2] for name in made if name.startswith("ResourceQuota")]
    more = json.dumps({"spec": {"hard": {"limits.cpu": "999", "pods": "999"}}})
    mona.space.run("patch", "resourcequota", quota, "--type=merge", "-p", more)
    assert rules() != made
    assert any("Server ready" in each for each in mona.spawn())
    assert rules().keys() == made.keys()
    for name, rule in made.items():
        if name != f"ResourceQuota/{quota}":
            assert rules()[name] == rule
    # What others have added to it stays, as long as it does not stand against what is ours.
    hard = rules()[f"ResourceQuota/{quota}"]["spec"]["hard"]
    assert hard.items() >= made[f"ResourceQuota/{quota}"]["spec"]["hard"].items()
    mona.stop_server()


def test_one_call_starts_a_dask_cluster_on_both_architectures(ada: User) -> None:
    said = ada.python(
        """
import platform
from facility import cluster
with cluster(cpu=2, arm=1, wait=3, timeout=300) as c, c.get_client() as client:
    print(sorted({client.submit(platform.machine, pure=False, **c.route(pool)).result()
                  for pool in ("cpu", "arm")}))
    print(c.dashboard_link)
"""
    )
    assert "['aarch64', 'x86_64']" in said
    assert "/user/ada/proxy/" in said
    ada.space.wait_until_gone("daskclusters")


def test_the_panel_starts_one_and_its_dashboard_is_seen_through_the_hub(ada: User) -> None:
    server = ada.open_server()
    made = ada.panel(server, "PUT").json()
    try:
        link = made["dashboard_link"]
        until(lambda: ada.http.get(f"{ada.base}{link}", timeout=60).status_code == 200, 60)
        page = ada.http.get(f"{ada.base}{link}", timeout=60)
        assert "<title>Dask Diagnostic UI</title>" in page.text
        label = f"{names.COMPONENT_LABEL}={names.SCHEDULER_COMPONENT}"
        (scheduler,) = json.loads(ada.space.run("get", "pods", "-l", label, "-o", "json"))["items"]
        asked = scheduler["spec"]["containers"][0]["resources"]["requests"]
        assert asked == {"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "100Mi"}
        stranger = requests.get(f"{ada.base}{link}", timeout=60, allow_redirects=True)
        assert "/hub/login" in stranger.url
        client = ada.python(
            f"from dask.distributed import Client\n"
            f"with Client({made['scheduler_address']!r}) as c:\n"
            "    print(c.submit(sum, [1, 2]).result())"
        )
        assert client.strip() == "3"
    finally:
        assert ada.panel(server, "DELETE", f"/{made['id']}").ok
    ada.space.wait_until_gone("daskclusters")


def test_another_user_is_apart(facility: Facility, ada: User) -> None:
    bob = facility.visitor("bob")
    # Neither the page nor the server's own API of somebody else.
    assert bob.http.get(f"{bob.base}/user/ada/api/status", timeout=60).status_code in (403, 404)
    told = bob.http.get(f"{bob.base}/hub/api/users/ada", timeout=60)
    assert told.status_code in (403, 404)


def test_a_quota_that_does_not_fit_is_told_before_the_spawn(facility: Facility) -> None:
    tiny = facility.visitor("tiny")
    said = tiny.spawn()
    assert any("Your quota has no room for this server: 4Gi memory asked" in s for s in said), said
    assert "notebook" not in tiny.space.run("get", "pods", "-o", "name")
    assert "consecutive spawns failed" not in facility.kube.run("logs", "deployment/hub")


def test_a_foreign_namespace_is_never_taken_over(facility: Facility) -> None:
    Kubernetes(facility.state).run("create", "namespace", f"{facility.prefix}carol")
    try:
        said = facility.visitor("carol").spawn()
        assert any("exists and is no user's of a facility" in each for each in said), said
        found = Kubernetes(facility.state).get("namespace", f"{facility.prefix}carol")
        assert names.TENANT_LABEL not in found["metadata"]["labels"]
    finally:
        Kubernetes(facility.state).run("delete", "namespace", f"{facility.prefix}carol")


def test_an_ended_server_is_swept(ada: User) -> None:
    """As one that its node has evicted: nothing runs in it, and nobody deletes it."""
    facility = ada.facility
    pod = ada.space.pod(
        "evicted",
        "exit 1",
        securityContext={
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    )
    pod["metadata"]["labels"] |= {names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT}
    pod["spec"]["tolerations"] = []
    pod["spec"]["priorityClassName"] = f"{facility.name}-notebook"
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    limits = {"cpu": "50m", "memory": "64Mi"}
    pod["spec"]["containers"][0] |= {"securityContext": rights, "resources": {"limits": limits}}
    ada.space.apply(pod)
    until(lambda: "evicted" not in ada.space.run("get", "pods", "-o", "name"), 120)
    assert ada.space.get("pod", "notebook")["status"]["phase"] == "Running"


def test_the_hubs_end_leaves_servers_running(ada: User) -> None:
    facility = ada.facility
    before = ada.space.get("pod", "notebook")["metadata"]["uid"]
    facility.kube.run("delete", "pod", "-l", "app.kubernetes.io/component=hub")
    facility.kube.run("rollout", "status", "deployment/hub", "--timeout=180s")
    assert ada.python("print(6 * 7)").strip() == "42"
    assert ada.space.get("pod", "notebook")["metadata"]["uid"] == before
    assert facility.visitor("dave").http.get(f"{ada.base}/hub/home", timeout=60).ok


def test_a_pool_added_by_an_upgrade_is_usable_in_a_running_notebook(ada: User) -> None:
    facility = ada.facility
    before = ada.space.get("pod", "notebook")["metadata"]["uid"]
    secrets = facility.kube.get("secret", "hub-secrets")["data"]
    extra = {**SMALL, "description": "new", "nodeSelector": {"facility.test/pool": "cpu"}}
    facility.upgrade(pools={**POOLS, "extra": extra})
    assert facility.kube.get("secret", "hub-secrets")["data"] == secrets
    facility.wait_until_it_answers()
    pools = ("exec", "notebook", "--", "cat", f"{POOLS_FOLDER}/{names.POOLS_KEY}")
    until(lambda: "extra" in ada.space.run(*pools), 200)
    said = ada.python(
        "from facility import cluster\n"
        "with cluster(extra=1, wait=1, timeout=200) as c: print(list(c.workers))"
    )
    assert "extra-0" in said
    assert ada.space.get("pod", "notebook")["metadata"]["uid"] == before


def test_administrators_see_and_end_what_users_have(ada: User) -> None:
    facility = ada.facility
    ada.python('from facility import cluster\nc = cluster(cpu=1, name="left", wait=1)', keep=True)
    listed = facility.hub("facility", "tenants", "list")
    assert any(line.split()[:2] == ["ada", ada.space.namespace] for line in listed.splitlines())
    assert "left" in facility.hub("facility", "clusters", "--everybody")
    assert "would be deleted" not in facility.hub("facility", "tenants", "prune")
    said = facility.hub("facility", "clusters", "stop", "--user", "ada", "--all")
    assert "1 Dask cluster is ended" in said
    ada.space.wait_until_gone("daskclusters")
    told = facility.hub("facility", "clusters", "stop", "--user", "adda", "--all", fail=True)
    assert "did you mean 'ada'" in told


def test_taking_it_away_leaves_homes_and_nothing_that_runs(ada: User) -> None:
    """The last one."""
    facility = ada.facility
    ada.python('from facility import cluster\nc = cluster(cpu=1, name="last", wait=1)', keep=True)
    facility.uninstall()
    ada.space.wait_until_gone(WORK)
    assert "home" in ada.space.run("get", "pvc", "-o", "name")
    until(
        lambda: (
            facility.kube.run("get", "all,secrets", "-o", "name").split() == ["secret/hub-secrets"]
        ),
        60,
    )
    admin = Kubernetes(facility.state)
    label = f"{names.HUB_LABEL}={facility.name}"
    assert not admin.run("get", "clusterroles,priorityclasses", "-l", label, "-o", "name").strip()
    space = admin.get("namespace", ada.space.namespace)
    assert "deletionTimestamp" not in space["metadata"]
