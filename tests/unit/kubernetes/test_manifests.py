"""What is sent to Kubernetes: whole manifests, from a request to dictionaries.

Golden files lie in tests/data/kubernetes; REFRESH_GOLDEN=1 writes them anew.
"""

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from facility.config import load
from facility.kubernetes import manifests, pool_limits
from facility.kubernetes.deletion import as_settings, deletions
from facility.kubernetes.manifests import DaskCluster, dask_cluster, tls_secret, worker_pod
from facility.kubernetes.namespace import folders
from facility.kubernetes.pod_template import ClaimMount, PodTemplate, by_digest, template_of
from facility.request.bounds import Bounds
from facility.request.checked_request import PoolRequest
from facility.worker.settings import spilling

GOLDEN = Path(__file__).resolve().parents[2] / "data/kubernetes"
DIGEST = "sha256:" + "0" * 64
CONFIG = load(
    {
        "pools": {
            "cpu": {"default": True, "cpu": 1, "memory": "2Gi", "maxWorkers": 100},
            "gpu": {
                "scarce": True,
                "cpu": 4,
                "memory": "16Gi",
                "gpus": 1,
                "processes": 2,
                "threads": 2,
                "maxWorkers": 4,
                "grace": 120,
                "image": "registry.example/analysis-gpu:1",
                "priorityClass": "site-gpu",
                "runtimeClass": "nvidia",
                "nodeSelector": {"site/gpu": "a100"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                "affinity": {
                    "nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {
                                "weight": 1,
                                "preference": {
                                    "matchExpressions": [{"key": "site/fast", "operator": "Exists"}]
                                },
                            }
                        ]
                    }
                },
                "env": {"SITE": "here", "PYTHONPATH": "/data/modules"},
                "annotations": {"site/cost": "high"},
                "volumes": [
                    {
                        "name": "data",
                        "mountPath": "/data",
                        "subPath": "atlas",
                        "readOnly": True,
                        "persistentVolumeClaim": {"claimName": "shared"},
                    },
                    {
                        "name": "cache",
                        "mountPath": "/cache",
                        "emptyDir": {"sizeLimit": "20Gi"},
                    },
                ],
                "spill": False,
            },
            "arm": {
                "cpu": "500m",
                "memory": "1Gi",
                "maxWorkers": 10,
                "architecture": "arm64",
                "spill": "5Gi",
                "runtimeClass": "gvisor",
                "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/arm.json"},
                "appArmorProfile": {"type": "Localhost", "localhostProfile": "workers"},
            },
        }
    }
)
PLACE = PodTemplate(
    namespace="af-ada",
    image=f"registry.example/analysis@{DIGEST}",
    owner={"apiVersion": "v1", "kind": "Pod", "name": "jupyter-ada", "uid": "1-2-3"},
    pull_secrets=("site",),
    release="atlas",
    shared=(
        ClaimMount("home", {"mountPath": "/home/jovyan"}),
        ClaimMount(
            "cvmfs",
            {"mountPath": "/cvmfs", "mountPropagation": "HostToContainer", "readOnly": True},
        ),
        # The pool gpu mounts another claim there.
        ClaimMount("data", {"mountPath": "/data"}),
    ),
    scheduler={
        "nodeSelector": {"site/purpose": "user"},
        "tolerations": [{"key": "site/user", "operator": "Exists"}],
        "runtimeClassName": "kata",
        "securityContext": {
            "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/own.json"}
        },
        "resources": {
            "requests": {"cpu": "500m", "memory": "2Gi"},
            "limits": {"cpu": "4", "memory": "16Gi"},
        },
    },
    identity={"runAsUser": 5001, "runAsGroup": 5000, "supplementalGroups": [77, 88]},
)
CLUSTER = DaskCluster("dask-1", PLACE, {"python": "3.11.9", "packages": {"dask": "1"}})
SETTINGS = {"pools": [], "objects": as_settings(deletions("af-ada", "dask-1"))}


def asked(pool: str) -> PoolRequest:
    found = CONFIG.pools[pool]
    return PoolRequest(found, Bounds(1, 1), found.memory)


def made() -> dict[str, dict[str, Any]]:
    files = {name: name.encode() for name in ("ca.crt", "tls.crt", "tls.key")}
    return {
        "daskcluster": dask_cluster(CLUSTER, SETTINGS),
        "secret": tls_secret(CLUSTER, "worker", files),
        "pod-cpu": worker_pod(CLUSTER, "cpu-0", ["cpu-0"], asked("cpu")),
        "pod-gpu": worker_pod(CLUSTER, "gpu-0", ["gpu-0-0", "gpu-0-1"], asked("gpu")),
        "pod-arm": worker_pod(CLUSTER, "arm-0", ["arm-0"], asked("arm")),
    }


