"""How the hub follows users' servers, and what it says when Kubernetes refuses one."""

import asyncio
import copy
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient, ApiException, Configuration, CoreV1Api
from kubespawner import KubeSpawner, reflector
from kubespawner.objects import make_pod
from kubespawner.spawner import PodReflector

from facility.hub.kubernetes.progress import stage
from facility.hub.kubernetes.reflector import LastingPods
from facility.hub.kubernetes.server_pod import kept
from facility.hub.kubernetes.spawner import TenantSpawner, refused
from facility.kubernetes.client.kinds import POD
from facility.kubernetes.client.shapes import shaped
from facility.kubernetes.quota import takes
from tests import api_objects
from tests.api_server import Objects, serving

sleep = asyncio.sleep
SERVER = api_objects.SERVER_CLASS


def server_pod(namespace: str = "af-ada", size: int = 0, **spec: Any) -> dict[str, Any]:
    """A server's pod with so many variables of 1 KiB."""
    pod = copy.deepcopy(api_objects.SERVER)
    pod["metadata"]["namespace"] = namespace
    pod["spec"]["priorityClassName"] = SERVER
    pod["spec"] |= spec
    variables = [{"name": f"V{n}", "value": f"{n:01024}"} for n in range(size)]
    pod["spec"]["containers"][0].setdefault("env", []).extend(variables)
    return dict(pod)


@asynccontextmanager
async def following(
    kind: type[PodReflector], objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Any, list[str]]]:
    """KubeSpawner's own client follows what an API server of this machine has."""
    ended: list[str] = []
    more = {"server_classes": (SERVER,)} if kind is LastingPods else {}
    monkeypatch.setattr(reflector.asyncio, "sleep", at_once)
    async with serving(objects), ApiClient(Configuration(host=objects.url)) as client:
        monkeypatch.setattr(reflector, "shared_client", lambda _: CoreV1Api(client))
        found = kind(
            labels={"component": "user-server"},
            omit_namespace=True,
            on_failure=lambda: ended.append(""),
            **more,
        )
        try:
            yield found, ended
        finally:
            # One that has hardly begun is not stopped but cancelled.
            await sleep(0.01)
            await found.stop()


async def at_once(_: float) -> None:
    await sleep(0)


def refusing(times: int) -> Objects:
    """An API server that refuses the list of pods so many times."""
    objects = Objects([(POD, server_pod())])
    left = [403] * times
    objects.refuses = lambda method, path: left.pop() if left else None
    return objects


async def test_the_hub_outlives_every_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    async with following(LastingPods, refusing(30), monkeypatch) as (pods, ended):
        await pods.start()
        await pods.first_load_future
        assert list(pods.pods) == ["af-ada/notebook"]
        assert ended == []


async def test_kubespawners_own_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why there is another one."""
    async with following(PodReflector, refusing(30), monkeypatch) as (pods, ended):
        with pytest.raises(ApiException):
            await pods.start()
        assert isinstance(pods.first_load_future.exception(), ApiException)
        await pods._watch_and_update()
        assert ended == [""]


# What is kept of pods.


async def held(kind: type[PodReflector], pods: list[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Bytes that a reflector holds after it has seen pods, at their most, and the pods."""
    objects = Objects((POD, pod) for pod in pods)
    async with following(kind, objects, monkeypatch) as (found, _):
        # What the server of this test makes of them is made before.
        await found.api.list_pod_for_all_namespaces(
            _preload_content=False, label_selector=found.label_selector
        )
        tracemalloc.start()
        try:
            await found.start()
            await found.first_load_future
            gc.collect()
            now, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return now, most, found.pods


async def test_huge_environments_stay_out_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pod holds a megabyte, and one at a time is decoded; KubeSpawner's own keeps them all."""
    pods = [server_pod(f"af-{n}", 1000) for n in range(20)]
    little, most, found = await held(LastingPods, pods, monkeypatch)
    assert len(found) == 20
    sizes = [len(json.dumps(each)) for each in found.values()]
    assert max(sizes) < 3000
    whole, whole_most, _ = await held(PodReflector, pods, monkeypatch)
    assert little < whole / 10
    assert most < whole_most / 5


async def test_what_comes_later_is_kept_as_little(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects()
    async with following(LastingPods, objects, monkeypatch) as (found, _):
        await found.start()
        await found.first_load_future
        for pod in (server_pod("af-ada", 1000), server_pod("af-eve", priorityClassName="")):
            objects.changes.put_nowait({"type": "ADDED", "object": pod})
        async with asyncio.timeout(10):
            while not objects.changes.empty() or not found.pods:
                await sleep(0.05)
        assert list(found.pods) == ["af-ada/notebook"]
        assert len(json.dumps(found.pods["af-ada/notebook"])) < 3000


async def test_pods_that_a_user_has_made_are_no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The label is theirs to set; the PriorityClass is not."""
    others = ({"priorityClassName": "af-pool-cpu"}, {"priorityClassName": None})
    pods = [server_pod(f"af-{n}", **spec) for n, spec in enumerate(others)]
    *_, found = await held(LastingPods, [*pods, server_pod("af-ada")], monkeypatch)
    assert list(found) == ["af-ada/notebook"]


def test_what_kubespawner_reads_of_a_pod_is_kept() -> None:
    whole = server_pod()
    pod = kept(shaped(POD, whole))
    spawner: Any = SimpleNamespace(get_pod_url=None, pod_connect_ip="")
    spawner._get_pod_port = partial(KubeSpawner._get_pod_port, spawner)
    for each in (whole, pod):
        assert KubeSpawner.is_pod_running(spawner, each)
        assert KubeSpawner.pod_has_uid(spawner, each)
        assert KubeSpawner._get_pod_url(spawner, each) == "http://10.244.1.7:8888"
    assert stage(pod, ()) == stage(whole, ())


def test_a_pod_without_a_status_is_waited_for() -> None:
    pod = kept(shaped(POD, {"metadata": {}, "spec": None}))
    assert not KubeSpawner.is_pod_running(SimpleNamespace(), pod)
    assert pod["status"]["phase"] == "Unknown"


# What is told.


def test_a_refusal_is_told_with_kubernetes_own_reason() -> None:
    error = ApiException(status=403, reason="Forbidden")
    assert "start this server: 403 Forbidden." in refused(error)
    error.body = json.dumps({"message": 'pods "notebook" is forbidden: exceeded quota: all'})
    assert "exceeded quota: all. Show this to the administrators" in refused(error)


async def test_quotas_are_asked_about_the_pod_that_kubespawner_makes() -> None:
    """As far as they look at it."""
    gpus = {"nvidia.com/gpu": "1"}
    settings: dict[str, Any] = {
        "cpu_limit": 2.0,
        "cpu_guarantee": 0.5,
        "mem_limit": 2**31,
        "mem_guarantee": 2**30,
        "extra_resource_limits": gpus,
        "extra_resource_guarantees": gpus,
        "priority_class_name": "af-notebook",
    }
    stands: Any = SimpleNamespace(**settings)
    asked = TenantSpawner.wanted(stands)
    made = make_pod(
        name="notebook", cmd=["x"], port=1, image="x", image_pull_policy="Always", **settings
    )
    async with ApiClient() as client:
        real = client.sanitize_for_serialization(made)
    assert takes(asked) == takes(real)
    assert takes(asked)["requests.nvidia.com/gpu"] == 1
    assert asked["spec"]["priorityClassName"] == real["spec"]["priorityClassName"]
