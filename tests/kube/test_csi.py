"""Shared volumes that nobody may write, on a real CSI driver: the kubelet's own behaviour decides.

The driver is one of the tests (`bringup/src/kubernetes/csi`): its volumes are folders of this
machine, and it says what the kubelet asks of it.
"""

import dataclasses
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility import names
from facility.kubernetes.tenant import SharedVolume, volume_set
from tests.kube import tenancy
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import Space
from tests.kube.tenants import refused

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
GIB = 2**30
NODE = "amd64"
DRIVER = "folders.csi.test"
TRY = "cat /it/there; echo mine > /it/made && echo written"
DENIED = "Read-only file system"


@dataclasses.dataclass
class Driver:
    """The driver beside the first node's kubelet.

    Parameters
    ----------
    folder
        With a folder for each volume.
    log
        What it said: a line of JSON for each call.
    """

    folder: Path
    log: Path

    def volume(self, name: str) -> Path:
        """Make a volume that everybody may write, with one file in it."""
        made = self.folder / name
        made.mkdir()
        made.chmod(0o777)
        (made / "there").write_text("read\n")
        return made

    def said(self, key: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [each for each in found if key in each]

    def asked(self, name: str) -> list[dict[str, Any]]:
        """The calls that published a volume."""
        return [each for each in self.said("volume") if each["volume"] == name]


@pytest.fixture(scope="module")
def driver(
    here: None, state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Driver]:
    admin = Kubernetes(state)
    folder = tmp_path_factory.mktemp("csi")
    found = Driver(folder, folder / "calls.jsonl")
    kubelet = Path(state["kubeconfig"]).parent / NODE / "kubelet"
    # Paths of sockets are short.
    with tempfile.TemporaryDirectory() as near, found.log.open("w") as log:
        process = subprocess.Popen(
            [
                str(Path(state["kubectl"]).parent / "csi-driver"),
                f"--name={DRIVER}",
                f"--node={NODE}",
                f"--folder={folder}",
                f"--endpoint={near}/csi.sock",
                f"--registration={kubelet}/plugins_registry/csi.sock",
            ],
            stdout=log,
        )
        try:
            admin.apply(
                {
                    "apiVersion": "storage.k8s.io/v1",
                    "kind": "CSIDriver",
                    "metadata": {"name": DRIVER},
                    "spec": {"attachRequired": False, "fsGroupPolicy": "None"},
                }
            )
            until(lambda: bool(found.said("registered")), 60)
            assert found.said("registered") == [{"registered": True, "error": ""}]
            yield found
            # The kubelet takes away what it mounted, by the driver.
            until(lambda: len(found.said("unpublished")) >= len(found.said("volume")), 120)
        finally:
            process.terminate()
            process.wait()
            (kubelet / "plugins_registry" / "csi.sock").unlink(missing_ok=True)
            admin.run("delete", "csidriver", DRIVER, "--wait=false", "--ignore-not-found")


def source(name: str, **more: Any) -> dict[str, Any]:
    return {"csi": {"driver": DRIVER, "volumeHandle": name, **more}}


def mounting(claim: str, *, read_only: bool) -> dict[str, Any]:
    """What a pod says that mounts a claim; that its container may write is nowhere denied."""
    named = {"claimName": claim, **({"readOnly": True} if read_only else {})}
    return {
        "volumes": [{"name": "it", "persistentVolumeClaim": named}],
        "container": {"volumeMounts": [{"name": "it", "mountPath": "/it"}]},
    }


def bound(kube: Kubernetes, volume: dict[str, Any]) -> None:
    """Make a PersistentVolume and the claim that is bound to it."""
    spec = {
        "accessModes": volume["spec"]["accessModes"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "",
        "volumeName": volume["metadata"]["name"],
    }
    metadata = {"name": "data", "namespace": kube.namespace}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
    kube.apply(volume, {**claim, "spec": spec})


def result(kube: Kubernetes, pod: dict[str, Any]) -> str:
    """What a pod said, however it ended."""
    name = pod["metadata"]["name"]
    kube.run("create", "--validate=false", "-f", "-", text=yaml.safe_dump(pod))
    ended = ("Succeeded", "Failed")
    until(lambda: kube.get("pod", name)["status"].get("phase") in ended, 120)
    return kube.run("logs", name)


@pytest.fixture
def shared(state: dict[str, Any], tmp_path: Path, driver: Driver) -> Iterator[Space]:
    """A user's namespace with a shared volume that nobody writes, and one that all write."""
    volumes = tuple(
        SharedVolume(
            name,
            GIB,
            ("ReadOnlyMany",) if read_only else ("ReadWriteMany",),
            source=source(name + "-{namespace}", **({"readOnly": True} if read_only else {})),
            read_only=read_only,
        )
        for name, read_only in {"data": True, "scratch": False}.items()
    )
    with (
        tenancy.installed(state, tenancy.release(volumes=volumes)) as made,
        tenancy.space(state, tmp_path, made) as space,
    ):
        hub = space.account(made.hub_account, made.namespace)
        text = yaml.safe_dump_all(volume_set(space.tenant))
        until(lambda: tenancy.applied(hub, text))
        try:
            yield space
        finally:
            label = f"{names.HUB_LABEL}={made.name}"
            space.admin.run("delete", "persistentvolumes", "-l", label, "--wait=false")


def test_the_kubelet_does_not_go_by_the_volume(kube: Kubernetes, driver: Driver) -> None:
    """Why there is a rule on claims: `csi.readOnly` of a PersistentVolume holds nobody back."""
    name = f"{kube.namespace}-plain"
    folder = driver.volume(name)
    claim = {"namespace": kube.namespace, "name": "data"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "capacity": {"storage": "1Gi"},
            "claimRef": claim,
            "persistentVolumeReclaimPolicy": "Retain",
            **source(name, readOnly=True),
        },
    }
    try:
        bound(kube, volume)
        said = result(kube, kube.pod("writes", TRY, **mounting("data", read_only=False)))
        assert "written" in said
        assert (folder / "made").read_text() == "mine\n"
        assert [each["readonly"] for each in driver.asked(name)] == [False]
    finally:
        kube.run("delete", "pod", "writes", "--ignore-not-found")
        kube.run("delete", "persistentvolume", name, "--wait=false")


def test_nobody_writes_a_shared_volume_that_is_read_only(
    shared: Space, kube: Kubernetes, driver: Driver
) -> None:
    handles = {name: f"{name}-{shared.namespace}" for name in ("data", "scratch")}
    data, scratch = (driver.volume(handle) for handle in handles.values())
    crafted = shared.pod("crafted", TRY, **mounting("data", read_only=False))
    assert "nobody may write these claims: data" in refused(shared.notebook, crafted)

    said = result(shared.notebook, shared.pod("reads", TRY, **mounting("data", read_only=True)))
    assert said.startswith("read\n")
    assert DENIED in said
    said = result(
        shared.notebook, shared.pod("writes", TRY, **mounting("scratch", read_only=False))
    )
    assert "written" in said
    assert (scratch / "made").read_text() == "mine\n"

    # Where no rule holds, as for an administrator's own pod, the mount option does.
    (volume,) = (
        each
        for each in volume_set(shared.tenant)
        if each["kind"] == "PersistentVolume" and each["spec"]["claimRef"]["name"] == "data"
    )
    volume["metadata"] = {"name": f"{kube.namespace}-data"}
    volume["spec"]["claimRef"] = {"namespace": kube.namespace, "name": "data"}
    try:
        bound(kube, volume)
        said = result(kube, kube.pod("past", TRY, **mounting("data", read_only=False)))
        assert said.startswith("read\n")
        assert DENIED in said
        asked = [(each["readonly"], each["options"]) for each in driver.asked(handles["data"])]
        assert asked == [(True, ["ro"]), (False, ["ro"])]
        assert sorted(path.name for path in data.iterdir()) == ["there"]
    finally:
        kube.run("delete", "pod", "past", "--ignore-not-found")
        kube.run("delete", "persistentvolume", volume["metadata"]["name"], "--wait=false")
