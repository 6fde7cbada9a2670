"""What a red team tries with one user's token, and the harmless neighbour of each of its calls.

What is refused is refused by the API server, with the reason that is part of each test; what it
lets through is held by a limit that the test then finds.
"""

import asyncio
import copy
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from facility import names
from facility.config import Config, Pool
from facility.hub.kubernetes.tenants.ended_pods import quotas_with_room
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kubeconfig import kubeconfig_account
from facility.kubernetes.manifests import DaskCluster, dask_cluster
from facility.kubernetes.pod_template import PodTemplate
from facility.kubernetes.quota import shares
from facility.kubernetes.tenant import CsiVolume, Permitted, Quota, SharedVolume, is_counted
from tests.kube import tenancy
from tests.kube.bringup import site
from tests.kube.conftest import until
from tests.kube.tenancy import Space
from tests.kube.tenants import GPU_LIMITS, asks, refused

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
LARGE = 200_000
LARGEST = names.SECRET_BYTES - 10
TOO_LARGE = "as all users share the space"
NOTED = {"metadata": {"annotations": {"note": "x" * LARGE}}}
ETCD_GROWTH = 64 * 2**20
"""Bytes by which one user's objects may make etcd's data grow."""
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
RACK = {"matchExpressions": [{"key": "example.org/rack", "operator": "In", "values": ["a"]}]}
POOLS = Config(
    pools={
        **tenancy.POOLS.pools,
        "racks": Pool(
            name="racks",
            cpu=0.1,
            memory=256 * 2**20,
            max_workers=10,
            annotations={"example.org/keep": "true"},
            affinity={"node_affinity": {REQUIRED: {"nodeSelectorTerms": [RACK]}}},
        ),
    },
    source="the tests",
)
PERMITTED = Permitted(
    annotations=("sidecar.example.org/",),
    finalizers=("example.org/cleanup",),
    csi=(CsiVolume("store.example.org", attributes={"class": "site"}),),
)
QUOTA = Quota(cpu=100, gpus=2, pods=60, clusters=5)


@pytest.fixture(scope="module")
def pair(
    state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Space, Space]]:
    """The attacker's namespace and another user's."""
    volumes = (SharedVolume("data", 2**30, ("ReadOnlyMany",), read_only=True),)
    made = tenancy.release(POOLS, volumes=volumes, permitted=PERMITTED)
    folder = tmp_path_factory.mktemp
    with (
        tenancy.installed(state, made),
        tenancy.space(state, folder("mallory"), made, quota=QUOTA) as mallory,
        tenancy.space(state, folder("victim"), made, quota=QUOTA) as victim,
    ):
        yield mallory, victim


@pytest.fixture(scope="module")
def mallory(pair: tuple[Space, Space]) -> Space:
    return pair[0]


def volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "it", **source}]}


def container(**changes: Any) -> dict[str, Any]:
    return {"container": changes}


def limits(**more: str) -> dict[str, Any]:
    return container(resources={"limits": {"cpu": "50m", "memory": "64Mi", **more}})


