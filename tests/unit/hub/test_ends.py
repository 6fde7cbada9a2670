"""What ends in users' namespaces: past what hangs, which is named, and by a deadline."""

import asyncio
import copy
import datetime
import socket
import ssl
import time
from typing import Any

import pytest

from facility import names
from facility.hub.kubernetes import admin, ends
from facility.hub.kubernetes.ends import CLUSTERS, EVERYTHING, Outcome, Part, with_servers
from facility.hub.kubernetes.hooks.end import end_all
from facility.hub.kubernetes.revocation import Hub
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import (
    ACCOUNT,
    DASK_CLUSTER,
    JOB,
    NAMESPACE,
    POD,
    SECRET,
    Kind,
)
from tests.api_objects import EARLIER
from tests.api_objects import NAMESPACE as A_NAMESPACE
from tests.api_server import Objects, serving

RELEASE = "af"


def named(name: str, space: str = "af-ada", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": space, "uid": f"{space}/{name}", **more}}


def server(name: str, space: str = "af-ada") -> dict[str, Any]:
    labels = {names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT}
    return {**named(name, space, labels=labels), "spec": {"priorityClassName": "af-notebook"}}


class Held(Objects):
    """An API server in which some objects stay, as with a finalizer."""

    held: tuple[str, ...] = ()

    async def answer(self, request: Any) -> Any:
        before = list(self.objects)
        answer = await super().answer(request)
        gone = [each for each in before if each not in self.objects]
        self.objects += [each for each in gone if each[1]["metadata"]["name"] in self.held]
        return answer


async def ended(objects: Objects, parts: tuple[Part, ...], patience: float = 20) -> Outcome:
    async with serving(objects):
        api = Api(Account(objects.url, "af-ada", ssl.create_default_context()))
        try:
            return await ends.end(api, parts, patience)
        finally:
            await api.aclose()


async def test_all_that_acts_for_a_user_ends() -> None:
    objects: list[tuple[Kind, dict[str, Any]]] = [
        (ACCOUNT, named("notebook")),
        (ACCOUNT, named("scheduler")),
        (ACCOUNT, named("default")),
        (SECRET, named("mine-tls", labels={names.CLUSTER_LABEL: "mine"})),
        (JOB, named("fit")),
        (DASK_CLUSTER, named("mine")),
        (POD, server("notebook")),
        (POD, named("anything")),
        (POD, named("other", "af-bob")),
    ]
    served = Objects(objects)
    outcome = await ended(served, EVERYTHING)
    assert outcome.left == []
    assert outcome.asked["Pod"] == 2
    left = {each["metadata"]["name"] for _, each in served.objects}
    assert left == {"default", "other"}
    paths = [path.rpartition("/")[2] for method, path, _ in served.asked if method == "DELETE"]
    assert {*paths[:2]} == {"notebook", "scheduler"}


async def test_what_hangs_is_named_and_holds_nothing_else_up() -> None:
    objects = Held([(POD, named(name)) for name in ("a", "stays", "z")])
    objects.held = ("stays",)
    for _, each in objects.objects:
        if each["metadata"]["name"] == "stays":
            each["metadata"]["finalizers"] = ["example.org/hold"]
    began = time.monotonic()
    outcome = await ended(objects, (Part(POD),), 3)
    assert time.monotonic() - began < 10
    assert outcome.asked == {"Pod": 3}
    assert outcome.left == ["Pod af-ada/stays is there after 3 s (held by example.org/hold)"]


async def test_no_pod_chooses_how_long_its_end_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "FORCE_SECONDS", 0.5)
    objects = Held([(POD, named("slow"))])
    objects.held = ("slow",)
    await ended(objects, (Part(POD),), 2)
    graces = [body["gracePeriodSeconds"] for _, _, body in objects.asked]
    assert graces[0] == ends.GRACE
    assert graces[-1] == 0


@pytest.mark.parametrize("answer", [403, 409])
async def test_a_refusal_is_told_and_is_nobody_elses(answer: int) -> None:
    objects = Objects([(JOB, named("fit")), (POD, named("p"))])
    objects.refuses = lambda method, path: answer if "/jobs" in path else None
    outcome = await ended(objects, (Part(JOB), Part(POD)), 5)
    (said,) = outcome.left
    assert said.startswith("Jobs of af-ada cannot be ended: KubernetesError: ")
    assert [kind for kind, _ in objects.objects] == [JOB]


async def test_a_silent_api_server_holds_up_no_longer_than_the_deadline() -> None:
    objects = Objects([(POD, named("p"))])
    objects.refuses = lambda method, path: 30.0
    began = time.monotonic()
    await ended(objects, (Part(POD),), 2)
    assert time.monotonic() - began < 8


