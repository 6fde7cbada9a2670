"""Each rule of a user's namespace, by trying to get round it with the user's own token.

What is refused is refused by the API server: the reason that it gives is part of each test, so
that no attempt fails for another reason than the one meant.
"""

import json
import uuid
from typing import Any

import pytest
import yaml

from facility import names
from tests.kube.conftest import until
from tests.kube.tenancy import Space
from tests.kube.tenants import (
    GPU_LIMITS,
    POLICY,
    alice,
    asks,
    foreign,
    refused,
    spaces,
)

__all__ = ["alice", "foreign", "spaces"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]


def image(name: str) -> dict[str, Any]:
    return {"container": {"image": name}}


def privileged() -> dict[str, Any]:
    return {"container": {"securityContext": {"privileged": True}}}


INIT = {
    "name": "init",
    "image": "evil.example/init:1",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
ANYWHERE = {"operator": "Exists"}
CONTROL_PLANE = {
    "key": "node-role.kubernetes.io/control-plane",
    "operator": "Exists",
    "effect": "NoSchedule",
}
ATTEMPTS: dict[str, tuple[dict[str, Any], str]] = {
    "class-none": ({"priorityClassName": None}, 'PriorityClass "" is not one of'),
    "class-system": (
        {"priorityClassName": "system-node-critical"},
        '"system-node-critical" is not one of',
    ),
    "class-foreign": ({"priorityClassName": "@name@"}, '-foreign" is not one of'),
    "class-other-release": ({"priorityClassName": "@carol@"}, "is not one of this facility"),
    "no-selector": ({"nodeSelector": None}, "needs the nodeSelector facility.test/pool: cpu"),
    "other-selector": (
        {"nodeSelector": {"facility.test/pool": "arm"}},
        "needs the nodeSelector facility.test/pool: cpu",
    ),
    "toleration-of-all": ({"tolerations": [ANYWHERE]}, "has a toleration that"),
    "toleration-of-a-taint": ({"tolerations": [CONTROL_PLANE]}, "has a toleration that"),
    "node": ({"nodeName": "amd64"}, "nodeName is not permitted"),
    "account": ({"serviceAccountName": "other"}, "ServiceAccount other is not permitted"),
    "image": (image("evil.example/miner:1"), "an image is not permitted: evil.example/miner:1"),
    "image-alike": (image("registry.test.evil.example/x:1"), "an image is not permitted"),
    "image-without-registry": (image("debian"), "an image is not permitted"),
    "image-of-init": ({"initContainers": [INIT]}, "an image is not permitted"),
    "runtime": ({"runtimeClassName": "@name@"}, "needs the runtimeClassName"),
}
FOR_PODS: dict[str, tuple[dict[str, Any], str]] = {
    "gpu-of-another-pool": (
        {"container": {"resources": {"limits": GPU_LIMITS}}},
        "have no other resources than",
    ),
    "claims": (
        {"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]},
        "resourceClaims are not permitted",
    ),
    "privileged": (privileged(), "violates PodSecurity"),
    "host-path": (
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        "violates PodSecurity",
    ),
    "host-network": ({"hostNetwork": True}, "violates PodSecurity"),
    "root": ({"securityContext": {"runAsUser": 0}}, "violates PodSecurity"),
}


def filled(changes: dict[str, Any], foreign: dict[str, str]) -> dict[str, Any]:
    return {
        key: foreign[value.strip("@")] if isinstance(value, str) and value[0] == "@" else value
        for key, value in changes.items()
    }


@pytest.mark.parametrize("pool", ["cpu", "gpu", "arm"])
def test_a_pod_of_each_pool_is_admitted(alice: Space, pool: str) -> None:
    limits = {"container": {"resources": {"limits": GPU_LIMITS}}} if pool == "gpu" else {}
    assert asks(alice.notebook, alice.pod("good", pool=pool, **limits)).strip() == "pod/good"


@pytest.mark.parametrize("attempt", [*ATTEMPTS, *FOR_PODS])
def test_a_users_pod_keeps_the_rules(alice: Space, foreign: dict[str, str], attempt: str) -> None:
    changes, reason = (ATTEMPTS | FOR_PODS)[attempt]
    said = refused(alice.notebook, alice.pod("bold", **filled(changes, foreign)))
    assert reason in said
    assert (POLICY in said) == ("PodSecurity" not in reason)


@pytest.mark.parametrize("kind", ["notebook_class", "scheduler_class"])
def test_a_user_makes_no_pods_that_count_as_other_than_workers(alice: Space, kind: str) -> None:
    pod = alice.pod("bold", priorityClassName=getattr(alice.release, kind), nodeSelector=None)
    assert "are made by the hub and the operator alone" in refused(alice.notebook, pod)
    # For the hub itself it is a user server.
    assert asks(alice.account(alice.release.hub_account, alice.release.namespace), pod)


def test_a_pod_that_runs_keeps_the_rules(alice: Space) -> None:
    """Users may change no pod; what may is held to the same rules."""
    name = f"runs-{uuid.uuid4().hex[:6]}"
    alice.notebook.run("create", "-f", "-", text=yaml.safe_dump(alice.pod(name)))
    words = ["patch", "pod", name, "-p"]
    other = json.dumps({"spec": {"containers": [{"name": "main", "image": "evil.example/x:1"}]}})
    assert "cannot patch resource" in alice.notebook.run(*words, other, fail=True)
    assert "an image is not permitted" in alice.admin.run(*words, other, fail=True)
    tolerations = alice.admin.get("pod", name)["spec"]["tolerations"]
    more = json.dumps({"spec": {"tolerations": [*tolerations, ANYWHERE]}})
    assert "has a toleration that" in alice.admin.run(*words, more, "--type=merge", fail=True)
    alice.admin.run(*words, json.dumps({"metadata": {"labels": {"seen": "yes"}}}))
    alice.notebook.run("delete", "pod", name, "--wait=false")


def test_what_is_added_to_a_pod_that_runs_keeps_the_rules(alice: Space) -> None:
    """Users may add nothing; what an administrator adds is held to the same rules."""
    name = f"added-{uuid.uuid4().hex[:6]}"
    alice.notebook.run("create", "-f", "-", text=yaml.safe_dump(alice.pod(name)))
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    image = alice.state["images"]["base"]

    def added(**changes: Any) -> list[str]:
        container = {"name": "more", "image": image, "command": ["true"], "securityContext": rights}
        body = {"spec": {"ephemeralContainers": [container | changes]}}
        words = ["patch", "pod", name, "--subresource=ephemeralcontainers", "--dry-run=server"]
        return [*words, "-p", json.dumps(body)]

    assert "is forbidden: User" in alice.notebook.run(*added(), fail=True)
    foreign = added(image="evil.example/x:1")
    assert "an image is not permitted: evil.example/x:1" in alice.admin.run(*foreign, fail=True)
    bold = added(securityContext={**rights, "privileged": True, "allowPrivilegeEscalation": True})
    assert "violates PodSecurity" in alice.admin.run(*bold, fail=True)
    alice.admin.run(*added())
    # Larger than it was made: a quota counts that too.
    more = {"resources": {"limits": {"cpu": "900"}, "requests": {"cpu": "900"}}}
    body = json.dumps({"spec": {"containers": [{"name": "main", **more}]}})
    resize = ["patch", "pod", name, "--subresource=resize", "-p", body]
    assert "is forbidden: User" in alice.notebook.run(*resize, fail=True)
    assert "exceeded quota: all" in alice.admin.run(*resize, fail=True)
    alice.notebook.run("delete", "pod", name, "--wait=false")


# Through a Deployment, as the operator makes them.


def deployment(spec: dict[str, Any], kind: str = "Deployment") -> dict[str, Any]:
    labels = {"app": "made"}
    spec = {**spec, "restartPolicy": "Always"}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "made"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def scheduler(space: Space, **changes: Any) -> dict[str, Any]:
    """The specification of a scheduler's pod that obeys every rule, but for what is changed."""
    good = {
        "priorityClassName": space.release.scheduler_class,
        "serviceAccountName": names.SCHEDULER_ACCOUNT,
        "nodeSelector": None,
    }
    return dict(space.pod("scheduler", **{**good, **changes})["spec"])


TEMPLATES = {key: each for key, each in ATTEMPTS.items() if "selector" not in key}


@pytest.mark.parametrize("attempt", TEMPLATES)
def test_a_deployment_of_the_operator_keeps_the_rules(
    alice: Space, foreign: dict[str, str], attempt: str
) -> None:
    operator = alice.account(alice.release.operator_account, alice.release.namespace)
    changes, reason = TEMPLATES[attempt]
    good = deployment(scheduler(alice))
    assert asks(operator, good).strip() == "deployment.apps/made"
    said = refused(operator, deployment(scheduler(alice, **filled(changes, foreign))))
    assert reason in said
    assert "cannot create resource" in refused(alice.notebook, good)


def test_a_deployment_makes_schedulers_alone(alice: Space) -> None:
    operator = alice.account(alice.release.operator_account, alice.release.namespace)
    for other in (alice.release.notebook_class, alice.pod("cpu")["spec"]["priorityClassName"]):
        spec = {**alice.pod("cpu")["spec"], "priorityClassName": other}
        said = refused(operator, deployment(spec))
        assert f"the PriorityClass must be {alice.release.scheduler_class}" in said


@pytest.mark.parametrize(
    ("changes", "reason"),
    [ATTEMPTS["class-system"], ATTEMPTS["image"], ATTEMPTS["account"], FOR_PODS["privileged"]],
    ids=["class", "image", "account", "privileged"],
)
def test_what_a_controller_makes_of_a_template_keeps_the_rules(
    alice: Space, foreign: dict[str, str], changes: dict[str, Any], reason: str
) -> None:
    """No policy looks at ReplicaSets, as at other kinds that a site may have."""
    made = deployment(scheduler(alice, **changes), "ReplicaSet")
    made["metadata"]["name"] = name = f"made-{uuid.uuid4().hex[:6]}"
    alice.admin.apply(made)

    def conditions() -> str:
        return json.dumps(alice.admin.get("replicaset", name).get("status", {}).get("conditions"))

    until(lambda: "FailedCreate" in conditions())
    assert reason in json.loads(conditions())[0]["message"]
    alice.admin.run("delete", "replicaset", name)


# Through a DaskCluster.


def dask_cluster(space: Space, *, service: Any = None, more: Any = None, **changes: Any) -> Any:
    spec = scheduler(space, **changes)
    ports = [{"name": "tcp-comm", "port": 8786, "targetPort": "tcp-comm"}]
    selector = {"dask.org/cluster-name": "made", "dask.org/component": "scheduler"}
    good = {"type": "ClusterIP", "selector": selector, "ports": ports}
    workers = {"replicas": 0, "spec": {"containers": [{"name": "worker", "image": "none"}]}}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "made"},
        "spec": {
            "scheduler": {"spec": spec, "service": {**good, **(service or {})}},
            "worker": workers,
            **(more or {}),
        },
    }


