"""`facility batch run` on a real Kubernetes, with an account that has the documented rights alone.

Four of 20 indices go wrong, each in its own way; the namespace is a plain one, so that no chart is
needed.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kube.conftest import Kubernetes, until

pytestmark = pytest.mark.kube
ROOT = Path(__file__).resolve().parents[2]
ROLE = re.compile(r"apply -f - <<'END'\n(.*?)^END$", re.MULTILINE | re.DOTALL)
COUNT, EXITS, FILLS, DELETED, EVICTED = 20, 3, 7, 11, 13
PAYLOAD = f"""
case $((BURST_OFFSET + JOB_COMPLETION_INDEX)) in
  {EXITS}) exit 1 ;;
  {FILLS}) exec tail /dev/zero ;;
  {DELETED}|{EVICTED}) [ "${{FAILED:-0}}${{IGNORED:-0}}" = 00 ] && exec sleep 600 ;;
esac
exit 0
"""


def annotation(name: str) -> dict[str, Any]:
    path = f"metadata.annotations['batch.kubernetes.io/job-index-{name}-count']"
    return {"valueFrom": {"fieldRef": {"fieldPath": path}}}


def template(kube: Kubernetes) -> dict[str, Any]:
    pod = kube.pod("burst", PAYLOAD)
    pod["spec"]["containers"][0] |= {
        "env": [
            {"name": "FAILED", **annotation("failure")},
            {"name": "IGNORED", **annotation("ignored-failure")},
        ],
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"memory": "48Mi"},
        },
    }
    return pod


def with_rights(kube: Kubernetes, folder: Path) -> Path:
    """Write a kubeconfig of an account that may do what the documentation says, and no more."""
    [text] = ROLE.findall((ROOT / "docs/administrators/bursts.md").read_text())
    kube.apply(yaml.safe_load(text))
    kube.run("create", "serviceaccount", "burst")
    account = f"--serviceaccount={kube.namespace}:burst"
    kube.run("create", "rolebinding", "burst", "--role=facility-burst", account)
    config = yaml.safe_load(kube.run("config", "view", "--raw", "--minify"))
    config["users"] = [{"name": "burst", "user": {"token": kube.run("create", "token", "burst")}}]
    config["contexts"][0]["context"] |= {"user": "burst", "namespace": kube.namespace}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def pod_of(kube: Kubernetes, index: int) -> str:
    """Name of the running pod of an index; empty where there is none."""
    label = f"batch.kubernetes.io/job-completion-index={index}"
    return kube.run(
        "get", "pods", "-l", label, "--field-selector=status.phase=Running", "-o", "name"
    ).strip()


def run(kubeconfig: Path, folder: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "facility", "batch", "run", *words],
        cwd=folder,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(300)
def test_every_index_ends_as_it_should(kube: Kubernetes, tmp_path: Path) -> None:
    kubeconfig = with_rights(kube, tmp_path)
    (tmp_path / "template.yaml").write_text(yaml.safe_dump(template(kube)))
    words = ["template.yaml", "--count", str(COUNT), "--retries", "1", "--name", "burst"]
    with run(kubeconfig, tmp_path, *words, "--account", "account.json") as running:
        try:
            until(lambda: pod_of(kube, DELETED) and pod_of(kube, EVICTED), 150)
            kube.run("delete", pod_of(kube, DELETED), "--wait=false")
            evicted = pod_of(kube, EVICTED).removeprefix("pod/")
            eviction = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": evicted, "namespace": kube.namespace},
            }
            path = f"/api/v1/namespaces/{kube.namespace}/pods/{evicted}/eviction"
            kube.run("create", "--raw", path, "-f", "-", text=json.dumps(eviction))
            told, _ = running.communicate(timeout=200)
        finally:
            running.kill()
    assert running.returncode == 1, told
    account = json.loads((tmp_path / "account.json").read_text())
    found = {each["index"]: each for each in account["indices"]}
    assert sorted(found) == list(range(COUNT))
    bad = {index for index, each in found.items() if each["state"] != "done"}
    assert bad == {EXITS, FILLS}, told
    assert found[EXITS]["state"] == found[FILLS]["state"] == "failed"
    assert found[EXITS]["setbacks"] == ["exit code 1"] * 2
    assert found[FILLS]["setbacks"] == ["out of memory"] * 2
    assert found[DELETED]["setbacks"] == ["pod deleted"]
    assert found[EVICTED]["setbacks"] == ["[evicted, as from a drained node]"]
    again = {index for index, each in found.items() if each["tries"] > 1}
    assert again == {EXITS, FILLS, DELETED, EVICTED}
    assert account["core_hours"] > 0
    assert "18 of 20 indices done, 2 failed, 4 indices tried again" in told


def test_a_burst_that_is_refused_leaves_nothing(kube: Kubernetes, tmp_path: Path) -> None:
    kubeconfig = with_rights(kube, tmp_path)
    hard = {"count/jobs.batch": "1"}
    kube.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"},
         "spec": {"hard": hard}}
    )  # fmt: skip
    until(lambda: kube.get("resourcequota", "one").get("status", {}).get("hard") == hard)
    body = template(kube)
    body["spec"]["nodeSelector"] = {"facility.test/node": "none"}
    (tmp_path / "template.yaml").write_text(yaml.safe_dump(body))
    with run(kubeconfig, tmp_path, "template.yaml", "--count", "1001") as running:
        told, _ = running.communicate(timeout=100)
    assert running.returncode == 1
    assert "exceeded quota" in told
    kube.wait_until_gone("jobs")
