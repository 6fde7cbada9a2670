"""dask-kubernetes' operator never speaks to a scheduler, which is its user's program."""

import json
import time
from pathlib import Path
from typing import Any

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


def test_odd_dask_clusters_hold_up_nobody(notebook: Notebook, tmp_path: Path) -> None:
    """What the API server lets a user write; then one as it should be starts, beside them all."""
    image = notebook.space.state["images"]["analysis"]
    template = PodTemplate(notebook.space.namespace, image, release=notebook.space.release.name)
    user = notebook.space.notebook
    notes = {f"kopf.zalando.org/{each}": "{" for each in ("daskcluster_create", "touch-dummy")}
    notes["kopf.zalando.org/last-handled-configuration"] = "no JSON"
    changes: dict[str, dict[str, object]] = {
        "noted": {"metadata": {"annotations": notes}},
        "large": {"metadata": {"annotations": {"x": "\N{SNOWMAN}" * 60_000}}},
        "no-ports": {"spec": {"scheduler": {"service": {"ports": []}}}},
        "labelled": {"spec": {"scheduler": {"metadata": {"labels": {"x": "no label / at all"}}}}},
        "called-" + "x" * 50: {},
        "by-hand": {"status": {"phase": "Created"}},
    }
    made = []
    for name, change in changes.items():
        odd = merged(dask_cluster(DaskCluster(name, template, {}), {}), change)
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(odd))
        said = user.say("create", "--validate=false", "-f", str(file))
        made += [name] if said.strip().endswith(" created") else []
    assert len(made) > 2, made
    notebook.python("from facility import cluster; cluster(1, name='own', timeout=90).close()")
    notebook.gone("own")
    said = notebook.operator.run("logs", "deployment/operator", "--tail=2000")
    for name in made:
        # Each is told once or twice, and not every second.
        assert said.count(f"/{name}] Handler") < 10, name
    user.run("delete", "daskcluster", *made)


def merged(found: Any, change: Any) -> Any:
    """Return an object with some of its fields changed."""
    if not isinstance(change, dict) or not isinstance(found, dict):
        return change
    return {**found, **{key: merged(found.get(key), each) for key, each in change.items()}}


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
