"""cluster() on a real Kubernetes: in a pod of a user's namespace, with the notebook's own token."""

import datetime
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from facility import names
from tests.kube.conftest import until
from tests.kube.notebooks import QUOTA, Notebook, facility_of, notebook

__all__ = ["notebook"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]


def test_compute_and_leave_nothing(notebook: Notebook) -> None:
    said = notebook.python(
        """
        import time
        from facility import cluster, clusters
        with cluster(cpu=2, name="first", wait=2) as c, c.get_client() as client:
            print(sum(client.gather(client.map(lambda x: x**2, range(100)))))
            assert c.scheduler_address.startswith("tls://"), c.scheduler_address
            time.sleep(1)
            print(c.explain())
            print(clusters())
            assert "The scheduler serves." in c.logs()
            assert "cpu-0" in c.logs("cpu")
        """
    )
    assert said.splitlines()[0] == str(sum(x**2 for x in range(100)))
    assert "cpu: 2 of 2 workers running." in said
    assert "first  2 cpu    20" in said
    notebook.gone("first", 30)


POOLS = """
    import platform, time
    from facility import cluster

    def where():
        from distributed import get_worker
        time.sleep(0.05)
        return get_worker().name.split("-")[0], platform.machine()

    with cluster(cpu=1, arm=1, gpu=1, name="pools", wait=3, timeout=200) as c:
        with c.get_client() as client:
            tasks = lambda **route: {f.result() for f in
                [client.submit(where, pure=False, **route) for _ in range(20)]}
            print(sorted(tasks()))
            for pool in ("cpu", "gpu", "arm"):
                print(pool, sorted(tasks(**c.route(pool))))
            held = client.submit(list, range(10), **c.route("arm"))
            held.result()
            c.scale(arm=0, gpu=0, cpu=2)
            while (sorted(c.workers.values()) != ["cpu", "cpu"]
                    or len(c.scheduler_info["workers"]) != 2):
                time.sleep(0.2)
            print("moved", held.result())
            del held
            c.adapt(cpu=(0, 2))
            while c.workers:
                time.sleep(0.2)
            print("empty", client.submit(where, pure=False).result())
            assert c.explain().count("adapts from 0 to 2") == 1, c.explain()
"""


def test_pools_are_routed_scaled_drained_and_adapted(notebook: Notebook) -> None:
    lines = notebook.python(POOLS).splitlines()
    assert lines[:4] == [
        "[('cpu', 'x86_64')]",
        "cpu [('cpu', 'x86_64')]",
        "gpu [('gpu', 'x86_64')]",
        "arm [('arm', 'aarch64')]",
    ]
    assert lines[4] == f"moved {list(range(10))}"
    assert lines[5] == "empty ('cpu', 'x86_64')"
    notebook.gone("pools", 30)


def test_several_workers_share_a_pod(notebook: Notebook) -> None:
    said = notebook.python(
        """
        import time
        from facility import cluster
        with cluster(pairs=4, name="pairs", wait=4) as c, c.get_client() as client:
            # One that was lost at the start has a successor of another number.
            names = sorted(w["id"].split("-") for w in c.scheduler_info["workers"].values())
            print(len({name[1] for name in names}), [name[2] for name in names])
            c.scale(pairs=2)
            while len(c.scheduler_info["workers"]) != 2 or len(c.workers) != 2:
                time.sleep(0.2)
            left = sorted(w["id"] for w in c.scheduler_info["workers"].values())
            assert left == sorted(c.workers), (left, c.workers)
            print(left[0].rpartition("-")[0] == left[1].rpartition("-")[0])
        """
    )
    assert said.splitlines() == ["2 ['0', '1', '0', '1']", "True"]


def test_what_holds_workers_up_is_told(notebook: Notebook) -> None:
    said = notebook.python(
        """
        import time
        from facility import cluster
        from facility.errors import ClusterTimeoutError
        with cluster(nowhere=1, noimage=1, cpu=1, name="held", wait=1) as c:
            while "cannot be pulled" not in c.explain() or "labels" not in c.explain():
                time.sleep(0.5)
            print(c.explain())
        try:
            cluster(cpu=1, memory={"cpu": "60Gi"}, name="large", timeout=25)
        except ClusterTimeoutError as error:
            print(error)
        """
    )
    assert "nowhere: 1 pod waits: some nodes lack the labels that the pool asks for" in said
    assert "noimage: 1 pod waits: the image registry.test/no/such:image cannot be pulled" in said
    assert "cpu: 1 pod waits: no node has enough memory left" in said
    assert "nothing is left running" in said
    notebook.gone("held", 30)
    notebook.gone("large", 30)


