"""A Kubernetes that is there already, named by KUBECONFIG: what it lacks of what the tests need."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.kube.bringup import site
from tests.kube.bringup.build import needed
from tests.kube.bringup.places import Places
from tools.building import BuildError, say

ENFORCERS = ("cilium", "calico", "antrea", "kube-router", "weave", "kindnet", "ovnkube", "canal")
"""What the pods of the known enforcers of NetworkPolicy are called; kindnet enforces since 2024."""
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
OLDEST = 30
"""Kubernetes 1.30 has ValidatingAdmissionPolicies, which the facility needs."""
Read = Callable[[str], Mapping[str, Any]]


def named(environment: Mapping[str, str], where: Places) -> str | None:
    """The KUBECONFIG of a Kubernetes that is not ours, None if there is none."""
    found = environment.get("KUBECONFIG", "")
    return found if found and Path(found) != where.kubeconfig else None


def lacks(
    version: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    classes: Sequence[Mapping[str, Any]],
    pods: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Name what a Kubernetes lacks.

    Parameters
    ----------
    version
        What `/version` says.
    nodes, classes, pods
        Its nodes, storage classes, and the pods in its system's namespaces.
    """
    found = []
    minor = int("".join(c for c in str(version.get("minor", "0")) if c.isdigit()) or 0)
    if minor < OLDEST:
        found.append(f"Kubernetes 1.{OLDEST} or newer: it is 1.{minor}")
    usable = [each for each in nodes if not each.get("spec", {}).get("unschedulable")]
    have = {each["status"]["nodeInfo"]["architecture"] for each in usable}
    found += [f"a node of architecture {n.name}" for n in site.NODES if n.name not in have]
    if not any(int(each["status"].get("allocatable", {}).get(site.GPU, 0)) for each in usable):
        found.append(f"a node with {site.GPU}")
    annotations = [each["metadata"].get("annotations") or {} for each in classes]
    if not any(each.get(DEFAULT_CLASS) == "true" for each in annotations):
        found.append("a default StorageClass")
    names = [each["metadata"]["name"] for each in pods]
    # k3s enforces policies inside its own server, where no pod shows it.
    inside = "+k3s" in str(version.get("gitVersion", ""))
    if not inside and not any(name.startswith(ENFORCERS) for name in names):
        found.append(f"NetworkPolicy enforcement by one of {', '.join(ENFORCERS)}")
    return found


def kubectl(where: Places) -> str:
    """Some kubectl: the one on the PATH, or ours if it was built."""
    ours = needed(where)["kubernetes"] / "kubectl"
    found = shutil.which("kubectl") or (str(ours) if ours.exists() else None)
    if found is None:
        raise BuildError(
            "KUBECONFIG is set, but there is no kubectl on the PATH to use it with: install it, "
            "or unset KUBECONFIG to have a Kubernetes brought up here."
        )
    return found


def use(where: Places, config: str) -> list[str]:
    """Look at the Kubernetes that `config` names; say and return what it lacks.

    Raises
    ------
    BuildError
        It does not answer.
    """
    program = kubectl(where)

    def read(path: str) -> Mapping[str, Any]:
        words = [program, f"--kubeconfig={config}", "get", "--raw", path, "--request-timeout=10s"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise BuildError(
                f"The Kubernetes of KUBECONFIG={config} does not answer {path}: {why} "
                "Start it, or unset KUBECONFIG to have one brought up here."
            )
        answer: Mapping[str, Any] = json.loads(done.stdout)
        return answer

    pods = [
        pod
        for pod in read("/api/v1/pods")["items"]
        if pod["metadata"]["namespace"].endswith("-system")
        or pod["metadata"]["namespace"].startswith("openshift-")
    ]
    found = lacks(
        read("/version"),
        read("/api/v1/nodes")["items"],
        read("/apis/storage.k8s.io/v1/storageclasses")["items"],
        pods,
    )
    say(f"using the Kubernetes of KUBECONFIG={config}")
    for each in found:
        say(f"  it lacks {each}")
    return found


def from_environment(where: Places) -> str | None:
    """As `named`, of this process."""
    return named(os.environ, where)
