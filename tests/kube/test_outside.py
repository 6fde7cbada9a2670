"""cluster() in a process outside of Kubernetes, with a user's kubeconfig."""

import asyncio
import getpass
import json
import os
import platform
import signal
import subprocess
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facility import names
from facility.hub.kubernetes.tenants.leftovers import sweep
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kubeconfig import kubeconfig_account
from facility.worker.software import PYTHON_OF_IMAGES
from tests.kube import pythons
from tests.kube.conftest import until
from tests.kube.notebooks import KINDS, POOLS, QUOTA
from tests.kube.tenancy import Space, installed, operator, release, space

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def user(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """The namespace of a user with an odd name of 60 characters, and no pod of the user's in it."""
    odd = f"Ada Ölçer, {uuid.uuid4().hex[:8]} @Institute.example.org/".ljust(60, "x")
    with (
        installed(state, release(POOLS)) as made,
        operator(state, made),
        space(state, tmp_path_factory.mktemp("space"), made, odd, QUOTA) as found,
    ):
        yield found


def start(
    user: Space, home: Path, script: str, *, python: str = "", **variables: str
) -> "subprocess.Popen[str]":
    """Start a script on this machine, which knows the user's kubeconfig and nothing else.

    It has the images' Python, unless another one is named.
    """
    # The kubeconfig is in it too.
    command = [python] if python else pythons.of_images(shared(home, user.kubeconfig))
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "KUBECONFIG": str(user.kubeconfig),
        "FACILITY_BACKEND": "kubernetes",
        "FACILITY_IMAGE": user.state["images"]["analysis"],
        **variables,
    }
    (home / "script.py").write_text(textwrap.dedent(script))
    with (home / "complaints").open("w") as complaints:
        return subprocess.Popen(
            [*command, "-u", str(home / "script.py")],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )


def shared(*paths: Path) -> Path:
    """Return the folder that holds all of these."""
    return Path(os.path.commonpath(paths))


def run(user: Space, home: Path, script: str, *, python: str = "", **variables: str) -> str:
    started = start(user, home, script, python=python, **variables)
    said, _ = started.communicate(timeout=240)
    assert started.returncode == 0, said + (home / "complaints").read_text()
    return said


def left(user: Space, name: str) -> str:
    """What is there of a Dask cluster, Leases included."""
    selector = f"{names.CLUSTER_LABEL}={name}"
    kinds = f"{KINDS},leases.coordination.k8s.io"
    return user.admin.run("get", kinds, "-l", selector, "-o", "name").strip()


def test_it_computes_over_a_way_through_the_api_server(user: Space, tmp_path: Path) -> None:
    (tmp_path / "cuts.py").write_text("def square(x):\n    return x**2\n")
    said = run(
        user,
        tmp_path,
        """
        import urllib.error
        import urllib.request
        import cuts
        from distributed import Client
        from facility import cluster, clusters, pools
        print(sorted(row["pool"] for row in pools()))
        with cluster(cpu=2, name="away", wait=2) as c, c.get_client() as client:
            assert c.scheduler_address.startswith("tls://127.0.0.1:"), c.scheduler_address
            print(sum(client.gather(client.map(cuts.square, range(100)))))
            # More than one message holds, there and back.
            large = client.submit(len, bytes(20_000_000))
            print(large.result(), len(client.submit(bytes, 20_000_000).result()))
            with Client(c.scheduler_address) as second:
                print(second.submit(sum, [1, 2]).result())
            print(clusters())
            print(c.dashboard_link.startswith("http://127.0.0.1:"))
            print(urllib.request.urlopen(c.dashboard_link).status)
            try:  # as another user of this machine, who does not have the link
                urllib.request.urlopen(c.dashboard_link.partition("?")[0])
            except urllib.error.HTTPError as error:
                print(error.code)
            assert "The scheduler serves." in c.logs()
            c.scale(cpu=1)
            while len(c.scheduler_info["workers"]) != 1:
                pass
        """,
    )
    lines = said.splitlines()
    assert lines[0] == "['arm', 'cpu', 'gpu', 'noimage', 'nowhere', 'pairs']"
    assert lines[1] == str(sum(x**2 for x in range(100)))
    assert lines[2] == "20000000 20000000"
    assert lines[3] == "3"
    assert "away  2 cpu" in said
    # The holder of its Lease.
    assert f"{getpass.getuser()}@{platform.node()}" in said
    assert lines[-3:] == ["True", "200", "401"]
    until(lambda: not left(user, "away"))