def test_a_used_up_quota_is_told_and_filled_later(notebook: Notebook) -> None:
    said = notebook.python(
        """
        import time
        from facility import cluster, pools
        print({row["pool"]: row for row in pools()}["gpu"])
        with cluster(gpu=1, name="one") as one:
            with cluster(gpu=2, name="two", wait=0) as two:
                while "no room" not in two.explain():
                    time.sleep(0.2)
                print(two.explain())
                one.scale(gpu=0)
                while "gpu" not in {w["id"][:3] for w in two.scheduler_info["workers"].values()}:
                    time.sleep(0.2)
                print("filled")
        """
    )
    assert "gpu: no room for more: the quota pool-gpu is used up" in said
    assert said.splitlines()[-1] == "filled"


@pytest.mark.long
def test_what_is_partly_granted_says_what_it_got(
    state: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """At once where the quota alone is too small, and later where others have the rest."""
    quota = replace(QUOTA, pools={"cpu": 2, "gpu": 1})
    folder = tmp_path_factory.mktemp("small")
    with facility_of(dict(state), folder, quota=quota) as small:
        said = small.python(
            """
            import time
            from facility import cluster
            from facility.errors import ClusterTimeoutError
            from facility.deploy.cluster import PooledCluster
            said = []
            PooledCluster.say = staticmethod(said.append)
            with cluster(gpu=3, name="less", wait=1) as c:
                print(said)
                print(c.explain())
            with cluster(cpu=1, name="first", wait=1) as first:
                try:
                    cluster(cpu=2, name="second", wait=2, timeout=20)
                except ClusterTimeoutError as error:
                    print(error)
                with cluster(cpu=2, name="third", wait=0.1) as third:
                    while "1 of 2 workers running" not in third.explain():
                        time.sleep(0.2)
                    while "no room" not in third.explain():
                        time.sleep(0.2)
                    print(third.explain())
            """
        )
    assert "pool gpu gets at most 1 worker instead of 3: the quota pool-gpu allows 1" in said
    assert "gpu: 1 of 1 worker running" in said
    assert "for 2 workers and got 1; nothing is left running" in said
    assert "cpu: 1 of 2 workers running" in said
    assert "no room for more: the quota pool-cpu is used up" in said


def test_a_policy_that_refuses_workers_is_told(notebook: Notebook) -> None:
    """Pools of the user's own, which are not what the facility's PriorityClasses allow.

    One of another PriorityClass has no quota: it is refused before anything is made.
    """
    other = notebook.python(
        """
        from facility import cluster
        from facility.errors import RequestError
        pool = {"default": True, "cpu": "100m", "memory": "256Mi", "maxWorkers": 2,
                "priorityClass": "system-node-critical"}
        try:
            cluster(1, config={"pools": {"cpu": pool}}, name="bold-class")
        except RequestError as error:
            print(error)
        """
    )
    assert "the quota no-others allows 0 of pods" in other
    said = notebook.python(
        """
        from facility import cluster
        from facility.errors import ClusterFailedError
        def pool(**more):
            return {"pools": {"cpu": {"default": True, "cpu": "100m", "memory": "256Mi",
                                      "maxWorkers": 2, **more}}}
        import yaml
        mine = yaml.safe_load(open("/etc/facility/pools.yaml"))["pools"]["cpu"]
        good = {"priorityClass": mine["priorityClass"], "nodeSelector": mine["nodeSelector"]}
        for name, change in {
            "selector": {"nodeSelector": {}},
            "toleration": {"tolerations": [{"operator": "Exists"}]},
            "image": {"image": "evil.example/miner:1"},
        }.items():
            try:
                cluster(1, config=pool(**good | change), name=f"bold-{name}", timeout=100)
            except ClusterFailedError as error:
                print(name, str(error).replace(chr(10), " "))
        """
    )
    lines = said.splitlines()
    assert len(lines) == 3, said
    for line, words in zip(
        lines,
        (
            "needs the nodeSelector facility.test/pool: cpu",
            "has a toleration that its pool has not",
            "an image is not permitted: evil.example/miner:1",
        ),
        strict=True,
    ):
        assert "-pods refuses it: " in line
        assert words in line


def test_workers_that_end_at_their_start_are_told_with_their_log(notebook: Notebook) -> None:
    said = notebook.python(
        """
        import yaml
        from facility import cluster
        from facility.errors import ClusterFailedError
        mine = yaml.safe_load(open("/etc/facility/pools.yaml"))["pools"]["cpu"]
        mine["env"] = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "many"}
        mine["cpu"] = "200m"
        try:
            # As many at once as may fail, however long each of them takes.
            cluster(5, config={"pools": {"cpu": mine}}, name="broken", timeout=200)
        except ClusterFailedError as error:
            print(error)
        """
    )
    assert "workers were lost within 60 s (the last one ended with exit code 1)" in said
    assert "the last log lines are:" in said
    assert "The cause: KeyError('Invalid time unit: many" in said
    notebook.gone("broken", 30)


def test_an_autoscaler_that_adds_a_node_is_told(notebook: Notebook) -> None:
    """It says so in an event of the pod; here the test is the autoscaler."""
    started = notebook.start(
        """
        import time
        from facility import cluster
        with cluster(nowhere=1, name="grows", wait=0) as c:
            print("here", flush=True)
            while "autoscaler" not in c.explain():
                time.sleep(0.2)
            print(c.explain())
        """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    kube = notebook.admin
    until(
        lambda: any("PodScheduled" in json.dumps(pod) for pod in notebook.pods("grows", "nowhere"))
    )
    (pod,) = notebook.pods("grows", "nowhere")
    about = {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about['name']}.scale-up"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", **about},
            "reason": "TriggeredScaleUp",
            "message": "pod triggered scale-up: [{nodes 1->2 (max: 8)}]",
            "source": {"component": "cluster-autoscaler"},
            "type": "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
    )
    said, _ = started.communicate(timeout=60)
    assert "nowhere: 1 pod waits: no node has room, and the autoscaler is adding one" in said


