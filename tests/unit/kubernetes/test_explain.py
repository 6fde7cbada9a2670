"""Why pods do not run, or have ended: from what Kubernetes says to one sentence.

The messages are those that Kubernetes 1.35, its scheduler, kubelet and containerd were seen to
give, or that stand in the autoscaler's documentation.
"""

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from facility.kubernetes import explain
from facility.worker.software import PYTHON_OF_IMAGES, differences, packages, refused_outside

NODES = "0/2 nodes are available: "


def pod(
    phase: str = "Pending",
    *,
    name: str = "dask-1-cpu-0",
    container: dict[str, Any] | None = None,
    conditions: list[dict[str, Any]] | None = None,
    **status: Any,
) -> dict[str, Any]:
    metadata = {"name": name, **status.pop("metadata", {})}
    if container is not None:
        status["containerStatuses"] = [{"name": "worker", "image": "i:1", **container}]
    return {
        "metadata": metadata,
        "status": {"phase": phase, "conditions": conditions or [], **status},
    }


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return pod(conditions=[{**condition, "message": NODES + message}])


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return pod(
        container={"state": {"waiting": {"reason": reason, "message": message}}},
        conditions=[{"type": "PodScheduled", "status": "True"}],
    )


def terminated(code: int, reason: str = "Error", message: str = "", **status: Any) -> Any:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return pod("Failed" if code else "Succeeded", container={"state": state}, **status)


def event(reason: str, message: str = "", name: str = "dask-1-cpu-0") -> dict[str, Any]:
    return {"reason": reason, "message": message, "involvedObject": {"name": name}}


@pytest.mark.parametrize(
    ("message", "events", "words"),
    [
        (
            "1 Insufficient cpu, 1 node(s) had untolerated taint(s). no new claims.",
            [],
            ["no node has enough cpu left", "a taint that the pool does not tolerate", "fewer"],
        ),
        (
            "2 Insufficient nvidia.com/gpu.",
            [event("NotTriggerScaleUp")],
            ["enough nvidia.com/gpu left", "the autoscaler cannot add one"],
        ),
        (
            "1 Insufficient cpu, 1 Insufficient memory.",
            [event("TriggeredScaleUp", "pod triggered scale-up")],
            ["the autoscaler is adding one"],
        ),
        (
            "2 node(s) didn't match Pod's node affinity/selector.",
            [],
            ["lack the labels that the pool asks for", "an administrator has to"],
        ),
        (
            "2 node(s) had untolerated taint {nvidia.com/gpu: present}.",
            [],
            ["a taint (nvidia.com/gpu: present)"],
        ),
        ("2 node(s) were unschedulable.", [], ["take no new pods"]),
        (
            'persistentvolumeclaim "shared" not found.',
            [],
            ['persistentvolumeclaim "shared" not found; wait'],
        ),
        ("something new.", [], ["0/2 nodes are available: something new"]),
    ],
)
def test_no_node_takes_a_pod(message: str, events: list[Any], words: list[str]) -> None:
    text = explain.hindrance(unscheduled(message), events)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("found", "events", "words"),
    [
        (waiting("ErrImagePull", "not found"), [], "the image i:1 cannot be pulled"),
        (waiting("ImagePullBackOff"), [event("Failed", "denied")], "(ImagePullBackOff: denied)"),
        (
            waiting("ErrImagePull", "no match for platform in manifest: not found"),
            [],
            "does not exist for this pool's processor architecture",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            [],
            'its container cannot be made: secret "x" not found',
        ),
        (waiting("CrashLoopBackOff", "back-off 10s"), [], "it ends again and again: back-off 10s"),
        (waiting("ContainerCreating"), [event("Pulling")], "pulling the image"),
        (
            waiting("ContainerCreating"),
            [event("FailedMount", "secret missing")],
            "its node cannot prepare it: secret missing",
        ),
        (waiting("ContainerCreating"), [], "its node is starting it"),
        (pod(), [], "it waits for the scheduler of Kubernetes"),
    ],
)
def test_a_node_does_not_start_a_pod(found: Any, events: list[Any], words: str) -> None:
    assert words in explain.hindrance(found, events)


