"""What is cleared away of users' namespaces, whatever users have written there."""

import json
import logging
import random
import ssl
import time
from typing import Any

import pytest

from facility import names
from facility.errors import FacilityError, KubernetesError
from facility.hub.kubernetes.tenants.leftovers import sweep
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call
from facility.kubernetes.client.kinds import DASK_CLUSTER, LEASE, POD, Kind
from facility.kubernetes.client.shapes import shaped
from facility.kubernetes.lease import holder
from tests.any_object import changed
from tests.api_objects import DASK_CLUSTER as A_CLUSTER
from tests.api_objects import LEASE as A_LEASE
from tests.api_objects import SERVER as SERVER_POD
from tests.api_server import Objects, serving

OLD, FUTURE = "2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"
SERVER = ("af-notebook",)
SPEC = {"holderIdentity": "ada", "renewTime": OLD, "leaseDurationSeconds": 300}


class StandIn:
    """An API server's objects; what cannot run here is Kubernetes itself."""

    def __init__(self, objects: list[tuple[Kind, dict[str, Any]]], namespace: str = "") -> None:
        self.objects, self.namespace = objects, namespace
        self.refused: set[str] = set()

    def within(self, namespace: str) -> "StandIn":
        other = StandIn(self.objects, namespace)
        other.refused = self.refused
        return other

    async def list(self, kind: Kind, selector: str = "", *, keep: Any) -> dict[str, Any]:
        found = (keep(shaped(kind, each)) for its, each in self.objects if its is kind)
        return {"items": [each for each in found if each is not None]}

    async def get(self, kind: Kind, name: str) -> dict[str, Any] | None:
        found = (each for its, each in self.objects if its is kind and self._is(each, name))
        return next((shaped(kind, each) for each in found), None)

    async def delete(self, kind: Kind, name: str, **_: Any) -> None:
        if name in self.refused:
            raise KubernetesError(f"{name} cannot be deleted", status=409)
        self.objects[:] = [
            (its, each) for its, each in self.objects if not (its is kind and self._is(each, name))
        ]

    async def ask(self, call: Any) -> None:
        """Take any call."""

    def _is(self, each: dict[str, Any], name: str) -> bool:
        return (each["metadata"]["name"], each["metadata"]["namespace"]) == (name, self.namespace)


def made(namespace: str, name: str, **fields: Any) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "creationTimestamp": OLD}
    return {"metadata": metadata | fields.pop("metadata", {}), **fields}


def server(namespace: str, name: str) -> dict[str, Any]:
    spec = {"priorityClassName": SERVER[0]}
    labels = {"labels": {names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT}}
    return made(namespace, name, spec=spec, status={"phase": "Failed"}, metadata=labels)


def owned(namespace: str, name: str, **fields: Any) -> list[tuple[Kind, dict[str, Any]]]:
    """A DaskCluster of a client outside, and its Lease."""
    owners = {"ownerReferences": [{"kind": "Lease", "name": name}]}
    cluster = made(namespace, name, metadata=owners)
    return [(DASK_CLUSTER, cluster), (LEASE, made(namespace, name, **fields))]


STRANGE: list[dict[str, Any]] = [
    {},
    {"spec": None},
    {"spec": {}},
    {"spec": {**SPEC, "renewTime": None}},
    {"spec": {**SPEC, "renewTime": "yesterday"}},
    {"spec": {**SPEC, "renewTime": 5}},
    {"spec": {**SPEC, "renewTime": "2026-01-01T00:00:00"}},
    {"spec": {**SPEC, "leaseDurationSeconds": "long"}},
    {"spec": {**SPEC, "leaseDurationSeconds": 2**31}},
    {"spec": {**SPEC, "leaseDurationSeconds": 10**30}},
    {"spec": "a" * 10_000},
    {"spec": ["\N{SNOWMAN}"]},
]


async def test_what_a_user_writes_keeps_nothing_of_others_from_being_cleared_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    objects = [each for n, spec in enumerate(STRANGE) for each in owned("af-eve", f"x{n}", **spec)]
    objects += [(POD, made("af-eve", "odd", status={"phase": ["Failed"]}))]
    objects += [(DASK_CLUSTER, made("af-eve", "held", metadata={"deletionTimestamp": "soon"}))]
    objects[-1][1]["metadata"]["finalizers"] = ["x"]
    objects += owned("af-ada", "gone", spec=SPEC)
    objects += owned("af-ada", "here", spec={**SPEC, "renewTime": FUTURE})
    objects += [(POD, server("af-ada", "notebook"))]
    # A user's own, with a server's label.
    objects += [(POD, made("af-ada", "own", spec={}, status={"phase": "Failed"}))]
    objects += owned("elsewhere", "gone", spec=SPEC)
    random.Random(1).shuffle(objects)
    told: set[str] = set()
    with caplog.at_level(logging.WARNING):
        cleared = await sweep(StandIn(objects), {"af-ada", "af-eve"}, SERVER, told)  # type: ignore[arg-type]
        warned = len(caplog.records)
        again = await sweep(StandIn(objects), {"af-ada", "af-eve"}, SERVER, told)  # type: ignore[arg-type]
    assert [each for each in cleared if "af-ada" in each or "elsewhere" in each] == [
        each for each in cleared if "af-eve" not in each
    ]
    assert {"the ended server af-ada/notebook"} < set(cleared)
    assert "the Dask cluster af-ada/gone, whose client has gone" in cleared
    assert not [each for each in again if "af-ada" in each]
    left = {(each["metadata"]["namespace"], each["metadata"]["name"]) for _, each in objects}
    assert {("af-ada", "here"), ("af-ada", "own"), ("elsewhere", "gone")} <= left
    assert ("af-ada", "notebook") not in left
    # Each is told once, with its namespace.
    assert warned == len(caplog.records) == len(told)
    assert all(record.message.startswith("af-eve/") for record in caplog.records)


