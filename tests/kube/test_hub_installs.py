"""Ways to install the chart, two releases in one Kubernetes, and whose a namespace is.

The first release is what `helm template` writes, put in by kubectl: as tools do that keep a
cluster as a repository says. The second one is Helm's, with the site's own secret, database and
namespaces, and with the first one's prefix.
"""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from facility import names
from facility.kubernetes.tenant import slug
from tests.kube.charts import CHART, Facility, User
from tests.kube.conftest import Kubernetes, until
from tests.kube.database import Database, postgres

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]
EXACT = """
from jupyterhub.authenticators.shared import SharedPasswordAuthenticator

class Exact(SharedPasswordAuthenticator):
    def normalize_username(self, username):
        return username

c.JupyterHub.authenticator_class = Exact
"""
"""Names as a login gives them; JupyterHub's own way is to write them in lower case."""
ODD = ("Alice.Smith@cern.ch", "a" * 70)
SECRET = "of-the-site"


def put(facility: Facility, *chosen: str) -> str:
    """Have kubectl put in what Helm writes."""
    # Which Kubernetes it is Helm does not ask here.
    version = json.loads(facility.kube.run("version", "-o", "json"))["serverVersion"]["gitVersion"]
    words = ("-f", facility.write_values(), f"--kube-version={version}")
    text = facility.helm("template", facility.name, str(CHART), *words, *chosen)
    return facility.kube.run("apply", "-f", "-", text=text)


def sync(facility: Facility) -> str:
    """As the chart's README says."""
    facility.kube.run("delete", "job", "prepare", "--ignore-not-found")
    put(facility, "--show-only=templates/prepare/job.yaml")
    facility.kube.run("wait", "--for=condition=complete", "job/prepare", "--timeout=300s")
    said = put(facility, "--no-hooks")
    for each in ("hub", "proxy", "operator"):
        facility.kube.run("rollout", "status", f"deployment/{each}", "--timeout=300s")
    return said


@pytest.fixture(scope="module")
def first(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """Without Helm in the cluster."""
    values = {"hub": {"extraConfig": {"names": EXACT}}}
    found = Facility(state, tmp_path_factory.mktemp("first"), "3", values)
    try:
        Kubernetes(state).run("create", "namespace", found.namespace)
        sync(found)
        found.open_shortly()
        yield found
    finally:
        found.clean_up()


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres(secrets.token_urlsafe(16)) as found:
        yield found


@pytest.fixture(scope="module")
def second(
    state: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    here: None,
    first: Facility,
    database: Database,
) -> Iterator[Facility]:
    values = {
        "hub": {
            "existingSecret": SECRET,
            "db": {"type": "postgres", "url": database.url},
        },
        "tenants": {"prefix": first.prefix, "createNamespaces": False},
    }
    found = Facility(state, tmp_path_factory.mktemp("second"), "4", values)
    found.prefix = first.prefix
    content = {
        **{key: secrets.token_hex(32) for key in ("proxy-token", "cookie-secret", "crypt-key")},
        "password": secrets.token_urlsafe(12),
        "database-password": database.password,
    }
    try:
        Kubernetes(state).run("create", "namespace", found.namespace)
        literals = [f"--from-literal={key}={value}" for key, value in content.items()]
        found.kube.run("create", "secret", "generic", SECRET, *literals)
        found.refused = found.install(fail=True)  # type: ignore[attr-defined]
        operator = {"enabled": False, "namespace": first.namespace, "account": "operator"}
        found.values["operator"] |= operator
        found.install()
        found.open_shortly()
        yield found
    finally:
        found.clean_up()


# --- without Helm in the cluster ---------------------------------------------------------------


def test_what_helm_writes_can_be_put_in_again_and_again(first: Facility) -> None:
    user = first.visitor("renate")
    kept = first.kube.get("secret", "hub-secrets")["data"]
    before = {each: first.kube.get("deployment", each) for each in ("hub", "proxy", "operator")}
    sync(first)
    assert first.kube.get("secret", "hub-secrets")["data"] == kept
    for name, found in before.items():
        again = first.kube.get("deployment", name)
        assert again["metadata"]["generation"] == found["metadata"]["generation"], name
    # Another hub, with the same secrets and database: who was logged in still is.
    first.kube.run("delete", "pod", "-l", "app.kubernetes.io/component=hub")
    first.kube.run("rollout", "status", "deployment/hub", "--timeout=180s")
    first.wait_until_it_answers()
    page = user.http.get(f"{user.base}/hub/home", timeout=60)
    assert page.ok
    assert "/hub/login" not in page.url


# --- whose a namespace is ----------------------------------------------------------------------


def test_users_whose_names_are_alike_or_odd_are_told_apart(first: Facility) -> None:
    users = [first.visitor(name) for name in ("alice", "Alice", *ODD)]
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(User.spawn, users))
    assert len({user.space.namespace for user in users}) == len(users)
    admin = Kubernetes(first.state)
    for user, words in zip(users, said, strict=True):
        assert any("Server ready" in each for each in words), (user.user, words)
        found = admin.get("namespace", user.space.namespace)["metadata"]
        assert found["annotations"][names.USER_ANNOTATION] == user.user
        assert len(found["name"]) <= 63
        assert user.space.get("pod", "notebook")["status"]["phase"] == "Running"
        user.stop_server()
    assert users[0].space.namespace == f"{first.prefix}alice"


