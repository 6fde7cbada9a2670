"""What `make kube-up` says when it cannot: a sentence, an exit code, and nothing left behind.

Each runs the real program with a cache folder of its own, beside the Kubernetes that is up.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube.bringup.places import Places
from tests.kube.bringup.process import Ledger
from tests.kube.conftest import Kubernetes, until

pytestmark = [pytest.mark.kube, pytest.mark.usefixtures("here"), pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
BRING_UP = [sys.executable, "-m", "tests.kube.bringup"]
WITHOUT_GO = "/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def cache() -> Iterator[Path]:
    """A cache folder; sockets lie in it, so its path is short."""
    with tempfile.TemporaryDirectory(prefix="kb-", dir="/tmp") as folder:
        yield Path(folder)


def ask(
    cache: Path, action: str, *before: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the program with another cache; what it says must be no traceback."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)} | variables
    command = [*before, *BRING_UP, action]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def cache_of(state: dict[str, Any]) -> Path:
    """The cache folder of the Kubernetes that is up."""
    return Path(state["kubeconfig"]).parents[3]


def test_without_root(state: dict[str, Any], cache: Path) -> None:
    # In a user namespace of its own a process is nobody, and still reads root's files.
    done = ask(cache, "up", "unshare", "--user")
    assert done.returncode == 1
    assert "it needs root" in done.stderr
    assert "set KUBECONFIG" in done.stderr


def test_without_go(state: dict[str, Any], cache: Path) -> None:
    done = ask(cache, "build", PATH=WITHOUT_GO)
    assert done.returncode == 1
    assert "Go is missing, which builds it (install 1.25 or newer)" in done.stderr


@pytest.fixture
def small_disk(cache: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    words = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(cache)]
    subprocess.run(words, check=True)
    yield cache
    subprocess.run(["umount", str(cache)], check=True)


def test_with_a_disk_that_is_almost_full(state: dict[str, Any], small_disk: Path) -> None:
    done = ask(small_disk, "build")
    assert done.returncode == 1
    assert "0.1 GiB of disk are free where the cache lies, and 15 GiB are needed" in done.stderr


def test_with_bridge_and_ports_taken(state: dict[str, Any], cache: Path) -> None:
    # By the Kubernetes that is up, of which this cache knows nothing.
    done = ask(cache, "up")
    assert done.returncode == 1
    assert "Another program uses interface kbr0" in done.stderr
    assert "port 12379" in done.stderr


def test_with_a_kubernetes_that_does_not_answer(state: dict[str, Any], tmp_path: Path) -> None:
    config = json.loads(Path(state["kubeconfig"]).read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    other = tmp_path / "config"
    other.write_text(json.dumps(config))
    done = ask(cache_of(state), "up", KUBECONFIG=str(other))
    assert done.returncode == 1
    assert f"The Kubernetes of KUBECONFIG={other} does not answer" in done.stderr
    assert "unset KUBECONFIG to have one brought up here" in done.stderr


def test_another_kubernetes_is_looked_at_and_nothing_is_started(
    state: dict[str, Any], tmp_path: Path
) -> None:
    other = tmp_path / "config"
    other.write_text(Path(state["kubeconfig"]).read_text())
    done = ask(cache_of(state), "up", KUBECONFIG=str(other))
    assert done.returncode == 0, done.stderr
    assert f"using the Kubernetes of KUBECONFIG={other}" in done.stdout
    # Cilium runs beside the pods here, where nobody can see it.
    assert [line for line in done.stdout.splitlines() if "it lacks" in line] == [
        line for line in done.stdout.splitlines() if "NetworkPolicy enforcement" in line
    ]


def test_a_build_that_is_interrupted_leaves_nothing_half_built(
    state: dict[str, Any], cache: Path
) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "GOCACHE": str(cache / "go")}
    build = subprocess.Popen(
        [*BRING_UP, "build"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    built = cache / "facility" / "kube" / "built"
    until(lambda: built.is_dir() and any(built.iterdir()))
    time.sleep(3)
    build.send_signal(signal.SIGINT)
    said, _ = build.communicate(timeout=60)
    assert build.returncode == 130
    assert "interrupted" in said
    assert not list(built.iterdir())


@pytest.mark.last
def test_what_a_killed_run_left_is_taken_down_by_the_next(
    kube: Kubernetes, state: dict[str, Any]
) -> None:
    where = Places(cache_of(state) / "facility" / "kube")
    for process in Ledger(where).processes:
        if process.name in {"apiserver", "etcd", "kubelet-arm64", "containerd-amd64"}:
            process.send(signal.SIGKILL)
    done = ask(cache_of(state), "up")
    assert done.returncode == 0, done.stderr
    assert "taking it down first" in done.stdout
    assert "down; nothing is left" in done.stdout
    kube.run("create", "namespace", kube.namespace)
    until(lambda: "default" in kube.run("get", "serviceaccounts", "-o", "name"))
    kube.apply(kube.pod("says", "echo again"))
    assert kube.output("says") == "again"
