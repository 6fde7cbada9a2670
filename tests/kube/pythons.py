"""Pythons of this machine for what runs outside of Kubernetes: that of the images, and another one.

Workers refuse a process of another Python than theirs. Where the tests themselves run with another
one, what stands in for a laptop is the analysis image's own root folder, entered with chroot.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from facility.worker.software import PYTHON_OF_IMAGES
from tools.building import CACHE, once, say
from tools.images import catalog, engine

ROOTS = CACHE / "kube" / "roots"
OTHER = catalog.ROOT / ".venv-3.11" / "bin" / "python"
"""Made by `make .venv-3.11`, with all that .venv has."""
ENTER = """
set -e
root=$1 folder=$2
mkdir -p "$root$folder"
for each in /dev /proc "$folder"; do mount --rbind "$each" "$root$each"; done
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
shift 2
exec chroot "$root" env -C "$folder" "$@"
"""
"""In a mount namespace of its own, with which the mounts go."""


def of_images(folder: Path) -> list[str]:
    """Command that starts the Python of the images, with the facility, on this machine.

    Parameters
    ----------
    folder
        What the process needs of this machine's files, with all that is in it.
    """
    if "{}.{}".format(*sys.version_info) == PYTHON_OF_IMAGES:
        return [sys.executable]
    return entered(root_of_analysis(), folder)


def entered(root: Path, folder: Path) -> list[str]:
    """Command that starts the Python of an image's root folder, as the process that is started."""
    enter = ["unshare", "--mount", "--propagation=private", "sh", "-c", ENTER, "sh"]
    return [*enter, str(root), str(folder), "/opt/facility/bin/python"]


def other() -> str:
    """Name a Python that is not that of the images, and that has the facility.

    Raises
    ------
    FileNotFoundError
        Where this machine has none.
    """
    if "{}.{}".format(*sys.version_info) != PYTHON_OF_IMAGES:
        return sys.executable
    if not OTHER.exists():
        raise FileNotFoundError(f"{OTHER} is missing: run `make .venv-3.11`")
    return str(OTHER)


def root_of_analysis() -> Path:
    """Folder with the files of the image `analysis`, unpacked once."""
    reference = catalog.read()["analysis"].built("amd64")
    found = engine.inspect(reference)
    assert found is not None, f"{reference} is missing: run `make images`"
    name = f"analysis-{str(found['Id']).removeprefix('sha256:')[:16]}"

    def make(into: Path) -> None:
        packed = into / "root.tar"
        container = str(engine.podman("create", reference))
        try:
            engine.podman("export", f"--output={packed}", container)
        finally:
            engine.podman("rm", container)
        subprocess.run(["tar", "-xf", packed, "-C", into], check=True)
        packed.unlink()

    if ROOTS.is_dir():
        for stale in ROOTS.iterdir():
            if stale.name != name:
                shutil.rmtree(stale)
    with engine.alone():
        say(f"the tests' Python is not {PYTHON_OF_IMAGES}: what is outside runs in {name}")
        return once(ROOTS, name, make, f"unpacking {reference}")
