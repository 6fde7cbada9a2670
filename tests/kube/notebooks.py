"""A user's server as a pod, and dask-kubernetes' operator: what `cluster()` needs on Kubernetes.

    def test_something(notebook: Notebook) -> None:
        notebook.python("from facility import cluster; print(cluster(1))")

The pod has the account, the image, the ConfigMap and the labels of a user's server, and runs
nothing: tests run Python in it.
"""

import json
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from facility import names
from facility.config import Config, Pool
from facility.kubernetes.tenant import Quota
from tests.kube.conftest import Kubernetes
from tests.kube.tenancy import Space, installed, operator, release, space

SMALL: dict[str, Any] = {
    "description": "of the tests",
    "cpu": 0.15,  # Dask clusters of tests side by side share a node of two cores.
    "memory": 512 * 2**20,
    "grace": 5.0,
}
ARM = ({"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"},)
POOLS = Config(
    pools={
        "cpu": Pool(
            name="cpu",
            default=True,
            max_workers=1000,
            memory_max=2**36,
            node_selector={"facility.test/pool": "cpu"},
            **SMALL,
        ),
        "gpu": Pool(
            name="gpu",
            scarce=True,
            gpus=1,
            max_workers=4,
            node_selector={"facility.test/pool": "cpu"},
            **SMALL,
        ),
        "arm": Pool(
            name="arm",
            max_workers=20,
            architecture="arm64",
            tolerations=ARM,
            **{**SMALL, "cpu": 0.3},  # It is emulated.
        ),
        "pairs": Pool(
            name="pairs",
            max_workers=20,
            processes=2,
            node_selector={"facility.test/pool": "cpu"},
            **SMALL,
        ),
        "nowhere": Pool(name="nowhere", max_workers=1000, node_selector={"no": "node"}, **SMALL),
        "noimage": Pool(
            name="noimage", max_workers=4, image="registry.test/no/such:image", **SMALL
        ),
    },
    source="the tests",
)
QUOTA = Quota(cpu=500, memory=2**40, gpus=2, pods=700, clusters=9, pools={"gpu": 1, "arm": 4})
KINDS = "daskclusters,daskworkergroups,deployments,replicasets,services,pods,secrets"


@dataclass(frozen=True)
class Notebook:
    """The pod of a user's server."""

    space: Space
    name: str = "notebook"

    @property
    def admin(self) -> Kubernetes:
        return self.space.admin

    @property
    def operator(self) -> Kubernetes:
        """The namespace that dask-kubernetes' operator runs in."""
        return Kubernetes(self.space.state, self.space.release.namespace)

    def python(self, script: str, *, fail: bool = False) -> str:
        """What a script prints in the pod; with `fail` what it complains of."""
        text = textwrap.dedent(script)
        return self.admin.run("exec", "-i", self.name, "--", "python", "-", text=text, fail=fail)

    def start(self, script: str) -> "subprocess.Popen[str]":
        """Start a script in the pod."""
        state = self.admin.state
        command = [state["kubectl"], f"--kubeconfig={state['kubeconfig']}"]
        command += [f"--namespace={self.space.namespace}", "exec", "-i", self.name, "--"]
        found = subprocess.Popen(
            [*command, "python", "-u", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert found.stdin is not None
        found.stdin.write(textwrap.dedent(script))
        found.stdin.close()
        # Or `communicate` would flush it once more.
        found.stdin = None
        return found

    def left(self, cluster: str) -> str:
        """What is there of a Dask cluster."""
        selector = f"{names.CLUSTER_LABEL}={cluster}"
        return self.admin.run("get", KINDS, "-l", selector, "-o", "name").strip()

    def gone(self, cluster: str, seconds: float = 90) -> None:
        """Wait until nothing is left of a Dask cluster."""
        selector = f"{names.CLUSTER_LABEL}={cluster}"
        self.admin.wait_until_gone(KINDS, "-l", selector, seconds=seconds)

    def pods(self, cluster: str, pool: str) -> list[dict[str, Any]]:
        selector = f"{names.CLUSTER_LABEL}={cluster},{names.POOL_LABEL}={pool}"
        listed = self.admin.run("get", "pods", "-l", selector, "-o", "json")
        return list(json.loads(listed)["items"])


def server(
    found: Space, name: str = "notebook", image: str = "", data: bool = False
) -> dict[str, Any]:
    """The pod of a user's server, as the hub makes it.

    Parameters
    ----------
    image
        By default the image analysis, by digest.
    data
        Whether the claim of `shared_folder` is mounted.
    """
    volumes: list[dict[str, Any]] = [
        {"name": "own", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "pools", "configMap": {"name": names.POOLS_CONFIG_MAP}},
    ]
    mounts = [{"name": "own", "mountPath": path, "subPath": path[1:]} for path in WRITABLE]
    mounts += [{"name": "pools", "mountPath": str(names.SYSTEM_CONFIG), "subPath": names.POOLS_KEY}]
    if data:
        mounts.append({"name": "data", "mountPath": "/data", "readOnly": True})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": "data"}})
    container = {
        "name": "notebook",
        "image": image or found.state["images"]["analysis"],
        "command": ["sleep", "3600"],
        "resources": {"limits": {"cpu": "2", "memory": "2Gi"}, "requests": {"cpu": "100m"}},
        "volumeMounts": mounts,
        "workingDir": "/home/jovyan",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = found.admin.pod(
        name,
        "",
        container=container,
        serviceAccountName=names.NOTEBOOK_ACCOUNT,
        automountServiceAccountToken=True,
        priorityClassName=found.release.notebook_class,
        tolerations=[],
        securityContext={
            "runAsNonRoot": True,
            "fsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        volumes=volumes,
    )
    pod["metadata"]["labels"] |= {names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT}
    return pod


WRITABLE = ("/tmp", "/home/jovyan")


def shared_folder(found: Space, folder: Path) -> None:
    """Make a folder of this machine, which both nodes are, a claim `data` of the user's namespace.

    As a site's administrators do for each user: a claim is of one namespace, and an inline volume
    that names a folder is refused.
    """
    name = f"data-{found.namespace}"
    size = {"storage": "1Gi"}
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {**common, "capacity": size, "hostPath": {"path": str(folder)}},
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {**common, "resources": {"requests": size}, "volumeName": name},
    }
    found.admin.apply(volume, claim)


@contextmanager
def facility_of(
    state: dict[str, Any],
    folder: Path,
    pools: Config = POOLS,
    quota: Quota = QUOTA,
    data: Path | None = None,
) -> Iterator[Notebook]:
    """A release with an operator, a user's namespace in it, and the user's server.

    Parameters
    ----------
    data
        A folder of this machine that is /data in the server.
    """
    with (
        installed(state, release(pools)) as made,
        operator(state, made),
        space(state, folder, made, quota=quota) as found,
    ):
        if data is not None:
            shared_folder(found, data)
        try:
            found.admin.apply(server(found, data=data is not None))
            found.admin.run("wait", "--for=condition=Ready", "pod/notebook", "--timeout=180s")
            yield Notebook(found)
        finally:
            found.admin.run(
                "delete", "pv", f"data-{found.namespace}", "--ignore-not-found", "--wait=false"
            )


@pytest.fixture(scope="module")
def notebook(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A user's server that the tests of a module share, each with Dask clusters of its own."""
    with facility_of(state, tmp_path_factory.mktemp("space")) as found:
        yield found