@pytest.mark.parametrize("attempt", TEMPLATES)
def test_a_dask_cluster_keeps_the_rules(
    alice: Space, foreign: dict[str, str], attempt: str
) -> None:
    changes, reason = TEMPLATES[attempt]
    good = dask_cluster(alice)
    assert asks(alice.notebook, good).strip() == "daskcluster.kubernetes.dask.org/made"
    said = refused(alice.notebook, dask_cluster(alice, **filled(changes, foreign)))
    assert reason in said


def test_a_dask_cluster_makes_schedulers_alone(alice: Space) -> None:
    """Its scheduler is of no pool, with or without the pool's nodes, and has no GPU."""
    for pool in ("cpu", "gpu", "arm"):
        devices = {"container": {"resources": {"limits": GPU_LIMITS}}} if pool == "gpu" else {}
        spec = alice.pod("x", pool=pool)["spec"]
        only = f"the PriorityClass must be {alice.release.scheduler_class}"
        for selector, reason in ((spec["nodeSelector"], only), (None, "needs the nodeSelector")):
            body = dask_cluster(
                alice,
                priorityClassName=spec["priorityClassName"],
                nodeSelector=selector,
                **devices,
            )
            assert reason in refused(alice.notebook, body)
    said = refused(alice.notebook, dask_cluster(alice, **FOR_PODS["gpu-of-another-pool"][0]))
    assert "have no other resources than" in said


