"""What `facility.kubernetes.quota` says of a pod, beside the API server's own verdict.

The server says it of a pod that it does not make: quotas hold for a dry run as well.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from facility.kubernetes.quota import counts, shares
from facility.kubernetes.tenant import is_counted
from tests.kube.conftest import Kubernetes, until

pytestmark = pytest.mark.kube
Object = dict[str, Any]
CLASS = "facility-test-quota"
ELSEWHERE = {"facility.test/node": "none"}
"""So that no node takes what is really made."""


def quota(hard: Object, **spec: Any) -> Object:
    return {"hard": hard, **spec}


def selected(scope: str, operator: str, *values: str) -> Object:
    term: Object = {"scopeName": scope, "operator": operator}
    term |= {"values": [*values]} if values else {}
    return quota({"pods": "0"}, scopeSelector={"matchExpressions": [term]})


def scoped(*scopes: str) -> Object:
    return quota({"pods": "0"}, scopes=[*scopes])


def container(name: str = "main", **resources: Object) -> Object:
    return {"name": name, "image": "none.example.org/none", "resources": resources}


def pod(*containers: Object, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asked"},
        "spec": {
            "nodeSelector": ELSEWHERE,
            "automountServiceAccountToken": False,
            "containers": [*containers] or [container()],
            **spec,
        },
    }


SMALL = {"cpu": "500m", "memory": "1Gi"}
OTHERS = {"topologyKey": "zone", "labelSelector": {}, "namespaceSelector": {}}
NEAR_OTHERS = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [OTHERS]}}
FIRST = [container("first", limits={"cpu": "2", "memory": "1Gi"})]
SIDECAR = [container("sidecar", limits=SMALL) | {"restartPolicy": "Always"}]


@pytest.fixture(scope="module")
def priority_class(state: dict[str, Any]) -> Iterator[str]:
    everywhere = Kubernetes(state)
    everywhere.apply(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": CLASS},
            "value": 1,
            "preemptionPolicy": "Never",
        }
    )
    yield CLASS
    everywhere.run("delete", "priorityclass", CLASS)


@pytest.mark.parametrize(
    ("quotas", "asked", "permitted"),
    [
        pytest.param([scoped("BestEffort")], pod(container(limits=SMALL)), True, id="limits"),
        pytest.param([scoped("BestEffort")], pod(), False, id="best-effort"),
        pytest.param(
            [scoped("NotBestEffort")],
            pod(container(limits={"nvidia.com/gpu": "1"})),
            True,
            id="a-gpu-alone-is-best-effort",
        ),
        pytest.param(
            [scoped("NotBestEffort", "Terminating")],
            pod(container(limits=SMALL), activeDeadlineSeconds=60),
            False,
            id="two-scopes",
        ),
        pytest.param(
            [scoped("NotTerminating")], pod(activeDeadlineSeconds=60), True, id="terminating"
        ),
        pytest.param(
            [selected("PriorityClass", "In", CLASS)],
            pod(priorityClassName=CLASS),
            False,
            id="in",
        ),
        pytest.param([selected("PriorityClass", "In", CLASS)], pod(), True, id="in-without"),
        pytest.param([selected("PriorityClass", "NotIn", CLASS)], pod(), False, id="not-in"),
        pytest.param([selected("PriorityClass", "Exists")], pod(), True, id="exists"),
        pytest.param([selected("PriorityClass", "DoesNotExist")], pod(), False, id="no-class"),
        pytest.param(
            [selected("CrossNamespacePodAffinity", "Exists")],
            pod(affinity=NEAR_OTHERS),
            False,
            id="other-namespaces",
        ),
        pytest.param(
            [quota({"requests.cpu": "1"}), quota({"limits.memory": "1Gi"})],
            pod(container(limits={"cpu": "2", "memory": "2Gi"}, requests=SMALL)),
            False,
            id="the-second-of-two",
        ),
        pytest.param(
            [quota({"cpu": "500m", "limits.memory": "1Gi", "pods": "1", "count/pods": "1"})],
            pod(container(limits=SMALL)),
            True,
            id="all-that-there-is",
        ),
        pytest.param(
            [quota({"requests.cpu": "2500m"})],
            pod(container(limits=SMALL), initContainers=FIRST),
            True,
            id="what-runs-first",
        ),
        pytest.param(
            [quota({"requests.cpu": "2"})],
            pod(container(limits=SMALL), initContainers=[*SIDECAR, *FIRST]),
            False,
            id="a-sidecar-beside-it",
        ),
        pytest.param(
            [quota({"requests.nvidia.com/gpu": "1"})],
            pod(container(limits={"nvidia.com/gpu": "2"})),
            False,
            id="gpus",
        ),
        pytest.param(
            [quota({"ephemeral-storage": "1Gi"})],
            pod(container(limits={"ephemeral-storage": "2Gi"})),
            False,
            id="disk",
        ),
        pytest.param([quota({"limits.ephemeral-storage": "1Gi"})], pod(), True, id="disk-without"),
    ],
)
def test_the_api_server_says_the_same(
    kube: Kubernetes, priority_class: str, quotas: list[Object], asked: Object, permitted: bool
) -> None:
    there = made(kube, quotas)
    assert all(each.fits for each in shares(there, asked)) is permitted
    assert verdict(kube, asked) is permitted


def test_what_is_used_is_no_longer_left(kube: Kubernetes) -> None:
    first, asked = pod(container(limits=SMALL)), pod(container(limits=SMALL))
    first["metadata"]["name"] = "first"
    hard = {"pods": "3", "requests.cpu": "900m", "limits.memory": "4Gi"}
    made(kube, [quota(hard)])
    kube.apply(first)
    found = kube.get("resourcequota", "q0")
    assert counts(found, asked)
    left = {each.resource: (float(each.left), each.fits) for each in shares([found], asked)}
    assert left == {
        "pods": (2, True),
        "requests.cpu": (0.4, False),
        "limits.memory": (3 * 2**30, True),
    }
    assert verdict(kube, asked) is False
    smaller = pod(container(limits={"cpu": "400m", "memory": "1Gi"}))
    assert all(each.fits for each in shares([found], smaller))
    assert verdict(kube, smaller) is True


def made(kube: Kubernetes, quotas: list[Object]) -> list[Object]:
    """Make quotas, and wait until the API server holds to them; as it has them then."""
    names = [f"q{number}" for number in range(len(quotas))]
    for name, spec in zip(names, quotas, strict=True):
        made_one(kube, name, spec)
    # It learns of quotas in the order in which they were made.
    made_one(kube, "last", quota({"services": "0"}))
    service = ["create", "service", "clusterip", "asked", "--tcp=80", "--dry-run=server"]
    until(lambda: "exceeded quota: last" in kube.say(*service), 60)
    return [kube.get("resourcequota", name) for name in names]


def made_one(kube: Kubernetes, name: str, spec: Object) -> None:
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": name},
            "spec": spec,
        }
    )
    until(lambda: is_counted(kube.get("resourcequota", name)), 60)


def verdict(kube: Kubernetes, asked: Object) -> bool:
    """Whether the API server would make a pod; what else it may say fails the test."""
    words = ["create", "--dry-run=server", "--validate=false", "-f", "-"]
    done = kube._done(*words, text=yaml.safe_dump(asked))
    assert done.returncode == 0 or "exceeded quota: q" in done.stderr, done.stderr
    return done.returncode == 0
