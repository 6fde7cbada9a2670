"""The tenant set: whole manifests, names of odd users, rights, what is refused.

Golden files lie in tests/data/tenant; REFRESH_GOLDEN=1 writes them anew. That the rules hold is
tested on a real Kubernetes: tests/kube/test_tenant_admission.py.
"""

import dataclasses
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility import names
from facility.config import Config, Pool, load
from facility.errors import ProblemsError
from facility.kubernetes.tenant import (
    Address,
    Network,
    Quota,
    Release,
    Shape,
    SharedVolume,
    Tenant,
    is_counted,
    is_ours,
    refusal,
    release_set,
    slug,
    tenant_set,
    volume_set,
)
from facility.kubernetes.tenant.cel_rules import images

GOLDEN = Path(__file__).resolve().parents[2] / "data/tenant"
GIB = 2**30
CPU = Pool(name="cpu", default=True, cpu=1, memory=4 * GIB, max_workers=100)
GPU = Pool(
    name="gpu",
    scarce=True,
    cpu=4,
    memory=16 * GIB,
    gpus=1,
    processes=2,
    max_workers=8,
    image="registry.example/gpu/analysis:1",
    runtime_class="nvidia",
    node_selector={"site.example/gpu": "yes"},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
)
ARM = Pool(
    name="arm",
    cpu=1,
    memory=4 * GIB,
    max_workers=50,
    architecture="arm64",
    spot=True,
    priority_class="site-spot",
    tolerations=({"key": "spot", "value": "yes", "effect": "NoExecute", "toleration_seconds": 60},),
    volumes=(
        {"name": "data", "mountPath": "/data", "persistentVolumeClaim": {"claimName": "data"}},
    ),
)
POOLS = Config(pools={"cpu": CPU, "gpu": GPU, "arm": ARM})
CSI = {
    "csi": {
        "driver": "cephfs.csi.ceph.com",
        "volumeHandle": "scratch-{namespace}",
        "readOnly": False,
        "nodeStageSecretRef": {"name": "scratch", "namespace": "ceph-csi"},
        "volumeAttributes": {"rootPath": "/scratch/{namespace}", "staticVolume": "true"},
    }
}
NFS = {"nfs": {"server": "nfs.example.org", "path": "/atlas", "readOnly": True}}
VOLUMES = (
    SharedVolume("atlas", GIB, ("ReadOnlyMany",), source=NFS, mount_options=("nodev", "nosuid")),
    SharedVolume("scratch", 2 * GIB, ("ReadWriteMany",), source=CSI),
    SharedVolume("tools", GIB, ("ReadOnlyMany",), storage_class="tools"),
)
SIMPLE = Release("facility", "jupyter", Config(pools={"cpu": CPU}), ("registry.example/images/",))
FULL = Release(
    "site",
    "jupyter",
    POOLS,
    ("registry.example/images/", "ghcr.example/group/analysis"),
    operator_account="dask-operator",
    operator_namespace="dask",
    prefix="af-site-",
    notebook=Shape({"hub.jupyter.org/node-purpose": "user"}),
    scheduler=Shape({"hub.jupyter.org/node-purpose": "user"}),
    scheduler_resources={
        "requests": {"cpu": "500m", "memory": "2Gi"},
        "limits": {"cpu": "4", "memory": "16Gi"},
    },
    volumes=VOLUMES,
)
BATCH = replace(SIMPLE, config=Config(pools={"cpu": CPU, "gpu": GPU}), batch=True)
API = (Address("192.0.2.10", (6443,)), Address("192.0.2.11", (6443,)))
STORAGE = (Address("10.1.2.0/24", (1094, 1095)), Address("2001:db8::7"))


def tenant(user: str = "alice", release: Release = SIMPLE, **changes: Any) -> Tenant:
    quota = changes.pop("quota", Quota())
    return Tenant(user, release, quota, Network(**{"api_server": API, **changes}))