def near(kind: str, strength: str, **where: Any) -> dict[str, Any]:
    """Affinity to pods, or against them."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}, **where}
    terms = [term] if strength == REQUIRED else [{"weight": 1, "podAffinityTerm": term}]
    return {"affinity": {kind: {strength: terms}}}


RIGHTS = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


FOREIGN = {"type": "Localhost", "localhostProfile": "mine"}
CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def nodes(strength: str, term: dict[str, Any]) -> dict[str, Any]:
    """Affinity to nodes."""
    needed: Any = {"nodeSelectorTerms": [term]}
    liked = [{"weight": 1, "preference": term}]
    return {"affinity": {"nodeAffinity": {strength: needed if strength == REQUIRED else liked}}}


def csi(driver: str = "store.example.org", read_only: bool = True, **more: Any) -> dict[str, Any]:
    found = {"driver": driver, "readOnly": read_only, "volumeAttributes": {"class": "site"}}
    return volume(csi=found | more)


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
NODE = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["amd64"]}]}
HOST = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
TOLERATED = {
    "key": "node.kubernetes.io/not-ready",
    "operator": "Exists",
    "effect": "NoExecute",
}
ELSEWHERE = {"httpGet": {"host": "192.0.2.1", "port": 80}}
HERE = {"httpGet": {"path": "/", "port": 80}}
DEVICES = "NVIDIA_VISIBLE_DEVICES"
VOLUMES = "these volumes are not permitted: it"
ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "volume-csi": (csi("nfs.csi.k8s.io", volumeAttributes={"server": "x"}), VOLUMES),
    "volume-csi-attributes": (csi(volumeAttributes={"class": "other"}), VOLUMES),
    "volume-csi-more-attributes": (csi(volumeAttributes={"class": "site", "a": "b"}), VOLUMES),
    "volume-csi-writable": (csi(read_only=False), VOLUMES),
    "volume-csi-secret": (csi(nodePublishSecretRef={"name": "mine"}), VOLUMES),
    "volume-csi-type": (csi(fsType="ext4"), VOLUMES),
    "volume-image": (volume(image={"reference": "evil.example/x:1"}), "not permitted"),
    "volume-ephemeral": (
        volume(ephemeral={"volumeClaimTemplate": {"spec": {**CLAIM, "volumeName": "foreign"}}}),
        VOLUMES,
    ),
    "volume-empty-without-a-limit": (volume(emptyDir={}), VOLUMES),
    "volume-trust-bundle": (
        volume(projected={"sources": [{"clusterTrustBundle": {"name": "x", "path": "bundle"}}]}),
        VOLUMES,
    ),
    "volume-read-only-claim-writable": (
        volume(persistentVolumeClaim={"claimName": "data"}),
        "nobody may write these claims: data",
    ),
    "volume-read-only-claim-said-writable": (
        volume(persistentVolumeClaim={"claimName": "data", "readOnly": False}),
        "nobody may write these claims: data",
    ),
    **{
        f"{kind}-{strength[:4]}-{where}": (
            near(kind, strength, **{where: value}),
            "an affinity to pods of other namespaces",
        )
        for kind in ("podAffinity", "podAntiAffinity")
        for strength in (REQUIRED, PREFERRED)
        for where, value in (("namespaces", ["default"]), ("namespaceSelector", {}))
    },
    "node-label": (
        {"nodeSelector": {"facility.test/pool": "cpu", "kubernetes.io/hostname": "amd64"}},
        "choose no nodes",
    ),
    "node-affinity": (nodes(REQUIRED, HOST), "the node affinity of their pool"),
    "node-affinity-liked": (nodes(PREFERRED, HOST), "the node affinity of their pool"),
    "node-by-name": (nodes(REQUIRED, NODE), "the node affinity of their pool"),
    "node-by-name-liked": (nodes(PREFERRED, NODE), "the node affinity of their pool"),
    "scheduler-of-its-own": ({"schedulerName": "mine"}, "schedulerName must be"),
    "device-of-another-kind": (limits(**{"example.org/fpga": "1"}), "no other resources"),
    "device-shared": (limits(**{"nvidia.com/gpu.shared": "1"}), "no other resources"),
    "huge-pages": (limits(**{"hugepages-2Mi": "2Mi"}), "no other resources"),
    "devices-by-variable": (
        container(env=[{"name": DEVICES, "value": "all"}]),
        f"the variable {DEVICES} is not permitted",
    ),
    "devices-by-reference": (
        container(
            env=[{"name": DEVICES, "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]
        ),
        f"the variable {DEVICES} is not permitted",
    ),
    "devices-by-a-secret": (
        container(envFrom=[{"secretRef": {"name": "mine"}}]),
        "nor envFrom",
    ),
    "disk-without-end": (limits(**{"ephemeral-storage": "100Ti"}), "exceeded quota: all"),
    "probe-of-another-host": (container(livenessProbe=ELSEWHERE), "lifecycle"),
    "hook-of-another-host": (
        container(lifecycle={"preStop": ELSEWHERE}),
        "lifecycle",
    ),
    "large-by-variables": (
        container(env=[{"name": f"V{n}", "value": "x" * 1000} for n in range(100)]),
        TOO_LARGE,
    ),
    "large-by-many-variables": (
        container(env=[{"name": f"V{n}"} for n in range(3000)]),
        TOO_LARGE,
    ),
    "large-by-a-command": (container(args=["x" * LARGE]), TOO_LARGE),
    "large-by-a-hook": (
        container(lifecycle={"preStop": {"exec": {"command": ["x" * LARGE]}}}),
        TOO_LARGE,
    ),
    "large-by-a-name": (volume(configMap={"name": "x" * LARGE}), TOO_LARGE),
    "large-by-a-pull-secret": (
        {"imagePullSecrets": [{"name": "x" * LARGE}]},
        TOO_LARGE,
    ),
    "large-by-hosts": (
        {"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a.example.org"]}] * 3000},
        TOO_LARGE,
    ),
    "large-by-tolerations": (
        {"tolerations": [TOLERATED] * 3000},
        TOO_LARGE,
    ),
    "large-by-a-selector": (
        near(
            "podAffinity",
            PREFERRED,
            labelSelector={"matchLabels": {f"k{n}": "x" * 50 for n in range(2000)}},
        ),
        TOO_LARGE,
    ),
    "large-by-a-label-of-selinux": (
        {"securityContext": {**RIGHTS, "seLinuxOptions": {"level": "x" * LARGE}}},
        TOO_LARGE,
    ),
    # Of a pod Kubernetes itself says that there is none; `test_tenant_admission` tries others.
    "runtime-of-its-own": ({"runtimeClassName": "mine"}, "untimeClass"),
    "seccomp-of-the-node": (
        {"securityContext": {**RIGHTS, "seccompProfile": FOREIGN}},
        "has the seccompProfile RuntimeDefault",
    ),
    "seccomp-of-the-node-for-a-container": (
        container(securityContext={**CONFINED, "seccompProfile": FOREIGN}),
        "has the seccompProfile RuntimeDefault",
    ),
    "apparmor-of-the-node": (
        {"securityContext": {**RIGHTS, "appArmorProfile": FOREIGN}},
        "has the appArmorProfile RuntimeDefault",
    ),
    "root-in-a-user-namespace": ({"hostUsers": False}, "hostUsers: false is not permitted"),
    "end-after-a-year": (
        {"terminationGracePeriodSeconds": 31_536_000},
        "terminationGracePeriodSeconds must be at most 600",
    ),
    "end-after-a-year-by-a-probe": (
        container(livenessProbe={**HERE, "terminationGracePeriodSeconds": 31_536_000}),
        "terminationGracePeriodSeconds must be at most 600",
    ),
}
NEIGHBOURS: dict[str, dict[str, Any]] = {
    "csi-as-the-values-say": csi(),
    "config-map": volume(configMap={"name": "kube-root-ca.crt"}),
    "secret": volume(secret={"secretName": "mine", "optional": True}),
    "downward": volume(
        downwardAPI={"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}
    ),
    "empty-with-a-limit": volume(emptyDir={"sizeLimit": "10Mi"}),
    "empty-in-memory": volume(emptyDir={"sizeLimit": "10Mi", "medium": "Memory"}),
    "token": volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
    "default-token": {"automountServiceAccountToken": True},
    "claim": volume(persistentVolumeClaim={"claimName": "home"}),
    "read-only-claim": volume(persistentVolumeClaim={"claimName": "data", "readOnly": True}),
    "near-its-own": near("podAffinity", PREFERRED),
    "apart-from-its-own": near("podAntiAffinity", REQUIRED),
    "architecture": {"nodeSelector": {"facility.test/pool": "cpu", "kubernetes.io/arch": "amd64"}},
    "disk": limits(**{"ephemeral-storage": "1Gi"}),
    "variable": container(env=[{"name": "OMP_NUM_THREADS", "value": "1"}]),
    "probe": container(livenessProbe=HERE),
    "grace": {"terminationGracePeriodSeconds": 600},
    "seccomp-of-the-runtime": container(
        securityContext={**CONFINED, "seccompProfile": {"type": "RuntimeDefault"}}
    ),
    "apparmor-of-the-runtime": {
        "securityContext": {**RIGHTS, "appArmorProfile": {"type": "RuntimeDefault"}}
    },
    "many-variables": container(env=[{"name": f"V{n}", "value": "x" * 100} for n in range(200)]),
    "a-long-command": container(args=["x" * 30_000]),
}


def bold(space: Space, changes: dict[str, Any], pool: str = "cpu") -> dict[str, Any]:
    """A pod that obeys every rule but for the changes, which stand beside its container's own."""
    changes = dict(changes)
    own = changes.pop("container", {})
    pod = space.pod("bold", pool=pool, **changes)
    pod["spec"]["containers"][0] |= own
    return pod


