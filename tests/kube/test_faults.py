"""What fails under a Dask cluster on Kubernetes, caused for real, and what is left of it."""

import json
import time

import pytest

from facility import names
from tests.kube.conftest import until
from tests.kube.notebooks import Notebook, notebook

__all__ = ["notebook"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]

WATCHED = """
    import time
    from facility import cluster
    from facility.deploy.cluster import PooledCluster
    said = []
    PooledCluster.say = staticmethod(said.append)
    def until(check):
        end = time.monotonic() + 120
        while not check():
            assert time.monotonic() < end, (c.explain(), said)
            time.sleep(0.2)
"""


def test_lost_workers_are_replaced_and_told(notebook: Notebook) -> None:
    """Deleted, evicted as on a drained node, out of memory, and killed."""
    started = notebook.start(
        WATCHED
        + """
    def eat():
        return len(bytearray(2**31))
    def vanish():
        import os
        os._exit(7)
    with cluster(cpu=1, name="lossy", wait=1) as c, c.get_client() as client:
        pool_state = c._controller.pools["cpu"]
        for number, task in enumerate((None, None, eat, vanish)):
            print(next(iter(c.workers)), flush=True)
            doing = client.submit(task) if task else None
            until(lambda: pool_state.lost > number)
            if doing:
                client.cancel([doing], force=True)
            until(lambda: pool_state.joined == 1)
        print(said)
        print(c.explain())
    """
    )
    assert started.stdout is not None
    kube = notebook.admin
    worker = started.stdout.readline().strip()
    kube.run("delete", "pod", f"lossy-{worker}", "--grace-period=1")
    worker = started.stdout.readline().strip()
    pod = f"lossy-{worker}"
    path = f"/api/v1/namespaces/{notebook.space.namespace}/pods/{pod}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    kube.run("create", "--raw", path, "-f", "-", text=json.dumps(eviction))
    said, _ = started.communicate(timeout=200)
    assert "was deleted by somebody else" in said
    assert "its node is being drained" in said
    assert "OOMKilled" in said
    assert "ended with exit code 7" in said
    assert "4 workers lost and replaced" in said
    notebook.gone("lossy", 30)


def test_the_processes_of_a_pod_are_lost_and_replaced_together(notebook: Notebook) -> None:
    said = notebook.python(
        WATCHED
        + """
    def vanish():
        import os
        os._exit(7)
    with cluster(pairs=2, name="twins", wait=2) as c, c.get_client() as client:
        pool_state = c._controller.pools["pairs"]
        before = set(c.workers)
        vanishing = client.submit(vanish)
        until(lambda: pool_state.lost >= 2)
        client.cancel([vanishing], force=True)
        until(lambda: pool_state.joined == 2)
        print(before.isdisjoint(c.workers), pool_state.lost)
        print(c.explain())
    """
    )
    assert said.splitlines()[0].startswith("True ")
    assert "exit code 7" in said


