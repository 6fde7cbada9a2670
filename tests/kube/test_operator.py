"""dask-kubernetes' operator never speaks to a scheduler, which is its user's program."""

import json
import time

import pytest

from facility import names
from facility.kubernetes.manifests import DaskCluster, dask_cluster
from facility.kubernetes.pod_template import PodTemplate
from tests.kube.conftest import Kubernetes, until
from tests.kube.notebooks import Notebook, notebook

__all__ = ["notebook"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
FAKE = """
import socket, threading
def serve(port):
    with socket.create_server(("0.0.0.0", port)) as listener:
        print("listens", port, flush=True)
        while True:
            connection, address = listener.accept()
            print("connection", port, address, flush=True)
            with connection:
                connection.sendall(b"HTTP/1.1 404 Not Found\\r\\nContent-Length: 0\\r\\n\\r\\n")
threading.Thread(target=serve, args=(8786,)).start()
serve(8787)
"""
LONG = 40.0
"""Seconds of watching: the stock operator asks a scheduler every 5 s whether it is idle."""


def test_the_operator_never_connects_to_a_scheduler(notebook: Notebook) -> None:
    """A scheduler that is none answers 404 and writes down who connects."""
    kube = notebook.admin
    image = notebook.space.state["images"]["analysis"]
    template = PodTemplate(notebook.space.namespace, image, release=notebook.space.release.name)
    body = dask_cluster(DaskCluster("fake", template, {}), {})
    scheduler = body["spec"]["scheduler"]["spec"]
    scheduler["containers"][0]["command"] = ["python", "-c", FAKE]
    scheduler["volumes"] = [each for each in scheduler["volumes"] if each["name"] != "tls"]
    mounts = scheduler["containers"][0]["volumeMounts"]
    mounts[:] = [each for each in mounts if each["name"] != "tls"]
    user = notebook.space.notebook
    user.apply(body)
    selector = f"{names.CLUSTER_LABEL}=fake"
    pods = ("get", "pods", "-l", selector, "-o", "json")
    until(lambda: json.loads(kube.run(*pods))["items"], 60)
    name = json.loads(kube.run(*pods))["items"][0]["metadata"]["name"]
    kube.ready(name)
    until(lambda: kube.run("logs", name).count("listens") == 2)
    running = ("get", "daskcluster", "fake", "-o", "jsonpath={.status.phase}")
    until(lambda: kube.run(*running) == "Running", 60)
    time.sleep(LONG)
    assert "connection" not in kube.run("logs", name)
    # It does see connections: the one that the test makes, from the user's server.
    host = f"fake-scheduler.{notebook.space.namespace}.svc"
    notebook.python(f"import socket; socket.create_connection(('{host}', 8787), 10).close()")
    until(lambda: "connection 8787" in kube.run("logs", name))
    user.run("delete", "daskcluster", "fake")
    notebook.gone("fake")


def test_an_idle_timeout_of_the_operators_is_refused(notebook: Notebook) -> None:
    """Its check would connect, and unpickle what the scheduler answers."""
    image = notebook.space.state["images"]["analysis"]
    template = PodTemplate(notebook.space.namespace, image, release=notebook.space.release.name)
    body = dask_cluster(DaskCluster("asks", template, {}), {})
    body["spec"]["idleTimeout"] = 60
    assert "idleTimeout" in notebook.space.notebook.apply(body, fail=True)


def test_what_it_has_no_right_to_is_left_alone(notebook: Notebook, kube: Kubernetes) -> None:
    """A DaskCluster of another operator, which kopf would try to write to for ever."""
    image = notebook.space.state["images"]["analysis"]
    kube.apply(dask_cluster(DaskCluster("foreign", PodTemplate(kube.namespace, image), {}), {}))
    with_own = "from facility import cluster; cluster(1, name='own', timeout=60).close()"
    notebook.python(with_own)
    notebook.gone("own")
    said = notebook.operator.run("logs", "deployment/operator")
    assert "own" in said
    assert "foreign" not in said
    assert "kopf" not in json.dumps(kube.get("daskcluster", "foreign"))
    kube.run("delete", "daskcluster", "foreign")