@pytest.mark.parametrize("name", list(made()))
def test_manifests_are_these(name: str) -> None:
    path = GOLDEN / f"{name}.yaml"
    found = made()[name]
    if os.environ.get("REFRESH_GOLDEN"):
        path.write_text(yaml.safe_dump(found, sort_keys=False, width=100))
    assert found == yaml.safe_load(path.read_text())


def test_the_dask_cluster_fits_the_schema_of_dask_kubernetes() -> None:
    """Numbers among them where the schema wants text: the API server would refuse those."""
    import dask_kubernetes

    crds = "operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
    path = Path(dask_kubernetes.__file__).parent / crds
    schema = yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found = made()["daskcluster"]
    jsonschema.validate(found, schema)
    assert "idleTimeout" not in found["spec"]
    assert found["spec"]["worker"]["replicas"] == 0


@pytest.mark.parametrize("name", [name for name in made() if name != "daskcluster"])
def test_everything_ends_with_the_notebook_and_needs_no_right_on_it(name: str) -> None:
    (owner,) = made()[name]["metadata"]["ownerReferences"]
    assert owner["uid"] == "1-2-3"
    assert "blockOwnerDeletion" not in owner


def test_nothing_owns_what_a_script_outside_a_pod_starts() -> None:
    outside = DaskCluster("dask-1", PodTemplate("af-ada", "image"), {})
    assert "ownerReferences" not in worker_pod(outside, "x", ["x"], asked("cpu"))["metadata"]


