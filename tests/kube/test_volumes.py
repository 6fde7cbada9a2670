"""What the hub may do with PersistentVolumes, and as whom pods run: by trying to get round it.

No driver of NFS or CSI is needed for it: nothing mounts what is made here.
"""

import asyncio
import copy
import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility import names
from facility.errors import KubernetesError
from facility.hub.kubernetes.pod_identity import Identity
from facility.hub.kubernetes.tenants.apply import MANAGER
from facility.hub.kubernetes.tenants.volumes import VolumeError, keep_volumes
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kubeconfig import kubeconfig_account
from facility.kubernetes.pod_template import identity_of
from facility.kubernetes.tenant import SharedVolume, release_set, volume_set
from tests.kube import tenancy
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import Space
from tests.kube.tenants import alice, asks, carol, may, refused
from tests.kube.test_tenant import status
from tests.kube.test_tenant_admission import dask_cluster

__all__ = ["alice", "carol"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
GIB = 2**30
NFS = {"nfs": {"server": "nfs.example.org", "path": "/atlas", "readOnly": True}}
CSI = {
    "csi": {
        "driver": "cephfs.csi.example.org",
        "volumeHandle": "scratch-{namespace}",
        "nodeStageSecretRef": {"name": "scratch", "namespace": "ceph-csi"},
        "volumeAttributes": {"rootPath": "/scratch/{namespace}", "staticVolume": "true"},
    }
}
VOLUMES = (
    SharedVolume("atlas", GIB, ("ReadOnlyMany",), source=NFS, mount_options=("nodev",)),
    SharedVolume("scratch", GIB, ("ReadWriteMany",), source=CSI),
)
IDENTITY = Identity(5001, 5000, (77, 88), volumes=99)


@pytest.fixture(scope="module")
def spaces(
    state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Space]]:
    """A user of each of two releases; the first one's pods run as the login says."""
    with (
        tenancy.installed(state, tenancy.release(volumes=VOLUMES)) as first,
        tenancy.installed(state, tenancy.release(volumes=VOLUMES)) as second,
        tenancy.space(state, tmp_path_factory.mktemp("alice"), first) as alice,
        tenancy.space(state, tmp_path_factory.mktemp("carol"), second) as carol,
    ):
        admin = Kubernetes(state)
        notes = [f"{key}={value}" for key, value in IDENTITY.notes.items()]
        admin.run("annotate", "namespace", alice.namespace, *notes)
        try:
            yield {"alice": alice, "carol": carol}
        finally:
            for made in (first, second):
                label = f"{names.HUB_LABEL}={made.name}"
                admin.run("delete", "persistentvolumes", "-l", label, "--wait=false")


@pytest.fixture
def hub(alice: Space) -> Kubernetes:
    return alice.account(alice.release.hub_account, alice.release.namespace)


def made_for(space: Space, claim: str) -> dict[str, Any]:
    """The PersistentVolume that the hub makes for a claim."""
    found = (each for each in volume_set(space.tenant) if each["kind"] == "PersistentVolume")
    return next(each for each in found if each["spec"]["claimRef"]["name"] == claim)


# --- PersistentVolumes -------------------------------------------------------------------------


def test_what_the_hub_makes_is_bound_to_its_users_claims(alice: Space, hub: Kubernetes) -> None:
    made = volume_set(alice.tenant)
    assert tenancy.applied(hub, yaml.safe_dump_all(made))
    # Once more, now that they are bound.
    until(lambda: all(phase(alice, each["metadata"]["name"]) == "Bound" for each in made), 60)
    assert tenancy.applied(hub, yaml.safe_dump_all(made))
    for each in made[::2]:
        found = alice.admin.get("persistentvolume", each["metadata"]["name"])["spec"]
        assert found["claimRef"]["namespace"] == alice.namespace
        assert found["persistentVolumeReclaimPolicy"] == "Retain"
    handle = alice.admin.get("persistentvolume", made[2]["metadata"]["name"])["spec"]["csi"]
    assert handle["volumeHandle"] == f"scratch-{alice.namespace}"


