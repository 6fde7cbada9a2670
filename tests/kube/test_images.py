"""What is shipped runs where it will run: each image as restricted pods on each architecture.

The manifests are written by hand: no code of the facility makes them.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube.bringup.tier import UNUSED
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import dask_kinds
from tools.images import catalog

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]
HERE = Path(__file__).parent
IMAGES = catalog.read()
RUN = [image for image in IMAGES.values() if image.parent in IMAGES]
# That for GPUs is not in the tests' registry.
CASES = [
    (image.name, each) for image in RUN for each in image.architectures if image.name not in UNUSED
]
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
SCHEDULER = {"dask.org/component": "scheduler"}


def strict(**container: Any) -> dict[str, Any]:
    """What Pod Security `restricted` asks for, and a root file system that cannot be written."""
    rights = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    mounts = [{"name": "own", "mountPath": path, "subPath": path[1:]} for path in WRITABLE]
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "own", "emptyDir": {}}],
        "container": {"securityContext": rights, "volumeMounts": mounts} | container,
    }


WRITABLE = ("/tmp", "/home/jovyan")


@pytest.fixture
def tenant(kube: Kubernetes) -> Kubernetes:
    """A namespace that refuses all but restricted pods."""
    kube.run("label", "namespace", kube.namespace, RESTRICTED)
    return kube


@pytest.mark.parametrize(("name", "arch"), CASES)
def test_an_images_pod_runs_on_each_architecture(tenant: Kubernetes, name: str, arch: str) -> None:
    script = "import os; print(os.uname().machine); print(open('/etc/facility/image.json').read())"
    container = {"image": tenant.images[name], "command": ["python", "-c", script]}
    tenant.apply(tenant.pod("says", "", arch, **strict(**container)))
    machine, _, described = tenant.output("says", 300).partition("\n")
    assert machine == catalog.ARCHITECTURES[arch]
    assert json.loads(described) == catalog.describe(IMAGES[name], IMAGES)
    status = tenant.get("pod", "says")["status"]["containerStatuses"][0]
    assert status["imageID"] == tenant.images[name]


# --- dask-kubernetes' operator -----------------------------------------------------------------


@pytest.fixture
def operator(tenant: Kubernetes) -> Iterator[Kubernetes]:
    """The operator's image, with rights in this namespace and to see what it watches elsewhere."""
    dask_kinds(tenant.state)
    text = (HERE / "manifests" / "operator.yaml").read_text()
    text = text.replace("@NAMESPACE@", tenant.namespace).replace(
        "@IMAGE@", tenant.images["operator"]
    )
    try:
        tenant.run("apply", "-f", "-", text=text)
        tenant.run("rollout", "status", "deployment/operator", "--timeout=120s")
        yield tenant
    finally:
        # Its rights are those of the whole Kubernetes, so they do not go with the namespace.
        tenant.run("delete", "--ignore-not-found", "--wait=false", "-f", "-", text=text)


def dask_cluster(name: str, image: str) -> dict[str, Any]:
    """A DaskCluster without workers; its kind's schema wants strings for ports."""
    own = strict(
        name="scheduler",
        image=image,
        args=["dask", "scheduler"],
        ports=[{"name": "tcp-comm", "containerPort": 8786}],
    )
    container = own.pop("container")
    ports = [{"name": "tcp-comm", "port": 8786, "targetPort": "tcp-comm"}]
    selector = SCHEDULER | {"dask.org/cluster-name": name}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "scheduler": {
                "spec": {
                    "containers": [container],
                    "automountServiceAccountToken": False,
                    "nodeSelector": {"kubernetes.io/arch": "amd64"},
                }
                | own,
                "service": {"type": "ClusterIP", "selector": selector, "ports": ports},
            },
            "worker": {"replicas": 0, "spec": {"containers": []}},
        },
    }


def dask_worker(kube: Kubernetes, name: str, arch: str, **spec: Any) -> dict[str, Any]:
    """A worker of the Dask cluster `dask`, with one core and 2 GiB."""
    words = ["dask", "worker", "tcp://dask-scheduler:8786", f"--name={name}", "--nworkers=1"]
    words += ["--nthreads=1", "--memory-limit=2GiB", "--no-nanny", "--death-timeout=120"]
    own = strict(image=kube.images["analysis"], command=["tini", "-g", "--", *words])
    own["container"]["workingDir"] = "/tmp"
    own["container"]["volumeMounts"] += spec.pop("mounts", [])
    own["volumes"] += spec.pop("volumes", [])
    pod = kube.pod(name, "", arch, **own, **spec)
    pod["metadata"]["labels"] |= {"dask.org/cluster-name": "dask", "dask.org/component": "worker"}
    return pod


def run_python(kube: Kubernetes, pod: str, script: str) -> str:
    """What a script says that runs in a pod."""
    return kube.run("exec", "-i", pod, "--", "python", "-", text=script)


COMPUTE = """
from dask.distributed import Client
with Client("tcp://dask-scheduler:8786", timeout=120) as client:
    client.wait_for_workers(2, timeout=120)
    print(client.submit(sum, client.map(lambda x: x**2, range(100))).result(timeout=60))
"""


