"""On Kubernetes, from the call to the first result, and to the last worker; the image is present.

    .venv/bin/python -m benchmarks.kube_start [--json] [--workers 2 40]

It runs on the Kubernetes of `make kube-up`, with the facility's images in its registry
(`.venv/bin/python -m tests.kube.bringup images`). Each sample is taken in a Python process of its
own that has imported what it needs:

ours
    ``cluster(n)`` in the pod of a user's server, with its own account, in a namespace with all
    quotas and policies: scheduler and Service by the operator, pods, TLS.
stock
    ``KubeCluster(n_workers=n)`` of dask-kubernetes with its own operator, without TLS, in a
    namespace without quotas and policies; its client and operator are processes of this machine,
    so that no pod's limit holds them up. Not in the smallest size.
pods
    With two workers: two bare pods of the same image and resources, from the calls that make them
    until both are Ready: what any scheduler's workers take at least.
close
    ``close()``, until nothing is left.
"""

import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks._kube import state_of_running
from benchmarks._measure import Summary, alternate, finish, options, ratio, table
from benchmarks._stock import environment, stock_cluster, stock_operator
from facility.config import Config
from facility.kubernetes.manifests import pod_resources
from facility.kubernetes.tenant import Quota
from tests.kube.conftest import Kubernetes
from tests.kube.notebooks import POOLS, Notebook, facility_of

OURS = """
import json, time
import distributed
from facility import cluster
began = time.perf_counter()
c = cluster(cpu={count}, name="{name}", timeout=600)
with c.get_client() as client:
    client.submit(sum, [1, 2]).result()
    first = time.perf_counter() - began
    client.wait_for_workers({count})
    last = time.perf_counter() - began
began = time.perf_counter()
c.close()
print(json.dumps([first, last, time.perf_counter() - began]))
"""

STOCK = """
import json, sys, time
import distributed
from dask_kubernetes.operator import KubeCluster
spec, namespace, count = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
began = time.perf_counter()
c = KubeCluster(custom_cluster_spec=spec, namespace=namespace, quiet=True)
with distributed.Client(c) as client:
    client.submit(sum, [1, 2]).result()
    first = time.perf_counter() - began
    client.wait_for_workers(count)
    last = time.perf_counter() - began
began = time.perf_counter()
c.close()
print(json.dumps([first, last, time.perf_counter() - began]))
"""

PODS = """
import asyncio, time
from facility.request.bounds import Bounds
from facility.config import load
from facility.kubernetes.client.kinds import POD
from facility.kubernetes.manifests import DaskCluster, worker_pod
from facility.kubernetes.pod_template import own_pod
from facility.kubernetes.namespace import ThisNamespace
from facility.request.checked_request import PoolRequest

api, pool = ThisNamespace().api, load().pools["cpu"]
bare = DaskCluster("{name}", own_pod(api), {{}})

def is_ready(pod):
    return any(condition["type"] == "Ready" and condition["status"] == "True"
               for condition in pod["status"].get("conditions", ()))

async def pods():
    began = time.perf_counter()
    for index in range(2):
        body = worker_pod(bare, f"x{{index}}", ["x"], PoolRequest(pool, Bounds(1, 1), pool.memory))
        body["spec"]["containers"][0]["command"] = ["sleep", "100"]
        body["spec"]["volumes"] = [{{"name": "scratch", "emptyDir": {{"sizeLimit": "1Gi"}}}}]
        mounts = body["spec"]["containers"][0]["volumeMounts"]
        mounts[:] = [mount for mount in mounts if mount["name"] == "scratch"]
        await api.create(POD, body)
    while not all(map(is_ready, (await api.list(POD, bare.workers))["items"])):
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    await api.delete_all(POD, bare.workers, 0)
    await api.aclose()
    return took

print(asyncio.run(pods()))
"""