def job(space: Space, spec: dict[str, Any]) -> dict[str, Any]:
    own = {"priorityClassName": space.release.job_class, "nodeSelector": {}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "bold"},
        "spec": {"template": {"spec": {**spec, **own}}},
    }


def dask(space: Space) -> dict[str, Any]:
    template = PodTemplate(
        space.namespace, space.admin.images["analysis"], release=space.release.name
    )
    return dask_cluster(DaskCluster("bold", template, {}), {})


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_by_a_pod_is_refused(mallory: Space, attack: str) -> None:
    changes, reason = ATTACKS[attack]
    assert reason in refused(mallory.notebook, bold(mallory, changes))


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_its_harmless_neighbour_is_admitted(mallory: Space, neighbour: str) -> None:
    assert asks(mallory.notebook, bold(mallory, NEIGHBOURS[neighbour])).strip() == "pod/bold"


@pytest.mark.parametrize(
    "attack",
    [
        *("volume-csi", "node-by-name", "end-after-a-year", "devices-by-a-secret"),
        *("runtime-of-its-own", "seccomp-of-the-node", "apparmor-of-the-node"),
        # What Pod Security of newer versions refuses to pods.
        *("probe-of-another-host", "hook-of-another-host"),
    ],
)
def test_an_attack_by_a_template_is_refused(mallory: Space, attack: str) -> None:
    changes, reason = ATTACKS[attack]
    spec = bold(mallory, changes)["spec"]
    assert reason in refused(mallory.notebook, job(mallory, spec))
    good = job(mallory, mallory.pod("good")["spec"])
    assert asks(mallory.notebook, good).strip() == "job.batch/bold"