def test_a_user_cannot_turn_tls_off_by_the_pools_environment() -> None:
    pod = worker_pod(CLUSTER, "gpu-0", ["gpu-0"], asked("gpu"))
    environment = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    assert environment["SITE"] == "here"
    assert environment["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"


# The own pod.


@pytest.mark.parametrize(
    ("image", "image_id", "found"),
    [
        ("example/a:1", f"example/a@{DIGEST}", f"example/a@{DIGEST}"),
        ("example/a:1", f"docker-pullable://example/a@{DIGEST}", f"example/a@{DIGEST}"),
        ("example/a:1", DIGEST, "example/a:1"),
        ("example/a:1", "", "example/a:1"),
    ],
)
def test_the_image_that_runs_is_taken_and_not_what_its_tag_means_now(
    image: str, image_id: str, found: str
) -> None:
    assert by_digest(image, image_id) == found


MOUNTS = [
    {"name": "home", "mountPath": "/home/jovyan", "recursiveReadOnly": "Disabled"},
    {"name": "tmp", "mountPath": "/tmp"},
    {"name": "shared", "mountPath": "/data", "subPath": "atlas"},
    {"name": "shared", "mountPath": "/all", "mountPropagation": "HostToContainer"},
    {"name": "unknown", "mountPath": "/other"},
]


def test_the_place_is_the_container_called_notebook() -> None:
    pod = {
        "metadata": {"name": "jupyter-ada", "namespace": "af-ada", "uid": "1"},
        "spec": {
            "containers": [
                {"name": "proxy", "image": "p"},
                {
                    "name": "notebook",
                    "image": "n:1",
                    "volumeMounts": MOUNTS,
                    "securityContext": {"runAsUser": 5001, "readOnlyRootFilesystem": True},
                },
            ],
            "imagePullSecrets": [{"name": "site"}],
            "securityContext": {"runAsUser": 1000, "fsGroup": 100, "runAsNonRoot": True},
            "volumes": [
                {"name": "home", "persistentVolumeClaim": {"claimName": "home"}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "shared", "persistentVolumeClaim": {"claimName": "a", "readOnly": True}},
                {"name": "unknown", "persistentVolumeClaim": {"claimName": "x"}},
            ],
        },
        "status": {"containerStatuses": [{"name": "notebook", "imageID": f"n@{DIGEST}"}]},
    }
    claims = {
        "home": {"spec": {"accessModes": ["ReadWriteOnce"]}},
        "a": {"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}},
    }
    template = template_of(pod, "atlas", claims)
    assert (template.image, template.pull_secrets, template.release) == (
        f"n@{DIGEST}",
        ("site",),
        "atlas",
    )
    # What is in no claim ends with the pod; a claim that may not be read is taken for its own.
    assert [each.path for each in template.unshared] == ["/home/jovyan", "/other"]
    assert [(each.claim, dict(each.mount)) for each in template.shared] == [
        ("a", {"mountPath": "/data", "subPath": "atlas", "readOnly": True}),
        ("a", {"mountPath": "/all", "mountPropagation": "HostToContainer", "readOnly": True}),
    ]
    # What a container says outweighs its pod.
    assert template.identity == {"runAsUser": 5001, "fsGroup": 100}
    assert folders(template) == (
        "/data, /all; not /home/jovyan, /other, since a single node may mount it (access mode "
        "ReadWriteOnce)"
    )


def test_a_home_that_many_nodes_may_mount_is_one_volume_and_what_the_pool_mounts_comes_first() -> (
    None
):
    spec = worker_pod(CLUSTER, "gpu-0", ["gpu-0"], asked("gpu"))["spec"]
    mounts = {each["mountPath"]: each["name"] for each in spec["containers"][0]["volumeMounts"]}
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert len(mounts) == len(spec["containers"][0]["volumeMounts"])
    assert volumes[mounts["/home/jovyan"]]["persistentVolumeClaim"]["claimName"] == "home"
    assert volumes[mounts["/data"]]["persistentVolumeClaim"]["claimName"] == "shared"
    scheduler = made()["daskcluster"]["spec"]["scheduler"]["spec"]
    paths = [each["mountPath"] for each in scheduler["containers"][0]["volumeMounts"]]
    assert paths == ["/tmp", "/etc/facility/tls", "/home/jovyan", "/cvmfs", "/data"]


# Quotas.


def quota(hard: dict[str, str], *classes: str, operator: str = "In") -> dict[str, Any]:
    spec: dict[str, Any] = {"hard": hard}
    if classes:
        rule = {"scopeName": "PriorityClass", "operator": operator, "values": list(classes)}
        spec["scopeSelector"] = {"matchExpressions": [rule]}
    return {"metadata": {"name": "q"}, "spec": spec}


@pytest.mark.parametrize(
    ("quotas", "workers"),
    [
        ([], {"cpu": 100, "gpu": 4, "arm": 10}),
        ([quota({"limits.cpu": "20"})], {"cpu": 20, "gpu": 4, "arm": 10}),
        ([quota({"limits.memory": "40Gi"})], {"cpu": 20, "gpu": 2, "arm": 10}),
        ([quota({"requests.nvidia.com/gpu": "0"})], {"cpu": 100, "gpu": 0, "arm": 10}),
        ([quota({"pods": "1"}, "site-gpu")], {"cpu": 100, "gpu": 2, "arm": 10}),
        ([quota({"pods": "0"}, "site-gpu", operator="NotIn")], {"cpu": 0, "gpu": 4, "arm": 0}),
        ([quota({"count/secrets": "1", "services": "1"})], {"cpu": 100, "gpu": 4, "arm": 10}),
        ([quota({"cpu": "20"}), quota({"pods": "7"})], {"cpu": 7, "gpu": 4, "arm": 7}),
    ],
)
def test_quotas_limit_pools(quotas: list[dict[str, Any]], workers: dict[str, int]) -> None:
    found = pool_limits.limits(CONFIG, quotas)
    assert {name: limit.workers for name, limit in found.items()} == workers


def test_a_quota_is_told() -> None:
    reason = pool_limits.limits(CONFIG, [quota({"limits.memory": "40Gi"})])["gpu"].reason
    assert reason == "the quota q allows 40Gi of limits.memory, and a pod takes 32Gi"


# Ends.


def test_a_scheduler_ends_its_workers_before_itself() -> None:
    paths = [entry["path"].rpartition("/")[2] for entry in SETTINGS["objects"]]
    assert paths == ["pods", "secrets", "dask-1"]
    assert SETTINGS["objects"][0]["selector"] == (
        "dask.org/cluster-name=dask-1,dask.org/component=worker"
    )


def test_no_deletion_is_without_bounds() -> None:
    from facility.kubernetes.client.calls import deletion
    from facility.kubernetes.client.kinds import POD

    with pytest.raises(AssertionError):
        deletion("af-ada", POD)


def test_what_a_pod_asks_for_is_that_of_all_its_processes() -> None:
    found = manifests.pod_resources(CONFIG.pools["gpu"], 2**34, 2)
    asked = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    assert found["limits"] == asked | {"ephemeral-storage": "20Gi"}
    assert found["requests"] == asked | {"ephemeral-storage": "100Mi"}


def test_a_worker_spills_to_most_of_its_disk_unless_its_pool_says_how_much() -> None:
    cpu = CONFIG.pools["cpu"]
    most = "distributed.worker.memory.max-spill"
    assert spilling(cpu, 10 * 2**30) == {most: 8 * 2**30}
    assert spilling(cpu) == {}
    assert spilling(cpu.model_copy(update={"spill": 2**30}), 2**40) == {most: 2**30}
