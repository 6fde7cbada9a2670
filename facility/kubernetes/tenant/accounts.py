"""Who may do what: accounts and bindings of a user's namespace, ClusterRoles of a release.

All rights in a user's namespace come from RoleBindings in it. Cluster-wide, hub and operator may
read what they watch; the hub may also make namespaces and RoleBindings and, where the values have
templates of them, PersistentVolumes, within what an admission policy allows it.
"""

from collections.abc import Iterable
from typing import Any

from facility import names
from facility.kubernetes.tenant.model import Release, Tenant

Manifest = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
READ = ("get", "list", "watch")
DASK_KINDS = ("daskclusters", "daskworkergroups")

NOTEBOOK, SCHEDULER = "notebook", "scheduler"
HUB, HUB_TENANT, HUB_VOLUMES = "hub", "hub-tenant", "hub-volumes"
OPERATOR, OPERATOR_TENANT = "operator", "operator-tenant"
BOUND = (NOTEBOOK, SCHEDULER, HUB_TENANT, OPERATOR_TENANT)
"""ClusterRoles that are bound in each user's namespace, and nowhere else."""


def service_accounts(tenant: Tenant) -> list[Manifest]:
    """Return the accounts of user servers, schedulers and workers.

    Workers have no rights and no token: they run what a scheduler sends them.
    """
    pull = [{"name": name} for name in tenant.pull_secrets]
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": tenant.namespace, "labels": tenant.labels},
            "automountServiceAccountToken": name != names.WORKER_ACCOUNT,
            **({"imagePullSecrets": pull} if pull else {}),
        }
        for name in (names.NOTEBOOK_ACCOUNT, names.SCHEDULER_ACCOUNT, names.WORKER_ACCOUNT)
    ]


def role_bindings(tenant: Tenant) -> list[Manifest]:
    """Return who has which ClusterRole in the namespace, the hub first: it makes the rest."""
    release, own = tenant.release, tenant.namespace
    operator = release.operator_namespace or release.namespace
    subjects = {
        HUB_TENANT: (release.hub_account, release.namespace),
        NOTEBOOK: (names.NOTEBOOK_ACCOUNT, own),
        SCHEDULER: (names.SCHEDULER_ACCOUNT, own),
        OPERATOR_TENANT: (release.operator_account, operator),
    }
    return [
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": part, "namespace": own, "labels": tenant.labels},
            **_bound(release.role(part), account, namespace),
        }
        for part, (account, namespace) in subjects.items()
    ]


def cluster_roles(release: Release) -> list[Manifest]:
    """Return the ClusterRoles, and who has some of them everywhere."""
    rules = {
        NOTEBOOK: _notebook(),
        SCHEDULER: _scheduler(),
        HUB_TENANT: _hub_tenant(),
        OPERATOR_TENANT: _operator_tenant(),
        HUB: _hub(release),
        OPERATOR: _operator(),
    }
    everywhere = {
        HUB: (release.hub_account, release.namespace),
        OPERATOR: (release.operator_account, release.operator_namespace or release.namespace),
    }
    if release.makes_volumes:
        rules[HUB_VOLUMES] = [
            _rule("", ["persistentvolumes"], ["create", "delete", "patch", "get", "list"])
        ]
        everywhere[HUB_VOLUMES] = everywhere[HUB]
    roles = [
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": release.role(part), "labels": release.labels},
            "rules": found,
        }
        for part, found in rules.items()
    ]
    bindings = [
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": release.role(part), "labels": release.labels},
            **_bound(release.role(part), account, namespace),
        }
        for part, (account, namespace) in everywhere.items()
    ]
    return [*roles, *bindings]