# What other software obeys.


@pytest.mark.parametrize(
    "note", ["k8s.v1.cni.cncf.io/networks", "cdi.k8s.io/gpu", "example.org/keep", "sidecar.example"]
)
def test_a_pod_has_the_annotations_of_its_pool_alone(mallory: Space, note: str) -> None:
    pod = mallory.pod("bold")
    pod["metadata"]["annotations"] = {note: "true"}
    assert f"an annotation is not permitted: {note}" in refused(mallory.notebook, pod)
    pod["metadata"]["annotations"] = {"sidecar.example.org/inject": "false"}
    assert asks(mallory.notebook, pod)


def test_a_pool_has_its_own_annotations_and_nodes(mallory: Space) -> None:
    pod = mallory.pod("bold", pool="racks", nodeSelector={}, **nodes(REQUIRED, RACK))
    pod["metadata"]["annotations"] = {"example.org/keep": "true"}
    assert asks(mallory.notebook, pod)
    other = {"matchExpressions": [{**RACK["matchExpressions"][0], "values": ["b"]}]}
    for changes in ({}, nodes(REQUIRED, other), nodes(PREFERRED, RACK)):
        made = mallory.pod("bold", pool="racks", nodeSelector={}, **changes)
        said = refused(mallory.notebook, made)
        assert "the node affinity of their pool" in said
    pod["metadata"]["annotations"] = {"example.org/keep": "false"}
    assert "an annotation is not permitted" in refused(mallory.notebook, pod)


@pytest.mark.parametrize(
    "label",
    [
        {"component": names.USER_SERVER_COMPONENT},
        {names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT},
        {names.HUB_LABEL: "any"},
        {names.TENANT_LABEL: "any"},
    ],
    ids=["component", "app-component", "hub", "tenant"],
)
def test_no_pod_is_taken_for_a_server(mallory: Space, label: dict[str, str]) -> None:
    pod = mallory.pod("bold")
    pod["metadata"]["labels"] = label
    assert "are the hub's alone" in refused(mallory.notebook, pod)
    pod["metadata"]["labels"] = {"component": "worker"}
    assert asks(mallory.notebook, pod)


