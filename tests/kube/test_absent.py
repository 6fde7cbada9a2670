"""What is taken away from under everybody: the kinds of dask-kubernetes, a node."""

import signal

import pytest

from tests.kube.bringup.down import in_cgroups
from tests.kube.bringup.places import Places
from tests.kube.bringup.process import Ledger
from tests.kube.bringup.site import NODES
from tests.kube.conftest import Kubernetes, until
from tests.kube.notebooks import Notebook, notebook
from tests.kube.tenancy import dask_kinds
from tests.kube.test_bad_input import cache_of

__all__ = ["notebook"]
pytestmark = [
    pytest.mark.kube,
    pytest.mark.usefixtures("here"),
    pytest.mark.last,
    pytest.mark.timeout(500),
]


def test_a_node_that_is_gone_is_told_and_its_workers_replaced(notebook: Notebook) -> None:
    """All of its pods' programs are killed, and its kubelet is silent."""
    state = notebook.space.state
    (arm,) = [node for node in NODES if node.name == "arm64"]
    where = Places(cache_of(state) / "facility" / "kube")
    (kubelet,) = [each for each in Ledger(where).processes if each.name == "kubelet-arm64"]
    started = notebook.start(
        """
    import time
    from facility import cluster
    with cluster(cpu=1, arm=1, name="bereft", wait=2, timeout=200) as c, c.get_client() as client:
        pool_state = c._controller.pools["arm"]
        print("here", flush=True)
        while not pool_state.lost:
            time.sleep(0.5)
        print(client.submit(sum, [1, 2]).result(), flush=True)
        while "no node" not in c.explain() and "taint" not in c.explain():
            time.sleep(0.5)
        print(str(c.explain()).replace(chr(10), "|"), flush=True)
        while pool_state.joined != 1:
            time.sleep(0.5)
        print("back", flush=True)
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    kubelet.send(signal.SIGSTOP)
    try:
        for process in in_cgroups(arm):
            process.send(signal.SIGKILL)
        assert started.stdout.readline() == "3\n"
        said = started.stdout.readline()
    finally:
        kubelet.send(signal.SIGCONT)
    assert "arm: 0 of 1 worker running" in said
    assert "cpu: 1 of 1 worker running" in said
    assert started.stdout.readline() == "back\n"
    started.communicate(timeout=120)
    assert started.returncode == 0
    until(lambda: not notebook.left("bereft"), 60)


def test_without_the_kinds_of_dask_kubernetes_it_says_who_installs_them(
    notebook: Notebook,
) -> None:
    everything = Kubernetes(notebook.space.state)
    everything.run("delete", "crd", "daskclusters.kubernetes.dask.org", "--timeout=60s")
    try:
        said = notebook.python(
            """
            from facility import cluster
            try:
                cluster(cpu=1, name="early", timeout=60)
            except Exception as error:
                print(type(error).__name__, error)
            """
        )
    finally:
        dask_kinds(notebook.space.state)
    assert "this Kubernetes does not know DaskClusters; an administrator has to install" in said
    assert "Traceback" not in said
