"""Users of two releases, and what the API server says to them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from facility import names
from tests.kube import tenancy
from tests.kube.bringup import site
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import Space

POLICY = "ValidatingAdmissionPolicy"
GPU_LIMITS = {"cpu": "50m", "memory": "64Mi", site.GPU: "1"}


@pytest.fixture(scope="module")
def spaces(
    state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Space]]:
    """Two users of one release, and one of another that stands beside it."""
    with ExitStack() as stack:
        first = stack.enter_context(tenancy.installed(state, tenancy.release()))
        second = stack.enter_context(tenancy.installed(state, tenancy.release()))
        owners = {"alice": first, "bob": first, "carol": second}
        yield {
            user: stack.enter_context(tenancy.space(state, tmp_path_factory.mktemp(user), made))
            for user, made in owners.items()
        }


@pytest.fixture
def alice(spaces: dict[str, Space]) -> Space:
    return spaces["alice"]


@pytest.fixture
def bob(spaces: dict[str, Space]) -> Space:
    return spaces["bob"]


@pytest.fixture
def carol(spaces: dict[str, Space]) -> Space:
    return spaces["carol"]


@pytest.fixture(scope="module")
def foreign(spaces: dict[str, Space]) -> Iterator[dict[str, str]]:
    """What exists in the Kubernetes cluster and is not for this facility's users."""
    alice = spaces["alice"]
    name, admin = f"{alice.release.name}-foreign", alice.admin
    label = {names.HUB_LABEL: alice.release.name}
    admin.apply(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name, "labels": label},
            "value": 1000,
        },
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": name},
            "handler": "runc",
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other"}},
    )
    until(lambda: name in admin.run("get", "priorityclass", "-o", "name"))
    yield {"name": name, "carol": spaces["carol"].release.notebook_class}
    admin.run("delete", "runtimeclass", name)


def asks(who: Kubernetes, *objects: dict[str, Any]) -> str:
    """What the API server says to the creation of objects, all checks made and nothing stored."""
    words = ["create", "--dry-run=server", "--validate=false", "-o", "name", "-f", "-"]
    return who.run(*words, text=yaml.safe_dump_all(objects))


def refused(who: Kubernetes, *objects: dict[str, Any]) -> str:
    words = ["create", "--dry-run=server", "--validate=false", "-o", "name", "-f", "-"]
    return who.run(*words, text=yaml.safe_dump_all(objects), fail=True)


def may(who: Kubernetes, words: str, namespace: str = "") -> bool:
    """Whether an account may do something."""
    verb, _, what = words.partition(" ")
    resource, _, part = what.partition("/")
    resource, _, group = resource.partition(".")
    asked = {"verb": verb, "resource": resource, "group": group, "subresource": part}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**asked, "namespace": namespace or who.namespace}},
    }
    said = who.run("create", "--validate=false", "-o", "json", "-f", "-", text=json.dumps(review))
    return bool(json.loads(said)["status"]["allowed"])