def test_a_namespace_that_is_nobodys_is_not_adopted(first: Facility) -> None:
    admin, name = Kubernetes(first.state), f"{first.prefix}monitoring"
    admin.run("create", "namespace", name)
    try:
        said = first.visitor("monitoring").spawn()
        assert any(f"namespace {name} exists and is no user's" in each for each in said), said
        inside = Kubernetes(first.state, name)
        found = inside.run("get", "rolebindings,quota,networkpolicies,secrets", "-o", "name")
        assert not found.strip()
        assert names.HUB_LABEL not in admin.get("namespace", name)["metadata"]["labels"]
    finally:
        admin.run("delete", "namespace", name, "--wait=false")


# --- a second release beside it ----------------------------------------------------------------


def test_a_second_operator_is_refused(first: Facility, second: Facility) -> None:
    said = second.refused  # type: ignore[attr-defined]
    assert f"runs already: the Deployment {first.namespace}/operator" in said
    assert f'operator.namespace to "{first.namespace}"' in said
    assert "operator" not in second.kube.run("get", "deployments", "-o", "name")


def test_the_sites_own_secret_and_database(second: Facility, database: Database) -> None:
    assert "hub-secrets" not in second.kube.run("get", "secrets", "-o", "name")
    assert "hub-database" not in second.kube.run("get", "pvc", "-o", "name")
    user = second.visitor("petra")
    assert database.ask("select name from users where name = 'petra'") == "petra"
    second.kube.run("delete", "pod", "-l", "app.kubernetes.io/component=hub")
    second.kube.run("rollout", "status", "deployment/hub", "--timeout=180s")
    second.wait_until_it_answers()
    assert "/hub/login" not in user.http.get(f"{user.base}/hub/home", timeout=60).url


def test_two_releases_with_one_prefix_are_told_apart(first: Facility, second: Facility) -> None:
    """The user alice of the first one has a namespace; the second one has an alice too."""
    admin = Kubernetes(first.state)
    before = admin.get("namespace", f"{first.prefix}alice")["metadata"]
    said = second.visitor("alice").spawn()
    told = f"belongs to the release '{first.name}', and not to '{second.name}'"
    assert any(told in each and "another prefix" in each for each in said), said
    after = admin.get("namespace", f"{first.prefix}alice")["metadata"]
    assert after["labels"] == before["labels"]
    assert after["annotations"] == before["annotations"]


def test_namespaces_that_the_site_makes(second: Facility) -> None:
    user = second.visitor("Dora")
    # JupyterHub's own way to write a name, but for authenticators that know better.
    user.user = user.api("GET", "user").json()["name"]
    assert user.user == "dora"
    said = user.spawn()
    labels = {names.HUB_LABEL: second.name, names.TENANT_LABEL: slug("dora")}
    for key, value in {**labels, names.USER_ANNOTATION: "dora"}.items():
        assert any(f"{key}={value}" in each for each in said), said
    assert any("tenants.createNamespaces is false" in each for each in said), said
    admin, name = Kubernetes(second.state), user.space.namespace
    assert name not in admin.run("get", "namespaces", "-o", "name")
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {names.USER_ANNOTATION: "dora"},
        },
    }
    admin.apply(namespace)
    assert any("Server ready" in each for each in user.spawn())
    found = admin.get("namespace", name)["metadata"]["labels"]
    assert found["pod-security.kubernetes.io/enforce"] == "restricted"
    user.stop_server()
    until(lambda: "notebook" not in user.space.run("get", "pods", "-o", "name"), 90)
