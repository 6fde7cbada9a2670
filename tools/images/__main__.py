"""`make images`: build the images of `images/`, list them, put them into a registry."""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import yaml

from tools import emulation
from tools.building import CACHE, BuildError, install, missing, say
from tools.images import catalog, debian, engine, packages, pages
from tools.images.catalog import ROOT, Image
from tools.images.referrers import Repository, attach
from tools.images.registry import Registry

KEY = "org.facility.key"
"""Label with the hash of what an image was built from."""
SPACE = 4 << 30
"""Bytes that an image may need while it is built, for both architectures."""
SBOM = "/etc/facility/sbom.json"
"""Where an image lists its packages."""
VALUES = {"hub": "hub", "operator": "operator", "singleuser": "analysis"}
"""Sections of the chart's values, and the image of each."""
TIMES = CACHE / "images" / "times.json"
"""Seconds that each image took to build."""


def revision() -> str:
    """The commit that the images are built from."""
    words = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def labels(image: Image, parent: str) -> dict[str, str]:
    """The image's labels, by the Open Container Initiative's names."""
    prefix = "org.opencontainers.image."
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        f"{prefix}title": f"facility/{image.name}",
        f"{prefix}description": image.description,
        f"{prefix}version": catalog.version(),
        f"{prefix}revision": revision(),
        f"{prefix}created": now,
        f"{prefix}licenses": "BSD-3-Clause",
        f"{prefix}base.name": parent,
    }


@contextmanager
def context(name: str, architecture: str) -> Iterator[Path]:
    """A new folder that an image is built from, gone when it is built."""
    found = CACHE / "images" / "context" / f"{name}-{architecture}"
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir(parents=True)
    yield found
    shutil.rmtree(found)


def label(file: Path, written: Mapping[str, str]) -> None:
    """Add labels to a Containerfile."""
    # One instruction: each would be an image of its own while it is built.
    pairs = " ".join(f"{name}={json.dumps(value)}" for name, value in written.items())
    with file.open("a") as opened:
        opened.write(f"LABEL {pairs}\n")


def key_of(reference: str) -> str:
    """Hash of what an image was built from; nothing if there is no such image."""
    found = engine.inspect(reference)
    return str(((found or {}).get("Labels") or {}).get(KEY, ""))


def identity(reference: str) -> str:
    """The identity of an image that is there."""
    found = engine.inspect(reference)
    assert found is not None
    return str(found["Id"])


def build_packages(image: Image, architecture: str, images: Mapping[str, Image]) -> str:
    """Build the image of an image's packages unless it is there; what the image is built upon."""
    parent = images.get(image.parent)
    if parent is None:
        debian.debian(architecture)
        return f"{image.parent}-{architecture}"
    below = parent.floor(architecture)
    if not image.packaged.exists():
        return below
    reference = image.floor(architecture)
    key = catalog.packages_key(image, identity(below), packages.names(image, architecture, images))
    if key_of(reference) != key:
        say(f"building the packages of {image.name} for {architecture}")
        with context(f"{image.name}-packages", architecture) as folder:
            shutil.copy(image.packaged, folder / "Containerfile")
            label(folder / "Containerfile", {KEY: key})
            if found := packages.packages(image, architecture, images):
                packages.link(found, folder / "packages")
            if modules := packages.node_modules(image):
                packages.link(modules / "node_modules", folder / "node_modules")
            engine.build(folder, reference, architecture, arguments={"PARENT": below})
    return reference


def build(image: Image, architecture: str, images: Mapping[str, Image]) -> bool:
    """Build an image for one architecture unless it is there already; whether it was built."""
    begin = time.monotonic()
    below = build_packages(image, architecture, images)
    package = packages.package_hash() if image.facility else ""
    docs = pages.key() if image.docs else ""
    key = catalog.key(image, architecture, identity(below), package, packages.LAYOUT, docs)
    reference = image.built(architecture)
    if key_of(reference) == key:
        return False
    say(f"building {image.name} for {architecture}")
    with context(image.name, architecture) as folder:
        shutil.copytree(image.folder, folder, dirs_exist_ok=True)
        described = json.dumps(catalog.describe(image, images), indent=1) + "\n"
        (folder / "image.json").write_text(described)
        if image.facility:
            packages.link(packages.facility(), folder / "facility")
        if image.docs:
            packages.link(pages.built(), folder / "docs")
        label(folder / "Containerfile", labels(image, image.parent) | {KEY: key})
        engine.build(folder, reference, architecture, arguments={"PARENT": below})
    seconds = time.monotonic() - begin
    remember(f"{image.name}/{architecture}", seconds)
    size = size_of(image, architecture)
    say(f"  {image.name} for {architecture}: {size / 1e6:.0f} MB, {seconds:.0f} s")
    return True


def remember(name: str, seconds: float) -> None:
    """Write down how long an image took."""
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    TIMES.write_text(json.dumps(times | {name: round(seconds, 1)}, indent=1))


def size_of(image: Image, architecture: str) -> int:
    """Bytes of an image, unpacked."""
    found = engine.inspect(image.built(architecture))
    return int(found["Size"]) if found else 0


def foreign(chosen: list[Image]) -> bool:
    """Whether images are built for another architecture than this machine's."""
    machine = os.uname().machine
    return any(catalog.ARCHITECTURES[a] != machine for each in chosen for a in each.architectures)


def emulation_for(chosen: list[Image]) -> AbstractContextManager[None]:
    """What lets the steps for another architecture run, where there are any.

    Raises
    ------
    BuildError
        This machine cannot emulate.
    """
    if not foreign(chosen):
        return nullcontext()
    if os.getuid() != 0 or os.uname().machine != "x86_64":
        if (emulation.BINFMT / emulation.EMULATOR).exists():
            return nullcontext()
        raise BuildError(
            "Images for another architecture need its emulation, which only root on an amd64 "
            f"machine can set up: let an administrator register {emulation.EMULATOR} with "
            "binfmt_misc, then try again."
        )
    if left := missing(emulation.PACKAGES):
        install(emulation.PACKAGES, left)
    # Also where it is there: another program of ours may be about to take it out.
    return emulation.emulating()