TARGET = {"type": "DisruptionTarget", "status": "True"}


@pytest.mark.parametrize(
    ("found", "how"),
    [
        (terminated(0, "Completed"), "closed"),
        (terminated(1, message="Traceback\nValueError"), "ended with exit code 1"),
        (terminated(137, "OOMKilled"), "needed more memory than it has and was killed (OOMKilled)"),
        (terminated(137), "was killed (exit code 137)"),
        (terminated(255, message="exec /bin/x: exec format error"), "another processor"),
        (terminated(128, "StartError", "no such file"), "cannot start: no such file"),
        (terminated(78, message="dask 1 here"), "cannot work for this notebook: dask 1 here"),
        (pod("Failed", reason="Evicted", message="low on memory"), "was evicted by its node: low"),
        (pod("Failed", reason="NodeLost"), "ended: NodeLost"),
        (
            terminated(143, conditions=[{**TARGET, "reason": "EvictionByEvictionAPI"}]),
            "was evicted: its node is being drained",
        ),
        (
            pod(
                "Running",
                metadata={"deletionTimestamp": "now"},
                conditions=[{**TARGET, "reason": "DeletionByTaintManager"}],
            ),
            "lost its node",
        ),
        (
            pod("Running", conditions=[{**TARGET, "reason": "New", "message": "m"}]
                , metadata={"deletionTimestamp": "now"}),
            "was taken away (New: m)",
        ),
        (pod("Running", metadata={"deletionTimestamp": "now"}), "was deleted by somebody else"),
    ],
)  # fmt: skip
def test_a_pod_has_ended(found: Any, how: str) -> None:
    ended = explain.ending(found)
    assert ended is not None
    assert how in ended[0]


def test_the_last_lines_of_a_log_are_kept() -> None:
    ended = explain.ending(terminated(1, message="\n".join(map(str, range(50)))))
    assert ended is not None
    assert ended[1].splitlines()[-1] == "49"
    assert len(ended[1].splitlines()) == explain.TAIL


def test_a_pod_that_runs_has_not_ended() -> None:
    assert explain.ending(pod("Running", container={"state": {"running": {}}})) is None


def test_each_reason_of_a_pool_is_told_once() -> None:
    pods = [unscheduled("1 Insufficient cpu."), unscheduled("1 Insufficient cpu."), waiting("x")]
    pods.append(pod("Running", container={"state": {"running": {}}}))
    found = explain.pool_reasons(pods, [event("Pulling", name="other")], {"y": "not yet"})
    assert [text.split(":")[0] for text in found] == ["2 pods wait", "1 pod waits", "1 pod waits"]


QUOTA = (
    'pods "x" is forbidden: exceeded quota: all, requested: limits.cpu=1, used: limits.cpu=4, '
    "limited: limits.cpu=4"
)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (QUOTA, "the quota all is used up (one more asks for limits.cpu=1; limits.cpu=4 of"),
        (
            "ValidatingAdmissionPolicy 'a-pods' with binding 'b' denied request: not so",
            "the policy a-pods refuses it: not so",
        ),
        ("status unknown for quota: all, resources: pods", "has not counted the quota all yet"),
        ('violates PodSecurity "restricted:latest": x', "Pod Security refuses it"),
        ("no PriorityClass with name a was found", "an administrator has to make it"),
        ("anything else.", "anything else"),
    ],
)
def test_a_refusal_is_told(message: str, words: str) -> None:
    assert words in explain.refused(message)