def test_a_pod_of_a_pool_with_devices_asks_for_one(mallory: Space) -> None:
    """Without one, NVIDIA's runtime may give it all."""
    reason = f"ask for at least one {site.GPU}"
    assert reason in refused(mallory.notebook, mallory.pod("bold", pool="gpu"))
    none = limits(**{site.GPU: "0"})
    assert reason in refused(mallory.notebook, bold(mallory, none, "gpu"))
    assert asks(mallory.notebook, bold(mallory, container(resources={"limits": GPU_LIMITS}), "gpu"))


# What outlives the user, or holds up the admin.


def secret(name: str = "bold", **changes: Any) -> dict[str, Any]:
    metadata = {"name": name, **changes.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **changes}


def lease(name: str = "bold", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, **spec.pop("metadata", {})}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": spec,
    }


def test_no_token_outlives_its_pod(mallory: Space) -> None:
    notes = {"annotations": {"kubernetes.io/service-account.name": names.NOTEBOOK_ACCOUNT}}
    bold_secret = secret(type="kubernetes.io/service-account-token", metadata=notes)
    assert "its token never expires" in refused(mallory.notebook, bold_secret)
    assert asks(mallory.notebook, secret(type="Opaque"))


@pytest.mark.parametrize("kind", ["pod", "secret", "lease", "job"])
@pytest.mark.parametrize("finalizer", ["example.org/mine", "kopf.zalando.org/KopfFinalizerMarker"])
def test_nothing_waits_for_what_nobody_does(mallory: Space, kind: str, finalizer: str) -> None:
    spec = {**mallory.pod("x")["spec"], "priorityClassName": mallory.release.job_class}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "bold"}}
    made: dict[str, Any] = {
        "pod": mallory.pod("bold"),
        "secret": secret(),
        "lease": lease(),
        "job": {**job, "spec": {"template": {"spec": {**spec, "nodeSelector": {}}}}},
    }[kind]
    made["metadata"]["finalizers"] = [finalizer]
    assert f"a finalizer is not permitted: {finalizer}" in refused(mallory.notebook, made)
    made["metadata"]["finalizers"] = ["example.org/cleanup"]
    assert asks(mallory.notebook, made), "the values permit it"


def test_a_finalizer_comes_by_no_change_either(mallory: Space) -> None:
    mallory.notebook.run("create", "-f", "-", text=yaml.safe_dump(secret("kept")))
    for finalizers in (["example.org/mine"], ["kopf.zalando.org/KopfFinalizerMarker"]):
        body = json.dumps({"metadata": {"finalizers": finalizers}})
        said = mallory.notebook.run("patch", "secret", "kept", "-p", body, fail=True)
        assert "a finalizer is not permitted" in said
    mallory.notebook.run("delete", "secret", "kept")


def test_an_end_is_put_off_by_no_deletion(mallory: Space) -> None:
    name = f"ends-{uuid.uuid4().hex[:6]}"
    mallory.notebook.run("create", "-f", "-", text=yaml.safe_dump(mallory.pod(name)))
    words = ["delete", "pod", name, "--wait=false"]
    said = mallory.notebook.run(*words, "--grace-period=31536000", fail=True)
    assert "gracePeriodSeconds must be at most 600" in said
    said = mallory.notebook.run(
        "delete", "pods", "--all", "--wait=false", "--grace-period=31536000", fail=True
    )
    assert "gracePeriodSeconds must be at most 600" in said
    mallory.notebook.run(*words, "--grace-period=1")


# What all share.


