"""The Kubernetes that `make test-kube` brought up, and what a failing test says about it."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from xdist.scheduler import LoadScopeScheduling

from tests.kube.bringup import control

STATE = "KUBE_TEST_STATE"
"""Variable that names the file in which the bring-up says what runs."""
SHELL = ["/bin/sh", "-c"]
OTHER_GROUP = {"test_a_gpu_is_given_out_once": "test_cluster"}
"""Tests that run after those of another module: the nodes have one GPU."""
HUBS = "test_hub"
"""What modules begin with that install the chart, one after the other: a Kubernetes has one
operator of dask-kubernetes."""


class Kubernetes:
    """kubectl, in one namespace."""

    def __init__(self, state: dict[str, Any], namespace: str = "default"):
        self.state = state
        self.namespace = namespace
        self.images: dict[str, str] = state["images"]

    def run(self, *words: str, text: str = "", fail: bool = False) -> str:
        """What kubectl says; with `fail` its complaint, if it does complain."""
        done = self._done(*words, text=text)
        assert (done.returncode != 0) == fail, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stderr if fail else done.stdout

    def say(self, *words: str) -> str:
        """Whatever kubectl says, also where the Kubernetes has been taken away."""
        done = self._done(*words)
        return done.stdout + done.stderr

    def _done(self, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        command = [self.state["kubectl"], f"--kubeconfig={self.state['kubeconfig']}"]
        command += [f"--namespace={self.namespace}", *words]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return json.loads(self.run("get", kind, name, "-o", "json"))

    def apply(self, *objects: dict[str, Any], fail: bool = False) -> str:
        text = yaml.safe_dump_all(objects)
        return self.run("apply", "--validate=false", "-f", "-", text=text, fail=fail)

    def pod(self, name: str, script: str, arch: str = "amd64", **spec: Any) -> dict[str, Any]:
        """A pod that runs a script in the base image, on a node of an architecture."""
        container = {
            "name": "main",
            "image": self.images["base"],
            "command": [*SHELL, script],
        } | spec.pop("container", {})
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "nodeSelector": {"kubernetes.io/arch": arch},
                "tolerations": [{"key": "kubernetes.io/arch", "value": arch}],
                "terminationGracePeriodSeconds": 1,
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "containers": [container],
            }
            | spec,
        }

    def wait_until_gone(self, kinds: str, *selector: str, seconds: float = 60) -> None:
        """Wait until there is nothing of some kinds."""
        deadline = time.monotonic() + seconds
        while left := self.run("get", kinds, *selector, "-o", "name").split():
            rest = deadline - time.monotonic()
            assert rest > 0, f"after {seconds} s there is still {' '.join(left)}"
            # Cheaper than to ask again and again.
            self.say("wait", "--for=delete", *left, f"--timeout={min(max(rest, 1), 10):.0f}s")

    def ready(self, name: str) -> None:
        self.run("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")

    def output(self, name: str, seconds: float = 60) -> str:
        """What a pod said, once it has ended well."""
        ended = ("Succeeded", "Failed")
        until(lambda: self.get("pod", name)["status"].get("phase") in ended, seconds)
        said = self.run("logs", name).strip()
        assert self.get("pod", name)["status"]["phase"] == "Succeeded", said
        return said


def until(check: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until `check` is true, which is asked ever more rarely: most checks start a program."""
    begin = time.monotonic()
    while not check():
        waited = time.monotonic() - begin
        assert waited < seconds, f"waited {seconds} s"
        time.sleep(min(max(0.3, waited / 10), 2))


class ByGroup(LoadScopeScheduling):
    """Keeps a module's tests in one process and in order: they share a user's server.

    Marks for `--dist loadgroup` do nothing here: xdist 3.8 writes them into an attribute of tests
    that pytest 9.2 has no more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Name the tests that a test shares a process with."""
    path, _, name = nodeid.partition("::")
    module = Path(path).stem
    return OTHER_GROUP.get(name.partition("[")[0], HUBS if module.startswith(HUBS) else module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup:
    """Have it used by `-n`."""
    return ByGroup(config, log)


@pytest.fixture(scope="session")
def state() -> dict[str, Any]:
    if STATE not in os.environ:
        pytest.skip("needs a Kubernetes: run it with `make test-kube`")
    return json.loads(Path(os.environ[STATE]).read_text())


@pytest.fixture(scope="session")
def here(state: dict[str, Any]) -> None:
    """Skip what needs the Kubernetes to be this machine: its folders, registry and processes."""
    if "registry" not in state:
        pytest.skip("needs the Kubernetes that `make test-kube` brings up without KUBECONFIG")


@pytest.fixture
def kube(state: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[Kubernetes]:
    """A namespace of the test's own."""
    arch = getattr(request.node, "callspec", None) and request.node.callspec.params.get("arch")
    if arch and f"a node of architecture {arch}" in state.get("lacks", ()):
        pytest.skip(f"this Kubernetes has no {arch} node")
    kube = Kubernetes(state, f"test-{uuid.uuid4().hex[:8]}")
    kube.run("create", "namespace", kube.namespace)
    until(lambda: "default" in kube.run("get", "serviceaccounts", "-o", "name"))
    yield kube
    kube.run("delete", "namespace", kube.namespace, "--wait=false")


@pytest.fixture
def checked_policies(state: dict[str, Any]) -> Iterator[None]:
    """Kubernetes checks policies: by itself, but for the one that is brought up here."""
    if "registry" not in state:
        yield
        return
    run = Path(state["kubeconfig"]).parent
    with subprocess.Popen(
        [
            str(Path(state["kubectl"]).parent / "kube-controller-manager"),
            f"--controllers={control.POLICY_CHECKER}",
            f"--kubeconfig={run}/controllers.json",
            f"--service-account-private-key-file={run}/keys/accounts.key",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
        ],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add a failing test's pods, events and logs to its output."""
    report = yield
    if report.when != "teardown" and report.failed:
        for kube in namespaces_of(getattr(item, "funcargs", {})):
            where = kube.namespace
            pods = kube.say("get", "pods", "-o", "wide")
            report.sections.append((f"pods of {where}", pods))
            events = kube.say("get", "events", "--sort-by=.lastTimestamp")
            report.sections.append((f"events of {where}", "\n".join(events.splitlines()[-100:])))
            for line in pods.splitlines()[1:]:
                name = line.split()[0]
                said = kube.say("logs", "--tail=50", "--all-containers", name)
                report.sections.append((f"log of {where}/{name}", said))
    return report


def namespaces_of(fixtures: Mapping[str, Any]) -> list[Kubernetes]:
    """The namespaces that a test works in: its fixtures', and that of the operator beside them."""
    found: dict[str, Kubernetes] = {}
    values = [each for value in fixtures.values() for each in _several(value)]
    for value in values:
        for name in ("admin", "operator"):
            kube = value if isinstance(value, Kubernetes) else getattr(value, name, None)
            if isinstance(kube, Kubernetes):
                found[kube.namespace] = kube
    return list(found.values())


def _several(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else (value,)
