"""Users who are themselves on the site's file systems: homes and shared volumes of the chart.

No driver of NFS or CSI runs here. What is mounted are folders of this machine, in PersistentVolumes
that an administrator has made; what the hub makes from templates is looked at, and never mounted.
"""

import json
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility import names
from tests.kube.charts import Facility, User, installed_chart
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenants import refused

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]
UID, GID, GROUP = 5001, 5000, 77
PEOPLE = {
    # Two names of one person.
    "ada": {"numbers": {"uid": UID, "gid": GID, "groups": [GROUP]}},
    "lovelace": {"numbers": {"uid": str(UID), "gid": GID, "groups": [GROUP]}},
    "root": {"numbers": {"uid": 0, "gid": GID, "groups": []}},
    "eve": {"numbers": {"uid": 5002, "gid": 5002, "groups": [GROUP]}},
}
LOGIN = f"""
from jupyterhub.authenticators.shared import SharedPasswordAuthenticator
PEOPLE = {PEOPLE!r}
class Numbered(SharedPasswordAuthenticator):
    async def authenticate(self, handler, data):
        found = await super().authenticate(handler, data)
        return found and {{**found, "auth_state": PEOPLE.get(found["name"])}}
c.JupyterHub.authenticator_class = Numbered
"""
KEYS = {"uid": "numbers.uid", "gid": "numbers.gid", "groups": "numbers.groups"}
NFS = {"nfs": {"server": "nfs.example.org", "path": "/atlas"}}
CSI = {"csi": {"driver": "d.example.org", "volumeHandle": "scratch-{namespace}"}}
LOOK = """
import json
from facility import cluster
def look(path):
    import os, pathlib
    pathlib.Path(path).write_text("mine")
    return [os.getuid(), os.getgid(), sorted(os.getgroups())]
"""


class Folders:
    """Folders of this machine that stand for a file system of the site."""

    def __init__(self, state: dict[str, Any], folder: Path) -> None:
        self.admin = Kubernetes(state)
        self.folder = folder
        self.name = f"site-{uuid.uuid4().hex[:8]}"
        self.common = self._make("common", 0, GROUP, 0o2770)

    def _make(self, name: str, uid: int, gid: int, mode: int) -> Path:
        path = self.folder / name
        path.mkdir()
        os.chown(path, uid, gid)
        path.chmod(mode)
        return path

    def offer(self, facility: Facility, user: str, *, home: bool = True) -> None:
        """Make the volumes for a user's claims."""
        space = facility.space(user).namespace
        found = {"common": self.common}
        if home:
            found["home"] = self._make(f"home-{user}", UID, GID, 0o700)
        for claim, path in found.items():
            spec = {
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": "10Gi"},
                "claimRef": {"namespace": space, "name": claim},
                "hostPath": {"path": str(path), "type": "Directory"},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": self.name,
            }
            metadata = {"name": f"{self.name}-{user}-{claim}", "labels": {"of": self.name}}
            volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata}
            self.admin.apply({**volume, "spec": spec})

    def clean_up(self) -> None:
        self.admin.run("delete", "persistentvolumes", "-l", f"of={self.name}", "--wait=false")


@pytest.fixture(scope="module")
def folders(
    here: None, state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Folders]:
    found = Folders(state, tmp_path_factory.mktemp("site"))
    yield found
    found.clean_up()


@pytest.fixture(scope="module")
def facility(
    folders: Folders, state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Facility]:
    servers = {
        "storage": {"storageClass": folders.name, "accessModes": ["ReadWriteMany"]},
        "identity": KEYS,
        "fsGid": "none",
    }
    common = {"mountPath": "/common", "readOnly": False, "storageClass": folders.name}
    with installed_chart(
        state,
        tmp_path_factory.mktemp("chart"),
        hub={"extraConfig": {"login": LOGIN}},
        singleuser=servers,
        sharedVolumes={"common": common},
    ) as found:
        found.open_shortly()
        yield found
        label = f"{names.HUB_LABEL}={found.name}"
        Kubernetes(state).run("delete", "persistentvolumes", "-l", label, "--wait=false")


@pytest.fixture(scope="module")
def ada(facility: Facility, folders: Folders) -> User:
    folders.offer(facility, "ada")
    user = facility.visitor("ada")
    said = user.spawn()
    assert any("Server ready" in each for each in said), said
    return user