@pytest.mark.parametrize("kind", ["lease", "secret", "pod", "job", "daskcluster"])
def test_whatever_a_user_makes_has_a_size(mallory: Space, kind: str) -> None:
    """By what its metadata hold, which is the same for all kinds; and what is honest."""
    made = {
        "lease": lease(),
        "secret": secret(stringData={"data": "x" * LARGEST}),
        "pod": mallory.pod("bold"),
        "job": job(mallory, mallory.pod("bold")["spec"]),
        "daskcluster": dask(mallory),
    }[kind]
    owner = {"apiVersion": "v1", "kind": "Pod", "uid": "1"}
    for changes in (
        {"annotations": {"sidecar.example.org/one": "x" * LARGE}},
        {"labels": {f"k{n}": "x" * 50 for n in range(2000)}},
        {"ownerReferences": [{**owner, "name": "x" * LARGE}]},
        {"ownerReferences": [{**owner, "name": "x", "uid": str(n)} for n in range(2000)]},
    ):
        large = copy.deepcopy(made)
        large["metadata"] |= changes
        assert TOO_LARGE in refused(mallory.notebook, large)
    assert asks(mallory.notebook, made)


def test_what_a_kind_holds_has_a_size(mallory: Space) -> None:
    variables = [{"name": "x", "value": "x" * LARGE}]
    made = [dask(mallory), job(mallory, mallory.pod("bold")["spec"])]
    made[0]["spec"]["scheduler"]["spec"]["containers"][0]["env"] = variables
    made[1]["spec"]["template"]["spec"]["containers"][0]["env"] = variables
    made += [
        lease(holderIdentity="x" * LARGE),
        secret(stringData={"data": "x" * 2 * LARGEST}),
        secret(stringData={"a": "x" * LARGEST, "b": "x" * LARGEST}),
    ]
    for each in made:
        assert TOO_LARGE in refused(mallory.notebook, each)


def test_what_is_made_small_is_not_made_large_later(mallory: Space) -> None:
    name = f"grows-{uuid.uuid4().hex[:6]}"
    mallory.notebook.run("create", "-f", "-", text=yaml.safe_dump(secret(name)))
    for change in ({"stringData": {"more": "x" * 2 * LARGEST}}, NOTED):
        # Too long for a command line.
        words = ("patch", "secret", name, "--patch-file=/dev/stdin")
        said = mallory.notebook.run(*words, text=json.dumps(change), fail=True)
        assert TOO_LARGE in said
    mallory.notebook.run("delete", "secret", name)


def etcd_bytes(state: dict[str, Any]) -> int:
    folder = Path(state["kubeconfig"]).parent / "etcd"
    return sum(each.stat().st_size for each in folder.rglob("db"))


@pytest.mark.long
def test_what_one_user_stores_has_an_end(mallory: Space, here: None) -> None:
    """All kinds that a user may make, as many and as large as they go."""
    waits = mallory.pod("x", pool="racks", nodeSelector={}, **nodes(REQUIRED, RACK))
    large = copy.deepcopy(waits)
    large["spec"]["containers"][0]["args"] = ["x" * 60_000]
    base = {"apiVersion": "v1", "kind": "Secret", "stringData": {"data": "x" * LARGEST}}
    kinds: dict[str, list[dict[str, Any]]] = {
        "count/leases": [lease(f"fill-{n}", holderIdentity="x" * 1000) for n in range(60)],
        "count/secrets": [{**base, "metadata": {"name": f"fill-{n}"}} for n in range(110)],
        "pods": [{**large, "metadata": {"name": f"fill-{n}"}} for n in range(70)],
    }

    def fill(objects: list[dict[str, Any]]) -> str:
        words = ["create", "--validate=false", "-f", "-"]
        return mallory.notebook.run(*words, text=yaml.safe_dump_all(objects), fail=True)

    before = etcd_bytes(mallory.state)
    with ThreadPoolExecutor(len(kinds)) as at_once:
        said = dict(zip(kinds, at_once.map(fill, kinds.values()), strict=True))
    grown = etcd_bytes(mallory.state) - before
    print(f"etcd grew by {grown / 2**20:.1f} MiB")
    for kind, answer in said.items():
        assert f"exceeded quota: all, requested: {kind}" in answer
    assert grown < ETCD_GROWTH, f"{grown / 2**20:.0f} MiB"
    for kind, objects in zip(("lease", "secret", "pod"), kinds.values(), strict=True):
        made = [each["metadata"]["name"] for each in objects]
        words = ["--ignore-not-found", "--wait=false", "--grace-period=0"]
        mallory.notebook.run("delete", kind, *made, *words)


