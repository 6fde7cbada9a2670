"""A user's namespace, from what it should hold to the calls that make it so: no Kubernetes.

The API server is a dictionary here, so that the calls and their order can be compared. What a
real one makes of them is tested in tests/kube.
"""

import asyncio
import copy
import json
from typing import Any

import pytest

from facility import names
from facility.errors import KubernetesError
from facility.hub.kubernetes.release import read_values
from facility.hub.kubernetes.tenants import rights
from facility.hub.kubernetes.tenants import volumes as shared
from facility.hub.kubernetes.tenants.plan import TenantError
from facility.hub.kubernetes.tenants.tenants import Tenants
from facility.hub.kubernetes.tenants.volumes import VolumeError
from facility.hub.kubernetes.values.tenant_model import Installation
from facility.kubernetes.client.answers import Keep
from facility.kubernetes.client.kinds import (
    ACCOUNT,
    CLAIM,
    ENDPOINTS,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    QUOTA,
    ROLE_BINDING,
    SECRET,
    VOLUME,
    Kind,
    kind_of,
)
from facility.kubernetes.client.shapes import shaped

Object = dict[str, Any]
POOLS = {"cpu": {"default": True, "cpu": 1, "memory": "4Gi", "maxWorkers": 200}}
ATLAS = {"mountPath": "/atlas", "volume": {"nfs": {"server": "nfs.example.org", "path": "/atlas"}}}
LABELS = {names.HUB_LABEL: "af", names.TENANT_LABEL: "ada"}


class Server:
    """An API server that holds what it is told; quotas are counted at once."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str, str], Object] = {}
        self.calls: list[str] = []
        self.refusals: list[KubernetesError] = []
        self.namespace = ""
        self.put(
            ENDPOINTS,
            {"metadata": {"name": "kubernetes", "namespace": "default"}}
            | {"endpoints": [{"addresses": ["192.0.2.9"]}], "ports": [{"port": 6443}]},
        )

    def put(self, kind: Kind, body: Object) -> Object:
        """Hold an object, as somebody else's doing."""
        metadata = body["metadata"]
        self.objects[kind, metadata.get("namespace", ""), metadata["name"]] = body
        return body

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if call.split()[0] in ("apply", "delete")]

    @property
    def notes(self) -> dict[str, str]:
        found = self.objects[NAMESPACE, "", "af-ada"]["metadata"]["annotations"]
        return dict(found)

    def all_of(self, kind: Kind) -> list[str]:
        return [name for of, _, name in self.objects if of is kind]

    def within(self, namespace: str) -> "Server":
        other = copy.copy(self)
        other.namespace = namespace
        return other

    async def said(self, verb: str, kind: Kind, name: str = "") -> None:
        await asyncio.sleep(0)
        self.calls.append(f"{verb} {kind.name} {name}".strip())

    async def get(self, kind: Kind, name: str) -> Object | None:
        await self.said("get", kind, name)
        namespace = self.namespace if kind.namespaced else ""
        if kind is ACCOUNT:
            return {"metadata": {"name": name}}
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def list(
        self, kind: Kind, selector: str = "", fields: str = "", keep: Keep | None = None
    ) -> Object:
        await self.said("list", kind)
        wanted = dict(each.split("=") for each in selector.split(",") if each)
        found = [
            body
            for (of, namespace, _), body in self.objects.items()
            if of is kind
            and (not kind.namespaced or namespace == self.namespace)
            and wanted.items() <= (body["metadata"].get("labels") or {}).items()
        ]
        # A list does not say of what kind its items are.
        hidden = ("kind", "apiVersion")
        if keep is not None:
            found = [kept for each in found if (kept := keep(shaped(kind, each))) is not None]
        return copy.deepcopy(
            {"items": [{k: v for k, v in each.items() if k not in hidden} for each in found]}
        )

    async def apply(self, manifest: Object, manager: str) -> Object:
        if self.refusals and kind_of(manifest) not in (NAMESPACE, ROLE_BINDING):
            raise self.refusals.pop()
        await self.said("apply", kind_of(manifest), manifest["metadata"]["name"])
        body = copy.deepcopy(manifest)
        body["metadata"]["uid"] = "u-1"
        if kind_of(manifest) is QUOTA:
            hard = body["spec"]["hard"]
            body["status"] = {"hard": hard, "used": dict.fromkeys(hard, "0")}
        return self.put(kind_of(manifest), body)

    async def delete(self, kind: Kind, name: str, grace: int | None = None) -> bool:
        await self.said("delete", kind, name)
        namespace = self.namespace if kind.namespaced else ""
        return self.objects.pop((kind, namespace, name), None) is not None