@pytest.mark.parametrize("user", ["nobody", "root"])
def test_a_login_that_says_not_as_whom_is_refused(facility: Facility, user: str) -> None:
    said = facility.visitor(user).spawn()
    why = {"nobody": "it holds no numbers.uid", "root": "numbers.uid is 0"}[user]
    assert any(why in each and "Log out and in again" in each for each in said), said
    spaces = Kubernetes(facility.state).run("get", "namespaces", "-o", "name")
    assert facility.space(user).namespace not in spaces
    assert "consecutive spawns failed" not in facility.kube.run("logs", "deployment/hub")


def test_notebook_scheduler_and_workers_are_the_user_and_see_the_same_folders(
    ada: User, folders: Folders
) -> None:
    code = (
        LOOK
        + """
import os, time
found = {"notebook": look("/common/notebook")}
look("/home/jovyan/notebook")
c = cluster(cpu=1, arm=1, wait=2, timeout=300, name="mine")
client = c.get_client()
for pool in ("cpu", "arm"):
    for folder in ("/common", "/home/jovyan"):
        future = client.submit(look, f"{folder}/{pool}", pure=False, **c.route(pool))
        found[f"{pool} {folder}"] = future.result()
print(c.pools)
print(json.dumps(found))
while not os.path.exists("/common/seen"):
    time.sleep(0.5)
"""
    )
    with ThreadPoolExecutor() as pool:
        future = pool.submit(ada.python, code)
        # While the kernel runs, so does its Dask cluster.
        homes = folders.folder / "home-ada"
        until(lambda: future.done() or (homes / "arm").exists(), 400)
        if not future.done():
            see_scheduler(ada, homes)
        (folders.common / "seen").touch()
        said = future.result()
    table, found = said.strip().rsplit("\n", 1)
    # Nothing is absent on workers.
    assert "has not" not in table
    as_told = [UID, GID, sorted({GID, GROUP})]
    for where, who in json.loads(found).items():
        assert [who[0], who[1], sorted({GID, *who[2]})] == as_told, where
    for folder, owner in ((folders.common, UID), (folders.folder / "home-ada", UID)):
        files = {name: (folder / name).stat().st_uid for name in ("notebook", "cpu", "arm")}
        assert files == dict.fromkeys(files, owner)
    told = ada.space.say("exec", "notebook", "--", "facility", "doctor")
    assert "/common" in told
    assert "since a single node" not in told
    ada.facility.hub("facility", "clusters", "stop", "--user", "ada", "--all")
    ada.space.wait_until_gone("daskclusters")


def see_scheduler(ada: User, home: Path) -> None:
    """Check that the scheduler is the user too, on the same folders."""
    pods = json.loads(ada.space.run("get", "pods", "-o", "json"))["items"]
    scheduler = next(
        each["metadata"]["name"]
        for each in pods
        if each["metadata"]["labels"].get(names.COMPONENT_LABEL) == names.SCHEDULER_COMPONENT
    )
    look = "id -u; id -g; id -G; ls /common /home/jovyan; touch /home/jovyan/scheduler"
    seen = ada.space.run("exec", scheduler, "--", "sh", "-c", look).split("\n")
    assert [seen[0], seen[1], {*seen[2].split()}] == [str(UID), str(GID), {str(GID), str(GROUP)}]
    assert (home / "scheduler").stat().st_uid == UID


def test_the_users_namespace_says_as_whom_pods_run(ada: User) -> None:
    space = Kubernetes(ada.facility.state).get("namespace", ada.space.namespace)
    notes = space["metadata"]["annotations"]
    assert notes[names.UID_ANNOTATION] == str(UID)
    assert notes[names.GID_ANNOTATION] == str(GID)
    assert notes[names.GIDS_ANNOTATION] == f"{GROUP} {GID}"


def test_two_names_may_be_one_person(ada: User, facility: Facility, folders: Folders) -> None:
    folders.offer(facility, "lovelace")
    other = facility.visitor("lovelace")
    other.spawn()
    said = other.python(LOOK + 'print(look("/common/notebook"), open("/common/cpu").read())')
    assert said.strip().startswith(f"[{UID}, {GID}")
    assert said.strip().endswith("mine")
    assert other.space.namespace != ada.space.namespace


def test_a_home_for_one_node_is_declared_absent(facility: Facility, folders: Folders) -> None:
    servers = facility.values["singleuser"]
    facility.upgrade(singleuser={**servers, "storage": {"capacity": "1Gi"}})
    try:
        facility.wait_until_it_answers()
        folders.offer(facility, "eve", home=False)
        eve = facility.visitor("eve")
        eve.spawn()
        said = eve.python(
            "from facility import cluster\n"
            "with cluster(cpu=1, wait=1, timeout=240) as c: print(c.pools)"
        )
        assert "has not" in said
        assert "/home/jovyan" in said
        assert "/common" not in said
        told = eve.space.say("exec", "notebook", "--", "facility", "doctor")
        assert "/common; not /home/jovyan, since a single node may mount it" in told
    finally:
        facility.upgrade(singleuser=servers)


