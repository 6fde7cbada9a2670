"""Each image of the list, run in a container: its own smoke test and those of its parents.

`make images` has built them. Containers have a read-only root file system, no network, no rights
and a user that the image does not know, as on OpenShift.
"""

import json
import os
import re
from pathlib import Path

import pytest

from tools.images import catalog, engine
from tools.images.catalog import Image

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]
IMAGES = catalog.read()
BUILT = [(image, each) for image in IMAGES.values() for each in image.architectures]
EMULATED = [
    (image, each) for image, each in BUILT if catalog.ARCHITECTURES[each] != os.uname().machine
]
SMOKE = "/smoke.py"
STRANGER = 123456
"""A uid that stands in no list of users."""
OWN = 1000
LARGEST = 1.5e9
"""Bytes that the image `analysis` may have."""


def named(case: object) -> str:
    return case.name if isinstance(case, Image) else str(case)


def packages_of(image: Image) -> list[str]:
    """What its lock and its parents' promise on every platform."""
    found = {"facility"} if image.facility else set()
    for each in (image, *catalog.ancestors(image, IMAGES)):
        text = each.lock.read_text() if each.lock.exists() else ""
        found |= set(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==[^ ;]+ \\$", text, re.M))
    return sorted(found)


def versions_of(image: Image) -> dict[str, str]:
    """What locks say of packages that are the same on every platform."""
    found = {}
    for each in reversed((image, *catalog.ancestors(image, IMAGES))):
        text = each.lock.read_text() if each.lock.exists() else ""
        found |= dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^ ;]+) \\$", text, re.M))
    return {name.lower().replace("_", "-"): version for name, version in found.items()}


def npm_of(image: Image) -> list[tuple[str, str]]:
    """Name and version of each package of npm that its lock and its parents' name."""
    found = []
    for each in (image, *catalog.ancestors(image, IMAGES)):
        lock = each.folder / "package-lock.json"
        packages = json.loads(lock.read_text())["packages"] if lock.exists() else {}
        for place, package in packages.items():
            if place:
                name = place.rpartition("node_modules/")[2]
                found.append((package.get("name", name), package["version"]))
    return found


def smoke(image: Image, architecture: str, *, programs: bool) -> str:
    """What the smoke tests of an image and its parents say in a container of the image.

    Parameters
    ----------
    programs
        Whether they start programs too, such as a hub, which takes minutes under emulation.
    """
    expected = {
        "image": catalog.describe(image, IMAGES),
        "machine": catalog.ARCHITECTURES[architecture],
        "uid": STRANGER,
        "programs": programs,
        "packages": packages_of(image),
        "versions": versions_of(image),
        "npm": npm_of(image),
    }
    said = []
    for each in reversed([image, *catalog.ancestors(image, IMAGES)]):
        done = engine.container(
            image.built(architecture),
            architecture,
            ["python", SMOKE],
            user=f"{STRANGER}:0",
            mounts={each.folder / "smoke.py": SMOKE},
            environment={"EXPECTED": json.dumps(expected)},
        )
        assert done.returncode == 0, f"{each.name}'s smoke test\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    return "".join(said)


@pytest.mark.parametrize(("image", "architecture"), BUILT, ids=named)
def test_an_image_passes_its_smoke_test_and_its_parents(image: Image, architecture: str) -> None:
    said = smoke(image, architecture, programs=(image, architecture) not in EMULATED)
    assert said.startswith(f"{image.name}: ")


@pytest.mark.long
@pytest.mark.parametrize(("image", "architecture"), EMULATED, ids=named)
def test_programs_of_an_emulated_image_answer(image: Image, architecture: str) -> None:
    assert smoke(image, architecture, programs=True).startswith(f"{image.name}: ")


@pytest.mark.parametrize("image", IMAGES.values(), ids=named)
def test_an_image_runs_as_its_own_user(image: Image) -> None:
    architecture = image.architectures[0]
    done = engine.container(image.built(architecture), architecture, ["id", "-u"])
    assert (done.stdout.strip(), done.returncode) == (str(OWN), 0), done.stderr


@pytest.mark.parametrize(("image", "architecture"), BUILT, ids=named)
def test_an_image_says_what_it_is(image: Image, architecture: str) -> None:
    found = engine.inspect(image.built(architecture))
    assert found is not None
    assert (found["Architecture"], found["Os"]) == (architecture, "linux")
    assert found["User"] == str(OWN)
    labels = {key.rpartition(".")[2]: value for key, value in found["Labels"].items()}
    assert labels["title"] == f"facility/{image.name}"
    assert labels["version"] == catalog.version()
    assert labels["description"] == image.description
    assert {"created", "revision", "licenses", "name"} <= set(labels)


@pytest.mark.parametrize("image", IMAGES.values(), ids=named)
def test_a_manifest_list_names_each_architecture(image: Image) -> None:
    said = engine.podman("manifest", "inspect", image.reference)
    platforms = [each["platform"]["architecture"] for each in json.loads(said or "")["manifests"]]
    assert sorted(platforms) == sorted(image.architectures)


@pytest.mark.parametrize("architecture", IMAGES["analysis"].architectures)
def test_the_analysis_image_stays_small(architecture: str) -> None:
    found = engine.inspect(IMAGES["analysis"].built(architecture))
    assert found is not None
    assert found["Size"] < LARGEST


def test_a_look_at_the_storage_leaves_it_unmounted() -> None:
    """A mount would stay when everything has ended, and the cache could not be removed."""
    engine.podman("images", "--quiet")
    own = str(engine.STORAGE / "overlay")
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert own not in mounted