def tenants(server: Server, **values: Any) -> Tenants:
    values["images"] = {"registry": "registry.example/facility", **values.get("images", {})}
    values["hub"] = {"domain": "af.example.org"}
    installation = Installation(read_values({"pools": POOLS, **values}), "af", "hub", "1.2")
    return Tenants(installation, server)  # type: ignore[arg-type]


async def ensured(server: Server, **values: Any) -> list[str]:
    """Ensure the namespace of ada; return what was written."""
    server.calls.clear()
    await tenants(server, **values).ensure("ada", ("atlas",))
    return server.writes


async def test_a_namespace_is_made_in_the_order_in_which_it_is_safe() -> None:
    server = Server()
    writes = await ensured(server)
    kinds = list(dict.fromkeys(call.split()[1] for call in writes))
    assert kinds == [
        *("Namespace", "RoleBinding", "ResourceQuota", "LimitRange", "NetworkPolicy"),
        *("ConfigMap", "ServiceAccount"),
    ]
    # The namespace says of what it was made once all of it is there.
    assert writes[0] == writes[-1] == "apply Namespace af-ada"
    assert json.loads(server.notes["facility/groups"]) == ["atlas"]
    assert server.notes["facility/uid"] == "1000"
    assert {"facility/made", "facility/used", names.USER_ANNOTATION} <= server.notes.keys()


async def test_one_that_is_in_order_is_looked_at_and_not_written() -> None:
    server = Server()
    await ensured(server)
    writes = await ensured(server)
    assert [each.split()[1] for each in writes] == ["Namespace", "RoleBinding"]
    assert "facility/made" in server.notes


async def test_what_an_administrator_has_changed_or_deleted_is_made_again() -> None:
    server = Server()
    await ensured(server)
    server.objects[QUOTA, "af-ada", "all"]["spec"]["hard"]["limits.cpu"] = "1000"
    policy = server.all_of(NETWORK_POLICY)[0]
    del server.objects[NETWORK_POLICY, "af-ada", policy]
    # What somebody has added stays.
    server.objects[QUOTA, "af-ada", "notebooks"]["metadata"]["labels"]["site"] = "x"
    writes = await ensured(server)
    assert writes[2:] == ["apply ResourceQuota all", f"apply NetworkPolicy {policy}"]


async def test_limits_that_nobody_asks_for_any_more_go() -> None:
    server = Server()
    await ensured(server, tenants={"quota": {"pools": {"cpu": 4}}})
    assert "pool-cpu" in server.all_of(QUOTA)
    writes = await ensured(server)
    assert "delete ResourceQuota pool-cpu" in writes
    assert "pool-cpu" not in server.all_of(QUOTA)


async def test_limits_of_others_stay() -> None:
    server = Server()
    metadata = {"name": "of-the-site", "namespace": "af-ada"}
    hard = {"pods": "10"}
    status = {"hard": hard, "used": {"pods": "0"}}
    server.put(QUOTA, {"metadata": metadata, "spec": {"hard": hard}, "status": status})
    await ensured(server)
    assert "of-the-site" in server.all_of(QUOTA)