def full(flavor: Any = "standard") -> Tenant:
    quota = Quota(cpu=12.5, gpus=4, pools={"gpu": 3, "arm": 0})
    network = Network(API, STORAGE, internet=False, flavor=flavor)
    secrets = {"pull": '{"auths": {}}'}
    return Tenant("Alice.Smith@example.org", FULL, quota, network, secrets)


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


@pytest.mark.parametrize(
    ("name", "manifests"),
    [
        ("release-simple", release_set(SIMPLE)),
        ("release-full", release_set(FULL)),
        ("release-batch", release_set(BATCH)),
        ("tenant-batch", tenant_set(tenant(release=BATCH, quota=Quota(pools={"gpu": 2})))),
        ("tenant-simple", tenant_set(tenant())),
        ("tenant-full", tenant_set(full())),
        ("tenant-cilium", tenant_set(full("cilium"))),
        ("tenant-volumes", volume_set(full())),
    ],
)
def test_whole_manifests(name: str, manifests: list[dict[str, Any]]) -> None:
    text = yaml.safe_dump_all(manifests, sort_keys=False, width=100)
    assert "&id" not in text, "a part that two places share would be changed in both"
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("REFRESH_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text(), f"REFRESH_GOLDEN=1 writes {name} anew"


def test_manifests_are_made_anew_each_time() -> None:
    first = tenant_set(full())
    first[0]["metadata"]["labels"]["spoilt"] = "yes"
    first[-1]["subjects"].clear()
    again = tenant_set(full())
    assert "spoilt" not in again[0]["metadata"]["labels"]
    assert again[-1]["subjects"]


# Names.

ODD = [
    *("alice", "Alice", "ALICE", "alice-", "-alice", "alice--smith", "alice.smith", "alice-smith"),
    *("alice smith", "alice@example.org", "älice", "\u0430lice", "李", "\ud800", "---", "a" * 300),
    *(
        "a" * 60,
        "a" * 61,
        "a" * 60 + "b",
        "a" * 60 + "c",
        "alice\n",
        "kube-system",
        "0",
        "\u00e9",
        "e\u0301",
    ),
    *("alice--2bd806c97f0e", "x/y", "x\\y", "x_y", "x-y"),
]


def test_odd_users_get_namespaces_of_their_own() -> None:
    found = {user: tenant(user).namespace for user in ODD}
    assert len(set(found.values())) == len(set(ODD))
    for user, namespace in found.items():
        assert re.fullmatch(r"af-[a-z0-9]([-a-z0-9]*[a-z0-9])?", namespace), user
        assert len(namespace) <= 63
    assert found["alice"] == "af-alice"
    assert found["alice-smith"] == "af-alice-smith"
    assert found["a" * 60] == "af-" + "a" * 60
    assert found["Alice"].startswith("af-alice--")


def test_an_escaped_name_is_nobodys_plain_name() -> None:
    """Who takes another user's escaped name as a user name gets another namespace."""
    for user in ODD:
        if slug(user) != user:
            assert "--" in slug(user)
            assert slug(slug(user)) != slug(user)


def test_a_longer_prefix_leaves_fewer_characters() -> None:
    assert len(tenant("a" * 300, FULL).namespace) == 63
    assert tenant("a" * 55, FULL).namespace == "af-site-" + "a" * 55


# What is refused.


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "Facility"}, "its name must be lower-case"),
        ({"name": "f" * 41}, "its name must be lower-case"),
        ({"prefix": "af"}, "the prefix 'af' must be"),
        ({"prefix": ""}, "the prefix '' must be"),
        ({"namespace": "af-hub"}, "begins with the prefix 'af-'"),
        ({"images": ()}, "images: none is permitted"),
        ({"images": ("registry.example",)}, "'registry.example' must be a repository"),
        ({"images": ("/x",)}, "'/x' must be a repository"),
        ({"images": ("http://x/",)}, "'http://x/' must stand without http://"),
    ],
)
def test_a_release_that_cannot_be(changes: dict[str, Any], problem: str) -> None:
    good = {"name": "facility", "namespace": "hub", "config": POOLS, "images": ("example.org/",)}
    Release(**good)
    with pytest.raises(ProblemsError, match=re.escape(problem)):
        Release(**{**good, **changes})


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(ProblemsError) as caught:
        Release("A", "af-x", POOLS, ())
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("name", ["facility-notebook", "facility-pool-cpu", "system-node-critical"])
def test_a_pools_own_class_that_no_quota_could_tell_apart(name: str) -> None:
    other = ARM.model_copy(update={"priority_class": name})
    pools = Config(pools={"cpu": CPU, "arm": other})
    with pytest.raises(ProblemsError, match="PriorityClass"):
        Release("facility", "hub", pools, ("example.org/",))