def test_a_scheduler_that_does_not_come() -> None:
    cluster = {"metadata": {"name": "dask-1"}, "status": {"phase": "Created"}}
    silent = {**cluster, "status": {}}

    def why(found: Any, pods: Any = (), events: Any = ()) -> str:
        return explain.scheduler_hindrance(found, pods, events, 20.0)

    assert "somebody has deleted it" in why(None)
    assert "operator of dask-kubernetes has done nothing in 20 s" in why(silent)
    assert "no node has enough cpu" in why(cluster, [unscheduled("2 Insufficient cpu.")])
    assert "its pod ended with exit code 1. Its log" in why(cluster, [terminated(1, message="no")])
    refused = event("FailedCreate", f"Error creating: {QUOTA}", "dask-1-scheduler-5d")
    assert "its pod is refused: the quota all is used up" in why(cluster, (), [refused])
    assert why(cluster) == "its pod has not been made yet"
    running = pod("Running", container={"state": {"running": {}}})
    assert why(cluster, [running]) == "the scheduler is starting"


# Software.


def described(python: str = "3.11.9", **packages: str) -> dict[str, Any]:
    same = {"dask": "1", "distributed": "1", "cloudpickle": "1"}
    return {"python": python, "packages": same | packages, "image": {}}


@pytest.mark.parametrize(
    ("here", "there", "wrong", "other"),
    [
        (described(), described(), [], []),
        (described("3.11.9"), described("3.12.1"), ["Python 3.11.9"], []),
        (described("3.11.9"), described("3.11.8"), [], ["Python 3.11.9"]),
        (described(dask="2"), described(), ["dask 2 in the notebook and 1 on"], []),
        (described(numpy="2"), described(numpy="1"), [], ["numpy 2 in the notebook"]),
        (described(mine="1"), described(cupy="1"), [], []),
    ],
)
def test_what_differs(here: Any, there: Any, wrong: list[str], other: list[str]) -> None:
    found = differences(here, there)
    for texts, expected in zip(found, (wrong, other), strict=True):
        assert len(texts) == len(expected)
        assert all(word in text for word, text in zip(expected, texts, strict=True))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        # A laptop, and a kernel of the user's own in the image.
        ({}, "start it with a Python 3.13 that has facility of this version"),
        ({"name": "analysis"}, "choose the kernel of the image, or install that of the notebook"),
    ],
)
def test_another_python_is_told_with_how_to_get_the_right_one(image: Any, words: str) -> None:
    wrong, _ = differences({**described("3.11.9"), "image": image}, described("3.13.5"))
    (said,) = wrong
    assert said.startswith("Python 3.11.9 in the notebook and 3.13.5 on the worker; pickled code")
    assert words in said
    assert ("or name an image with Python 3.11 in FACILITY_IMAGE" in said) == (not image)


def test_what_workers_would_refuse_is_known_before() -> None:
    assert refused_outside(f"{PYTHON_OF_IMAGES}.99") is None
    said = refused_outside("3.12.1", image_python="3.13")
    assert said is not None
    assert "Python 3.12.1 here and 3.13 in the images of this release; pickled code" in said
    assert "`uv venv --python 3.13`" in said


def test_many_differences_are_counted() -> None:
    names = [f"p{number}" for number in range(20)]
    here, there = (described(**dict.fromkeys(names, version)) for version in ("1", "2"))
    assert differences(here, there)[1][-1] == "12 more packages"


def test_packages_are_what_pip_says(tmp_path: Path) -> None:
    found = packages(sys.path)
    # The first installation of several counts, as for an import.
    said: dict[str, str] = {}
    for each in metadata.distributions():
        said.setdefault(re.sub(r"[-_.]+", "-", each.name).lower(), each.version)
    assert found == said
    assert {"dask", "distributed", "cloudpickle"} <= found.keys()
    own, system = tmp_path / "own", tmp_path / "system"
    for folder in (own / "dask-99.dist-info", system / "dask-1.dist-info"):
        folder.mkdir(parents=True)
    (system / "~umpy-2.dist-info").mkdir()
    (system / "zope.interface-7.1.dist-info").mkdir()
    (system / "with_local-1.0+cu12.dist-info").mkdir()
    places = [str(tmp_path / "none"), str(own), str(system)]
    expected = {"dask": "99", "zope-interface": "7.1", "with-local": "1.0+cu12"}
    assert packages(places) == expected