def volumes(facility: Facility, user: str) -> dict[str, dict[str, Any]]:
    """What the hub has made for a user, each under the name of its claim."""
    label = f"{names.HUB_LABEL}={facility.name},{names.TENANT_LABEL}={user}"
    listed = Kubernetes(facility.state).run("get", "pv", "-l", label, "-o", "json")
    return {each["spec"]["claimRef"]["name"]: each for each in json.loads(listed)["items"]}


def test_volumes_of_templates_follow_the_values(ada: User) -> None:
    """In the namespaces of all users, also of those who log in no more."""
    facility = ada.facility
    before = facility.values["sharedVolumes"]
    before_role = Kubernetes(facility.state).run("get", "clusterroles", "-o", "name")
    assert f"{facility.name}-hub-volumes" not in before_role
    atlas = {"mountPath": "/atlas", "volume": NFS}
    scratch = {"mountPath": "/scratch", "readOnly": False, "volume": CSI}
    facility.upgrade(sharedVolumes={**before, "atlas": atlas, "scratch": scratch})
    until(lambda: {"atlas", "scratch"} <= {*volumes(facility, "ada")}, 120)
    space = ada.space.namespace

    def bound(claim: str) -> bool:
        return bool(volumes(facility, "ada")[claim]["status"].get("phase") == "Bound")

    until(lambda: bound("atlas") and bound("scratch"), 60)
    found = volumes(facility, "ada")
    assert found["atlas"]["spec"]["nfs"] == {**NFS["nfs"], "readOnly": True}
    assert found["scratch"]["spec"]["csi"]["volumeHandle"] == f"scratch-{space}"
    for claim, volume in found.items():
        assert volume["spec"]["claimRef"]["namespace"] == space
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        assert ada.space.get("pvc", claim)["spec"]["volumeName"] == volume["metadata"]["name"]

    # Another server: nothing mounts the old volume. One entry less.
    other = {"mountPath": "/atlas", "volume": {"nfs": {**NFS["nfs"], "server": "new.example.org"}}}
    facility.upgrade(sharedVolumes={**before, "atlas": other})

    def renewed() -> bool:
        now = volumes(facility, "ada")
        return {*now} == {"atlas"} and now["atlas"]["spec"]["nfs"]["server"] == "new.example.org"

    until(renewed, 120)
    until(lambda: bound("atlas"), 60)
    claims = ada.space.run("get", "pvc", "-o", "name").split()
    assert {each.partition("/")[2] for each in claims} == {"home", "common", "atlas"}
    assert ada.python("print(6 * 7)").strip() == "42"


def test_the_hubs_own_token_makes_no_other_volume(ada: User) -> None:
    facility = ada.facility
    hub = facility.account("hub")
    good = volumes(facility, "ada")["atlas"]
    good = {key: good[key] for key in ("apiVersion", "kind", "metadata", "spec")}
    good["metadata"] = {
        "name": good["metadata"]["name"] + "x",
        "labels": good["metadata"]["labels"],
    }
    good["spec"]["claimRef"] = {
        key: good["spec"]["claimRef"][key] for key in ("apiVersion", "kind", "name", "namespace")
    }
    words = ("create", "--dry-run=server", "--validate=false", "-o", "name", "-f", "-")
    assert hub.run(*words, text=yaml.safe_dump(good))

    def said(**changes: Any) -> str:
        return refused(hub, {**good, "spec": {**good["spec"], **changes}})

    values = "the source of a PersistentVolume of the hub is that of the values"
    assert values in said(nfs=None, hostPath={"path": "/"})
    assert values in said(nfs={**NFS["nfs"], "readOnly": True})
    foreign = {**good["spec"]["claimRef"], "namespace": "kube-system"}
    assert "is for a claim of one of its users" in said(claimRef=foreign)


def test_volumes_go_when_their_user_is_pruned(ada: User) -> None:
    """The last one."""
    facility = ada.facility
    assert ada.api("DELETE", f"users/{ada.user}/server").ok
    ada.space.wait_until_gone("pods")
    said = facility.hub("facility", "tenants", "prune", "--unused-days", "0")
    (line,) = (line for line in said.splitlines() if line.startswith(ada.space.namespace))
    # What is shared is nobody's to lose.
    assert "home (" in line
    assert "atlas" not in line
    facility.hub("facility", "tenants", "prune", "--unused-days", "0", "--yes")
    until(lambda: not volumes(facility, "ada"), 120)
