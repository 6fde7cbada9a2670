"""Each benchmark at its smallest size, but for those that run on a Kubernetes."""

import importlib
import json
from pathlib import Path

import pytest

from tests import benchmarked
from tests.kube.conftest import STATE

pytestmark = pytest.mark.timeout(300)
KEYS = {
    "analysis": {"ideal_fraction", "vs_dask_executor_cpu", "share_of_cpu", "killed_workers"},
    "cluster_start": {"ours_s", "local_s", "by_hand_s", "dask_commands_s", "import_s"},
    "one_core": {"vs_runner_narrow"},
    "run_costs": {"account_and_checkpoint", "ten_thousand"},
}


def test_every_benchmark_is_run_by_something() -> None:
    there = {path.stem for path in (benchmarked.ROOT / "benchmarks").glob("[a-z]*.py")}
    # The one that makes a fresh clone and its environment is a step of its own.
    script = (benchmarked.ROOT / ".ci" / "run").read_text()
    assert "begin make-run .venv/bin/python -m benchmarks.hub_start --rounds 1" in script
    assert there == {*benchmarked.LOCAL, *benchmarked.KUBE, benchmarked.HUB, "hub_start"}
    assert set(benchmarked.LOCAL) == set(KEYS)


@pytest.mark.parametrize("name", benchmarked.LOCAL)
def test_it_runs_to_its_result(name: str) -> None:
    assert KEYS[name] <= benchmarked.result_of(name).keys()


def program(folder: Path, text: str) -> str:
    """A kubectl."""
    tool = folder / "kubectl"
    tool.write_text(f"#!/bin/sh\n{text}\n")
    tool.chmod(0o755)
    return str(tool)


def said(name: str) -> str:
    """What a benchmark ends with, in a sentence."""
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"benchmarks.{name}").main(["--smallest"])
    return str(caught.value)


@pytest.fixture
def nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where sockets would lie, the path is to be short.
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp/none")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv(STATE, raising=False)


@pytest.mark.parametrize("name", ["kube_scale", "kube_start", benchmarked.HUB])
def test_without_a_kubernetes_it_says_what_to_do(name: str, nothing_up: None) -> None:
    assert said(name).startswith("No Kubernetes is up to measure on: bring one up with `make kube")
    assert not Path("/tmp/none").exists()


@pytest.mark.parametrize("name", [*benchmarked.KUBE, benchmarked.HUB])
def test_a_kubernetes_that_is_gone_or_does_not_answer_is_told(
    name: str, nothing_up: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state.json"
    monkeypatch.setenv(STATE, str(file))
    assert said(name).startswith("No Kubernetes is up to measure on")
    deaf = program(tmp_path, "echo 'connection refused' >&2; exit 1")
    file.write_text(json.dumps({"kubectl": deaf, "kubeconfig": "/run/admin.json", "images": {}}))
    expected = "The Kubernetes of /run/admin.json does not answer: connection refused Take it down"
    assert said(name).startswith(expected)


def test_images_that_are_missing_are_named(
    nothing_up: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, answers = tmp_path / "state.json", program(tmp_path, "echo ok")
    file.write_text(json.dumps({"kubectl": answers, "kubeconfig": "x", "images": {"base": "b"}}))
    monkeypatch.setenv(STATE, str(file))
    done = benchmarked.run("kube_start")
    assert done.returncode == 1
    assert "has no image analysis and no image operator: build them with `make im" in done.stderr
    assert len(done.stderr.splitlines()) == 1
