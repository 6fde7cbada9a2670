"""From a template to the Jobs of a burst: whole manifests, and all that is wrong with a template.

Golden files lie in tests/data/batch; REFRESH_GOLDEN=1 writes them anew. That Kubernetes does what
they say is tested on a real one: tests/kube/test_batch.py.
"""

import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from facility.batch.bursts import LARGEST, Burst, burst, jobs
from facility.errors import RequestError

DATA = Path(__file__).resolve().parents[2] / "data/batch"
TEMPLATE = DATA / "template.yaml"


def made(**words: Any) -> Burst:
    return burst(TEMPLATE, "batch", **{"count": 3, "name": "mc23", **words})


def test_the_jobs_of_a_burst() -> None:
    bodies = jobs(made(count=1_001, cores=8.0, retries=4))
    for body in bodies:
        kubernetes_validate.validate(body, "1.33", strict=True)
    golden = DATA / "jobs.yaml"
    text = yaml.safe_dump_all(bodies, width=100)
    if os.environ.get("REFRESH_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(
    ("count", "parts"), [(1, 1), (1_000, 1), (1_001, 2), (5_000, 5), (9_999, 10)]
)
def test_every_index_is_in_one_job(count: int, parts: int) -> None:
    bodies = jobs(made(count=count))
    assert len(bodies) == parts
    sizes = [body["spec"]["completions"] for body in bodies]
    assert max(sizes) <= LARGEST
    assert max(sizes) - min(sizes) <= 1
    offsets = [int(body["metadata"]["annotations"]["facility/burst-offset"]) for body in bodies]
    assert offsets == [sum(sizes[:part]) for part in range(parts)]
    assert sum(sizes) == count


def test_pods_and_pod_templates(tmp_path: Path) -> None:
    job = yaml.safe_load(TEMPLATE.read_text())
    inner = job["spec"]["template"]
    for body in ({"kind": "Pod", **inner}, {"kind": "PodTemplate", "template": inner}):
        path = tmp_path / "other.yaml"
        path.write_text(yaml.safe_dump(body))
        assert jobs(burst(path, "batch", count=3, name="mc23")) == jobs(made())


def test_cores_and_priority() -> None:
    assert made().cores == 1
    wanted = made(cores=8.0, priority_class="other")
    assert wanted.cores == 8
    assert wanted.template["spec"]["priorityClassName"] == "other"


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    body = yaml.safe_load(TEMPLATE.read_text())
    spec = body["spec"]["template"]["spec"]
    spec["restartPolicy"] = "OnFailure"
    spec["containers"] = [{"name": "a"}, {"name": "b", "image": "i", "resources": {"requests": {
        "cpu": "many", "memory": "1Gi"}}}]  # fmt: skip
    body["metadata"]["namespace"] = "elsewhere"
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(body))
    with pytest.raises(RequestError) as told:
        burst(path, "batch", count=0, name="Ü", cores=-1.0, retries=-1)
    for part in (
        "--count 0", "--retries -1", "--cores -1", "the name 'Ü'", "it is for elsewhere",
        "spec.restartPolicy: OnFailure", "spec.containers[0].image",
        "spec.containers[0].resources.requests.memory: there is none",
        "spec.containers[1].resources.requests.cpu",
    ):  # fmt: skip
        assert part in str(told.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "cannot be read"),
        ("", "holds 0 objects"),
        ("kind: Pod\n---\nkind: Pod\n", "holds 2 objects"),
        ("kind: Service\nspec: {}\n", "is a Service; a Job, Pod or PodTemplate"),
        ("kind: Pod\nspec: {}\n", "spec.containers: there is none"),
    ],
)
def test_files_that_are_no_templates(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=told):
        burst(path, "batch", count=1, name="x")
    with pytest.raises(RequestError, match="cannot be read"):
        burst(tmp_path / "none.yaml", "batch", count=1, name="x")