def test_the_operator_makes_a_dask_cluster_and_nothing_of_it_is_left(operator: Kubernetes) -> None:
    kube = operator
    kube.apply(dask_cluster("dask", kube.images["analysis"]))
    until(
        lambda: "deployment.apps/dask-scheduler" in kube.run("get", "deployments", "-o", "name"), 90
    )
    kube.run("rollout", "status", "deployment/dask-scheduler", "--timeout=120s")
    for name in ("worker-0", "worker-1"):
        kube.apply(dask_worker(kube, name, "amd64"))
    own = strict(image=kube.images["analysis"], command=["sleep", "600"])
    kube.apply(kube.pod("notebook", "", **own))
    kube.ready("notebook")
    assert run_python(kube, "notebook", COMPUTE).strip() == str(sum(x**2 for x in range(100)))

    # No handler of it needs to see the end: nothing waits where the operator is away.
    assert not kube.get("daskcluster", "dask")["metadata"].get("finalizers")
    kube.run("delete", "pod", "-l", "dask.org/component=worker")
    kube.run("delete", "daskcluster", "dask", "--timeout=60s")
    kinds = "daskclusters,daskworkergroups,deployments,replicasets,services,pods"
    label = ["-l", "dask.org/cluster-name=dask", "-o", "name"]
    until(lambda: not kube.run("get", kinds, *label).strip(), 60)


# --- the Z peak on both nodes ------------------------------------------------------------------

Z_PEAK = """
import json
from coffea import processor
from dask.distributed import Client
from facility.analysis.reading import physlite
from facility.analysis.inputs.fileset import fileset
from facility.analysis.samples.peak_fit import fit_peak
from facility.analysis.samples.zpeak import ZPeak

def done(dask_worker):
    return dask_worker.state.executed_count

files = fileset("/data/*.root*")
with Client("tcp://dask-scheduler:8786", timeout=120) as client:
    client.wait_for_workers(2, timeout=300)
    physlite.prepare(client)
    before = client.run(done)
    executor = processor.DaskExecutor(client=client)
    schema = physlite.PhysliteSchema
    result = processor.Runner(executor=executor, schema=schema, chunksize=5_000)(files, ZPeak())
    after = client.run(done)
    names = {address: each["id"] for address, each in client.scheduler_info()["workers"].items()}
    chunks = {names[address]: after[address] - before[address] for address in after}
fits = {each: fit_peak(result["mass"][sum, each, :]).position for each in ("ee", "mumu")}
events, mass = sum(result["events"].values()), result["mass"].values().tolist()
found = {"events": events, "total": files.total, "chunks": chunks, "fits": fits, "mass": mass}
print(json.dumps(found))
"""
HERE_ALONE = """
import json, sys
from coffea import processor
from facility.analysis.reading import physlite
from facility.analysis.inputs.fileset import fileset
from facility.analysis.samples.zpeak import ZPeak
files = fileset(sys.argv[1] + "/*.root*")
executor = processor.IterativeExecutor(status=False)
runner = processor.Runner(executor=executor, schema=physlite.PhysliteSchema, chunksize=5_000)
print(json.dumps(runner(files, ZPeak())["mass"].values().tolist()))
"""


@pytest.mark.long
def test_the_z_peak_on_both_nodes(here: None, kube: Kubernetes, tmp_path: Path) -> None:
    import numpy as np

    # Both nodes are this machine, so that a folder of it is a file system that they share.
    data = tmp_path / "data"
    words = ["-m", "facility", "sample", str(data), "--files", "4", "--events", "20000"]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    for path in (tmp_path, *tmp_path.parents[:2], data, *data.iterdir()):
        path.chmod(0o755)
    shared: dict[str, Any] = {
        "volumes": [{"name": "data", "hostPath": {"path": str(data)}}],
        "mounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
    }
    text = (HERE / "manifests" / "scheduler.yaml").read_text()
    kube.run("apply", "-f", "-", text=text.replace("@IMAGE@", kube.images["analysis"]))
    for arch in ("amd64", "arm64"):
        kube.apply(
            dask_worker(kube, arch, arch, **{key: list(each) for key, each in shared.items()})
        )
    own = strict(image=kube.images["analysis"], command=["sleep", "600"])
    own["container"]["volumeMounts"] += shared["mounts"]
    own["volumes"] += shared["volumes"]
    kube.apply(kube.pod("notebook", "", **own))
    kube.ready("notebook")

    found = json.loads(run_python(kube, "notebook", Z_PEAK).splitlines()[-1])
    assert found["events"] == found["total"] == 80_000
    assert set(found["chunks"]) == {"amd64", "arm64"}
    assert min(found["chunks"].values()) > 0, "one of the workers did nothing"
    assert found["fits"] == pytest.approx({"ee": 91.19, "mumu": 91.19}, abs=0.3)
    alone = subprocess.run(
        [sys.executable, "-c", HERE_ALONE, str(data)], check=True, capture_output=True, text=True
    )
    # Each event falls into the same bin on both architectures.
    np.testing.assert_array_equal(found["mass"], json.loads(alone.stdout.splitlines()[-1]))