def phase(space: Space, name: str) -> str:
    kind = "pv" if name.startswith(f"{space.namespace}.") else "pvc"
    return str(space.admin.get(kind, name)["status"].get("phase"))


Change = Callable[[dict[str, Any]], None]


def source(**found: Any) -> Change:
    def change(volume: dict[str, Any]) -> None:
        volume["spec"].pop("nfs", None)
        volume["spec"].pop("csi", None)
        volume["spec"].update(found)

    return change


def inside(*path: str, to: Any) -> Change:
    def change(volume: dict[str, Any]) -> None:
        for key in path[:-1]:
            volume = volume[key]
        volume[path[-1]] = to

    return change


OTHER_SOURCE = "the source of a PersistentVolume of the hub is that of the values"
OTHER_TERMS = "has the mountOptions of the values, is retained, has no StorageClass"
NOBODYS = "is for a claim of one of its users"
FORGED: dict[str, tuple[str, Change, str]] = {
    "host-path": ("atlas", source(hostPath={"path": "/"}), OTHER_SOURCE),
    "local": (
        "atlas",
        lambda volume: volume["spec"].update(
            nfs=None,
            local={"path": "/"},
            nodeAffinity={
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "Exists"}]}
                    ]
                }
            },
        ),
        OTHER_SOURCE,
    ),
    "other-server": ("atlas", inside("spec", "nfs", "server", to="evil.example"), OTHER_SOURCE),
    "other-folder": ("atlas", inside("spec", "nfs", "path", to="/"), OTHER_SOURCE),
    "writable": ("atlas", inside("spec", "nfs", "readOnly", to=False), OTHER_SOURCE),
    "other-kind": ("scratch", source(**NFS), OTHER_SOURCE),
    "other-driver": ("scratch", inside("spec", "csi", "driver", to="evil.example"), OTHER_SOURCE),
    "anothers-handle": (
        "scratch",
        inside("spec", "csi", "volumeHandle", to="scratch-af-bob"),
        OTHER_SOURCE,
    ),
    "anothers-folder": (
        "scratch",
        inside("spec", "csi", "volumeAttributes", "rootPath", to="/scratch/af-bob"),
        OTHER_SOURCE,
    ),
    "more-attributes": (
        "scratch",
        inside("spec", "csi", "volumeAttributes", "mounter", to="fuse"),
        OTHER_SOURCE,
    ),
    "other-secret": (
        "scratch",
        inside("spec", "csi", "nodeStageSecretRef", "name", to="admin"),
        OTHER_SOURCE,
    ),
    "more-secrets": (
        "scratch",
        inside("spec", "csi", "nodePublishSecretRef", to={"name": "a", "namespace": "b"}),
        OTHER_SOURCE,
    ),
    "file-system": ("scratch", inside("spec", "csi", "fsType", to="ext4"), OTHER_SOURCE),
    "options": ("atlas", inside("spec", "mountOptions", to=["suid"]), OTHER_TERMS),
    "deletes": ("atlas", inside("spec", "persistentVolumeReclaimPolicy", to="Delete"), OTHER_TERMS),
    "class": ("atlas", inside("spec", "storageClassName", to="local-path"), OTHER_TERMS),
    "other-claim": ("atlas", inside("spec", "claimRef", "name", to="home"), NOBODYS),
    "system": ("atlas", inside("spec", "claimRef", "namespace", to="kube-system"), NOBODYS),
    "no-claim": ("atlas", lambda volume: volume["spec"].pop("claimRef"), NOBODYS),
    "other-name": ("atlas", inside("metadata", "name", to="site-data"), "of its own users, whose"),
    "no-label": ("atlas", inside("metadata", "labels", to={}), "of its own users, whose"),
}


@pytest.mark.parametrize("attempt", FORGED)
def test_the_hub_makes_no_other_volumes(alice: Space, hub: Kubernetes, attempt: str) -> None:
    claim, change, reason = FORGED[attempt]
    good = made_for(alice, claim)
    good["metadata"]["name"] += "x"
    assert asks(hub, good).strip() == f"persistentvolume/{good['metadata']['name']}"
    bold = copy.deepcopy(good)
    change(bold)
    assert reason in refused(hub, bold)


