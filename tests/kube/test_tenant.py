"""Each rule of a user's namespace, by trying to get round it with the user's own token.

What is refused is refused by the API server: the reason that it gives is part of each test, so
that no attempt fails for another reason than the one meant.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility import names
from facility.config import Config, Pool
from facility.kubernetes.tenant import Address, release_set, tenant_set
from tests.kube import tenancy
from tests.kube.bringup import site
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import Space

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
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


# --- what each attempt changes in the specification of a good pod ------------------------------


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
        "have no GPUs",
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
    pod = alice.pod("bold", priorityClassName=getattr(alice.release, kind))
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


# --- through a Deployment, as the operator makes them ------------------------------------------


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


# --- through a DaskCluster ---------------------------------------------------------------------


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
        spec = alice.pod("x", pool=pool)["spec"]
        only = f"the PriorityClass must be {alice.release.scheduler_class}"
        for selector, reason in ((spec["nodeSelector"], only), (None, "needs the nodeSelector")):
            body = dask_cluster(
                alice, priorityClassName=spec["priorityClassName"], nodeSelector=selector
            )
            assert reason in refused(alice.notebook, body)
    said = refused(alice.notebook, dask_cluster(alice, **FOR_PODS["gpu-of-another-pool"][0]))
    assert "have no GPUs" in said


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


# --- Services ----------------------------------------------------------------------------------


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


# --- rights ------------------------------------------------------------------------------------

NEVER = [
    "create networkpolicies.networking.k8s.io",
    "create ciliumnetworkpolicies.cilium.io",
    "create rolebindings.rbac.authorization.k8s.io",
    "create roles.rbac.authorization.k8s.io",
    "patch resourcequotas",
    "delete limitranges",
    "create serviceaccounts",
    "create serviceaccounts/token",
    "create endpoints",
    "create endpointslices.discovery.k8s.io",
    "create pods/exec",
    "get pods/exec",
    "create pods/attach",
    "create pods/proxy",
    "create pods/binding",
    "create bindings",
    "create pods/eviction",
    "patch pods",
    "update pods",
    "patch pods/ephemeralcontainers",
    "update pods/ephemeralcontainers",
    "patch pods/resize",
    "update pods/resize",
    "patch pods/status",
    "create services/proxy",
    "patch daskclusters.kubernetes.dask.org/status",
    "create services",
    "create deployments.apps",
    "create statefulsets.apps",
    "create cronjobs.batch",
    "create daskworkergroups.kubernetes.dask.org",
    "create persistentvolumeclaims",
    "list configmaps",
    "impersonate serviceaccounts",
]


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


def test_a_user_may_do_what_dask_clusters_need_and_change_no_limit(
    alice: Space, bob: Space
) -> None:
    assert may(alice.notebook, "create pods")
    assert may(alice.notebook, "patch daskclusters.kubernetes.dask.org")
    assert [words for words in NEVER if may(alice.notebook, words)] == []
    for words in ("list pods", "list secrets", "create pods", "get events"):
        assert may(alice.notebook, words)
        assert not may(alice.notebook, words, bob.namespace)
        assert not may(alice.notebook, words, "kube-system")
    for words in ("list nodes", "list namespaces", "create namespaces", "list persistentvolumes"):
        assert not may(alice.notebook, words)


def test_a_user_reads_the_pools_and_the_release(alice: Space, tmp_path: Path) -> None:
    from facility.config import load

    found = alice.notebook.get("configmap", names.POOLS_CONFIG_MAP)["data"]
    (tmp_path / "pools.yaml").write_text(found[names.POOLS_KEY])
    pools = load(tmp_path / "pools.yaml").pools
    assert set(pools) == set(alice.release.config.pools)
    for pool in pools.values():
        assert pool.priority_class == names.pool_priority_class(pool.name, alice.release.name)
    assert found[names.RELEASE_KEY] == alice.release.name


def test_a_scheduler_may_end_dask_clusters_and_make_nothing(alice: Space) -> None:
    account = alice.account(names.SCHEDULER_ACCOUNT)
    assert may(account, "delete daskclusters.kubernetes.dask.org")
    assert may(account, "deletecollection pods")
    for words in ("create pods", "create daskclusters.kubernetes.dask.org", "create secrets"):
        assert not may(account, words)
    worker = alice.account(names.WORKER_ACCOUNT)
    for words in ("get pods", "get secrets", "delete daskclusters.kubernetes.dask.org"):
        assert not may(worker, words)


def test_the_operator_writes_in_users_namespaces_alone(alice: Space, carol: Space) -> None:
    operator = alice.account(alice.release.operator_account, alice.release.namespace)
    assert may(operator, "create deployments.apps")
    for namespace in ("kube-system", "default", alice.release.namespace, carol.namespace):
        for words in ("create deployments.apps", "create services", "create pods"):
            assert not may(operator, words, namespace)
    for words in ("get secrets", "create pods", "delete pods", "list pods"):
        assert not may(operator, words)


# --- the hub -----------------------------------------------------------------------------------


def namespace(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def binding(where: str, role: str, account: str, of: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "bold", "namespace": where},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": of}],
    }


def test_the_hub_makes_and_changes_namespaces_of_its_users_alone(
    alice: Space, carol: Space, kube: Kubernetes
) -> None:
    made = alice.release
    hub = alice.account(made.hub_account, made.namespace)
    good = tenant_set(alice.tenant)[0]["metadata"]["labels"]
    assert asks(hub, namespace("af-new", good))
    only = "makes and changes only namespaces of its own users"
    assert only in refused(hub, namespace("monitoring", good))
    less = {key: value for key, value in good.items() if key != names.HUB_LABEL}
    assert "has the labels" in refused(hub, namespace("af-new", less))
    open_ = {**good, "pod-security.kubernetes.io/enforce": "privileged"}
    assert "has the labels" in refused(hub, namespace("af-new", open_))

    relabel = ["label", "namespace", "--overwrite", "--dry-run=server"]
    ours = [f"{key}={value}" for key, value in good.items()]
    for foreign in ("kube-system", kube.namespace, carol.namespace):
        assert only in hub.run(*relabel, foreign, *ours, fail=True)
        if foreign != "kube-system":  # which Kubernetes itself protects
            assert only in hub.run("delete", "namespace", foreign, "--dry-run=server", fail=True)
    opened = "pod-security.kubernetes.io/enforce=privileged"
    assert "has the labels" in hub.run(*relabel, alice.namespace, opened, fail=True)
    hub.run(*relabel, alice.namespace, "site=yes")


def test_the_hub_binds_its_own_roles_in_its_users_namespaces_alone(
    alice: Space, carol: Space, kube: Kubernetes
) -> None:
    made = alice.release
    hub = alice.account(made.hub_account, made.namespace)
    role, account = made.role("hub-tenant"), made.hub_account
    assert asks(hub, binding(alice.namespace, role, account, made.namespace))
    for foreign in ("kube-system", made.namespace, kube.namespace, carol.namespace):
        said = refused(
            Kubernetes(hub.state, foreign), binding(foreign, role, account, made.namespace)
        )
        assert "elsewhere it makes no RoleBinding" in said
    own = alice.namespace
    assert "attempting to grant RBAC" in refused(
        hub, binding(own, "cluster-admin", account, made.namespace)
    )
    said = refused(hub, binding(own, role, "default", carol.namespace))
    assert "binds one of the release's own roles" in said
    # A role of the release that is not for users' namespaces.
    assert "forbidden" in refused(hub, binding(own, made.role("hub"), account, made.namespace))
    for words in ("create pods", "get secrets", "create serviceaccounts", "patch configmaps"):
        assert may(hub, words)
        for foreign in ("kube-system", made.namespace, carol.namespace):
            assert not may(hub, words, foreign)


def test_what_the_hub_makes_again_stays_as_it_is(alice: Space) -> None:
    hub = alice.account(alice.release.hub_account, alice.release.namespace)

    def versions() -> dict[str, str]:
        kinds = "resourcequotas,limitranges,networkpolicies,configmaps,serviceaccounts,rolebindings"
        found = json.loads(alice.admin.run("get", kinds, "-o", "json"))["items"]
        return {
            f"{each['kind']}/{each['metadata']['name']}": json.dumps(
                [each.get("spec"), each.get("data"), each.get("roleRef")]
            )
            for each in found
        }

    before = versions()
    alice.admin.run("delete", "networkpolicy", "deny-others")
    alice.admin.run("patch", "resourcequota", "all", "-p", '{"spec": {"hard": {"pods": "9999"}}}')
    assert versions() != before
    assert tenancy.applied(hub, yaml.safe_dump_all(tenant_set(alice.tenant)))
    assert versions() == before


# --- quotas ------------------------------------------------------------------------------------


def test_a_quota_for_each_pool_and_none_for_foreign_classes(
    state: dict[str, Any], tmp_path: Path
) -> None:
    """Without the policy that comes first, so that the quota itself answers."""
    quota = tenancy.Quota(gpus=2, pools={"cpu": 1, "gpu": 0})
    with (
        tenancy.installed(state, tenancy.release()) as made,
        tenancy.space(state, tmp_path, made, quota=quota) as found,
    ):
        user = found.notebook
        user.run("create", "-f", "-", text=yaml.safe_dump(found.pod("first")))
        # It states no limits, and gets those of the LimitRange.
        bare = found.pod("second", container={"resources": {}})
        assert "exceeded quota: pool-cpu" in refused(user, bare)
        limits = {"resources": {"limits": GPU_LIMITS}}
        said = refused(user, found.pod("third", pool="gpu", container=limits))
        assert "exceeded quota: pool-gpu" in said
        assert asks(user, found.pod("fourth", pool="arm"))
        much = {"resources": {"limits": {"cpu": "65", "memory": "64Mi"}}}
        assert "exceeded quota: all" in refused(
            user, found.pod("fifth", pool="arm", container=much)
        )
        found.admin.run("delete", "pod", "first", "--wait=false")

        found.admin.run("delete", "validatingadmissionpolicybinding", made.role("pods"))
        bold = found.pod("bold", priorityClassName="system-node-critical")
        none = found.pod("bold", priorityClassName=None)
        until(lambda: POLICY not in refused(user, bold))
        for pod in (bold, none):
            assert "exceeded quota: no-others" in refused(user, pod)


# --- two releases ------------------------------------------------------------------------------


def test_two_releases_do_not_disturb_each_other(alice: Space, carol: Space) -> None:
    assert asks(carol.notebook, carol.pod("good"))
    assert asks(alice.notebook, alice.pod("good"))
    pod = alice.pod("bold", priorityClassName=carol.pod("x")["spec"]["priorityClassName"])
    said = refused(alice.notebook, pod)
    assert f"{alice.release.name}-pods" in said
    assert f"{carol.release.name}-pods" not in said


def every_kind_of_pool() -> Config:
    tolerations = [
        {"key": "a", "operator": "Exists"},
        {"key": "b", "value": "c", "effect": "NoExecute", "toleration_seconds": 9},
    ]
    bare = Pool(name="bare", default=True, cpu=1, memory=2**30, max_workers=1)
    full = Pool(
        name="full",
        cpu=1,
        memory=2**30,
        max_workers=1,
        gpus=1,
        gpu_resource="amd.com/gpu",
        image="evil.example/'quoted\"x:1",
        runtime_class="gpu",
        priority_class="of-the-site",
        architecture="arm64",
        node_selector={"zone": "a"},
        tolerations=tolerations,
    )
    return Config(pools={"bare": bare, "full": full})


BARE = Config(pools={"bare": every_kind_of_pool().pools["bare"]})


@pytest.mark.parametrize("pools", [BARE, every_kind_of_pool(), tenancy.POOLS])
def test_the_api_server_finds_no_fault_in_the_policies(
    state: dict[str, Any], pools: Config
) -> None:
    with tenancy.installed(state, tenancy.release(pools)) as made:
        admin = Kubernetes(state)
        policies = [
            each["metadata"]["name"]
            for each in release_set(made)
            if each["kind"] == "ValidatingAdmissionPolicy"
        ]
        assert len(policies) == 7
        for policy in policies:
            until(lambda name=policy: status(admin, name).get("observedGeneration") == 1, 90)
            assert status(admin, policy)["typeChecking"] == {}


def status(admin: Kubernetes, policy: str) -> dict[str, Any]:
    return dict(admin.get("validatingadmissionpolicy", policy).get("status", {}))


# --- the network -------------------------------------------------------------------------------

LISTEN = """exec python3 -c '
import selectors, socket
chosen = selectors.DefaultSelector()
for port in (8786, 8787, 8888, 8081):
    chosen.register(socket.create_server(("", port)), selectors.EVENT_READ)