def test_quotas_addresses_and_users_that_cannot_be() -> None:
    with pytest.raises(ProblemsError, match=r"cpu: must not be negative.*\n.*pools.arm"):
        Quota(cpu=-1, pools={"arm": -2})
    with pytest.raises(ProblemsError, match="does not appear to be an IPv4 or IPv6"):
        Address("storage.example.org")
    with pytest.raises(ProblemsError, match="has host bits set"):
        Address("10.1.2.3/24")
    with pytest.raises(ProblemsError, match="the port 0 is none"):
        Address("10.1.2.3", (0,))
    with pytest.raises(ProblemsError, match="EndpointSlice default/kubernetes"):
        Network(())
    with pytest.raises(ProblemsError, match="the pool 'tpu', and there are cpu"):
        tenant(quota=Quota(pools={"tpu": 1}))
    with pytest.raises(ProblemsError, match="the name of the user is empty"):
        tenant(" ")


# Never adopted.


def test_a_namespace_is_taken_for_the_users_only_if_it_is() -> None:
    def found(made: Tenant, **metadata: Any) -> dict[str, Any]:
        namespace = tenant_set(made)[0]
        return {**namespace, "metadata": {**namespace["metadata"], **metadata}}

    alice = tenant()
    assert refusal(alice, found(alice)) is None
    assert "is no user's of a facility" in str(refusal(alice, found(alice, labels={"a": "b"})))
    assert "is no user's of a facility" in str(refusal(alice, found(alice, labels=None)))
    only = {names.TENANT_LABEL: "alice"}
    assert "is no user's of a facility" in str(refusal(alice, found(alice, labels=only)))
    other = Release("other", "jupyter", POOLS, ("registry.example/",))
    assert "belongs to the release 'other'" in str(refusal(alice, found(tenant(release=other))))
    assert "belongs to the user 'Alice'" in str(refusal(alice, found(tenant("Alice"))))
    assert "is being deleted" in str(refusal(alice, found(alice, deletionTimestamp="2026-01-01")))


# Rights.

NOTEBOOK = """
    apps deployments get, list
    batch jobs create, delete, get, list, patch
    coordination.k8s.io leases create, delete, get, patch
    core configmaps/facility-pools get
    core events get, list, watch
    core namespaces get
    core persistentvolumeclaims get, list
    core pods create, delete, deletecollection, get, list, watch
    core pods/log get
    core pods/portforward create, get
    core resourcequotas get, list
    core secrets create, delete, deletecollection, get, list, patch
    core services get, list
    kubernetes.dask.org daskclusters create, delete, get, list, patch, watch
    kubernetes.dask.org daskworkergroups get, list
"""
SCHEDULER = """
    coordination.k8s.io leases delete, get
    core pods delete, deletecollection, get, list
    core secrets delete, deletecollection, get, list
    kubernetes.dask.org daskclusters delete, get
"""


def rights(role: str, release: Release = SIMPLE) -> list[str]:
    """Each resource of a ClusterRole with what may be done to it."""
    found = []
    for rule in of_kind(release_set(release), "ClusterRole")[release.role(role)]["rules"]:
        only = "".join(f"/{name}" for name in rule.get("resourceNames", ()))
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs = ", ".join(sorted(rule["verbs"]))
                found.append(f"{group or 'core'} {resource}{only} {verbs}")
    return sorted(found)


