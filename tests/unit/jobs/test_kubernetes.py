"""The objects of a job on Kubernetes, whole, and what is read of its log.

Golden files lie in tests/data/jobs; REFRESH_GOLDEN=1 writes them anew. That they run is tested on
a real Kubernetes: tests/kube/test_submit.py.
"""

import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from facility.jobs.kubernetes import _Tail
from facility.jobs.manifests import is_kept, job, job_secret
from facility.jobs.request import Submission
from facility.kubernetes.pod_template import template_of

GOLDEN = Path(__file__).resolve().parents[2] / "data/jobs"
MOUNTS = [
    {"name": "pools", "mountPath": "/etc/facility/pools", "readOnly": True},
    {"name": "tmp", "mountPath": "/tmp"},
    {"name": "home", "mountPath": "/home/jovyan"},
    {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
]
NOTEBOOK: dict[str, Any] = {
    "metadata": {"name": "notebook", "namespace": "af-alice", "uid": "1-2-3"},
    "spec": {
        "containers": [
            {
                "name": "notebook",
                "image": "registry.example/analysis:1",
                "env": [
                    {"name": "HOME", "value": "/home/jovyan"},
                    {"name": "JUPYTERHUB_API_TOKEN", "value": "never-this"},
                    {"name": "MEM_LIMIT", "value": "1"},
                    {"name": "SITE", "value": "here"},
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "resources": {
                    "limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"},
                    "requests": {"cpu": "100m", "memory": "1Gi", "nvidia.com/gpu": "1"},
                },
                "securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 1000},
                "volumeMounts": MOUNTS,
            }
        ],
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"purpose": "user"},
        "runtimeClassName": "gvisor",
        "securityContext": {
            "fsGroup": 100,
            "runAsNonRoot": True,
            "appArmorProfile": {"type": "Localhost", "localhostProfile": "notebooks"},
        },
        "tolerations": [],
        "volumes": [
            {"name": "pools", "configMap": {"name": "facility-pools"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "home", "persistentVolumeClaim": {"claimName": "home"}},
            {"name": "token", "projected": {"sources": []}},
        ],
    },
    "status": {
        "containerStatuses": [
            {"name": "notebook", "imageID": f"registry.example/analysis@sha256:{'a' * 64}"}
        ]
    },
}
PLACE = template_of(NOTEBOOK, "site")


def wanted(script: str, **more: Any) -> Submission:
    return Submission("mine", Path(script), ("--x", "1 2"), Path(script).parent, **more)


KEPT = wanted("/home/jovyan/mine/mine.py", pools={"cpu": (0, 200), "gpu": 2}, retries=4)
SENT = wanted("/tmp/mine.py")
FILES = {"script.py": b"print()", "x509up": b"proxy", "bearer_token": b"token"}


@pytest.mark.parametrize(
    ("name", "manifests"),
    [
        ("kept", [job(KEPT, NOTEBOOK, PLACE)]),
        ("sent", [job(SENT, NOTEBOOK, PLACE, FILES), job_secret(SENT, PLACE, FILES)]),
    ],
)
def test_whole_manifests(name: str, manifests: list[dict[str, Any]]) -> None:
    for each in manifests:
        kubernetes_validate.validate(each, "1.34", strict=True)
    text = yaml.safe_dump_all(manifests, sort_keys=False, width=100)
    assert "never-this" not in text
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("REFRESH_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), f"REFRESH_GOLDEN=1 writes {name} anew"


def test_a_script_in_a_lasting_folder_runs_where_it_stands() -> None:
    assert is_kept(KEPT, PLACE)
    assert not is_kept(SENT, PLACE)
    assert not is_kept(wanted("/home/jovyan-2/mine.py"), PLACE)


def test_each_line_of_a_log_is_shown_once() -> None:
    tail = _Tail()
    first = "2026-01-02T03:04:05.1Z one\n2026-01-02T03:04:05.25Z two\n"
    assert list(tail.new(first)) == ["one\n", "two\n"]
    assert tail.since == "2026-01-02T03:04:05Z"
    # Kubernetes gives whole seconds again.
    assert list(tail.new(first)) == []
    more = f"{first}2026-01-02T03:04:05.25Z two\n2026-01-02T03:04:06.000000001+01:00 three\n"
    assert list(tail.new(more)) == ["two\n", "three\n"]
    assert tail.since == "2026-01-02T03:04:06+01:00"
    assert list(tail.new("2026-01-02T03:04:06.000000001+01:00 three\n")) == []
    assert list(tail.new("")) == []


def test_a_log_that_is_cut_off_is_followed_from_a_later_second() -> None:
    tail = _Tail()
    first = "facility: the last 2 lines are shown here\n2026-01-02T03:04:05.1Z one\n"
    assert list(tail.new(first)) == ["facility: the last 2 lines are shown here\n", "one\n"]
    flood = "2026-01-02T03:04:05.1Z one\n2026-01-02T03:04:05.2Z two\n2026-01-02T03:04:05.3Z thr"
    assert list(tail.new(flood, cut=True)) == [
        "two\n",
        "facility: what follows is left out up to 2026-01-02T03:04:06Z\n",
    ]
    assert list(tail.new("2026-01-02T03:04:06.1Z later\n")) == ["later\n"]