def test_a_lease_owns_everything_and_is_renewed(user: Space, tmp_path: Path) -> None:
    started = start(
        user,
        tmp_path,
        """
        import time
        from facility import cluster
        from facility.kubernetes import lease
        lease.RENEW_EVERY = 1.0
        with cluster(cpu=1, name="leased", wait=1) as c:
            print("here", flush=True)
            time.sleep(15)
        """,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    label = ("-l", f"{names.CLUSTER_LABEL}=leased", "-o", "json")

    def lease() -> dict[str, Any]:
        (found,) = json.loads(user.admin.run("get", "leases", *label))["items"]
        return dict(found)

    first = lease()
    assert first["spec"]["leaseDurationSeconds"] == 300
    until(lambda: lease()["spec"]["renewTime"] > first["spec"]["renewTime"])
    made = "daskclusters,secrets,pods"
    owners = {
        f"{each['kind']} {each['metadata']['name']}": each["metadata"].get("ownerReferences", [{}])
        for each in json.loads(user.admin.run("get", made, *label))["items"]
    }
    # The scheduler's pod belongs to what the operator makes of the DaskCluster.
    ours = {key: found for key, found in owners.items() if "leased-scheduler-" not in key}
    ours |= {key: found for key, found in owners.items() if key.endswith("-tls")}
    assert len(ours) == 4, owners
    for (owner,) in ours.values():
        assert (owner["kind"], owner["uid"]) == ("Lease", first["metadata"]["uid"])
        assert "blockOwnerDeletion" not in owner
    started.communicate(timeout=60)
    assert started.returncode == 0
    until(lambda: not left(user, "leased"))


@pytest.mark.parametrize(
    "how", ["killed", pytest.param("stopped", marks=pytest.mark.long), "lease"]
)
def test_it_ends(user: Space, tmp_path: Path, how: str) -> None:
    """Its process killed; ended by the command elsewhere; its Lease deleted, as a sweep does."""
    started = start(
        user,
        tmp_path,
        f"""
        import time
        from facility import cluster
        from facility.deploy import controller
        controller.OWNER_SECONDS = 15.0
        c = cluster(cpu=1, name="ends-{how}", wait=1)
        print("here", flush=True)
        while c.status.name == "running":
            time.sleep(0.1)
        print(c.explain())
        """,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    name = f"ends-{how}"
    if how == "killed":
        started.send_signal(signal.SIGKILL)
        started.communicate()
        assert left(user, name)
    elif how == "stopped":
        other = tmp_path / "other"
        other.mkdir()
        words = f"['clusters', 'stop', '{name}']"
        said = run(user, other, f"from facility import cli; raise SystemExit(cli.main({words}))")
        assert "is ended" in said
    else:
        selector = f"{names.CLUSTER_LABEL}={name}"
        user.admin.run("delete", "leases", "-l", selector)
    until(lambda: not left(user, name), 90)
    if how != "killed":
        said, _ = started.communicate(timeout=60)
        assert "was asked to close" in said


def test_what_never_started_is_swept_once_its_client_has_gone(user: Space, tmp_path: Path) -> None:
    """No scheduler is there to see that the Lease has run out."""
    script = 'from facility import cluster; cluster(1, name="unborn", timeout=200)'
    started = start(user, tmp_path, script, FACILITY_IMAGE="registry.test/no/such:image")
    try:
        until(lambda: "deployment" in left(user, "unborn"), 60)
    finally:
        started.kill()
        started.communicate()
    (lease,) = (word for word in left(user, "unborn").split() if "lease" in word)
    hub = user.account(user.release.hub_account, user.release.namespace)

    async def swept() -> list[str]:
        api = Api(kubeconfig_account({"KUBECONFIG": hub.state["kubeconfig"]}))
        try:
            return await sweep(api, {user.namespace}, "")
        finally:
            await api.aclose()

    assert asyncio.run(swept()) == []
    long_ago = {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
    user.admin.run("patch", lease, "--type=merge", "-p", json.dumps(long_ago))
    (said,) = asyncio.run(swept())
    assert said == f"the Dask cluster {user.namespace}/unborn, whose client has gone"
    until(lambda: not left(user, "unborn"), 60)


def test_a_way_that_is_cut_is_found_again(user: Space, tmp_path: Path) -> None:
    said = run(
        user,
        tmp_path,
        """
        import asyncio, time
        from distributed.client import FutureCancelledError
        from facility import cluster
        with cluster(cpu=1, name="cut", wait=1) as c, c.get_client() as client:
            print(client.submit(sum, [1, 2]).result())
            async def cut():
                for forward in c._controller.backend._forwards:
                    for task in list(forward._carrying):
                        task.cancel()
            asyncio.run_coroutine_threadsafe(cut(), c.loop.asyncio_loop).result()
            # With the connection is lost what was under way, as distributed has it.
            while True:
                try:
                    print(client.submit(sum, [3, 4], pure=False).result(timeout=60))
                    break
                except FutureCancelledError:
                    time.sleep(0.5)
            c.scale(cpu=2)
            while len(c.scheduler_info["workers"]) != 2:
                time.sleep(0.1)
            print("grown")
        """,
    )
    assert [line for line in said.splitlines() if line in ("3", "7", "grown")] == [
        "3",
        "7",
        "grown",
    ]
    until(lambda: not left(user, "cut"))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"FACILITY_IMAGE": ""}, "Set FACILITY_IMAGE to the image that scheduler and workers"),
        ({"KUBECONFIG": "/none"}, "no service account of Kubernetes, and there is no kubeconfig"),
    ],
)
def test_what_is_missing_is_told(
    user: Space, tmp_path: Path, variables: dict[str, str], words: str
) -> None:
    script = """
        from facility import cluster
        from facility.errors import FacilityError
        try:
            cluster(cpu=1, name="early")
        except FacilityError as error:
            print(error)
        """
    assert words in run(user, tmp_path, script, **variables)
    assert not left(user, "early")