TWO_WORKERS = {"worker": {"replicas": 2, "spec": {"containers": [{"name": "worker"}]}}}
UNSAID_WORKERS = {"worker": {"spec": {"containers": [{"name": "worker"}]}}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"more": {"idleTimeout": 60}}, "idleTimeout is not permitted"),
        ({"more": TWO_WORKERS}, "worker.replicas must be 0"),
        ({"more": UNSAID_WORKERS}, "worker.replicas must be 0"),
        ({"service": {"type": "NodePort"}}, "must be of type ClusterIP"),
        ({"service": {"type": "LoadBalancer"}}, "must be of type ClusterIP"),
        ({"service": {"externalIPs": ["192.0.2.1"]}}, "externalIPs is not permitted"),
    ],
    ids=["idle", "workers", "workers-by-default", "node-port", "balancer", "external"],
)
def test_a_dask_cluster_makes_the_operator_do_nothing_else(
    alice: Space, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refused(alice.notebook, dask_cluster(alice, **changes))


def test_a_dask_cluster_that_is_there_keeps_the_rules(alice: Space) -> None:
    alice.notebook.run("create", "-f", "-", text=yaml.safe_dump(dask_cluster(alice)))
    words = ["patch", "daskcluster", "made", "--type=merge", "-p"]
    for change, reason in (
        ({"idleTimeout": 5}, "idleTimeout is not permitted"),
        ({"worker": {"replicas": 3}}, "worker.replicas must be 0"),
        ({"scheduler": {"spec": {"nodeName": "amd64"}}}, "nodeName is not permitted"),
    ):
        assert reason in alice.notebook.run(*words, json.dumps({"spec": change}), fail=True)
    alice.notebook.run(*words, json.dumps({"metadata": {"finalizers": None}}))
    alice.notebook.run("delete", "daskcluster", "made", "--wait=false")


# Services.


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"type": "NodePort"}, "must be of type ClusterIP"),
        ({"type": "LoadBalancer"}, "must be of type ClusterIP"),
        ({"type": "ExternalName", "externalName": "evil.example"}, "must be of type ClusterIP"),
        ({"externalIPs": ["192.0.2.1"]}, "externalIPs is not permitted"),
    ],
    ids=["node-port", "balancer", "name", "external"],
)
def test_a_service_stays_inside(alice: Space, spec: dict[str, Any], reason: str) -> None:
    operator = alice.account(alice.release.operator_account, alice.release.namespace)
    good: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "made"},
        "spec": {"selector": {"app": "made"}, "ports": [{"port": 80}]},
    }
    assert asks(operator, good).strip() == "service/made"
    bold = {**good, "spec": {**good["spec"], **spec}}
    assert reason in refused(operator, bold)
    assert "cannot create resource" in refused(alice.notebook, good)