while True:
    for key, _ in chosen.select():
        client, _ = key.fileobj.accept()
        client.recv(9999)
        client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhi")
        client.close()
'"""


def reaches(who: Kubernetes, pod: str, address: str) -> bool:
    ask = f"curl -sk -m 2 -o /dev/null http://{address}/ && echo reached || true"
    return "reached" in who.run("exec", pod, "--", "sh", "-c", ask)


def beside_the_hub(space: Space, name: str, component: str) -> Kubernetes:
    """A pod in the namespace of the hub."""
    hub = Kubernetes(space.state, space.release.namespace)
    pod = hub.pod(name, LISTEN)
    pod["metadata"]["labels"][names.APP_COMPONENT_LABEL] = component
    hub.apply(pod)
    return hub


def test_another_user_reaches_neither_scheduler_nor_server(alice: Space, bob: Space) -> None:
    server = alice.pod("server", LISTEN)
    server["metadata"]["labels"][names.APP_COMPONENT_LABEL] = names.USER_SERVER_COMPONENT
    alice.notebook.run("create", "-f", "-", text=yaml.safe_dump(server))
    alice.notebook.run("create", "-f", "-", text=yaml.safe_dump(alice.pod("friend")))
    bob.notebook.run("create", "-f", "-", text=yaml.safe_dump(bob.pod("stranger")))
    hub = beside_the_hub(alice, "hub", names.HUB_COMPONENT)
    beside_the_hub(alice, "other", "monitoring")
    alice.admin.ready("server")
    alice.admin.ready("friend")
    bob.admin.ready("stranger")
    hub.ready("hub")
    hub.ready("other")
    address = alice.admin.get("pod", "server")["status"]["podIP"]
    ports = (names.SCHEDULER_PORT, names.DASHBOARD_PORT, names.USER_SERVER_PORT)

    def open_to(who: Kubernetes, pod: str) -> list[int]:
        return [port for port in ports if reaches(who, pod, f"{address}:{port}")]

    until(lambda: open_to(alice.admin, "friend") == list(ports))
    assert open_to(bob.admin, "stranger") == []
    until(lambda: open_to(hub, "hub") == [names.USER_SERVER_PORT])
    assert open_to(hub, "other") == []
    # The other way: a user server reaches the hub's API, other pods do not.
    api = hub.get("pod", "hub")["status"]["podIP"]
    until(lambda: reaches(alice.admin, "server", f"{api}:{names.HUB_PORT}"))
    assert not reaches(alice.admin, "server", f"{api}:{names.DASHBOARD_PORT}")
    assert not reaches(alice.admin, "friend", f"{api}:{names.HUB_PORT}")
    assert reaches(hub, "other", f"{api}:{names.HUB_PORT}")
    for who, pod in ((alice, "server"), (alice, "friend"), (bob, "stranger")):
        who.notebook.run("delete", "pod", pod, "--wait=false")


