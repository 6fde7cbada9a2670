"""`facility site` on a real Kubernetes."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kube.bringup import site
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import with_token

pytestmark = [pytest.mark.kube, pytest.mark.timeout(420)]


def facility(kubeconfig: str, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """What the command prints, on this machine."""
    done = subprocess.run(
        [sys.executable, "-m", "facility", "site", *words],
        env={**os.environ, "KUBECONFIG": kubeconfig},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def findings(kubeconfig: str, *words: str, code: int = 0) -> list[dict[str, str]]:
    done = facility(kubeconfig, "check", "--json", *words, code=code)
    report = json.loads(done.stdout)
    assert report["complete"] == (code == 0)
    return list(report["findings"])


def state_of(found: list[dict[str, str]], name: str, asked: str = "") -> str:
    (one,) = [each for each in found if each["name"] == name and asked in each["asked"]]
    return one["state"]


@pytest.fixture
def values(state: dict[str, Any]) -> dict[str, Any]:
    """Values that fit this Kubernetes."""
    amd64 = {"nodeSelector": {"kubernetes.io/arch": "amd64"}}
    images = state["images"]
    small = {"cpu": 0.1, "memory": "256Mi", "maxWorkers": 2}
    arm = [{"key": "kubernetes.io/arch", "operator": "Exists"}]
    return {
        "pools": {
            "cpu": {**small, "default": True},
            "arm": {**small, "architecture": "arm64", "tolerations": arm},
            "gpu": {**small, "gpus": 1, "gpuResource": site.GPU, "tolerations": arm},
        },
        "hub": {"usersTrustEachOther": True, "image": images["hub"], **amd64},
        "operator": {"image": images["operator"], **amd64},
        "singleuser": {"image": images["analysis"], **amd64},
        "proxy": amd64,
        "scheduler": amd64,
        "networkPolicy": {
            "flavor": "standard" if state["policy_cidr_match_mode"] == "nodes" else "cilium"
        },
    }


def written(folder: Path, values: dict[str, Any]) -> str:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return f"--values={path}"


def test_a_kubernetes_that_has_all_lacks_nothing(
    state: dict[str, Any], values: dict[str, Any], tmp_path: Path
) -> None:
    found = findings(state["kubeconfig"], written(tmp_path, values))
    for name in ("Kubernetes' version", "ValidatingAdmissionPolicy", "Your rights"):
        assert state_of(found, name) == "good"
    for pool in values["pools"]:
        assert state_of(found, "Nodes", f"pools.{pool}") == "good"
    assert state_of(found, "StorageClass", "singleuser.storage") == "good"
    # As text it is the same.
    text = facility(state["kubeconfig"], "check", written(tmp_path, values)).stdout
    assert "Good:" in text
    assert "Missing:" not in text


def test_what_is_missing_is_named(
    state: dict[str, Any], values: dict[str, Any], tmp_path: Path
) -> None:
    values["pools"]["gpu"] |= {"gpuResource": "example.org/absent", "runtimeClass": "absent"}
    values["pools"]["cpu"]["nodeSelector"] = {"example.org/absent": "yes"}
    values["pools"]["arm"]["priorityClass"] = "absent"
    values["singleuser"]["storage"] = {"storageClass": "absent"}
    values["ingress"] = {"enabled": True, "ingressClassName": "absent"}
    values["hub"]["sharedPasswordOnTheNetwork"] = True
    values["operator"] = {"enabled": False}
    found = findings(state["kubeconfig"], written(tmp_path, values), code=1)
    for name, asked in (
        ("Device plugin", "pools.gpu"),
        ("RuntimeClass", "pools.gpu"),
        ("Nodes", "pools.cpu"),
        ("PriorityClass", "pools.arm"),
        ("StorageClass", "singleuser.storage"),
        ("IngressClass", "absent"),
    ):
        assert state_of(found, name, asked) == "missing", f"{name} {asked}"
    for each in found:
        assert bool(each["todo"]) == (each["state"] != "good")


def test_who_may_nothing_is_told_so(state: dict[str, Any], tmp_path: Path) -> None:
    kube = Kubernetes(state)
    space = f"test-site-{uuid.uuid4().hex[:8]}"
    kube.run("create", "namespace", space)
    try:
        inside = Kubernetes(state, space)
        inside.run("create", "serviceaccount", "nobody")
        token = inside.run("create", "token", "nobody").strip()
        path = tmp_path / "nobody.json"
        with_token(state, path, token, space)
        found = findings(str(path), code=1)
    finally:
        kube.run("delete", "namespace", space, "--wait=false")
    assert state_of(found, "Your rights") == "missing"
    assert state_of(found, "Nodes") == "unknown"
    assert state_of(found, "ValidatingAdmissionPolicy") == "good"


def test_a_try_tells_what_nothing_else_tells(
    state: dict[str, Any], values: dict[str, Any], tmp_path: Path
) -> None:
    absent = f"{site.REGISTRY}/absent:1"
    values["pools"]["cpu"]["image"] = absent
    found = findings(state["kubeconfig"], written(tmp_path, values), "--probe", code=1)
    assert state_of(found, "NetworkPolicies are enforced") == "good"
    assert state_of(found, "Pod Security admission") == "good"
    # Of the flavor that fits this Kubernetes' policy-cidr-match-mode.
    assert state_of(found, "Addresses of the API server in NetworkPolicies") == "good"
    assert state_of(found, "Registry", "image hub") == "good"
    assert state_of(found, "Registry", "image analysis") == "good"
    assert state_of(found, "Registry", absent) == "missing"
    assert {each["name"] for each in found if each["state"] == "missing"} == {"Registry"}
    kube = Kubernetes(state)
    kube.wait_until_gone("namespace", "-l", "app.kubernetes.io/managed-by=facility-site-check")


# The site's three tests.


@pytest.fixture
def batch(state: dict[str, Any]) -> Iterator[Kubernetes]:
    """A namespace for jobs."""
    space = f"test-batch-{uuid.uuid4().hex[:8]}"
    kube = Kubernetes(state)
    kube.run("create", "namespace", space)
    kube.run("label", "namespace", space, "pod-security.kubernetes.io/enforce=restricted")
    yield Kubernetes(state, space)
    kube.run("delete", "namespace", space, "--wait=false")


def trial(batch: Kubernetes, page: Path, *words: str) -> list[str]:
    # Small jobs that are more than the node can take at once.
    sizes = ("--size=100m:3", "--size=200m:1", "--seed=3", f"--out={page}")
    image = f"--image={batch.images['hub']}"
    return ["test", f"--namespace={batch.namespace}", image, *sizes, *words]


def test_jobs_with_faults_end_as_they_should(
    state: dict[str, Any], batch: Kubernetes, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = trial(batch, page, "--count=24", "--seconds=8", "--faults=2", "--least=0")
    said = facility(state["kubeconfig"], *words).stdout
    assert "none lost, none twice" in said
    rows = {line.split("  ")[0]: line.split() for line in said.splitlines()}
    for fault in ("exit 1", "out of memory", "deleted pod", "image that is not there"):
        # Jobs, right, lost, twice, without an end.
        assert rows[fault][-5:] == ["2", "2", "0", "0", "0"]
    assert "requests a job" in said
    assert page.read_text().count("<polyline") >= 5
    batch.wait_until_gone("jobs,pods")


@pytest.mark.long
def test_a_job_that_somebody_deletes_is_told_as_lost(
    state: dict[str, Any], batch: Kubernetes, tmp_path: Path
) -> None:
    words = trial(batch, tmp_path / "page.html", "--count=3", "--seconds=30", "--faults=0")
    command = [sys.executable, "-m", "facility", "site", *words, "--timeout=45"]
    with subprocess.Popen(
        command,
        env={**os.environ, "KUBECONFIG": state["kubeconfig"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        until(lambda: len(batch.run("get", "jobs", "-o", "name").split()) == 3, 60)
        lost = batch.run("get", "jobs", "-o", "name").split()[0]
        batch.run("delete", lost)
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 1, said
    name = lost.rpartition("/")[2]
    assert f"{name} (none) should be done and is lost" in said
    batch.wait_until_gone("jobs,pods")