def test_the_notebooks_rights_are_these_and_no_others() -> None:
    assert rights("notebook") == [line.strip() for line in NOTEBOOK.strip().splitlines()]


def test_the_schedulers_rights_are_these_and_no_others() -> None:
    assert rights("scheduler") == [line.strip() for line in SCHEDULER.strip().splitlines()]


def test_cluster_wide_hub_and_operator_write_nothing_but_what_a_policy_confines() -> None:
    writes = [line for line in rights("hub") if re.search(r"create|delete|patch|update|\*", line)]
    assert [line.split()[1] for line in writes] == ["namespaces", "rolebindings"]
    assert not [line for line in rights("operator") if re.search(r"create|delete|patch|\*", line)]
    bind = [line for line in rights("hub") if "bind" in line.split()[-1]]
    assert len(bind) == 1
    assert "/facility-hub " not in bind[0]
    everywhere = of_kind(release_set(SIMPLE), "ClusterRoleBinding")
    assert set(everywhere) == {"facility-hub", "facility-operator"}


def test_a_right_on_volumes_is_there_with_a_template_of_one_alone() -> None:
    assert rights("hub-volumes", FULL) == [
        "core persistentvolumes create, delete, get, list, patch"
    ]
    text = json.dumps(release_set(dataclasses.replace(FULL, volumes=VOLUMES[2:])))
    assert "persistentvolumes" not in text
    assert volume_set(tenant()) == []


def test_a_volume_is_for_one_claim_of_one_user_and_is_kept() -> None:
    made = volume_set(full())
    claims = of_kind(made, "PersistentVolumeClaim")
    assert {each["metadata"]["namespace"] for each in claims.values()} == {full().namespace}
    for name, volume in of_kind(made, "PersistentVolume").items():
        reference = volume["spec"]["claimRef"]
        assert claims[reference["name"]]["spec"]["volumeName"] == name
        assert reference["namespace"] == full().namespace
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        assert is_ours(name, full().namespace)
        assert not is_ours(name, full().namespace + "-x")
        assert not is_ours(name, full().namespace[:-1])
    handles = {
        each["spec"]["csi"]["volumeHandle"]
        for user in ("alice", "Alice", "bob")
        for each in volume_set(tenant(user, FULL))
        if "csi" in each["spec"]
    }
    assert len(handles) == 3
    assert "{" not in json.dumps([each["spec"]["claimRef"] for each in made if "claimRef" in each])
    assert claims["tools"]["spec"]["storageClassName"] == "tools"


def test_another_template_makes_another_volume() -> None:
    def name(**changes: Any) -> str:
        volume = dataclasses.replace(VOLUMES[0], **changes)
        release = dataclasses.replace(FULL, volumes=(volume,))
        return str(volume_set(tenant("alice", release))[0]["metadata"]["name"])

    assert name() == name()
    other = {"nfs": {**NFS["nfs"], "server": "other.example.org"}}
    found = {name(), name(source=other), name(mount_options=()), name(capacity=2 * GIB)}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"source": {"hostPath": {"path": "/"}}}, "has the sources hostPath, and needs exactly"),
        ({"source": {"local": {"path": "/"}}}, "has the sources local"),
        ({"source": {**NFS, **CSI}}, "has the sources nfs, csi"),
        ({"source": {}}, "has the sources none"),
        ({"source": NFS, "storage_class": "fast"}, "a storageClass and a volume"),
        ({"source": {"csi": {"driver": "d", "volumeHandle": "one"}}}, "must differ between users"),
    ],
)
def test_a_shared_volume_that_cannot_be(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProblemsError, match=problem):
        SharedVolume("data", GIB, ("ReadOnlyMany",), **changes)


def test_no_role_has_wildcards_or_may_raise_itself() -> None:
    for role in of_kind(release_set(FULL), "ClusterRole").values():
        text = json.dumps(role["rules"])
        for word in ('"*"', "escalate", "impersonate", "nodes", "serviceaccounts/token", "exec"):
            assert word not in text, role["metadata"]["name"]