def test_a_killed_scheduler_is_told_in_one_sentence(notebook: Notebook) -> None:
    started = notebook.start(
        WATCHED
        + """
    c = cluster(cpu=1, name="headless", wait=1)
    print("here", flush=True)
    until(lambda: c.status.name == "failed")
    print(said[-1])
    c.close()
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    kube = notebook.admin
    selector = f"{names.CLUSTER_LABEL}=headless,{names.COMPONENT_LABEL}=scheduler"
    kube.run("delete", "pod", "-l", selector, "--force", "--grace-period=0")
    said, _ = started.communicate(timeout=120)
    assert "Dask cluster headless has failed: its scheduler" in said
    assert "start a new one with cluster(...)" in said
    notebook.gone("headless")


def test_the_scheduler_ends_what_is_idle(notebook: Notebook) -> None:
    said = notebook.python(
        WATCHED
        + """
    c = cluster(cpu=1, name="idle", wait=1, idle_timeout=15)
    until(lambda: c.status.name == "closed")
    print(said[-1])
    """
    )
    assert "Dask cluster idle has ended: it was idle for 15" in said
    notebook.gone("idle")


def test_a_killed_kernel_leaves_nothing(notebook: Notebook) -> None:
    """Its scheduler ends the Dask cluster, two minutes after its last owner."""
    started = notebook.start(
        """
    import os
    from facility import cluster
    from facility.deploy import controller
    controller.OWNER_SECONDS = 20.0
    c = cluster(cpu=2, name="orphan", wait=2)
    print("here", flush=True)
    os.kill(os.getpid(), 9)
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    started.communicate()
    assert notebook.left("orphan")
    notebook.gone("orphan", 90)


def test_the_interpreters_exit_leaves_nothing(notebook: Notebook) -> None:
    notebook.python('from facility import cluster\nc = cluster(cpu=2, name="exit", wait=2)')
    notebook.gone("exit", 60)


def test_restarted_workers_are_replaced_and_processes_may_fork(notebook: Notebook) -> None:
    """None counts as lost; forked children of a worker and of the client end nothing."""
    said = notebook.python(
        """
        import multiprocessing, os, sys, time
        from facility import cluster

        def loader():
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
            child.start()
            child.terminate()
            child.join()
            return os.getpid(), child.exitcode

        with (
            cluster(cpu=1, pairs=2, name="again", wait=3, timeout=200) as c,
            c.get_client() as client,
        ):
            before = set(c.workers)
            running = client.submit(time.sleep, 300, pure=False)
            while not any(client.processing().values()):
                time.sleep(0.1)
            client.restart(timeout=120)
            assert not before & set(c.workers), (before, c.workers)
            one = next(name for name, pool in c.workers.items() if pool == "cpu")
            print(list(client.restart_workers([one], timeout=120).values()), flush=True)
            found = client.gather([client.submit(loader, pure=False) for _ in range(3)])
            print({code for _, code in found}, len({pid for pid, _ in found}), flush=True)
            if (pid := os.fork()) == 0:
                sys.exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            c.scale(cpu=2)
            while "cpu: 2 of 2 workers run" not in c.explain():
                time.sleep(0.2)
            print(c.explain())
        """
    )
    assert said.splitlines()[:3] == ["['OK']", "{-15} 1", "3"]
    assert "lost" not in said
    notebook.gone("again", 30)


def test_an_end_that_was_begun_is_carried_through(notebook: Notebook) -> None:
    """Ctrl-C again does not cut it off, nor does the end of the process: the scheduler knows."""
    script = """
        import os, signal, threading, time
        from facility import cluster

        def press():
            os.kill(os.getpid(), signal.SIGINT)
            while c._controller.worker_list.info["workers"]:
                time.sleep(0.01)
            for _ in range(3):
                os.kill(os.getpid(), signal.{number})

        try:
            with cluster(cpu=1, name="{name}", wait=1) as c:
                threading.Thread(target=press, daemon=True).start()
                time.sleep(100)
        except KeyboardInterrupt:
            print("interrupted")
        """
    assert notebook.python(script.format(number="SIGINT", name="pressed")) == "interrupted\n"
    notebook.gone("pressed", 30)
    notebook.start(script.format(number="SIGKILL", name="cut")).communicate()
    notebook.gone("cut", 60)


def test_without_an_operator(notebook: Notebook) -> None:
    """It is told; what runs is closed all the same."""
    started = notebook.start(
        WATCHED
        + """
    c = cluster(cpu=1, name="before", wait=1)
    print("here", flush=True)
    time.sleep(8)
    c.close()
    print("closed", flush=True)
    try:
        cluster(cpu=1, name="without", timeout=20)
    except Exception as error:
        print(type(error).__name__, error)
    print(said)
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    hub = notebook.operator
    hub.run("scale", "deployment/operator", "--replicas=0")
    try:
        hub.run("wait", "--for=delete", "pod", "-l", "app=operator", "--timeout=30s")
        assert started.stdout.readline() == "closed\n"
        notebook.gone("before", 30)
        said, _ = started.communicate(timeout=90)
    finally:
        hub.run("scale", "deployment/operator", "--replicas=1")
        hub.run("rollout", "status", "deployment/operator", "--timeout=120s")
    assert "ClusterTimeoutError" in said
    assert "the operator of dask-kubernetes has done nothing in" in said
    notebook.gone("without", 30)


def test_work_goes_on_without_the_api_server(notebook: Notebook) -> None:
    """A policy closes the way to it for 30 s; scaling resumes when it is open again."""
    started = notebook.start(
        WATCHED
        + """
    with cluster(cpu=1, name="deaf", wait=1) as c, c.get_client() as client:
        print("here", flush=True)
        time.sleep(5)
        c.scale(cpu=2)
        until(lambda: "has not answered" in c.explain())
        print(client.submit(sum, [1, 2]).result(), flush=True)
        until(lambda: len(c.scheduler_info["workers"]) == 2)
        print("grown", flush=True)
        until(lambda: "has not answered" not in c.explain())
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    kube = notebook.admin
    policy = kube.run("get", "networkpolicy", "api-server", "-o", "json")
    kube.run("delete", "networkpolicy", "api-server")
    try:
        began = time.monotonic()
        assert started.stdout.readline() == "3\n"
        time.sleep(max(0.0, began + 30 - time.monotonic()))
    finally:
        found = json.loads(policy)
        for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
            found["metadata"].pop(key, None)
        kube.run("create", "-f", "-", text=json.dumps(found))
    assert started.stdout.readline() == "grown\n"
    started.communicate(timeout=60)
    assert started.returncode == 0
    notebook.gone("deaf", 30)


def test_a_deleted_notebook_leaves_nothing(notebook: Notebook) -> None:
    """The last one: it takes the notebook's pod away."""
    started = notebook.start(
        """
    import time
    from facility import cluster
    c = cluster(cpu=2, arm=1, name="owned", wait=2)
    print("here", flush=True)
    time.sleep(100)
    """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    assert notebook.left("owned")
    notebook.admin.run("delete", "pod", "notebook", "--grace-period=1")
    until(lambda: not notebook.left("owned"), 60)
    started.communicate()