@pytest.mark.long
def test_what_one_user_writes_anew_for_a_minute_leaves_room(mallory: Space, here: None) -> None:
    """Etcd keeps what was written in the last five minutes, and by default holds 2 GiB."""
    config = json.loads(mallory.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    url = f"{cluster['server']}/api/v1/namespaces/{mallory.namespace}/secrets"
    token = mallory.token(names.NOTEBOOK_ACCOUNT)
    end = time.monotonic() + 60

    def write(number: int) -> int:
        written = 0
        with requests.Session() as session:
            session.verify, session.trust_env = cluster["certificate-authority"], False
            session.headers["Authorization"] = f"Bearer {token}"
            metadata = {"name": f"anew-{number}"}
            session.post(url, json=secret(metadata["name"])).raise_for_status()
            while time.monotonic() < end:
                data = {"stringData": {"data": f"{written:10}" + "x" * (LARGEST - 20)}}
                answer = session.patch(
                    f"{url}/{metadata['name']}",
                    data=json.dumps(data),
                    headers={"Content-Type": "application/merge-patch+json"},
                )
                answer.raise_for_status()
                written += 1
            session.delete(f"{url}/{metadata['name']}").raise_for_status()
        return written

    before = etcd_bytes(mallory.state)
    with ThreadPoolExecutor(8) as at_once:
        written = sum(at_once.map(write, range(8)))
    grown = etcd_bytes(mallory.state) - before
    print(f"{written} writes, etcd grew by {grown / 2**20:.0f} MiB")
    assert 5 * grown < 2 * 2**30, f"{grown / 2**20:.0f} MiB in a minute"


def test_a_pod_that_has_ended_is_counted_too(mallory: Space) -> None:
    def used(what: str) -> int:
        return int(mallory.admin.get("resourcequota", "all")["status"]["used"][what])

    until(lambda: used("pods") == used("count/pods") == 0, 60)
    name = f"ended-{uuid.uuid4().hex[:6]}"
    mallory.notebook.run("create", "-f", "-", text=yaml.safe_dump(mallory.pod(name, "true")))
    until(lambda: mallory.admin.get("pod", name)["status"].get("phase") == "Succeeded", 60)
    until(lambda: (used("pods"), used("count/pods")) == (0, 1), 60)
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/pods": "1"}}}
    mallory.admin.apply({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    until(lambda: is_counted(mallory.admin.get("resourcequota", "few")), 60)
    assert "exceeded quota: few" in refused(mallory.notebook, mallory.pod("next"))
    # Before the hub says that there is no room for a server, it removes what has ended.
    hub = mallory.account(mallory.release.hub_account, mallory.release.namespace)

    async def room() -> bool:
        api = Api(kubeconfig_account({"KUBECONFIG": hub.state["kubeconfig"]}))
        try:
            inside = api.within(mallory.namespace)
            quotas = await quotas_with_room(inside, mallory.pod("next"))
        finally:
            await api.aclose()
        return all(share.fits for share in shares(quotas, mallory.pod("next")))

    try:
        assert asyncio.run(room())
        assert asks(mallory.notebook, mallory.pod("next"))
    finally:
        mallory.admin.run("delete", "resourcequota", "few")
    assert "NotFound" in mallory.notebook.run("get", "pod", name, fail=True)


def test_no_pod_keeps_another_user_from_a_node(pair: tuple[Space, Space]) -> None:
    """By the rule, and, where the rule were away, by a quota."""
    quota = pair[0].admin.get("resourcequota", "no-affinity-to-others")
    assert quota["spec"] == {"hard": {"pods": "0"}, "scopes": ["CrossNamespacePodAffinity"]}
    assert quota["status"]["hard"] == {"pods": "0"}
    against = near("podAntiAffinity", REQUIRED)
    name = f"alone-{uuid.uuid4().hex[:6]}"
    for space in pair:
        space.notebook.run(
            "create",
            "-f",
            "-",
            text=yaml.safe_dump(bold(space, against) | {"metadata": {"name": name}}),
        )
    until(
        lambda: all(
            space.notebook.get("pod", name)["status"].get("phase") == "Running" for space in pair
        ),
        90,
    )
    for space in pair:
        space.notebook.run("delete", "pod", name, "--wait=false")
