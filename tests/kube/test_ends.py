"""Ends of Dask clusters while their operator is away, and of what they live in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube.conftest import Kubernetes, until
from tests.kube.notebooks import Notebook, facility_of, notebook, server

__all__ = ["notebook"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(400)]
FINALIZER = '{"metadata": {"finalizers": ["kopf.zalando.org/KopfFinalizerMarker"]}}'
"""What the stock operator of dask-kubernetes puts on each DaskCluster."""


WAIT = """
    def wait():
        while not os.path.exists("/tmp/go-on-{name}"):
            time.sleep(0.2)
"""

OPERATOR = (pytest.param("there", marks=pytest.mark.long), "away")
"""Where it is there it helps: the harder case runs always."""


def go_on(notebook: Notebook, name: str) -> None:
    """Let a script go on that waits."""
    notebook.admin.run("exec", notebook.name, "--", "touch", f"/tmp/go-on-{name}")


@pytest.fixture
def no_operator(notebook: Notebook) -> Iterator[None]:
    """The operator is there once the test has begun; `away` takes it away."""
    yield
    hub = notebook.operator
    hub.run("scale", "deployment/operator", "--replicas=1")
    hub.run("rollout", "status", "deployment/operator", "--timeout=120s")


def away(notebook: Notebook) -> None:
    hub = notebook.operator
    hub.run("scale", "deployment/operator", "--replicas=0")
    hub.run("wait", "--for=delete", "pod", "-l", "app=operator", "--timeout=60s")


@pytest.mark.parametrize(
    ("how", "idle", "then"),
    [
        pytest.param("idle", 30, "time.sleep(60)", marks=pytest.mark.long),
        pytest.param("killed", 0, "wait(); os.kill(os.getpid(), 9)", marks=pytest.mark.long),
        ("owned", 0, "time.sleep(300)"),
    ],
)
def test_ends_without_an_operator(
    notebook: Notebook, no_operator: None, how: str, idle: int, then: str
) -> None:
    """Idle; its kernel killed; the pod of its notebook deleted."""
    kube, source = notebook.admin, notebook
    if how == "owned":
        kube.apply(server(notebook.space, how))
        kube.run("wait", "--for=condition=Ready", f"pod/{how}", "--timeout=120s")
        source = Notebook(notebook.space, how)
    started = source.start(
        f"""
    import os, time
    from facility import cluster
    from facility.deploy import controller
    controller.OWNER_SECONDS = 20.0
    {WAIT.format(name=how)}
    c = cluster(cpu=1, name="{how}", wait=1, idle_timeout={idle})
    print("here", flush=True)
    {then}
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    away(notebook)
    assert notebook.left(how), "it ended while the operator was there"
    go_on(source, how)
    if how == "owned":
        kube.run("delete", "pod", how, "--grace-period=1")
    notebook.gone(how, 90)
    started.kill()
    started.communicate()


@pytest.mark.parametrize("how", ["close", pytest.param("stop", marks=pytest.mark.long)])
def test_a_stock_operators_finalizer_holds_nothing(
    notebook: Notebook, no_operator: None, how: str
) -> None:
    """It waits for an operator that is away, and all that it owns would run on."""
    kube, name = notebook.admin, f"held-{how}"
    ending = "wait(); c.close()" if how == "close" else "time.sleep(100)"
    started = notebook.start(
        f"""
    import os, time
    from facility import cluster
    {WAIT.format(name=name)}
    c = cluster(cpu=1, name="{name}", wait=1)
    print("here", flush=True)
    {ending}
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    away(notebook)
    kube.run("patch", "daskcluster", name, "--type=merge", "-p", FINALIZER)
    go_on(notebook, name)
    if how == "stop":
        stop = ("python", "-m", "facility", "clusters", "stop", name)
        assert name in kube.run("exec", notebook.name, "--", *stop)
    notebook.gone(name, 60)
    started.kill()
    started.communicate()


@pytest.mark.parametrize("operator", OPERATOR)
def test_an_evicted_notebook_leaves_nothing(
    notebook: Notebook, no_operator: None, operator: str
) -> None:
    """Its node ends it, as Failed, since it wrote more than its volume may hold."""
    kube, name = notebook.admin, f"greedy-{operator}"
    pod = server(notebook.space, name)
    pod["spec"]["volumes"][0]["emptyDir"] = {"sizeLimit": "50Mi"}
    kube.apply(pod)
    kube.run("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")
    source = Notebook(notebook.space, name)
    started = source.start(
        f"""
    import os, time
    from facility import cluster
    from facility.deploy import controller
    controller.OWNER_SECONDS = 20.0
    {WAIT.format(name=name)}
    c = cluster(cpu=1, name="{name}", wait=1)
    print("here", flush=True)
    wait()
    open("/tmp/large", "wb").write(bytes(2**27))
    time.sleep(300)
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    if operator == "away":
        away(notebook)
    go_on(source, name)
    until(lambda: kube.get("pod", name)["status"].get("reason") == "Evicted", 150)
    started.communicate()
    # Its pod is still there, as Failed; the scheduler has missed it by itself.
    notebook.gone(name, 90)
    assert kube.get("pod", name)["status"]["phase"] == "Failed"
    kube.run("delete", "pod", name)


@pytest.mark.parametrize("operator", OPERATOR)
def test_a_deleted_namespace_leaves_nothing(
    state: dict[str, Any], tmp_path: Path, operator: str
) -> None:
    with facility_of(state, tmp_path) as found:
        started = found.start(
            """
    import time
    from facility import cluster
    c = cluster(cpu=2, name="doomed", wait=2)
    print("here", flush=True)
    time.sleep(300)
    """
        )
        assert started.stdout is not None
        assert started.stdout.readline() == "here\n"
        if operator == "away":
            away(found)
        everything = Kubernetes(state)
        everything.run("delete", "namespace", found.space.namespace, "--timeout=120s")
        started.kill()
        started.communicate()
        assert found.space.namespace not in everything.run("get", "namespaces", "-o", "name")
