"""What images hold: moved tags, other architectures, packages of the user's own; and no rights."""

import json
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from facility.config import Config
from tests.kube.notebooks import POOLS, Notebook, facility_of, server

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
LIST, SINGLE = (f"application/vnd.oci.image.{kind}.v1+json" for kind in ("index", "manifest"))


@pytest.fixture(scope="module")
def notebook(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A user's server whose pool arm is given an image for amd64 alone."""
    arm = POOLS.pools["arm"].model_copy(update={"image": state["images"]["analysis-gpu"]})
    pools = Config(pools={**POOLS.pools, "arm": arm}, source="the tests")
    with facility_of(state, tmp_path_factory.mktemp("space"), pools) as found:
        yield found


def manifest(state: dict[str, Any], repository: str, reference: str, put: bytes = b"") -> bytes:
    """A manifest of the registry; with `put` it gets this one."""
    kind = SINGLE if put and b"config" in put else LIST
    request = urllib.request.Request(
        f"{state['registry']}/v2/{repository}/manifests/{reference}",
        headers={"Content-Type": kind} if put else {"Accept": f"{LIST}, {SINGLE}"},
        method="PUT" if put else "GET",
        data=put or None,
    )
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def test_workers_run_what_the_notebook_runs_also_where_its_tag_has_moved(
    here: None, notebook: Notebook
) -> None:
    state, kube = notebook.space.state, notebook.admin
    place, _, digest = state["images"]["analysis"].partition("@")
    repository = place.partition("/")[2]
    both = manifest(state, repository, digest)
    # A new one, which no node knows yet.
    tag = f"moving-{uuid.uuid4().hex[:8]}"
    manifest(state, repository, tag, put=both)
    kube.apply(server(notebook.space, "tagged", f"{place}:{tag}"))
    kube.run("wait", "--for=condition=Ready", "pod/tagged", "--timeout=120s")
    # The tag now means another image.
    single = json.loads(both)["manifests"][0]["digest"]
    manifest(state, repository, tag, put=manifest(state, repository, single))
    started = Notebook(notebook.space, "tagged").start(
        """
        import time
        from facility import cluster
        with cluster(cpu=1, name="moved", wait=1) as c:
            print("here", flush=True)
            time.sleep(10)
        """
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "here\n"
    (worker,) = notebook.pods("moved", "cpu")
    assert worker["spec"]["containers"][0]["image"] == f"{place}@{digest}"
    started.communicate(timeout=90)
    assert started.returncode == 0
    kube.run("delete", "pod", "tagged", "--grace-period=1")


def test_an_image_for_another_architecture_is_told(notebook: Notebook) -> None:
    said = notebook.python(
        """
        from facility import cluster
        try:
            cluster(arm=1, cpu=1, wait=2, name="foreign", timeout=60)
        except Exception as error:
            print(type(error).__name__, error)
        """
    )
    assert "ClusterTimeoutError" in said
    assert "does not exist for this pool's processor architecture" in said
    assert "cpu: 1 of 1 worker running" in said
    notebook.gone("foreign", 30)


WHEEL = """
import zipfile
place = "/tmp/{name}-99.0-py3-none-any.whl"
with zipfile.ZipFile(place, "w") as wheel:
    info = "{name}-99.0.dist-info"
    wheel.writestr(f"{{info}}/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 99.0\\n")
    wheel.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
    wheel.writestr(f"{{info}}/RECORD", "")
print(place)
"""
"""A package of a version that no worker has, and in it nothing else."""


OWN = "/home/jovyan/own"


def install(notebook: Notebook, name: str, *how: str) -> None:
    """Install a wheel with pip, as a user does in a notebook's terminal."""
    wheel = notebook.python(WHEEL.format(name=name)).strip()
    pip = ("exec", notebook.name, "--", "python", "-m", "pip", "install")
    notebook.admin.run(*pip, *how, "--no-index", "--no-deps", "--ignore-installed", wheel)


def test_packages_of_the_users_own_are_told_once(notebook: Notebook) -> None:
    """The notebook has them first, and workers have not."""
    install(notebook, "mplhep", f"--target={OWN}-one")
    said = notebook.python(
        f"""
        import logging, sys, time
        sys.path.insert(0, "{OWN}-one")
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        from facility import cluster
        with cluster(cpu=3, wait=3, name="own") as c:
            time.sleep(2)
        """
    )
    assert said.count("mplhep 99.0 in the notebook and") == 1


def test_a_package_of_the_users_own_that_workers_must_share_is_refused(
    notebook: Notebook,
) -> None:
    install(notebook, "cloudpickle", f"--target={OWN}-two")
    said = notebook.python(
        f"""
        import sys
        sys.path.insert(0, "{OWN}-two")
        from facility import cluster
        from facility.errors import ClusterFailedError
        try:
            cluster(cpu=1, name="other", timeout=60)
        except ClusterFailedError as error:
            print(error)
        """
    )
    assert "cloudpickle 99.0 here and" in said
    assert "    python -m pip install cloudpickle==" in said


def test_pip_install_user_adds_and_does_not_replace(notebook: Notebook) -> None:
    """The image's own packages come first, in the notebook as on workers: no difference is told."""
    for name in ("mplhep", "new_of_the_user"):
        install(notebook, name, "--user")
    said = notebook.python(
        """
        import importlib.metadata as metadata
        from facility.worker.software import software
        found = software()["packages"]
        print(found["mplhep"] == metadata.version("mplhep") != "99.0")
        print(found["new-of-the-user"], metadata.version("new_of_the_user"))
        """
    )
    notebook.admin.run("exec", notebook.name, "--", "rm", "-r", "/home/jovyan/.local")
    assert said.split() == ["True", "99.0", "99.0"]


def test_without_rights_it_says_whose_are_missing(notebook: Notebook) -> None:
    kube = notebook.admin
    binding = kube.get("rolebinding", "notebook")
    kube.run("delete", "rolebinding", "notebook")
    try:
        said = notebook.python(
            """
            from facility import cluster
            try:
                cluster(cpu=1, name="helpless", timeout=60)
            except Exception as error:
                print(type(error).__name__, error)
            """
        )
    finally:
        for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
            binding["metadata"].pop(key, None)
        kube.run("create", "-f", "-", text=json.dumps(binding))
    assert "Traceback" not in said
    assert "FacilityError" in said
    assert "cannot get resource" in said
    notebook.gone("helpless", 30)
