"""How the hub follows users' servers, and what it says when Kubernetes refuses one."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes_asyncio.client import ApiClient, ApiException
from kubespawner import reflector
from kubespawner.objects import make_pod
from kubespawner.spawner import PodReflector

from facility.hub.kubernetes.reflector import LastingPods
from facility.hub.kubernetes.spawner import TenantSpawner, refused
from facility.kubernetes.quota import takes

POD = {"metadata": {"namespace": "af-ada", "name": "notebook"}}


class Refusing:
    """An API server that refuses the list of pods so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    async def list_pod_for_all_namespaces(self, **_: Any) -> Any:
        self.left -= 1
        listed = {"metadata": {"resourceVersion": "1"}, "items": [POD]}

        async def read() -> str:
            return json.dumps(listed)

        async def said() -> dict[str, str]:
            return {"message": "pods is forbidden"}

        fine = self.left < 0
        # A watch of it tells nothing more.
        silent = SimpleNamespace(readline=asyncio.Event().wait)
        return SimpleNamespace(
            ok=fine,
            status=200 if fine else 403,
            reason="Forbidden",
            read=read,
            json=said,
            content=silent,
            release=lambda: None,
        )


def following(
    kind: type[PodReflector], server: Refusing, monkeypatch: pytest.MonkeyPatch
) -> tuple[PodReflector, list[str]]:
    async def at_once(_: float, sleep: Any = asyncio.sleep) -> None:
        await sleep(0)

    monkeypatch.setattr(reflector, "shared_client", lambda _: server)
    monkeypatch.setattr(reflector.asyncio, "sleep", at_once)
    ended: list[str] = []
    labels = {"component": "user-server"}
    return kind(labels=labels, omit_namespace=True, on_failure=lambda: ended.append("")), ended


async def test_the_hub_outlives_every_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    pods, ended = following(LastingPods, Refusing(30), monkeypatch)
    await pods.start()
    await pods.first_load_future
    assert list(pods.pods) == ["af-ada/notebook"]
    assert ended == []
    await pods.stop()


async def test_kubespawners_own_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why there is another one."""
    pods, ended = following(PodReflector, Refusing(30), monkeypatch)
    with pytest.raises(ApiException):
        await pods.start()
    assert isinstance(pods.first_load_future.exception(), ApiException)
    await pods._watch_and_update()
    assert ended == [""]


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