async def test_a_secret_is_never_looked_at_and_always_written() -> None:
    server = Server()
    body = {"metadata": {"name": "pull", "namespace": "hub"}, "data": {".dockerconfigjson": "e30="}}
    server.put(SECRET, body)
    values = {"images": {"pullSecrets": ["pull"]}}
    await ensured(server, **values)
    assert "apply Secret pull" in await ensured(server, **values)
    assert "list Secret" not in server.calls


async def test_a_pull_secret_that_is_missing_is_told() -> None:
    with pytest.raises(TenantError, match="namespace hub has none of type kubernetes.io/docker"):
        await ensured(Server(), images={"pullSecrets": ["pull"]})


OWNER = {names.USER_ANNOTATION: "ada"}


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({}, "is no user's of a facility"),
        ({"labels": {names.HUB_LABEL: "af"}, "annotations": OWNER}, "lacks the labels"),
        ({"labels": {**LABELS, names.HUB_LABEL: "b"}, "annotations": OWNER}, "the release 'b'"),
        ({"labels": LABELS, "annotations": {names.USER_ANNOTATION: "bob"}}, "to the user 'bob'"),
        ({"labels": LABELS, "annotations": OWNER, "deletionTimestamp": "x"}, "is being deleted"),
    ],
)
async def test_a_namespace_of_somebody_else_is_not_touched(metadata: Object, told: str) -> None:
    server = Server()
    server.put(NAMESPACE, {"metadata": {"name": "af-ada", **metadata}})
    before = copy.deepcopy(server.objects)
    with pytest.raises(TenantError, match=told):
        await ensured(server)
    assert server.objects == before
    assert server.writes == []


async def test_a_site_that_makes_namespaces_itself_is_told_how() -> None:
    server = Server()
    with pytest.raises(TenantError, match="af-ada does not exist, and tenants.createNamespaces"):
        await ensured(server, tenants={"createNamespaces": False})
    assert server.writes == []


async def test_rights_that_are_not_known_yet_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    lacking = 'User "hub" cannot patch resource "limitranges"'
    server.refusals = [KubernetesError("apply", "LimitRange", "", 403, "Forbidden", lacking)] * 3
    writes = await ensured(server)
    assert "apply LimitRange defaults" in writes
    other = KubernetesError("apply", "LimitRange", "", 403, "Forbidden", "denied by a policy")
    server = Server()
    server.refusals = [other]
    with pytest.raises(KubernetesError, match="denied by a policy"):
        await ensured(server)
    monkeypatch.setattr(rights, "RIGHTS_SECONDS", 0.0)
    server.refusals = [KubernetesError("apply", "LimitRange", "", 403, "Forbidden", lacking)]
    with pytest.raises(KubernetesError, match="cannot patch"):
        await ensured(server)
    # It was not made as a whole, and does not say so.
    assert "facility/made" not in server.notes


async def test_two_starts_at_once_write_one_after_the_other() -> None:
    server = Server()
    both = tenants(server)
    await asyncio.gather(both.ensure("ada"), both.ensure("ada"))
    second = len(server.writes) - server.writes[::-1].index("apply Namespace af-ada") - 1
    assert server.writes[second:] == ["apply Namespace af-ada", "apply RoleBinding hub-tenant"]


# Shared volumes.


async def shared_volume(server: Server) -> tuple[str, str]:
    """Ensure a namespace with a shared volume, and then another template; the two volumes."""
    await ensured(server, sharedVolumes={"atlas": ATLAS})
    (first,) = server.all_of(VOLUME)
    changed = {**ATLAS, "volume": {"nfs": {"server": "nfs.example.org", "path": "/other"}}}
    await ensured(server, sharedVolumes={"atlas": changed})
    return first, server.all_of(VOLUME)[-1]