def test_the_hub_makes_no_volumes_for_namespaces_that_are_not_its_users(
    alice: Space, carol: Space, hub: Kubernetes
) -> None:
    """One of another release, and one that only has a name like a user's."""
    stranger = f"{alice.release.prefix}x{uuid.uuid4().hex[:8]}"
    admin = Kubernetes(alice.state)
    admin.run("create", "namespace", stranger)
    try:
        for foreign in (carol.namespace, stranger):
            volume = made_for(alice, "atlas")
            volume["metadata"]["name"] = f"{foreign}.atlas.1"
            volume["spec"]["claimRef"]["namespace"] = foreign
            said = refused(hub, volume)
            assert f'cannot patch claims in the namespace "{foreign}"' in said
    finally:
        admin.run("delete", "namespace", stranger, "--wait=false")


def test_the_hub_leaves_the_volumes_of_others_alone(
    alice: Space, carol: Space, hub: Kubernetes
) -> None:
    others = carol.account(carol.release.hub_account, carol.release.namespace)
    theirs = made_for(carol, "atlas")
    others.apply(theirs)
    name = f"{alice.release.prefix}site-{uuid.uuid4().hex[:8]}"
    sites = {
        **theirs,
        "metadata": {"name": name},
        "spec": {**theirs["spec"], "claimRef": None, **NFS},
    }
    alice.admin.apply(sites)
    try:
        for foreign in (name, theirs["metadata"]["name"]):
            words = ["label", "persistentvolume", foreign, f"{names.HUB_LABEL}=mine", "--overwrite"]
            assert "of its own users, whose" in hub.run(*words, fail=True)
            assert "of its own users, whose" in hub.run("delete", "pv", foreign, fail=True)
            # Taken over by server-side apply, as the hub makes its own.
            mine = made_for(alice, "atlas")
            mine["metadata"]["name"] = foreign
            words = ["apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"]
            assert "of its own users" in hub.run(*words, text=yaml.safe_dump(mine), fail=True)
    finally:
        alice.admin.run("delete", "persistentvolume", name)


def test_without_a_template_the_hub_has_no_right_on_volumes(
    alice: Space, hub: Kubernetes, tenant_space: Space
) -> None:
    verbs = ("create", "patch", "delete", "get", "list")
    assert all(may(hub, f"{verb} persistentvolumes") for verb in verbs)
    other = tenant_space.account(tenant_space.release.hub_account, tenant_space.release.namespace)
    assert not any(may(other, f"{verb} persistentvolumes") for verb in verbs)
    for who in (alice.notebook, alice.account(names.SCHEDULER_ACCOUNT)):
        assert not any(may(who, f"{verb} persistentvolumes") for verb in verbs)


tenant_space = tenancy.tenant_space


def test_the_api_server_finds_no_fault_in_the_policy(alice: Space, checked_policies: None) -> None:
    (policy,) = (
        each["metadata"]["name"]
        for each in release_set(alice.release)
        if each["kind"] == "ValidatingAdmissionPolicy"
        and each["metadata"]["name"].endswith("-persistentvolumes")
    )
    until(lambda: status(alice.admin, policy).get("observedGeneration") == 1, 90)
    assert status(alice.admin, policy)["typeChecking"] == {}