def test_dask_kubernetes_own_tools_see_it(notebook: Notebook) -> None:
    """Its discovery, which looks everywhere, as an administrator; its labels, as the user."""
    started = notebook.start(
        """
        import time
        from facility import cluster
        with cluster(cpu=1, name="seen", wait=1) as c:
            print("here", flush=True)
            time.sleep(30)
        """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    script = """
import asyncio, os
from dask_kubernetes.operator.kubecluster.discovery import discover
async def found():
    return [name async for name, _ in discover()]
print(asyncio.run(found()))
"""
    environment = {**os.environ, "KUBECONFIG": str(notebook.space.state["kubeconfig"])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert "'seen'" in done.stdout, done.stderr
    user = notebook.space.notebook
    assert "seen" in user.run("get", "daskclusters")
    listed = user.run("get", "pods", "-l", "dask.org/cluster-name=seen", "-o", "name").split()
    assert sorted("scheduler" in name for name in listed) == [False, True]
    started.communicate(timeout=90)


def test_the_doctor_says_why_it_is_kubernetes(notebook: Notebook) -> None:
    said = notebook.admin.run("exec", "notebook", "--", "facility", "doctor")
    assert "this process runs in a pod with a service account" in said
    assert notebook.space.namespace in said


def test_a_name_is_taken_once(notebook: Notebook) -> None:
    said = notebook.python(
        """
        from facility import cluster
        from facility.errors import RequestError
        with cluster(cpu=1, name="same") as c:
            try:
                cluster(cpu=1, name="same")
            except RequestError as error:
                print(error)
            with c.get_client() as client:
                print(client.submit(sum, [1, 2]).result())
        try:
            cluster(cpu=1, name="x" * 60)
        except RequestError as error:
            print(error)
        longest = "x" * 40
        with cluster(cpu=1, name=longest) as c, c.get_client() as client:
            print(client.submit(sum, [1, 2]).result())
        """
    )
    assert "one named 'same' is in namespace" in said.splitlines()[0]
    assert said.splitlines()[1] == "3"
    assert "up to 40 lower-case letters" in said
    assert said.splitlines()[-1] == "3"


def test_the_command_lists_and_ends(notebook: Notebook) -> None:
    started = notebook.start(
        """
        import time
        from facility import cluster
        c = cluster(cpu=1, name="listed")
        print("here", flush=True)
        while c.status.name == "running":
            time.sleep(0.1)
        print(c.explain())
        """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    run = notebook.admin.run
    assert "listed  1 cpu" in run("exec", "notebook", "--", "facility", "clusters")
    wrong = run("exec", "notebook", "--", "facility", "clusters", "stop", "lsted", fail=True)
    assert "did you mean 'listed'?" in wrong
    assert "is ended" in run("exec", "notebook", "--", "facility", "clusters", "stop", "listed")
    assert "was asked to close" in started.communicate(timeout=60)[0]
    notebook.gone("listed")


def test_only_certificates_open_a_scheduler(notebook: Notebook) -> None:
    started = notebook.start(
        """
        import time
        from facility import cluster
        with cluster(cpu=1, name="closed") as c:
            print(c.scheduler_address, flush=True)
            time.sleep(40)
        """
    )
    assert started.stdout is not None
    address = started.stdout.readline().strip()
    said = notebook.python(
        f"""
        import socket, ssl, tempfile
        from distributed import Client
        from facility.security.certificates import authority
        from pathlib import Path
        address = "{address}"
        def refused(address, **how):
            try:
                Client(address, timeout=3, **how)
            except (OSError, RuntimeError) as error:
                return type(error).__name__
            return "connected"
        print(refused(address.replace("tls:", "tcp:")))
        bare = ssl.create_default_context()
        bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
        host, _, port = address.removeprefix("tls://").rpartition(":")
        try:
            with bare.wrap_socket(socket.create_connection((host, int(port)))) as raw:
                print(raw.recv(1) and "connected")
        except OSError as error:
            print(type(error).__name__)
        print(refused(address, security=authority(Path(tempfile.mkdtemp())).security()))
        own = authority()
        with Client(address, timeout=10, security=own.security()) as client:
            print(len(client.scheduler_info()["workers"]))
        """
    )
    *refused, workers = said.split()
    assert len(refused) == 3
    assert "connected" not in refused
    assert workers == "1"
    started.communicate(timeout=60)


def test_another_tenant_reaches_no_port(
    notebook: Notebook, state: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither the comm port nor the HTTP port, which its own namespace does reach."""
    started = notebook.start(
        """
        import time
        from facility import cluster
        with cluster(cpu=1, name="mine") as c:
            print("here", flush=True)
            time.sleep(40)
        """
    )
    assert started.stdout is not None
    started.stdout.readline()
    listed = notebook.admin.run(
        "get", "pods", "-l", "dask.org/component=scheduler", "-o", "json", "--field-selector",
        "status.phase=Running",
    )  # fmt: skip
    address = json.loads(listed)["items"][-1]["status"]["podIP"]
    script = f"""
        import socket
        for port in ({names.SCHEDULER_PORT}, {names.DASHBOARD_PORT}):
            try:
                socket.create_connection(("{address}", port), timeout=3).close()
                print("reached")
            except OSError as error:
                print("closed")
    """
    assert notebook.python(script).split() == ["reached", "reached"]
    with facility_of(notebook.admin.state, tmp_path_factory.mktemp("other")) as other:
        assert other.python(script).split() == ["closed", "closed"]
    started.communicate(timeout=90)


def test_another_software_is_refused_with_the_list(notebook: Notebook) -> None:
    """As after `pip install --user` in a notebook, whose version the workers have not."""
    said = notebook.python(
        """
        from facility import cluster
        from facility.errors import ClusterFailedError
        from facility.kubernetes import backend
        from facility.worker.software import software
        def changed(**packages):
            found = software()
            return {**found, "packages": found["packages"] | packages}
        backend.software = lambda: changed(dask="2020.1.0")
        try:
            cluster(cpu=1, name="other", timeout=60)
        except ClusterFailedError as error:
            print(error)
        backend.software = lambda: changed(numpy="1.0")
        import time
        with cluster(cpu=2, wait=2, name="other") as c:
            time.sleep(2)
        """
    )
    assert "dask 2020.1.0 in the notebook and" in said
    assert "no more workers are started" in said
