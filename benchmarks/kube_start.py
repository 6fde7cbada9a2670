"""On Kubernetes, from the call to the first result, with two workers and the image present.

    KUBE_TEST_STATE=... .venv/bin/python -m benchmarks.kube_start [--json]

In a user's namespace with all quotas and policies, in the pod of a user's
server, with its own account:

ours
    ``cluster(2)`` with both workers, to the result of one task: scheduler and
    Service by the operator, two pods, TLS.
pods
    Two bare pods of the same image and resources, from the calls that make them
    until both are Ready: what any scheduler's workers take at least.
close
    ``close()``, until nothing is left.
"""

import json
import os
import tempfile
from pathlib import Path

from benchmarks._measure import Summary, finish, options, ratio, table
from facility.config import Config
from facility.kubernetes.tenant import Quota
from tests.kube.conftest import STATE
from tests.kube.notebooks import POOLS, facility_of

INNER = """
import asyncio, json, time
from facility import cluster
from facility.kubernetes.api import POD, Api
from facility.kubernetes.manifests import DaskCluster, worker_pod
from facility.kubernetes.site import ThisNamespace
from facility.kubernetes.place import own_pod
from facility.adaptive import Bounds
from facility.config import load
from facility.request import PoolRequest

site = ThisNamespace()
bare = DaskCluster("bare", own_pod(site.api), {{}})
pool = load().pools["cpu"]
found = {{"ours": [], "pods": [], "close": []}}

async def pods():
    api = Api(site.api.account)
    began = time.perf_counter()
    for index in range(2):
        body = worker_pod(bare, f"x{{index}}", ["x"], PoolRequest(pool, Bounds(1, 1), pool.memory))
        body["spec"]["containers"][0]["command"] = ["sleep", "100"]
        body["spec"]["volumes"] = [{{"name": "scratch", "emptyDir": {{}}}}]
        mounts = body["spec"]["containers"][0]["volumeMounts"]
        mounts[:] = [mount for mount in mounts if mount["name"] == "scratch"]
        await api.create(POD, body)
    def ready(pod):
        return any(condition["type"] == "Ready" and condition["status"] == "True"
                   for condition in pod["status"].get("conditions", ()))
    while not all(map(ready, (await api.list(POD, bare.workers))["items"])):
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    await api.delete_all(POD, bare.workers, 0)
    await api.aclose()
    return took

for number in range({rounds}):
    found["pods"].append(asyncio.run(pods()))
    began = time.perf_counter()
    c = cluster(2, wait=2, name=f"start-{{number}}")
    with c.get_client() as client:
        client.submit(sum, [1, 2]).result()
        found["ours"].append(time.perf_counter() - began)
    began = time.perf_counter()
    c.close()
    found["close"].append(time.perf_counter() - began)
print(json.dumps(found))
"""


def main() -> None:
    """Measure, and print."""
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--cpu", type=float, default=0.7, help="cores of a worker (%(default)s)")
    arguments = parser.parse_args()
    state = json.loads(Path(os.environ[STATE]).read_text())
    # What a worker is given of a node counts: Python starts as fast as its share allows.
    small = POOLS.pools["cpu"].model_copy(update={"cpu": arguments.cpu})
    pools = Config(pools={"cpu": small}, source="this benchmark")
    with (
        tempfile.TemporaryDirectory() as folder,
        facility_of(state, Path(folder), pools, Quota(cpu=20)) as notebook,
    ):
        said = notebook.python(INNER.format(rounds=arguments.rounds))
    samples = json.loads(said.splitlines()[-1])
    rows = {name: Summary.of(values) for name, values in samples.items()}
    ratios = {"vs_pods": ratio(samples["ours"], samples["pods"])}
    finish(
        {**ratios, "seconds": rows},
        json=arguments.json,
        table=table({**rows, **ratios}, dict.fromkeys(rows, "s")),
    )


if __name__ == "__main__":
    main()