def _bound(role: str, account: str, namespace: str) -> Manifest:
    return {
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def _rule(
    group: str, resources: Iterable[str], verbs: Iterable[str], only: Iterable[str] = ()
) -> Manifest:
    rule = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return rule | ({"resourceNames": list(only)} if only else {})


def _notebook() -> list[Manifest]:
    """What the library asks for, and nothing by which limits could be changed."""
    return [
        _rule("", ["pods"], ["create", "delete", "deletecollection", *READ]),
        _rule("", ["pods/log"], ["get"]),
        # From outside, with a kubeconfig: the scheduler is reached through the API server.
        _rule("", ["pods/portforward"], ["create", "get"]),
        _rule("", ["events"], READ),
        _rule("", ["secrets"], ["create", "delete", "deletecollection", "get", "list", "patch"]),
        # Of claims: which of the notebook's volumes workers can have too.
        _rule("", ["services", "resourcequotas", "persistentvolumeclaims"], ["get", "list"]),
        # Of its own alone, by a binding in it: it says as whom pods run.
        _rule("", ["namespaces"], ["get"]),
        _rule("", ["configmaps"], ["get"], only=[names.POOLS_CONFIG_MAP]),
        _rule("apps", ["deployments"], ["get", "list"]),
        _rule("batch", ["jobs"], ["create", "delete", "get", "list", "patch"]),
        _rule("coordination.k8s.io", ["leases"], ["create", "delete", "get", "patch"]),
        _rule("kubernetes.dask.org", ["daskclusters"], ["create", "delete", "patch", *READ]),
        _rule("kubernetes.dask.org", ["daskworkergroups"], ["get", "list"]),
    ]


def _scheduler() -> list[Manifest]:
    """What a scheduler needs to end its own Dask cluster."""
    return [
        _rule("", ["pods", "secrets"], ["delete", "deletecollection", "get", "list"]),
        _rule("coordination.k8s.io", ["leases"], ["delete", "get"]),
        _rule("kubernetes.dask.org", ["daskclusters"], ["delete", "get"]),
    ]


def _operator() -> list[Manifest]:
    return [
        _rule("kubernetes.dask.org", DASK_KINDS, READ),
        _rule("apiextensions.k8s.io", ["customresourcedefinitions"], READ),
        _rule("", ["namespaces", "services"], READ),
    ]


def _operator_tenant() -> list[Manifest]:
    """What makes scheduler and Service of a DaskCluster; nothing else is the operator's."""
    kinds = [*DASK_KINDS, *(f"{kind}/{part}" for kind in DASK_KINDS for part in PARTS)]
    return [
        _rule("kubernetes.dask.org", kinds, ["create", "delete", "patch", "update", *READ]),
        _rule("apps", ["deployments"], ["create", "get"]),
        _rule("", ["services"], ["create", "get", "patch"]),
        _rule("", ["services/finalizers"], ["update"]),
        _rule("", ["events"], ["create"]),
        _rule("events.k8s.io", ["events"], ["create"]),
    ]


PARTS = ("finalizers", "scale", "status")


def _hub(release: Release) -> list[Manifest]:
    """What the hub may do everywhere; an admission policy keeps its writes to users' namespaces."""
    write = ["create", "delete", "patch", *READ]
    return [
        _rule("", ["namespaces"], write),
        _rule(RBAC, ["rolebindings"], write),
        _rule(RBAC, ["clusterroles"], ["bind"], only=[release.role(part) for part in BOUND]),
        _rule("", ["pods"], READ),
        _rule("kubernetes.dask.org", ["daskclusters"], READ),
        # Policies follow the addresses of the API server.
        _rule("discovery.k8s.io", ["endpointslices"], READ, only=["kubernetes"]),
    ]


def _hub_tenant() -> list[Manifest]:
    """What makes a user's namespace and keeps it in order, spawns in it and sweeps it."""
    write = ["create", "delete", "patch", *READ]
    return [
        _rule("", ["serviceaccounts", "resourcequotas", "limitranges", "configmaps"], write),
        _rule("", ["pods", "secrets"], [*write, "deletecollection"]),
        _rule("", ["services", "persistentvolumeclaims"], write),
        _rule("", ["events"], READ),
        _rule("", ["pods/log"], ["get"]),
        _rule("networking.k8s.io", ["networkpolicies"], write),
        _rule("cilium.io", ["ciliumnetworkpolicies"], write),
        _rule("apps", ["deployments"], ["delete", *READ]),
        # Of a user whose rights are revoked.
        _rule("batch", ["jobs"], ["delete", "get", "list"]),
        _rule("coordination.k8s.io", ["leases"], ["delete", *READ]),
        _rule("kubernetes.dask.org", DASK_KINDS, ["delete", "patch", *READ]),
    ]
