"""The tests of the kube tier: on the Kubernetes that is brought up here, or on another."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

from tests.kube.bringup import external, network, site
from tests.kube.bringup.build import helm_programs
from tests.kube.bringup.down import down
from tests.kube.bringup.hold import alone
from tests.kube.bringup.places import Places
from tests.kube.bringup.process import COLLECT_SELDOM
from tests.kube.bringup.up import up
from tools.building import BuildError, say
from tools.images import catalog, engine
from tools.images.registry import Registry

NOTHING_RAN = pytest.ExitCode.NO_TESTS_COLLECTED
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadscope")
"""Which tests share a process says `conftest.py`. With more, Dask clusters wait for each other's
room on a node of two cores, now and then for minutes."""
MAIN, LONG, LAST, CILIUM = PARTS = ("main", "long", "last", "cilium")
"""Parts that run one after the other, all but the first named by the marker of their tests: these
take minutes each and are for `make test-long`; they take the Kubernetes away; they need Cilium as
it is by default, for which no address of an ipBlock is that of a node or the API server."""
UNUSED = ("analysis-gpu",)
"""Images that no test runs on a Kubernetes: 4 GB take minutes to be packed."""
FOLDER = "tests/kube"
BROKEN = 9
"""Code to exit with where more is wrong than tests: what nothing of pytest's says."""
ROOT = Path(__file__).resolve().parents[3]
STATE = "KUBE_TEST_STATE"
"""Variable that tells the tests which file says what runs."""
REGISTRY = "KUBE_TEST_REGISTRY"
"""Variable with the registry of another Kubernetes; `http://` before it if it speaks no TLS."""
REGISTRY_IN_PODS = "KUBE_TEST_REGISTRY_IN_PODS"
"""Variable with what pods call that registry, where they call it by another name."""


def put_images(file: Path, registry: Registry, name_in_pods: str) -> None:
    """Put the facility's images, as far as they are built, into a registry.

    Pods name them by their digest, which stands in the file that says what runs. What all of them
    are built upon runs nowhere by itself.

    Parameters
    ----------
    file
        Says what runs.
    registry
        Where to put them.
    name_in_pods
        What pods call it.
    """
    images = catalog.read()
    with engine.alone():
        for image in images.values():
            if image.name in UNUSED or image.parent not in images:
                continue
            if engine.inspect(image.reference) is not None:
                say(f"putting the image {image.name} into the registry {registry.place}")
                name = f"facility/{image.name}"
                target = f"{registry.place}/{name}:{catalog.version()}"
                digest = engine.push(
                    image.reference, target, plain=registry.plain, compression="zstd"
                )
                state = json.loads(file.read_text())
                state["images"][image.name] = f"{name_in_pods}/{name}@{digest}"
                fresh = file.with_suffix(".new")
                fresh.write_text(json.dumps(state, indent=1))
                fresh.replace(file)


def put_images_here(where: Places) -> None:
    """Put the images into the registry of the Kubernetes that is brought up here."""
    put_images(where.state, Registry.read(site.REGISTRY_URL, "the site"), site.REGISTRY)


def run(state: Path, arguments: list[str], part: str) -> int:
    """Run a part of the tests, or of those that the arguments name; the code to exit with."""
    which = part if part != MAIN else " and ".join(f"not {each}" for each in PARTS[1:])
    more = SIDE_BY_SIDE if part in (MAIN, LONG) else ()
    if part != MAIN:
        report = r"^(--junitxml=.*)\.xml$"
        arguments = [re.sub(report, rf"\1-{part}.xml", word) for word in arguments]
    named = any(word.startswith(f"{FOLDER}/") for word in arguments)
    where = () if named else (FOLDER,)
    command = [sys.executable, "-m", "pytest", *where, "-m", f"kube and {which}", *more]
    command += arguments
    environment = os.environ | COLLECT_SELDOM | {STATE: str(state)}
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    # Python itself ends with the code of failed tests where pytest has not even begun.
    reports = [word.partition("=")[2] for word in arguments if word.startswith("--junitxml=")]
    return code if all(Path(report).exists() for report in reports) else BROKEN


def code_of(found: Iterable[int]) -> int:
    """Return the code for all parts; where some tests are chosen, parts are left without any.

    A process that a signal has ended has a code below zero, and counts as that.
    """
    ran = set(found) - {NOTHING_RAN}
    return max((code if code >= 0 else 128 - code for code in ran), default=int(NOTHING_RAN))


def test_here(where: Places, arguments: list[str], parts: Collection[str]) -> int:
    """Bring up, run parts of the tests, and take down, also when they fail."""
    found, left = [], []
    try:
        for mode, of_mode in zip(network.CIDR_MODES, (PARTS[:3], PARTS[3:]), strict=True):
            chosen = [part for part in of_mode if part in parts]
            if not chosen:
                continue
            with alone(where):
                up(where, mode)
                put_images_here(where)
            # Not held meanwhile: a test of what a killed run leaves brings it up again.
            found += [run(where.state, arguments, part) for part in chosen]
    finally:
        with alone(where):
            left = down(where)
    return BROKEN if left else code_of(found)


def test_there(where: Places, config: str, arguments: list[str], parts: Collection[str]) -> int:
    """Run parts of the tests on the Kubernetes of KUBECONFIG, which is left as it was.

    Raises
    ------
    BuildError
        It does not answer, or no registry is named that its nodes can pull from.
    """
    lacks = external.use(where, config)
    named = os.environ.get(REGISTRY, "")
    if not named:
        raise BuildError(
            f"The tests need a registry that the nodes of KUBECONFIG={config} can pull from, "
            f"to put the images into: name it in {REGISTRY}, such as registry.example/test."
        )
    registry = Registry.read(named, REGISTRY)
    in_pods = os.environ.get(REGISTRY_IN_PODS)
    name_in_pods = Registry.read(in_pods, REGISTRY_IN_PODS).place if in_pods else registry.place
    state = where.root / "external.json"
    found = {"kubeconfig": config, "kubectl": external.kubectl(where), "images": {}, "lacks": lacks}
    found["helm"] = helm_programs(where)
    state.write_text(json.dumps(found))
    try:
        put_images(state, registry, name_in_pods)
        there = json.loads(state.read_text())
        # What tests of other things than images run their scripts in.
        there["images"][site.BASE] = there["images"].get("analysis", "")
        state.write_text(json.dumps(there))
        chosen = ["--ignore=tests/kube/test_bringup.py", *arguments]
        return code_of(run(state, chosen, part) for part in PARTS[:3] if part in parts)
    finally:
        state.unlink()
