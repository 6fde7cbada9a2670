"""dask-kubernetes' operator as it runs in its image: what one user writes holds up no other's."""

import asyncio
import copy
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.any_object import changed
from tests.kubernetes_server import KubernetesServer, kubernetes_server

FOLDER = Path(__file__).parents[2] / "images/operator"
COMMAND = [sys.executable, "-m", "kopf", "run", "--module=daskcluster_operator", "--all-namespaces"]
CASES = 50
QUIET_SECONDS = 3.0
"""Without a call: longer than the pause before the first two tries."""
Object = dict[str, Any]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[KubernetesServer]:
    """Run the operator by its image's command, with an API server of this machine."""
    kubeconfig, log = folder / "kubeconfig", folder / "log"
    variables = os.environ | {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(FOLDER)}
    async with kubernetes_server(kubeconfig) as server:
        with log.open("w") as said:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, env=variables, stdout=said, stderr=said
            )
        try:
            yield server
            assert process.returncode is None, log.read_text()[-3000:]
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def dask_cluster(namespace: str, name: str = "mine") -> Object:
    labels = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    ports = [{"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"}]
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": namespace, "labels": {"x": "y"}, "annotations": {}},
        "spec": {
            "worker": {"replicas": 0, "spec": {"containers": [{"name": "w", "image": "x"}]}},
            "scheduler": {
                "metadata": {"annotations": {"x": "y"}, "labels": {"x": "y"}},
                "spec": {"containers": [{"name": "scheduler", "image": "x", "args": []}]},
                "service": {"type": "ClusterIP", "selector": labels, "ports": ports},
            },
        },
    }


def runs(server: KubernetesServer, namespace: str) -> bool:
    found = server.objects.get(("daskclusters", namespace, "mine"), {})
    group = server.objects.get(("daskworkergroups", namespace, "mine-default"), {})
    owned = bool(group.get("metadata", {}).get("ownerReferences"))
    return bool(found.get("status", {}).get("phase") == "Running" and owned)


async def test_a_dask_cluster_starts_whatever_others_have_written(
    tmp_path: Path,
) -> None:
    """By a generator with a seed: DaskClusters, worker groups and Services changed at random."""
    async with running(tmp_path) as server:
        server.put("daskclusters", dask_cluster("af-ada"))
        await server.until(lambda: runs(server, "af-ada"))
        like = {"daskclusters": dask_cluster("af-mallory")}
        for plural, name in (("daskworkergroups", "mine-default"), ("services", "mine-scheduler")):
            like[plural] = copy.deepcopy(server.objects[plural, "af-ada", name])
            like[plural]["metadata"]["annotations"] = {}
        for seed in range(CASES):
            source = random.Random(seed)
            # Users write DaskClusters; the others come of those, and are left where they end.
            plural = "daskclusters" if seed % 10 else source.choice(list(like))
            odd = changed(source, like[plural])
            server.put(plural, {**like[plural], **odd} | {"metadata": named(odd, f"odd-{seed}")})
        server.put("daskclusters", dask_cluster("af-eve"))
        await server.until(lambda: runs(server, "af-eve"))
        await server.until(lambda: server.asked["POST", "deployments", "af-mallory"])
        # Each of them has been looked at and is over: nothing is asked about it any more.
        asked = None
        while asked != server.asked["POST", "deployments", "af-mallory"]:
            asked = server.asked["POST", "deployments", "af-mallory"]
            await asyncio.sleep(QUIET_SECONDS)
        assert 0 < asked <= CASES
        server.put("daskclusters", dask_cluster("af-bob"))
        await server.until(lambda: runs(server, "af-bob"))


def named(found: Any, name: str) -> Object:
    """Metadata as an API server lets through: labels and annotations are texts."""
    metadata = found.get("metadata") if isinstance(found, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    kept: Object = {"name": name, "namespace": "af-mallory"}
    for key in ("labels", "annotations"):
        pairs = metadata.get(key) if isinstance(metadata.get(key), dict) else {}
        kept[key] = {str(k): str(v)[:100] for k, v in pairs.items()}
    return kept


async def test_what_a_user_writes_in_its_place_does_not_mislead_kopf(
    tmp_path: Path,
) -> None:
    """kopf keeps in annotations what it has done; users write annotations."""
    async with running(tmp_path) as server:
        notes = ("last-handled-configuration", "daskcluster_create", "adopt", "touch-dummy")
        for n, said in enumerate(
            ("{", "[]", "null", '{"started": 5}', '{"retries": "x"}', "\ud800")
        ):
            body = dask_cluster("af-mallory", f"odd-{n}")
            body["metadata"]["annotations"] = {f"kopf.zalando.org/{each}": said for each in notes}
            server.put("daskclusters", body)
        server.put("daskclusters", dask_cluster("af-ada"))
        await server.until(lambda: runs(server, "af-ada"))