def check_space(absent: list[Image]) -> None:
    """See that there is room for images that are not there yet.

    Raises
    ------
    BuildError
        There is not.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(CACHE).free, SPACE * len(absent)
    if free < needed:
        raise BuildError(
            f"{free / 2**30:.1f} GiB of disk are free in {CACHE}, and building "
            f"{', '.join(image.name for image in absent)} needs {needed / 2**30:.0f} GiB: make "
            "room, or set XDG_CACHE_HOME to a folder on a larger disk."
        )


def make(names: list[str]) -> None:
    """Build images and those they stand upon; say how large each is."""
    images = catalog.read()
    chosen = catalog.choose(names, images)
    engine.require()
    check_space([image for image in chosen if engine.inspect(image.reference) is None])
    begin, count = time.monotonic(), 0
    with engine.alone(), emulation_for(chosen):
        for image in chosen:
            built = [build(image, each, images) for each in image.architectures]
            count += sum(built)
            if any(built) or engine.inspect(image.reference) is None:
                engine.join(image.reference, [image.built(each) for each in image.architectures])
        if count:
            # What earlier ones were built from; the layers of these stay.
            forget_other_versions()
            engine.podman("image", "prune", "--force")
            packages.forget_others(images)
    say(f"{count} images built in {time.monotonic() - begin:.0f} s")


def forget_other_versions() -> None:
    """Remove the images of releases that this tree is not: they would fill the disk."""
    said = engine.podman("images", "--format", "{{.Repository}}:{{.Tag}}") or ""
    ours = [name for name in said.splitlines() if name.startswith(f"{catalog.PREFIX}/")]
    old = [name for name in ours if name.rpartition(":")[2].split("-")[0] != catalog.version()]
    # Lists before what they list, and children before their parents.
    for name in sorted(
        old, key=lambda name: ("-" in name.rpartition(":")[2], "-packages:" in name)
    ):
        engine.podman("rmi", name, fail=False)


def show() -> None:
    """Print what there is."""
    for image in catalog.read().values():
        for each in image.architectures:
            size = size_of(image, each)
            said = f"{size / 1e6:6.0f} MB" if size else "not built"
            print(f"{image.built(each):44} {said}  {image.description}")
    print(f"\npodman sees them with: podman --root {engine.STORAGE} --runroot {engine.RUN} images")


def push(registry: Registry, names: list[str]) -> dict[str, str]:
    """Put images into a registry; how each is called there, by its digest."""
    found = {}
    for image in catalog.choose(names, catalog.read()):
        if names and image.name not in names:
            continue
        if engine.inspect(image.reference) is None:
            raise BuildError(f"Image {image.name} is not built yet: run `make images`.")
        name = f"{registry.place}/{image.name}"
        target = f"{name}:{catalog.version()}"
        say(f"pushing {target}")
        digest = engine.push(image.reference, target, plain=registry.plain)
        lists = {
            each: engine.file_of(image.built(each), each, SBOM) for each in image.architectures
        }
        attached = attach(Repository(name, plain=registry.plain), digest, lists)
        say(f"attached the list of packages for {', '.join(attached)}")
        found[image.name] = f"{name}@{digest}"
    return found


def as_values(registry: str, pushed: Mapping[str, str]) -> str:
    """Write pushed images as values of the chart, by their digests."""
    found: dict[str, object] = {"images": {"registry": registry}}
    found |= {at: {"image": pushed[name]} for at, name in VALUES.items() if name in pushed}
    text = yaml.safe_dump(found, sort_keys=False, width=1000)
    others = {name: each for name, each in pushed.items() if name not in VALUES.values()}
    return text + "".join(
        f"# {'image of a pool with GPUs' if name == 'analysis-gpu' else name}: {each}\n"
        for name, each in others.items()
    )


def write_sboms(folder: Path, names: list[str]) -> list[Path]:
    """Copy what each image says of its packages (CycloneDX) out of it; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for image in catalog.choose(names, catalog.read()):
        for each in image.architectures:
            path = folder / f"facility-{image.name}-{catalog.version()}-{each}.cdx.json"
            path.write_bytes(engine.file_of(image.built(each), each, SBOM))
            made.append(path)
    return made


def main(arguments: list[str]) -> int:
    """Do what the arguments say; return the code to exit with."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("action", choices=("build", "list", "lock", "push", "sbom"))
    parser.add_argument("names", nargs="*", help="images; all of the list without any")
    parser.add_argument(
        "--registry",
        help="where to push, such as registry.example/facility; http:// before it if without TLS",
    )
    parser.add_argument(
        "--into", type=Path, default=Path("dist"), help="folder for the SBOMs (%(default)s)"
    )
    parser.add_argument("--upgrade", action="store_true", help="lock the newest versions that fit")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.action == "build":
            make(chosen.names)
        elif chosen.action == "list":
            show()
        elif chosen.action == "lock":
            packages.lock(catalog.read(), ["--upgrade"] if chosen.upgrade else [])
        elif chosen.action == "sbom":
            with engine.alone():
                for path in write_sboms(chosen.into, chosen.names):
                    print(path)
        elif not chosen.registry:
            parser.error("push needs --registry")
        else:
            registry = Registry.read(chosen.registry, "--registry")
            with engine.alone():
                pushed = push(registry, chosen.names)
            print(as_values(registry.place, pushed), end="")
    except BuildError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
