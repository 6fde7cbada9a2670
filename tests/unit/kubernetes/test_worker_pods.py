"""What worker pods become: here the order in which answers come, which no API server lets one set.

The API is a stand-in that answers when it is told to; `tests/kube` has the real one.
"""

import asyncio
import time
from typing import Any

from facility.config import Pool
from facility.kubernetes.client.kinds import Kind
from facility.kubernetes.manifests import DaskCluster
from facility.kubernetes.pod_template import PodTemplate
from facility.kubernetes.worker_pods import EARLY, WorkerPods
from facility.request.bounds import Bounds
from facility.request.checked_request import PoolRequest

POOL = Pool(name="cpu", default=True, cpu=1, memory=2**30, max_workers=2)


class Answers:
    """Answers what was asked for, at once."""

    async def create(self, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
        return body


async def test_a_list_lacks_what_was_made_while_it_was_on_its_way() -> None:
    ready = asyncio.Event()
    ready.set()
    cluster = DaskCluster("mine", PodTemplate("af-ada", "image"), {})
    pods = WorkerPods(cluster, Answers(), ready)  # type: ignore[arg-type]
    asked = time.monotonic()
    pods.start("cpu-0", ["cpu-0"], PoolRequest(POOL, Bounds(1, 1), POOL.memory))
    await asyncio.sleep(0.01)
    assert pods.groups["mine-cpu-0"].pod is not None
    pods.listed({}, asked)
    assert not pods.ended()
    pods.listed({}, time.monotonic())
    (ended,) = pods.ended()
    assert (ended.name, ended.how) == ("cpu-0", "was deleted by somebody else")


async def test_many_pods_wait_until_the_scheduler_runs() -> None:
    ready = asyncio.Event()
    ready.set()
    cluster = DaskCluster("mine", PodTemplate("af-ada", "image"), {})
    pods = WorkerPods(cluster, Answers(), ready)  # type: ignore[arg-type]
    request = PoolRequest(POOL, Bounds(20, 20), POOL.memory)
    for index in range(20):
        pods.start(f"cpu-{index}", [f"cpu-{index}"], request)
    await asyncio.sleep(0.01)
    waiting = [group for group in pods.groups.values() if group.pod is None]
    assert len(waiting) == 20 - EARLY
    assert f"{len(waiting)} pods wait: the Dask scheduler goes first" in pods.reasons("cpu", [])
    pods.after_scheduler.set()
    await asyncio.sleep(0.01)
    assert all(group.pod for group in pods.groups.values())