async def test_a_dask_cluster_that_an_operator_holds_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ends, "OPERATOR_SECONDS", 0.5)
    objects = Held([(DASK_CLUSTER, named("mine", finalizers=["kopf"]))])
    objects.held = ("mine",)
    await ended(objects, CLUSTERS, 2)
    assert ("PATCH", {"metadata": {"finalizers": None}}) in [
        (method, body) for method, _, body in objects.asked
    ]


async def test_the_facility_goes_though_one_user_holds_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    objects = Held()
    for space in ("af-ada", "af-eve"):
        namespace = copy.deepcopy(A_NAMESPACE)
        namespace["metadata"] |= {"name": space, "namespace": ""}
        objects.objects += [(NAMESPACE, namespace), (POD, server("notebook", space))]
        objects.objects += [(DASK_CLUSTER, named("mine", space))]
    objects.objects += [(POD, server("held", "af-eve"))]
    own = {**server("own", "af-eve"), "spec": {"priorityClassName": "af-pool-cpu"}}
    objects.objects += [(POD, own)]
    objects.held = ("held",)
    async with serving(objects):
        api = Api(Account(objects.url, "hub", ssl.create_default_context()))
        left = await end_all(api, RELEASE, 3)
        await api.aclose()
    assert left == ["Pod af-eve/held is there after 3 s (nothing says why)"]
    assert "2 Dask clusters of 2 users asked to end." in capsys.readouterr().out
    # What a user made himself is no server.
    kept = {each["metadata"]["name"] for kind, each in objects.objects if kind is POD}
    assert kept == {"held", "own"}


def test_servers_are_known_by_their_priority_class() -> None:
    (_, servers) = with_servers(RELEASE)
    assert servers.keep(server("notebook")) is not None
    assert servers.keep(named("own")) is None
    # As it is with batch, and stays when batch is turned off.
    preempting = {**server("notebook"), "spec": {"priorityClassName": "af-preempting-notebook"}}
    assert servers.keep(preempting) is not None
    assert asyncio.iscoroutinefunction(ends.end)


# What administrators ask in the hub's pod.


@pytest.fixture
def administered(monkeypatch: pytest.MonkeyPatch) -> Objects:
    """An API server with a user, as the hub's pod sees it."""
    objects = Held([(NAMESPACE, {**A_NAMESPACE, "metadata": dict(A_NAMESPACE["metadata"])})])
    objects.objects[0][1]["metadata"]["namespace"] = ""
    objects.objects += [(POD, server("notebook")), (DASK_CLUSTER, named("mine"))]
    monkeypatch.setenv(admin.RELEASE_VARIABLE, RELEASE)
    tls = ssl.create_default_context()
    monkeypatch.setattr(admin, "pod_account", lambda: Account(objects.url, "hub", tls))
    return objects


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind((names.LOOPBACK, 0))
        return int(probe.getsockname()[1])


async def test_a_hub_that_is_away_keeps_nothing_in_kubernetes(administered: Objects) -> None:
    async with serving(administered):
        hub = Hub("secret", "/", closed_port())
        found = await asyncio.to_thread(lambda: admin.Administration().revoke("ada", hub))
    (said,) = found.left
    assert "The hub does not answer to DELETE users/ada/held" in said
    assert found.done == ("1 DaskCluster", "1 Pod")
    assert [kind for kind, _ in administered.objects] == [NAMESPACE]


async def test_a_refusing_kubernetes_is_told(administered: Objects) -> None:
    administered.refuses = lambda method, path: 403 if method == "DELETE" else None
    async with serving(administered):
        ends_soon = Part(POD)
        hub = Hub("secret", "/", closed_port())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ends, "EVERYTHING", (ends_soon,))
            patch.setattr(ends.end, "__defaults__", (2.0,))
            found = await asyncio.to_thread(lambda: admin.Administration().revoke("ada", hub))
    assert found.left[1].startswith("Pod af-ada/notebook is there after 2 s (KubernetesError: ")


async def test_a_namespace_with_nothing_but_what_is_being_deleted_is_unused(
    administered: Objects,
) -> None:
    """Whoever holds a pod by a finalizer keeps no namespace from being cleared away."""
    for kind, each in administered.objects:
        if kind is not NAMESPACE:
            each["metadata"]["deletionTimestamp"] = EARLIER
    now = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    async with serving(administered):
        found = await asyncio.to_thread(lambda: admin.Administration().unused(30, now))
        assert [(user, space) for user, space, _ in found] == [("ada", "af-ada")]
        assert await asyncio.to_thread(lambda: admin.Administration().stuck(now)) == []
        namespace = administered.objects[0][1]
        namespace["metadata"]["deletionTimestamp"] = EARLIER
        condition = {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "a pod"}
        namespace["status"] = {"conditions": [condition]}
        administered.lists.clear()
        (said,) = await asyncio.to_thread(lambda: admin.Administration().stuck(now))
    assert said == f"af-ada of ada is being deleted since {EARLIER}: a pod"