CORES = 1.4
"""Cores of the test cluster's node that all workers share; the rest is the scheduler's."""
LITTLE = 0.15
"""Cores of a worker in the smallest size, which tests share the node with."""


def unused() -> str:
    """Name of a Dask cluster that no other has had."""
    return f"start-{uuid.uuid4().hex[:6]}"


def ours(notebook: Notebook, count: int, seen: dict[str, list[float]]) -> float:
    """Seconds to the first result of a Dask cluster of ours; the other times are kept."""
    said = notebook.python(OURS.format(count=count, name=unused()))
    return kept("ours", json.loads(said.splitlines()[-1]), seen)


def stock(kube: Kubernetes, pools: Config, count: int, seen: dict[str, list[float]]) -> float:
    """Seconds to the first result of a KubeCluster; the other times are kept."""
    pool = pools.default
    resources = pod_resources(pool, pool.memory, 1)
    image = kube.images["analysis"]
    spec = stock_cluster(unused(), image, count, resources, dict(pool.node_selector))
    command = [sys.executable, "-c", STOCK, json.dumps(spec), kube.namespace, str(count)]
    done = subprocess.run(
        command, env=environment(kube.state), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"KubeCluster failed:\n{done.stderr}")
    return kept("stock", json.loads(done.stdout.splitlines()[-1]), seen)


def kept(whose: str, times: list[float], seen: dict[str, list[float]]) -> float:
    """Keep the times to the last worker and of the end; return the time to the first result."""
    first, last, end = times
    seen.setdefault(f"{whose}: last worker", []).append(last)
    seen.setdefault(f"{whose}: close", []).append(end)
    return first


def pods(notebook: Notebook) -> float:
    """Seconds until two bare pods are Ready."""
    return float(notebook.python(PODS.format(name=unused())).splitlines()[-1])


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = options((__doc__ or "").partition("\n")[0], rounds=5)
    parser.add_argument(
        "--cpu", type=float, default=0.7, help="most cores of a worker (%(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=[2], nargs="+", help="how many, one after the other"
    )
    arguments = parser.parse_args(given)
    state = state_of_running("analysis", "operator")
    rows: dict[str, Summary] = {}
    ratios: dict[str, Summary] = {}
    for count in arguments.workers:
        # What a worker is given of a node counts: Python starts as fast as its share allows.
        most = LITTLE if arguments.smallest else arguments.cpu
        cores = min(most, int(CORES / count * 1000) / 1000)
        pool = POOLS.pools["cpu"].model_copy(update={"cpu": cores, "memory": 256 * 2**20})
        pools = Config(pools={"cpu": pool}, source="this benchmark")
        seen: dict[str, list[float]] = {}
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            notebook = stack.enter_context(facility_of(state, Path(folder), pools, Quota(cpu=20)))
            measured: dict[str, Callable[[], float]] = {
                "ours: first result": partial(ours, notebook, count, seen)
            }
            if not arguments.smallest:
                kube = stack.enter_context(stock_operator(state))
                measured["stock: first result"] = partial(stock, kube, pools, count, seen)
            if count == 2:
                measured["pods: Ready"] = partial(pods, notebook)
            samples = alternate(measured, arguments.rounds)
        rows |= {f"{count}, {name}": Summary.of(each) for name, each in (samples | seen).items()}
        more = "" if count == 2 else f"_{count}"
        if "stock: first result" in samples:
            ratios[f"vs_kubecluster{more}"] = ratio(
                samples["ours: first result"], samples["stock: first result"]
            )
            ratios[f"last_vs_kubecluster{more}"] = ratio(
                seen["ours: last worker"], seen["stock: last worker"]
            )
        if "pods: Ready" in samples:
            ratios["vs_pods"] = ratio(samples["ours: first result"], samples["pods: Ready"])
    finish(
        {**ratios, "seconds": rows},
        json=arguments.json,
        table=table({**rows, **ratios}, dict.fromkeys(rows, "s")),
    )


if __name__ == "__main__":
    main()
