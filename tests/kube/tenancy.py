"""Users' namespaces on the real Kubernetes, made as the hub makes them: with the hub's own token.

    def test_something(tenant_space: Space) -> None:
        tenant_space.notebook.run("get", "pods")     # with the token of the account `notebook`
        tenant_space.admin.run("get", "pods")        # with all rights, to look and to clean up

Import the fixture `tenant_space` from here, or use `space(...)` for other pools, quotas, networks.
Each has a release of its own, so that objects that are in no namespace are apart too.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility import names
from facility.config import Config, Pool
from facility.kubernetes.tenant import (
    Address,
    Network,
    Quota,
    Release,
    Tenant,
    is_counted,
    release_set,
    tenant_set,
)
from tests.kube.bringup import site
from tests.kube.conftest import Kubernetes, until

SCOPED = (
    "validatingadmissionpolicybindings,validatingadmissionpolicies,clusterrolebindings,"
    "clusterroles,priorityclasses"
)
POOLS = Config(
    pools={
        "cpu": Pool(
            name="cpu",
            default=True,
            cpu=0.1,
            memory=256 * 2**20,
            memory_max=1024 * 2**20,
            max_workers=500,
            node_selector={"facility.test/pool": "cpu"},
        ),
        "gpu": Pool(
            name="gpu",
            scarce=True,
            cpu=0.1,
            memory=256 * 2**20,
            gpus=1,
            max_workers=4,
            node_selector={"facility.test/pool": "cpu"},
        ),
        "arm": Pool(
            name="arm",
            cpu=0.1,
            memory=256 * 2**20,
            max_workers=20,
            architecture="arm64",
            tolerations=({"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"},),
        ),
    },
    source="the tests",
)
SMALL_SCHEDULER = {
    "requests": {"cpu": "100m", "memory": "512Mi"},
    "limits": {"cpu": "2", "memory": "4Gi"},
}
"""So that the Dask clusters of several tests fit on a node of two cores."""
QUOTA = Quota(cpu=100, gpus=2, pods=600, clusters=5, pools={"cpu": 500, "gpu": 2, "arm": 20})


@dataclass(frozen=True)
class Space:
    """A user's namespace.

    Parameters
    ----------
    tenant
        What it was made from.
    state
        Of the bring-up.
    folder
        For kubeconfigs.
    """

    tenant: Tenant
    state: dict[str, Any]
    folder: Path

    @property
    def namespace(self) -> str:
        return self.tenant.namespace

    @property
    def release(self) -> Release:
        return self.tenant.release

    @property
    def admin(self) -> Kubernetes:
        return Kubernetes(self.state, self.namespace)

    @cached_property
    def notebook(self) -> Kubernetes:
        """With the token of the notebook's account, which is all that a user has."""
        return self.account(names.NOTEBOOK_ACCOUNT)

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of the notebook's account."""
        return Path(self.notebook.state["kubeconfig"])

    def token(self, account: str, namespace: str = "") -> str:
        admin = Kubernetes(self.state, namespace or self.namespace)
        return admin.run("create", "token", account).strip()

    def account(self, name: str, namespace: str = "") -> Kubernetes:
        """With a real token of an account, in the user's namespace."""
        namespace = namespace or self.namespace
        path = self.folder / f"{namespace}-{name}.json"
        return with_token(self.state, path, self.token(name, namespace), self.namespace)

    def pod(
        self, name: str, script: str = "sleep 600", pool: str = "cpu", **spec: Any
    ) -> dict[str, Any]:
        """A pod of a pool that obeys every rule, but for what `spec` says."""
        arch = "arm64" if pool == "arm" else "amd64"
        found = self.release.config.pools[pool]
        rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        limits = {"cpu": "50m", "memory": "64Mi"}
        container = {"securityContext": rights, "resources": {"limits": limits}}
        pod = self.admin.pod(
            name,
            script,
            arch,
            **{
                "container": container | spec.pop("container", {}),
                "priorityClassName": self.release.pool_class(found),
                "nodeSelector": {**found.node_selector, "kubernetes.io/arch": arch},
                "tolerations": [
                    toleration.model_dump(by_alias=True, exclude_none=True)
                    for toleration in found.tolerations
                ],
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 1000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }
            | spec,
        )
        return {**pod, "spec": {key: each for key, each in pod["spec"].items() if each is not None}}


def with_token(state: dict[str, Any], path: Path, token: str, namespace: str) -> Kubernetes:
    """With a token alone, in a namespace; its kubeconfig is written to a path."""
    content = json.loads(Path(state["kubeconfig"]).read_text())
    content["users"] = [{**user, "user": {"token": token}} for user in content["users"]]
    for context in content["contexts"]:
        context["context"]["namespace"] = namespace
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return Kubernetes({**state, "kubeconfig": str(path)}, namespace)


def release(pools: Config = POOLS, **changes: Any) -> Release:
    """A release that no other test has."""
    name = f"t{uuid.uuid4().hex[:8]}"
    settings = {
        "name": name,
        "namespace": f"test-hub-{name}",
        "config": pools,
        "scheduler_resources": SMALL_SCHEDULER,
    }
    return Release(**{**settings, "images": (f"{site.REGISTRY}/",), **changes})