def test_what_is_bound_is_made() -> None:
    roles = of_kind(release_set(FULL), "ClusterRole")
    bindings = of_kind(tenant_set(full()), "RoleBinding")
    assert {each["roleRef"]["name"] for each in bindings.values()} <= set(roles)
    accounts = of_kind(tenant_set(full()), "ServiceAccount")
    assert accounts[names.WORKER_ACCOUNT]["automountServiceAccountToken"] is False
    assert all(each["imagePullSecrets"] == [{"name": "pull"}] for each in accounts.values())


# Quotas, pools, images.


def test_every_class_has_its_quota_and_none_else_a_place() -> None:
    quotas = of_kind(tenant_set(full()), "ResourceQuota")
    assert quotas["no-others"]["spec"]["hard"] == {"pods": "0"}
    (scope,) = quotas["no-others"]["spec"]["scopeSelector"]["matchExpressions"]
    assert (scope["operator"], scope["values"]) == ("NotIn", FULL.classes)
    assert scope["values"] == [
        *("site-notebook", "site-scheduler", "site-job"),
        *("site-pool-cpu", "site-pool-gpu", "site-spot"),
    ]
    # Three workers in pods of two are two pods.
    assert quotas["pool-gpu"]["spec"]["hard"] == {"pods": "2"}
    assert quotas["pool-arm"]["spec"]["hard"] == {"pods": "0"}
    assert "pool-cpu" not in quotas
    assert quotas["all"]["spec"]["hard"]["limits.cpu"] == "12500m"
    # The site's own class is the site's to make.
    assert "site-spot" not in of_kind(release_set(FULL), "PriorityClass")


def test_nothing_ever_displaces_another_pod() -> None:
    for each in of_kind(release_set(FULL), "PriorityClass").values():
        assert each["preemptionPolicy"] == "Never"
        assert each["globalDefault"] is False


def test_the_pools_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = of_kind(tenant_set(full()), "ConfigMap")[names.POOLS_CONFIG_MAP]["data"]
    file = tmp_path / "pools.yaml"
    file.write_text(found[names.POOLS_KEY])
    read = load(file).pools
    for name, pool in POOLS.pools.items():
        expected = pool.model_copy(update={"priority_class": FULL.pool_class(pool)})
        assert read[name] == expected
    assert found[names.RELEASE_KEY] == "site"
    assert json.loads(found[names.SCHEDULER_KEY]) == {
        "nodeSelector": dict(FULL.scheduler.node_selector),
        "tolerations": [],
        "resources": FULL.scheduler_resources,
    }


@pytest.mark.parametrize(
    ("image", "permitted"),
    [
        ("registry.example/images/analysis:1", True),
        ("registry.example/images/deep/er@sha256:00", True),
        ("registry.example/other/analysis:1", False),
        ("registry.example.evil.org/images/analysis:1", False),
        ("ghcr.example/group/analysis", True),
        ("ghcr.example/group/analysis:2", True),
        ("ghcr.example/group/analysis@sha256:00", True),
        ("ghcr.example/group/analysis-evil:2", False),
        ("ghcr.example/group/analysis/evil", False),
        ("registry.example/gpu/analysis:1", True),
        ("registry.example/gpu/analysis:2", False),
        ("debian", False),
        ("", False),
    ],
)
def test_which_images_are_permitted(image: str, permitted: bool) -> None:
    exact, prefixes = images(FULL)
    assert (image in exact or image.startswith(tuple(prefixes))) == permitted


# Networks.


