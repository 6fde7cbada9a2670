"""dask-kubernetes as it comes, beside which Dask clusters on Kubernetes are measured.

Its operator is a local process with all rights, and its namespace has no quotas and no policies, so
that nothing but itself slows it down.
"""

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kube.conftest import Kubernetes
from tests.kube.tenancy import dask_kinds


@contextmanager
def stock_operator(state: dict[str, Any]) -> Iterator[Kubernetes]:
    """A namespace in which the stock operator works.

    Parameters
    ----------
    state
        What runs, as `make kube-up` wrote it down.
    """
    dask_kinds(state)
    kube = Kubernetes(state, f"bench-{uuid.uuid4().hex[:8]}")
    kube.run("create", "namespace", kube.namespace)
    command = [sys.executable, "-m", "kopf", "run", "-m", "dask_kubernetes.operator.controller"]
    command += ["--namespace", kube.namespace]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment(state), stdout=log, stderr=log)
        try:
            yield kube
        finally:
            # The operator itself has to let go of what is left.
            kube.run("delete", "daskclusters", "--all", "--timeout=300s")
            process.terminate()
            process.wait(30)
            kube.run("delete", "namespace", kube.namespace, "--wait=false")


def environment(state: dict[str, Any]) -> dict[str, str]:
    """Variables with which dask-kubernetes finds the Kubernetes."""
    return {**os.environ, "KUBECONFIG": str(state["kubeconfig"])}


def stock_cluster(
    name: str, image: str, workers: int, resources: dict[str, Any], labels: dict[str, str]
) -> dict[str, Any]:
    """A DaskCluster as dask-kubernetes itself writes it.

    Parameters
    ----------
    resources
        What a worker gets; the scheduler gets what one of the facility's does.
    labels
        Of the nodes that take the workers.
    """
    from dask_kubernetes.operator import make_cluster_spec

    from facility.kubernetes.manifests import SCHEDULER_RESOURCES

    found: dict[str, Any] = make_cluster_spec(
        name, image, workers, resources=resources, worker_command="dask worker"
    )
    worker, scheduler = found["spec"]["worker"]["spec"], found["spec"]["scheduler"]["spec"]
    worker["nodeSelector"] = labels
    scheduler["nodeSelector"] = {"kubernetes.io/arch": "amd64"}
    container = scheduler["containers"][0]
    container["resources"] = SCHEDULER_RESOURCES
    # Its own command's name has left distributed.
    container["args"] = ["dask", "scheduler", "--host", "0.0.0.0"]
    return found