async def test_a_shared_volume_goes_with_its_namespace() -> None:
    server = Server()
    await ensured(server, sharedVolumes={"atlas": ATLAS})
    ((key, volume),) = ((key, each) for key, each in server.objects.items() if key[0] is VOLUME)
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": "af-ada", "uid": "u-1"}
    assert volume["metadata"]["ownerReferences"] == [owner]
    assert server.objects[CLAIM, "af-ada", "atlas"]["spec"]["volumeName"] == key[2]


async def test_a_shared_volume_that_nothing_mounts_is_replaced() -> None:
    server = Server()
    first, second = await shared_volume(server)
    assert server.writes[-4:] == [
        "delete PersistentVolumeClaim atlas",
        f"delete PersistentVolume {first}",
        f"apply PersistentVolume {second}",
        "apply PersistentVolumeClaim atlas",
    ]


@pytest.mark.parametrize(("phase", "replaced"), [("Running", False), ("Succeeded", True)])
async def test_a_shared_volume_that_a_pod_mounts_stays(phase: str, replaced: bool) -> None:
    server = Server()
    mount = {"name": "a", "persistentVolumeClaim": {"claimName": "atlas"}}
    metadata = {"name": "p", "namespace": "af-ada"}
    spec = {"volumes": [mount, {"name": "b", "emptyDir": {}}]}
    server.put(POD, {"metadata": metadata, "spec": spec, "status": {"phase": phase}})
    first, last = await shared_volume(server)
    assert (first != last) is replaced
    assert ("delete PersistentVolumeClaim atlas" in server.writes) is replaced
    if not replaced:
        assert not any("PersistentVolume" in call for call in server.writes)


async def test_a_claim_that_others_made_is_in_the_way() -> None:
    server = Server()
    metadata = {"name": "atlas", "namespace": "af-ada"}
    server.put(CLAIM, {"metadata": metadata, "spec": {"volumeName": "theirs"}})
    with pytest.raises(VolumeError, match="atlas of af-ada has another volume"):
        await ensured(server, sharedVolumes={"atlas": ATLAS})
    assert (CLAIM, "af-ada", "atlas") in server.objects


async def test_a_claim_that_does_not_go_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sticky(Server):
        async def delete(self, kind: Kind, name: str, grace: int | None = None) -> bool:
            await self.said("delete", kind, name)
            return True

    server = Sticky()
    monkeypatch.setattr(shared, "GONE_SECONDS", 0.0)
    with pytest.raises(VolumeError, match="is being deleted, and not gone after 0 s"):
        await shared_volume(server)


# All of them.


async def test_namespaces_are_brought_up_to_date_once() -> None:
    server = Server()
    await ensured(server)
    used = server.notes["facility/used"]
    known: dict[str, str] = {}
    keeping = tenants(server)
    assert await keeping.refresh(known) == 1
    assert await keeping.refresh(known) == 0
    assert await tenants(server, tenants={"quota": {"cpu": 7}}).refresh(known) == 1
    quota = server.objects[QUOTA, "af-ada", "all"]
    assert quota["spec"]["hard"]["limits.cpu"] == "7"
    # Nobody started a server.
    assert server.notes["facility/used"] == used
    assert json.loads(server.notes["facility/groups"]) == ["atlas"]


async def test_one_that_fails_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    await ensured(server)
    for user, broken in (("bob", "no json"), ("eve", "[]")):
        labels = {names.HUB_LABEL: "af", names.TENANT_LABEL: user}
        notes = {names.USER_ANNOTATION: user, "facility/groups": broken}
        server.put(NAMESPACE, {"metadata": {"name": f"af-{user}", "labels": labels}})
        server.objects[NAMESPACE, "", f"af-{user}"]["metadata"]["annotations"] = notes
    going = server.objects[NAMESPACE, "", "af-ada"]["metadata"]
    going["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    known: dict[str, str] = {}
    assert await tenants(server).refresh(known) == 1
    assert "The namespace of bob is not up to date" in caplog.text
    assert known.keys() == {"af-eve"}