def api_server(state: dict[str, Any]) -> tuple[Address, ...]:
    """Where the API server is, as the hub finds it."""
    found = Kubernetes(state).get("endpointslice", "kubernetes")
    ports = tuple(port["port"] for port in found["ports"])
    addresses = (address for each in found["endpoints"] for address in each["addresses"])
    return tuple(Address(address, ports) for address in addresses)


def dask_kinds(state: dict[str, Any]) -> None:
    """Have the kinds that dask-kubernetes defines; shared with other tests, so never removed."""
    import dask_kubernetes

    crds = "operator/deployment/helm/dask-kubernetes-operator/crds"
    folder = Path(dask_kubernetes.__file__).parent / crds
    admin = Kubernetes(state)
    if "daskclusters.kubernetes.dask.org" not in admin.run("get", "crd", "-o", "name"):
        admin.run("apply", "--server-side", "--force-conflicts", "-f", str(folder))
    admin.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    until(lambda: is_counted_of_dask(admin), 120)


def is_counted_of_dask(admin: Kubernetes) -> bool:
    """Whether a quota on DaskClusters is counted at once.

    Kubernetes looks for new kinds twice a minute. A quota that is older than that look is counted
    only with the next look at all quotas, which may be five minutes away.
    """
    name = f"probe-{uuid.uuid4().hex[:8]}"
    admin.run("create", "quota", name, "--hard=count/daskclusters.kubernetes.dask.org=9")
    try:
        until(lambda: is_counted(admin.get("resourcequota", name)), 3)
    except AssertionError:
        return False
    finally:
        admin.run("delete", "quota", name)
    return True


@contextmanager
def installed(state: dict[str, Any], made: Release) -> Iterator[Release]:
    """The objects of a release, in force, and the accounts of its hub and its operator."""
    # Quotas limit them, and nothing is counted of a kind that is not defined.
    dask_kinds(state)
    admin = Kubernetes(state, made.namespace)
    admin.run("create", "namespace", made.namespace)
    try:
        for account in (made.hub_account, made.operator_account):
            admin.run("create", "serviceaccount", account)
        admin.run("apply", "--server-side", "-f", "-", text=yaml.safe_dump_all(release_set(made)))
        yield made
    finally:
        label = f"{names.HUB_LABEL}={made.name}"
        admin.run("delete", "namespace", made.namespace, "--wait=false", "--ignore-not-found")
        admin.run("delete", SCOPED, "-l", label, "--wait=false")


@contextmanager
def space(
    state: dict[str, Any],
    folder: Path,
    made: Release,
    user: str = "",
    quota: Quota = QUOTA,
    **network: Any,
) -> Iterator[Space]:
    """A user's namespace of an installed release, with all limits and policies in force."""
    user = user or f"user-{uuid.uuid4().hex[:8]}"
    network = {"api_server": api_server(state), **network}
    found = Space(Tenant(user, made, quota, Network(**network)), state, folder)
    try:
        hub = found.account(made.hub_account, made.namespace)
        text = yaml.safe_dump_all(tenant_set(found.tenant))
        until(lambda: applied(hub, text))
        until(lambda: in_force(found), 60)
        yield found
    finally:
        found.admin.run(
            "delete", "namespace", found.namespace, "--wait=false", "--ignore-not-found"
        )


def applied(hub: Kubernetes, text: str) -> bool:
    """Whether all is there; the rights that the hub gives itself first take a moment."""
    words = ["apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"]
    try:
        hub.run(*words, text=text)
    except AssertionError as error:
        if "is forbidden" not in str(error) or "cannot patch" not in str(error):
            raise
        return False
    return True


def in_force(found: Space) -> bool:
    """Whether quotas are counted and policies refuse."""
    quotas = json.loads(found.admin.run("get", "resourcequotas", "-o", "json"))["items"]
    if not all(map(is_counted, quotas)):
        return False
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "probe"},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    }
    probes = (found.pod("probe", nodeName="nowhere"), service)
    for probe in probes:
        try:
            found.admin.run("create", "--dry-run=server", "-f", "-", text=yaml.safe_dump(probe))
        except AssertionError as error:
            if "ValidatingAdmissionPolicy" not in str(error):
                return False
        else:
            return False
    return True


@contextmanager
def operator(state: dict[str, Any], made: Release) -> Iterator[Kubernetes]:
    """dask-kubernetes' operator beside the hub, with the rights of the release's account."""
    beside = Kubernetes(state, made.operator_namespace or made.namespace)
    rights = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    container = {
        "name": "operator",
        "image": beside.images["operator"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        "securityContext": rights,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    labels = {"app": "operator"}
    spec = {
        "serviceAccountName": made.operator_account,
        "terminationGracePeriodSeconds": 2,
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "operator"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    beside.apply(deployment)
    beside.run("rollout", "status", "deployment/operator", "--timeout=180s")
    try:
        yield beside
    finally:
        beside.run("delete", "deployment", "operator", "--ignore-not-found", "--wait=false")


@pytest.fixture
def tenant_space(state: dict[str, Any], tmp_path: Path) -> Iterator[Space]:
    """A user's namespace of a release of its own."""
    with installed(state, release()) as made, space(state, tmp_path, made) as found:
        yield found