def test_private_ranges_and_the_metadata_are_never_the_internet() -> None:
    import ipaddress

    own = (Address("192.0.2.0/25"), Address("2001:db8:1::/48"), Address("10.1.0.0/16"))
    network = Network(API, private=own)
    sites = of_kind(tenant_set(replace(tenant(), network=network)), "NetworkPolicy")["internet"]
    usual = of_kind(tenant_set(tenant()), "NetworkPolicy")["internet"]

    def allowed(text: str, policy: dict[str, Any] = usual) -> bool:
        blocks = [each["ipBlock"] for each in policy["spec"]["egress"][0]["to"]]
        address = ipaddress.ip_address(text)
        return any(
            address in ipaddress.ip_network(block["cidr"])
            and not any(address in ipaddress.ip_network(part) for part in block["except"])
            for block in blocks
        )

    for private in (
        *("169.254.169.254", "10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1"),
        *(
            "0.1.2.3",
            "168.63.129.16",
            "192.0.0.192",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
        ),
        *("fd00::1", "fe80::1", "::1", "ff02::1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:a9fe:a9fe::1", "2001:0:1::1"),
    ):
        assert not allowed(private), private
    for public in ("192.0.2.1", "172.32.0.1", "169.253.0.1", "2001:db8::1", "2001:1::1"):
        assert allowed(public), public
    for address in ("192.0.2.1", "2001:db8:1::1", "10.1.0.1", "169.254.169.254"):
        assert not allowed(address, sites), address
    for public in ("192.0.2.128", "2001:db8::1", "172.32.0.1"):
        assert allowed(public, sites), public
    # What is closed anyway is not said twice: Kubernetes takes no more than it has to look at.
    excepted = [
        part for each in sites["spec"]["egress"][0]["to"] for part in each["ipBlock"]["except"]
    ]
    assert "10.1.0.0/16" not in excepted
    assert len(excepted) == len(set(excepted))
    assert "internet" not in of_kind(tenant_set(full()), "NetworkPolicy")


def test_all_pods_are_closed_both_ways_but_for_what_is_opened() -> None:
    closed = of_kind(tenant_set(tenant()), "NetworkPolicy")["deny-others"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for each in of_kind(tenant_set(full()), "NetworkPolicy").values():
        text = json.dumps(each["spec"])
        # An empty peer or an empty rule would open everything.
        assert '"from": []' not in text
        assert '"to": []' not in text
        assert "{}" not in json.dumps(
            [each["spec"].get("ingress"), each["spec"].get("egress")]
        ) or (each["metadata"]["name"] == "own-namespace")


def test_a_quota_is_counted_when_all_it_is_about_has_been() -> None:
    hard = {"pods": "5", "count/daskclusters.kubernetes.dask.org": "2"}
    quota = {"spec": {"hard": hard}}
    assert not is_counted(quota)
    assert not is_counted({**quota, "status": {"hard": hard, "used": {"pods": "0"}}})
    assert is_counted({**quota, "status": {"hard": hard, "used": dict.fromkeys(hard, "0")}})
    assert not is_counted({**quota, "status": {"hard": {"pods": "5"}, "used": {"pods": "0"}}})


# Batch.


def test_what_holds_for_a_class_holds_for_the_one_from_before_batch() -> None:
    [pods] = [
        each
        for each in release_set(BATCH)
        if each["kind"] == "ValidatingAdmissionPolicy" and each["metadata"]["name"].endswith("pods")
    ]
    data = {each["name"]: each["expression"] for each in pods["spec"]["variables"]}
    for name in ("selectors", "tolerated", "gpusOf", "runtimes", "selectable", "annotationsOf"):
        found = json.loads(data[name])
        new = [each for each in found if "-preempting-" in each]
        assert new
        for each in new:
            assert found[each.replace("-preempting", "")] == found[each], name


def test_once_no_pod_has_them_the_earlier_classes_are_known_no_more() -> None:
    text = json.dumps(
        [
            release_set(replace(BATCH, earlier_classes=False)),
            tenant_set(tenant(release=replace(BATCH, earlier_classes=False))),
        ]
    )
    assert "facility-preempting-pool-cpu" in text
    assert "facility-pool-cpu" not in text


def test_a_class_of_the_sites_own_stays_a_pools() -> None:
    release = replace(FULL, batch=True)
    assert release.pool_class(ARM) == "site-spot"
    assert release.pool_class(CPU) == "site-preempting-pool-cpu"
    made = of_kind(release_set(release), "PriorityClass")
    assert "site-spot" not in made
    assert {made[name]["value"] for name in made if "-preempting-" in name} == {0}