def test_another_python_is_refused_with_what_to_do(user: Space, tmp_path: Path) -> None:
    script = """
        from facility import cli, cluster
        from facility.errors import ClusterFailedError
        try:
            cluster(cpu=1, name="older", timeout=120)
        except ClusterFailedError as error:
            print(error)
        print("ends with", cli.main(["doctor"]))
        """
    said = run(user, tmp_path, script, python=pythons.other())
    refused, _, doctor = said.partition("Namespace")
    for text in (refused, doctor):
        assert "pickled code does not cross between them: start it with a" in text, said
        assert f"Python {PYTHON_OF_IMAGES} that has facility of this version" in text
        assert "in FACILITY_IMAGE" in text
    assert "no more workers are started" in refused
    assert f"and {PYTHON_OF_IMAGES}." in refused
    assert "workers on Kubernetes refuse this process: Python" in doctor
    assert "ends with 1" in doctor
    until(lambda: not left(user, "older"))


def test_a_name_is_taken_once_and_the_lease_goes(user: Space, tmp_path: Path) -> None:
    said = run(
        user,
        tmp_path,
        """
        from facility import cluster
        from facility.errors import RequestError
        longest = "s" * 40
        with cluster(cpu=0, name=longest, wait=0):
            try:
                cluster(cpu=0, name=longest, wait=0)
            except RequestError as error:
                print(error)
        """,
    )
    assert f"one named '{'s' * 40}' is in namespace" in said
    until(lambda: not left(user, "s" * 40))


def test_the_doctor_explains(user: Space, tmp_path: Path) -> None:
    script = "from facility import cli; cli.main(['doctor'])"
    said = run(user, tmp_path, script)
    assert "pods on Kubernetes, because the variable FACILITY_BACKEND says so" in said
    assert user.namespace in said
    assert user.state["images"]["analysis"] in said.replace("\n", "").replace(" ", "")
