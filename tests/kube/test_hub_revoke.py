"""What a user writes stays out of the hub; what is held ends when revoked, and keys are rotated."""

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from facility import names
from tests.kube.charts import Facility, User, installed_chart
from tests.kube.conftest import Kubernetes, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]
HOLD = "example.org/hold"
PODS = 11
VARIABLES, LARGEST, SIZE = 1000, 60, 1000
"""Of each pod: a megabyte, of which etcd takes one and a half."""
SECONDS = 45
"""In which the hub has followed a change several times, and its keeper has made its rounds."""
JOB = "from facility import cluster; import time; time.sleep(600)"


@pytest.fixture(scope="module")
def facility(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    tenants = {"permitted": {"finalizers": [HOLD]}}
    folder = tmp_path_factory.mktemp("chart")
    with installed_chart(state, folder, helm="4", tenants=tenants) as found:
        found.open_shortly()
        yield found


@pytest.fixture(scope="module")
def eve(facility: Facility) -> User:
    found = facility.visitor("eve")
    found.spawn()
    code = (
        "from facility import cluster\n"
        'c = cluster(cpu=1, name="eves", wait=1, timeout=240)\n'
        f"open('job.py', 'w').write({JOB!r})\n"
    )
    found.python(code, keep=True)
    found.space.run("exec", "notebook", "--", "sh", "-c", "cd $HOME; facility submit job.py")
    return found


@pytest.fixture(scope="module")
def bob(facility: Facility) -> User:
    found = facility.visitor("bob")
    found.spawn()
    return found


def left(user: User, kinds: str) -> str:
    return user.space.run("get", kinds, "-o", "name").strip()


def token_of(user: User) -> Kubernetes:
    token = user.space.run("create", "token", names.NOTEBOOK_ACCOUNT, "--duration=1h").strip()
    return user.facility.with_token(token, user.space.namespace)


def api_token(user: User) -> str:
    answer = user.api("POST", f"users/{user.user}/tokens", json={})
    assert answer.ok, answer.text
    return str(answer.json()["token"])


def accepted(user: User, token: str) -> bool:
    headers = {"Authorization": f"token {token}"}
    return requests.get(f"{user.base}/hub/api/user", headers=headers, timeout=20).ok


def memory(facility: Facility) -> int:
    """MiB that all processes in the hub's pod hold together."""
    said = facility.hub("sh", "-c", "grep -h VmRSS /proc/[0-9]*/status")
    return sum(map(int, re.findall(r"VmRSS:\s+([0-9]+) kB", said))) // 1024


def huge(eve: User, name: str, variables: int = VARIABLES) -> dict[str, Any]:
    """A worker pod of the user's, by default with an environment of a megabyte."""
    server = eve.space.get("pod", "notebook")
    container = {
        "name": "notebook",
        "image": server["spec"]["containers"][0]["image"],
        "command": ["sleep", "600"],
        "env": [{"name": f"V{n}", "value": "x" * SIZE} for n in range(variables)],
        "resources": {"limits": {"cpu": "10m", "memory": "16Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    of_server = server["spec"]["securityContext"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [container],
            "nodeSelector": {"facility.test/pool": "cpu"},
            "priorityClassName": names.pool_priority_class("cpu", eve.facility.name),
            "restartPolicy": "Never",
            "securityContext": {**of_server, "runAsUser": 1000, "runAsNonRoot": True},
        },
    }


@pytest.mark.long
def test_huge_pods_stay_out_of_the_hub(eve: User) -> None:
    own = token_of(eve)
    labels = {"component": names.USER_SERVER_COMPONENT}
    labelled = huge(eve, "labelled") | {"metadata": {"name": "labelled", "labels": labels}}
    assert not make(own, labelled), "those that the hub would look at are refused"
    assert not make(own, huge(eve, "huge")), "a pod has a size"
    before = memory(eve.facility)
    made = [f"huge-{n}" for n in range(PODS)]
    assert all(make(own, huge(eve, name, LARGEST)) for name in made)
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


def test_all_that_a_user_holds_ends_and_nobody_elses(eve: User, bob: User) -> None:
    facility = eve.facility
    own, others = token_of(eve), token_of(bob)
    eves, bobs = api_token(eve), api_token(bob)
    assert left(eve, "daskclusters")
    assert left(eve, "jobs")
    # A pod that takes as long as it may.
    server = eve.space.get("pod", "notebook")
    slow = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "slow"},
        "spec": {
            "terminationGracePeriodSeconds": 600,
            "nodeSelector": {"facility.test/pool": "cpu"},
            "priorityClassName": names.pool_priority_class("cpu", facility.name),
            "securityContext": server["spec"]["securityContext"] | {"runAsNonRoot": True},
            "containers": [
                {
                    "name": "c",
                    "image": server["spec"]["containers"][0]["image"],
                    "command": ["sh", "-c", "trap : TERM; while :; do sleep 1; done"],
                    "resources": {"limits": {"cpu": "10m", "memory": "32Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "runAsUser": 1000,
                    },
                }
            ],
        },
    }
    assert make(own, slow)
    said = facility.hub("facility", "tenants", "revoke", "eve")
    assert "Left:" not in said
    assert "Ended of eve: sessions and " in said
    assert left(eve, "daskclusters,jobs,pods") == ""
    assert not [each for each in left(eve, "secrets").split() if "eves" in each]
    assert not eve.api("GET", "user").ok
    assert not accepted(eve, eves)
    assert "Unauthorized" in own.run("get", "pods", fail=True)
    # The other user is as before.
    assert bob.server() is not None
    assert accepted(bob, bobs)
    assert "notebook" in others.run("get", "pods")
    # The hub makes the accounts again when the user may come back, and old tokens stay void.
    back = facility.visitor("eve")
    back.spawn()
    assert back.python("print(6 * 7)").strip() == "42"
    assert "Unauthorized" in own.run("get", "pods", fail=True)


@pytest.mark.long
def test_what_hangs_is_named_and_the_rest_ends(eve: User) -> None:
    """The finalizer is one that the values permit; others are refused."""
    held = eve.space.get("pod", "notebook")["metadata"]["name"]
    patch = {"metadata": {"finalizers": [HOLD]}}
    eve.space.run("patch", "pod", held, "--type=merge", "-p", json.dumps(patch))
    try:
        said = eve.facility.kube.say(
            "exec", "deployment/hub", "--", "facility", "tenants", "revoke", "eve"
        )
        assert f"Left: Pod {eve.space.namespace}/{held} is there after" in said
        assert f"held by {HOLD}" in said
        assert "exit code 1" in said
    finally:
        none = {"metadata": {"finalizers": None}}
        eve.space.run("patch", "pod", held, "--type=merge", "-p", json.dumps(none))
    until(lambda: left(eve, "pods") == "", 60)


def test_nobody_of_that_name_is_told(facility: Facility) -> None:
    said = facility.hub("facility", "tenants", "revoke", "evve", fail=True)
    assert "'evve' has none (did you mean 'eve'?)" in said


def started(user: User) -> tuple[str, int]:
    """Which pod the user's server is, and how often it has begun anew."""
    pod = user.space.get("pod", "notebook")
    (status,) = pod["status"]["containerStatuses"]
    return pod["metadata"]["uid"], status["restartCount"]


def test_the_trail_has_logins_starts_and_commands(facility: Facility, bob: User) -> None:
    """On the hub's standard output, also what an administrator has done in its pod."""
    facility.hub("facility", "tenants", "list")

    def trail() -> list[dict[str, str]]:
        said = facility.kube.run("logs", "deployment/hub").splitlines()
        return [json.loads(line) for line in said if line.startswith('{"__timestamp__"')]

    def has(**fields: str) -> bool:
        return any(fields.items() <= line.items() for line in trail())

    until(lambda: has(action="command", what="tenants list", actor_kind="administrator"))
    assert has(action="command", what="tenants revoke", about="eve")
    assert has(action="login", actor="bob", outcome="done")
    assert has(action="start", actor="bob", about="bob")
    assert has(action="start", username="bob")
    assert has(action="take", actor="administration", about="eve", outcome="done")


def test_keys_of_the_hub_are_rotated_while_servers_go_on(facility: Facility, bob: User) -> None:
    """After the trail: the upgrade in it replaces the hub's pod, and with it what it has said."""
    server, token = started(bob), api_token(bob)
    keys = ("proxy-token", "cookie-secret", "crypt-key", "password")
    before = facility.kube.get("secret", "hub-secrets")["data"]
    hub = facility.kube.run("get", "pods", "-l", "app.kubernetes.io/component=hub", "-o", "name")
    said = facility.hub("facility", "keys", "rotate", "cookie", "crypt", "proxy")
    assert "Left:" not in said, said
    after = facility.kube.get("secret", "hub-secrets")["data"]
    assert {key for key in keys if before[key] != after[key]} == {*keys} - {"password"}
    assert ";" not in base64.b64decode(after["crypt-key"]).decode()
    # Neither the hub nor the server has begun anew.
    assert hub == facility.kube.run(
        "get", "pods", "-l", "app.kubernetes.io/component=hub", "-o", "name"
    )
    assert started(bob) == server
    facility.open_shortly()
    assert not bob.api("GET", "user").ok, "everybody is logged out"
    assert accepted(bob, token)
    again = facility.visitor("bob")
    assert again.python("print(6 * 7)").strip() == "42"
    assert started(bob) == server
    # An upgrade keeps them, and a hub that starts anew lives with them.
    facility.upgrade(debug=True)
    assert facility.kube.get("secret", "hub-secrets")["data"] == after
    facility.open_shortly()
    assert facility.visitor("bob").python("print(6 * 7)").strip() == "42"


def test_words_that_are_no_keys_are_told_together(facility: Facility) -> None:
    said = facility.hub("facility", "keys", "rotate", "cooki", "x", fail=True)
    assert "'cooki' is no key of the hub (did you mean 'cookie'?)" in said
    assert "'x' is no key of the hub" in said


def test_the_hub_ends_no_pod_beside_it_but_the_proxy(facility: Facility) -> None:
    own = facility.account("hub")
    label = "app.kubernetes.io/component="
    pods = {
        each: facility.kube.run("get", "pods", "-l", f"{label}{each}", "-o", "name").strip()
        for each in ("hub", "proxy")
    }
    assert "the hub ends the proxy's pods alone" in own.run(
        "delete", pods["hub"], "--dry-run=server", fail=True
    )
    own.run("delete", pods["proxy"], "--dry-run=server")
    assert "forbidden" in own.run("get", "secret", "hub-values", fail=True)


def test_a_users_authority_is_made_anew_and_the_server_goes_on(
    facility: Facility, bob: User
) -> None:
    visitor = facility.visitor("bob")
    server = started(bob)
    read = (
        "from facility.security.certificates import authority\n"
        "print(authority().ca_file.read_text())"
    )
    before = visitor.python(read)
    start = 'from facility import cluster\nc = cluster(cpu=1, name="bobs", wait=1, timeout=240)\n'
    visitor.python(start, keep=True)
    assert left(bob, "daskclusters")
    said = facility.hub("facility", "tenants", "new-authority", "bob")
    assert "Left:" not in said, said
    assert "a new authority is made in 1 server, which goes on" in said
    assert "1 Dask cluster ended" in said
    assert left(bob, "daskclusters") == ""
    assert started(bob) == server
    after = visitor.python(read)
    assert after != before
    # A new Dask cluster works, with the new one.
    work = f"{start}print(c.get_client().submit(lambda: 6 * 7).result())\nc.close()"
    assert visitor.python(work).strip().endswith("42")
    # It stays with the next server, too.
    visitor.api("DELETE", "users/bob/server")
    until(lambda: left(bob, "pods") == "", 120)
    visitor.spawn()
    assert visitor.python(read) == after
    assert "'bbo' has none (did you mean 'bob'?)" in facility.hub(
        "facility", "tenants", "new-authority", "bbo", fail=True
    )