async def test_what_cannot_be_deleted_holds_nothing_else_up() -> None:
    objects = [(POD, server("af-ada", name)) for name in ("a", "b")]
    api = StandIn(objects)
    api.refused = {"a"}
    assert await sweep(api, {"af-ada"}, SERVER) == ["the ended server af-ada/b"]  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{}, {"spec": None}, {"spec": {"renewTime": OLD}}])
def test_a_lease_of_anybodys_has_a_holder(fields: dict[str, Any]) -> None:
    assert holder(made("af-eve", "x", **fields)).startswith("a client without a name, unseen for ")


# All kinds of objects over real HTTP.


def an_account(url: str) -> Account:
    return Account(url, "", ssl.create_default_context())


async def swept(objects: Objects, told: set[str]) -> tuple[list[str], float]:
    api = Api(an_account(objects.url))
    began = time.process_time()
    try:
        return await sweep(api, {"af-ada", "af-eve"}, SERVER, told), time.process_time() - began
    finally:
        await api.aclose()


def strange(count: int) -> list[tuple[Kind, dict[str, Any]]]:
    """Objects that a user has filled with anything, each of one namespace and a name of its own."""
    found = []
    for n in range(count):
        source = random.Random(n)
        kind, one = source.choice([(POD, SERVER_POD), (DASK_CLUSTER, A_CLUSTER), (LEASE, A_LEASE)])
        one = changed(source, one)
        if isinstance(one.get("metadata"), dict):
            one["metadata"] |= {"namespace": "af-eve", "name": f"x{n}"}
        found.append((kind, one))
    return found


async def test_whatever_stands_in_a_namespace_that_of_others_is_cleared_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    objects = [*strange(600), (POD, server("af-ada", "notebook"))]
    objects += owned("af-ada", "gone", spec=SPEC)
    random.Random(1).shuffle(objects)
    told: set[str] = set()
    with caplog.at_level(logging.WARNING):
        async with serving(Objects(objects)) as served:
            cleared, _ = await swept(served, told)
            await swept(served, told)
    assert {
        "the ended server af-ada/notebook",
        "the Dask cluster af-ada/gone, whose client has gone",
    } <= {*cleared}
    warned = [each.message for each in caplog.records if each.name == "facility"]
    assert sorted(warned) == sorted(told)
    assert all(said.startswith(("af-eve/", "/")) for said in warned)


async def test_what_is_nested_deeper_than_python_reads_holds_nothing_up() -> None:
    objects = Objects([*owned("af-eve", "deep", spec=SPEC), (POD, server("af-ada", "notebook"))])
    async with serving(objects):
        cluster = objects.objects[0][1]
        nested = "[" * 50_000 + "]" * 50_000
        text = json.dumps({"metadata": {"resourceVersion": "1"}, "items": [cluster | {"x": 0}]})
        path = f"{DASK_CLUSTER.base}/{DASK_CLUSTER.plural}"
        objects.lists[path] = text.replace('"x": 0', f'"x": {nested}').encode()
        cleared, _ = await swept(objects, set())
    assert cleared == [
        "the ended server af-ada/notebook",
        "the Dask cluster af-eve/deep, whose client has gone",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "../../../../../../api/v1/namespaces/af-ada/pods/notebook",
        "..%2f..%2f..%2f..%2f..%2f..%2fapi%2fv1%2fnamespaces%2faf-ada%2fpods%2fnotebook",
        "..",
        "x?labelSelector=",
    ],
)
async def test_an_owner_whose_name_is_a_path_is_nobody(name: str) -> None:
    """Of owners Kubernetes takes any name; the hub would ask for another user's pod, and end it."""
    running = server("af-ada", "notebook") | {"status": {"phase": "Running"}}
    cluster = made("af-eve", "x", metadata={"ownerReferences": [{"kind": "Lease", "name": name}]})
    async with serving(Objects([(POD, running), (DASK_CLUSTER, cluster)])) as served:
        cleared, _ = await swept(served, set())
        assert (cleared, served.asked) == ([], [])
        assert len(served.objects) == 2
    with pytest.raises(FacilityError, match="is no name of a Lease"):
        Call("get", "GET", LEASE, "af-eve", name)


async def test_ten_thousand_dask_clusters_take_ten_times_as_long_as_a_thousand() -> None:
    async def seconds(count: int) -> float:
        objects = [(DASK_CLUSTER, made("af-eve", f"x{n}", spec={"x": n})) for n in range(count)]
        async with serving(Objects(objects)) as served:
            _, took = await swept(served, set())
        return took / count

    few, many = await seconds(1000), await seconds(10_000)
    assert many < 3 * few