@pytest.mark.parametrize("flavor", ["standard", "cilium"])
def test_names_and_the_api_server_answer_and_the_site_where_it_is_allowed(
    state: dict[str, Any], tmp_path: Path, flavor: str
) -> None:
    # A registry that listens beside the API server, in a private range.
    registry = f"{site.FIRST.address}:{site.REGISTRY_PORT}"
    opened = Address(site.FIRST.address, (site.REGISTRY_PORT,))
    script = (
        "getent hosts kubernetes.default.svc.cluster.local && "
        f"curl -sk -m 5 https://{site.API_SERVICE}/version | grep gitVersion && sleep 600"
    )
    with tenancy.installed(state, tenancy.release()) as made:
        hub = Kubernetes(state, made.namespace)
        hub.apply(hub.pod("outside", "sleep 600"))
        with (
            tenancy.space(state, tmp_path, made, flavor=flavor) as closed,
            tenancy.space(state, tmp_path, made, flavor=flavor, site=(opened,)) as other,
        ):
            for each in (closed, other):
                text = yaml.safe_dump(each.pod("asks", script))
                each.notebook.run("create", "-f", "-", text=text)
                each.admin.ready("asks")
                until(lambda each=each: "gitVersion" in each.notebook.run("logs", "asks"))
            hub.ready("outside")
            assert reaches(hub, "outside", registry)
            assert not reaches(closed.admin, "asks", registry)
            if state["policy_cidr_match_mode"] == "nodes":
                until(lambda: reaches(other.admin, "asks", registry))
            assert not reaches(closed.admin, "asks", registry)
