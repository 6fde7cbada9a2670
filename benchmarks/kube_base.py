"""The Kubernetes of `make kube-up` and the container images: times, sizes and memory.

It is brought up and taken down as often as there are rounds. Where one is up already, as in the
tests, it stays up, and how long that takes is not measured. With `--cold` everything is first built
from empty caches, Go's included, which takes about 20 minutes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks import _measure
from benchmarks._kube import places_of, state_of_running
from benchmarks._processes import of_each
from tests.kube.bringup import site
from tests.kube.bringup.down import is_up
from tests.kube.bringup.places import places
from tests.kube.bringup.process import Ledger
from tests.kube.conftest import STATE
from tools.building import BuildError
from tools.images import catalog, engine
from tools.images.__main__ import TIMES, size_of

ROOT = Path(__file__).resolve().parent.parent
MANY, FEW = 20, 3
"""Pods at once, and in the smallest size."""
BRING_UP = [sys.executable, "-m", "tests.kube.bringup"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = _measure.options(__doc__.partition("\n")[0], rounds=3)
    parser.add_argument("--cold", action="store_true", help="first build all from empty caches")
    benchmark(parser.parse_args(arguments))


def benchmark(options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    there = there_already()
    many = FEW if options.smallest else MANY
    rows: dict[str, _measure.Summary] = {}
    units: dict[str, str] = {}
    result: dict[str, object] = {}
    if options.cold:
        _measure.note("building from empty caches ...")
        result["cold_build_s"] = cold = _measure.Summary.of([build_cold()])
        rows["built from empty caches"] = cold
    elif there is None:
        run("build")
    samples: dict[str, list[float]] = {}
    for number in range(options.rounds):
        _measure.note(f"round {number + 1} of {options.rounds} ...")
        found = brought_up(many) if there is None else measure(there, many)
        for name, value in found.items():
            samples.setdefault(name, []).append(value)
    for name, values in samples.items():
        rows[name] = _measure.Summary.of(values)
        units[name] = "MiB" if "memory" in name else "s"
    result["kube"] = {name: _measure.Summary.of(values) for name, values in samples.items()}
    result["images"] = built = images()
    for name, each in built.items():
        rows[f"image {name}"] = _measure.Summary.of([each["size_bytes"] / 1e6])
        units[f"image {name}"] = "MB"
        if "build_s" in each:
            rows[f"  built in (last time), {name}"] = _measure.Summary.of([each["build_s"]])
            units[f"  built in (last time), {name}"] = "s"
    _measure.finish(result, json=options.json, table=_measure.table(rows, units))


def run(action: str, environment: Mapping[str, str] | None = None) -> None:
    """Do one action of the bring-up.

    Raises
    ------
    SystemExit
        It failed; with what it said.
    """
    done = subprocess.run(
        [*BRING_UP, action],
        cwd=ROOT,
        env=None if environment is None else dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"The Kubernetes could not be measured:\n{done.stdout}{done.stderr}")


def build_cold() -> float:
    """Seconds of a build from empty caches, which are removed again."""
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    caches = {"XDG_CACHE_HOME": folder, "GOCACHE": folder / "go", "GOMODCACHE": folder / "mod"}
    environment = os.environ | {name: str(path) for name, path in caches.items()}
    try:
        return _measure.seconds(lambda: run("build", environment))()
    finally:
        # Go's modules are read-only, also to who wants to remove them.
        subprocess.run(["go", "clean", "-modcache"], env=environment, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def there_already() -> Mapping[str, Any] | None:
    """Return what runs, if a Kubernetes is up.

    Raises
    ------
    SystemExit
        It was not brought up here.
    """
    try:
        where = places()
    except BuildError as error:
        raise SystemExit(str(error)) from error
    if STATE not in os.environ and not is_up(where):
        return None
    state = state_of_running()
    if places_of(state) is None:
        raise SystemExit("This measures the Kubernetes of `make kube-up`: unset KUBECONFIG.")
    return state


def brought_up(many: int) -> dict[str, float]:
    """Bring up, measure pods on each node, take down."""
    found = {"up": _measure.seconds(lambda: run("up"))()}
    try:
        found |= measure(state_of_running(), many)
    finally:
        found["down"] = _measure.seconds(lambda: run("down"))()
    return found


def measure(state: Mapping[str, Any], many: int) -> dict[str, float]:
    """Measure pods on each node, and memory."""
    found = {}
    for node in site.NODES:
        found[f"pod created to Ready, {node.name}"] = pods(state, node.name, 1)
        found[f"{many} pods at once to Ready, {node.name}"] = pods(state, node.name, many)
    where = places_of(state)
    assert where is not None
    found["memory of all its processes"] = memory(Ledger(where)) / 2**20
    return found


def pods(state: Mapping[str, Any], architecture: str, count: int) -> float:
    """Seconds until pods are Ready that are created at once; their image is on the node."""
    name = f"bench-{uuid.uuid4().hex[:6]}"
    manifests = [pod(f"{name}-{number}", name, architecture, state) for number in range(count)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})

    def kubectl(*words: str, text: str = "") -> None:
        command = [state["kubectl"], f"--kubeconfig={state['kubeconfig']}", *words]
        subprocess.run(command, input=text, text=True, capture_output=True, check=True)

    def create() -> None:
        kubectl("create", "-f", "-", text=text)
        kubectl("wait", "--for=condition=Ready", "pod", "-l", f"app={name}", "--timeout=120s")

    taken = _measure.seconds(create)()
    kubectl("delete", "pod", "-l", f"app={name}", "--wait=true")
    return taken


def pod(name: str, app: str, architecture: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """A pod that waits."""
    container = {
        "name": "main",
        "image": state["images"]["pause"],
        "command": ["/pause"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "nodeSelector": {"kubernetes.io/arch": architecture},
            "tolerations": [{"key": "kubernetes.io/arch", "operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
        },
    }


def memory(ledger: Ledger) -> int:
    """Bytes of the processes of the Kubernetes and their children, shared pages in proportion."""

    def size(process: psutil.Process) -> tuple[int, int]:
        return process.pid, process.memory_full_info().pss

    found: dict[int, int] = {}
    for process in ledger.processes:
        # A program that has just ended takes none.
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(process.pid)
            found |= dict([size(root), *(each for _, each in of_each(size, root))])
    return sum(found.values())


def images() -> dict[str, dict[str, float]]:
    """Bytes of each image that is built, and the seconds that its last build took."""
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    found = {}
    for image in catalog.read().values():
        for architecture in image.architectures:
            if engine.inspect(image.built(architecture)) is not None:
                name = f"{image.name}/{architecture}"
                found[name] = {"size_bytes": float(size_of(image, architecture))}
                if name in times:
                    found[name]["build_s"] = times[name]
    return found


if __name__ == "__main__":
    main()
