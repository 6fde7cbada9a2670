"""What is cleared away of users' namespaces, whatever users have written there."""

import logging
import random
from typing import Any

import pytest

from facility.errors import KubernetesError
from facility.hub.kubernetes.tenants.leftovers import sweep
from facility.kubernetes.client.kinds import DASK_CLUSTER, LEASE, POD, Kind
from facility.kubernetes.client.shapes import shaped
from facility.kubernetes.lease import holder

OLD, FUTURE = "2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"
SERVER = "af-notebook"
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
    spec = {"priorityClassName": SERVER}
    return made(namespace, name, spec=spec, status={"phase": "Failed"})


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