def test_volumes_go_with_their_users_namespace(state: dict[str, Any], tmp_path: Path) -> None:
    with (
        tenancy.installed(state, tenancy.release(volumes=VOLUMES)) as made,
        tenancy.space(state, tmp_path, made) as space,
    ):
        hub = space.account(made.hub_account, made.namespace)
        uid = Kubernetes(state).get("namespace", space.namespace)["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "Namespace", "name": space.namespace, "uid": uid}
        found = volume_set(space.tenant)
        for each in found[::2]:
            each["metadata"]["ownerReferences"] = [owner]
        assert tenancy.applied(hub, yaml.safe_dump_all(found))
        hub.run("delete", "namespace", space.namespace, "--wait=false")
        label = f"{names.HUB_LABEL}={made.name}"
        until(lambda: not space.admin.run("get", "pv", "-l", label, "-o", "name").strip(), 120)


async def test_what_no_longer_fits_makes_way_once_nothing_mounts_it(
    state: dict[str, Any], tmp_path: Path
) -> None:
    with (
        tenancy.installed(state, tenancy.release(volumes=VOLUMES)) as made,
        tenancy.space(state, tmp_path, made) as space,
    ):
        hub = space.account(made.hub_account, made.namespace)
        api = Api(kubeconfig_account({"KUBECONFIG": hub.state["kubeconfig"]}))
        uid = Kubernetes(state).get("namespace", space.namespace)["metadata"]["uid"]

        async def apply(manifest: dict[str, Any]) -> None:
            await api.apply(manifest, MANAGER)

        async def keep(*volumes: SharedVolume) -> dict[str, Any]:
            release = dataclasses.replace(made, volumes=volumes)
            # Policies are the administrator's to change, as an upgrade does.
            text = yaml.safe_dump_all(release_set(release))
            space.admin.run("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)
            tenant = dataclasses.replace(space.tenant, release=release)
            deadline = time.monotonic() + 60
            while True:
                try:
                    await keep_volumes(api, tenant, uid, apply)
                    break
                except KubernetesError as error:
                    # Other rules take a moment to be in force.
                    if OTHER_SOURCE not in error.message or time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.5)
            label = f"{names.HUB_LABEL}={made.name}"
            found = json.loads(space.admin.run("get", "pv", "-l", label, "-o", "json"))["items"]
            return {
                each["spec"]["claimRef"]["name"]: each
                for each in found
                if "deletionTimestamp" not in each["metadata"]
            }

        first = await keep(*VOLUMES)
        assert {*first} == {"atlas", "scratch"}
        assert first["atlas"]["metadata"]["ownerReferences"][0]["uid"] == uid
        same = await keep(*VOLUMES)
        assert {each["metadata"]["uid"] for each in same.values()} == {
            each["metadata"]["uid"] for each in first.values()
        }

        # A pod that waits for its node to mount it counts: it may come to run.
        claim = {"persistentVolumeClaim": {"claimName": "atlas"}}
        mount = {"volumeMounts": [{"name": "atlas", "mountPath": "/atlas"}]}
        pod = space.pod("mounts", volumes=[{"name": "atlas", **claim}], container=mount)
        space.notebook.run("create", "-f", "-", text=yaml.safe_dump(pod))
        other = {"nfs": {**NFS["nfs"], "server": "new.example.org"}}
        moved = dataclasses.replace(VOLUMES[0], source=other)
        held = await keep(moved)
        assert {*held} == {"atlas"}
        assert held["atlas"]["metadata"]["uid"] == first["atlas"]["metadata"]["uid"]
        assert "deletionTimestamp" not in space.admin.get("pvc", "atlas")["metadata"]

        space.notebook.run("delete", "pod", "mounts", "--grace-period=0", "--force")
        new = await keep(moved)
        assert new["atlas"]["spec"]["nfs"]["server"] == "new.example.org"
        bound = space.admin.get("pvc", "atlas")["spec"]["volumeName"]
        assert bound == new["atlas"]["metadata"]["name"]

        # Whoever made a claim of that name, it may hold data.
        mine = dict(volume_set(space.tenant)[3])
        mine["spec"] = {**mine["spec"], "storageClassName": "none"}
        mine["spec"].pop("volumeName")
        space.admin.apply(mine)
        with pytest.raises(VolumeError, match="has another volume than the one that sharedVolumes"):
            await keep(moved, VOLUMES[1])
        await api.aclose()


# --- as whom pods run --------------------------------------------------------------------------

AS_TOLD = {"runAsUser": 5001, "runAsGroup": 5000}
GROUPS = {"supplementalGroups": [77, 88], "fsGroup": 99}
STRICT = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RIGHTS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
USER = "pods of this namespace have the runAsUser 5001 and the runAsGroup 5000"
OTHERS = "pods of this namespace are in no other groups than 77, 88, 99, 5000"


def of_container(**found: Any) -> dict[str, Any]:
    return {"container": {"securityContext": {**RIGHTS, **found}}}


OBEYING: dict[str, dict[str, Any]] = {
    "all": {"securityContext": {**STRICT, **AS_TOLD, **GROUPS}},
    "without-groups": {"securityContext": {**STRICT, **AS_TOLD}},
    "in-the-container": {"securityContext": STRICT, **of_container(**AS_TOLD)},
}
POSING: dict[str, tuple[dict[str, Any], str]] = {
    "unsaid": ({"securityContext": STRICT}, USER),
    "another-user": ({"securityContext": {**STRICT, **AS_TOLD, "runAsUser": 5002}}, USER),
    "another-group": ({"securityContext": {**STRICT, **AS_TOLD, "runAsGroup": 0}}, USER),
    "unsaid-group": ({"securityContext": {**STRICT, "runAsUser": 5001}}, USER),
    "in-the-container": (
        {"securityContext": {**STRICT, **AS_TOLD}, **of_container(runAsUser=5002)},
        USER,
    ),
    "in-an-init-container": (
        {
            "securityContext": {**STRICT, **AS_TOLD},
            "initContainers": [
                {"name": "init", "image": "@", "securityContext": {**RIGHTS, "runAsUser": 5002}}
            ],
        },
        USER,
    ),
    "further-group": (
        {"securityContext": {**STRICT, **AS_TOLD, "supplementalGroups": [77, 89]}},
        OTHERS,
    ),
    "group-of-volumes": ({"securityContext": {**STRICT, **AS_TOLD, "fsGroup": 0}}, OTHERS),
}


def posing(space: Space, attempt: str) -> tuple[dict[str, Any], str]:
    changes, reason = copy.deepcopy(POSING[attempt])
    for container in changes.get("initContainers", ()):
        container["image"] = space.admin.images["base"]
    return changes, reason


@pytest.mark.parametrize("kind", OBEYING)
def test_a_pod_that_runs_as_the_login_says_is_admitted(alice: Space, kind: str) -> None:
    assert asks(alice.notebook, alice.pod("good", **copy.deepcopy(OBEYING[kind])))


@pytest.mark.parametrize("attempt", POSING)
def test_nobody_poses_as_another_user_of_the_site(alice: Space, attempt: str) -> None:
    changes, reason = posing(alice, attempt)
    assert reason in refused(alice.notebook, alice.pod("bold", **changes))


@pytest.mark.parametrize("attempt", POSING)
def test_nobody_poses_as_another_through_a_dask_cluster(alice: Space, attempt: str) -> None:
    good = dask_cluster(alice, securityContext={**STRICT, **AS_TOLD, **GROUPS})
    assert asks(alice.notebook, good)
    changes, reason = posing(alice, attempt)
    assert reason in refused(alice.notebook, dask_cluster(alice, **changes))


def test_a_user_changes_nothing_of_what_pods_run_as(alice: Space) -> None:
    words = ("annotate", "namespace", alice.namespace, f"{names.UID_ANNOTATION}=5002")
    assert "cannot patch resource" in alice.notebook.run(*words, "--overwrite", fail=True)
    # Who starts pods from outside has to know it.
    api = Api(kubeconfig_account({"KUBECONFIG": str(alice.kubeconfig)}))
    assert identity_of(api) == {**AS_TOLD, "supplementalGroups": [77, 88, 99, 5000]}
    assert "cannot get resource" in alice.notebook.run("get", "namespace", "default", fail=True)


def test_where_nothing_is_said_pods_run_as_they_like(carol: Space) -> None:
    assert asks(carol.notebook, carol.pod("good", securityContext={**STRICT, "runAsUser": 4711}))
