"""What users, their schedulers, the operator and the hub may do; quotas; releases side by side."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility import names
from facility.config import Config, Pool
from facility.kubernetes.tenant import release_set, tenant_set
from tests.kube import tenancy
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import Space
from tests.kube.tenants import GPU_LIMITS, POLICY, alice, asks, bob, carol, may, refused, spaces

__all__ = ["alice", "bob", "carol", "spaces"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
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


# The hub.


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


# Quotas.


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


# Two releases.


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
POLICIES_OF = (
    pytest.param(BARE, marks=pytest.mark.long),
    every_kind_of_pool(),
    pytest.param(tenancy.POOLS, marks=pytest.mark.long),
)


@pytest.mark.parametrize("pools", POLICIES_OF)
def test_the_api_server_finds_no_fault_in_the_policies(
    state: dict[str, Any], checked_policies: None, pools: Config
) -> None:
    with tenancy.installed(state, tenancy.release(pools)) as made:
        admin = Kubernetes(state)
        policies = [
            each["metadata"]["name"]
            for each in release_set(made)
            if each["kind"] == "ValidatingAdmissionPolicy"
        ]
        assert len(policies) == 11
        for policy in policies:
            until(lambda name=policy: status(admin, name).get("observedGeneration") == 1, 150)
            assert status(admin, policy)["typeChecking"] == {}


def status(admin: Kubernetes, policy: str) -> dict[str, Any]:
    return dict(admin.get("validatingadmissionpolicy", policy).get("status", {}))
