"""Many worker pods: how fast they exist, and how fast they are gone again.

    .venv/bin/python -m benchmarks.kube_scale [--json] [--workers 500]

Runs on the Kubernetes of `make kube-up`, with the facility's images in its registry
(`.venv/bin/python -m tests.kube.bringup images`), in a user's namespace with all
quotas and policies, in the pod of a user's server, with its own account. No node
takes these pods, so that what is measured is the library and the API server, and
not the nodes.

ours
    ``c.scale(n)`` until Kubernetes has the pods, ``c.scale(0)`` until it has
    none.
posts
    As many bare pods of the same kind posted and deleted by the same process,
    50 calls in flight: the limit of what the API server takes.
operator
    With ``--operator``: the stock operator of dask-kubernetes, a local process
    with all rights, for a DaskCluster of as many workers (in a namespace
    without quotas and policies, so that nothing slows it down).
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks._kube import state_of_running
from benchmarks._measure import Summary, finish, note, options, positive, ratio, table
from benchmarks._stock import stock_cluster, stock_operator
from tests.kube.conftest import Kubernetes
from tests.kube.notebooks import Notebook, facility_of

MANY, FEW = 500, 10
INNER = """
import asyncio, json, resource, time
from facility import cluster
from facility.kubernetes.client.kinds import POD
COUNT, ROUNDS = {count}, {rounds}
c = cluster(cpu=0, nowhere=(0, COUNT), name="scale", timeout=300)
backend = c._controller.backend
api, found = backend.api, {{}}

def run(work):
    async def inner():
        began = time.perf_counter()
        await work()
        return time.perf_counter() - began
    return asyncio.run_coroutine_threadsafe(inner(), c.loop.asyncio_loop).result()

async def answered(count):
    groups = backend.pods.groups
    while len(groups) != count or not all(group.pod for group in groups.values()):
        await asyncio.sleep(0.01)

async def listed(count):
    while len((await api.list(POD, backend.cluster.workers))["items"]) != count:
        await asyncio.sleep(0.05)

def scaled(count):
    before = len(backend.pods.groups)
    began = time.perf_counter()
    c.scale(nowhere=count)
    run(lambda: answered(count))
    # A pod exists when its call is answered, and is not gone by that: both ways alike.
    if count < before:
        run(lambda: listed(count))
    took = time.perf_counter() - began
    run(lambda: listed(count))
    return took

def bare(index):
    from facility.kubernetes.manifests import worker_pod
    request = c._controller.pools["nowhere"].request
    body = worker_pod(backend.cluster, f"bare-{{index}}", ["x"], request)
    body["metadata"]["labels"] = {{"bare": "yes"}}
    return body

async def post():
    await asyncio.gather(*(api.create(POD, bare(i)) for i in range(COUNT)))

async def delete():
    await asyncio.gather(*(api.delete(POD, f"scale-bare-{{i}}") for i in range(COUNT)))
    while (await api.list(POD, "bare=yes"))["items"]:
        await asyncio.sleep(0.05)

for _ in range(ROUNDS):
    found.setdefault("posts", []).append(run(post))
    found.setdefault("deletes", []).append(run(delete))
    calls = api.calls
    found.setdefault("out", []).append(scaled(COUNT))
    found.setdefault("calls", []).append((api.calls - calls) / COUNT)
    found.setdefault("memory", []).append(
        int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20)
    began = time.perf_counter()
    scaled(COUNT // 5)
    scaled(COUNT)
    found.setdefault("back", []).append(time.perf_counter() - began)
    found.setdefault("in", []).append(scaled(0))
print(json.dumps(found))
c.close()
"""


def inside(notebook: Notebook, count: int, rounds: int) -> dict[str, list[float]]:
    """Measure in the pod of the user's server."""
    script = INNER.format(count=count, rounds=rounds)
    found: dict[str, list[float]] = json.loads(notebook.python(script).splitlines()[-1])
    return found


def by_operator(state: dict[str, Any], count: int) -> tuple[float, float]:
    """Seconds until the stock operator's worker pods exist, and until they are gone."""
    image = state["images"]["analysis"]
    cluster = stock_cluster("stock", image, count, {"limits": {"cpu": "1"}}, {"no": "node"})
    with stock_operator(state) as kube:
        began = time.perf_counter()
        kube.run("apply", "-f", "-", text=yaml.safe_dump(cluster))
        _until(lambda: _workers(kube) == count)
        out = time.perf_counter() - began
        began = time.perf_counter()
        kube.run("delete", "daskcluster", "stock", "--wait=false")
        _until(lambda: _workers(kube) == 0)
        return out, time.perf_counter() - began


def _workers(kube: Kubernetes) -> int:
    words = ("get", "pods", "-l", "dask.org/component=worker", "-o", "name")
    return len(kube.run(*words).split())


def _until(done: Callable[[], bool], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s")
        time.sleep(0.5)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = options((__doc__ or "").partition("\n")[0], rounds=3)
    parser.add_argument(
        "--workers", type=positive, help="pods of workers (500; in the smallest size 10)"
    )
    parser.add_argument("--operator", action="store_true", help="the stock operator too; slow")
    arguments = parser.parse_args(given)
    workers = arguments.workers or (FEW if arguments.smallest else MANY)
    state = state_of_running("analysis", "operator")
    with tempfile.TemporaryDirectory() as folder, facility_of(state, Path(folder)) as notebook:
        note(f"{workers} pods, {arguments.rounds} rounds")
        samples = inside(notebook, workers, arguments.rounds)
    rows = {
        "ours: pods exist": Summary.of(samples["out"]),
        "posts: pods exist": Summary.of(samples["posts"]),
        "ours: gone": Summary.of(samples["in"]),
        "deletes: gone": Summary.of(samples["deletes"]),
        "ours: to a fifth and back": Summary.of(samples["back"]),
    }
    ratios = {
        "out_vs_posts": ratio(samples["out"], samples["posts"]),
        "in_vs_deletes": ratio(samples["in"], samples["deletes"]),
    }
    if arguments.operator:
        note("the stock operator ...")
        out, gone = by_operator(state, workers)
        rows |= {"operator: pods exist": Summary.of([out]), "operator: gone": Summary.of([gone])}
        ratios["out_vs_operator"] = Summary.of(out / one for one in samples["out"])
        ratios["in_vs_operator"] = Summary.of(gone / one for one in samples["in"])
    units = dict.fromkeys(rows, "s")
    others = {
        "calls_per_worker": Summary.of(samples["calls"]),
        "client_mib": Summary.of(samples["memory"]),
    }
    units["client_mib"] = "MiB"
    finish(
        {"workers": workers, **ratios, **others, "seconds": rows},
        json=arguments.json,
        table=table({**rows, **ratios, **others}, units),
    )


if __name__ == "__main__":
    main()
