"""podman: the only module that talks to it.

Images lie in a storage of their own below the user's cache folder, so that nothing else that the
machine does with containers is touched.
"""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.building import CACHE, BuildError, install, missing, run, say
from tools.images.catalog import LOGS

PACKAGES = {
    "podman": "/usr/bin/podman",
    "golang-github-containers-common": "/etc/containers/policy.json",
    "runc": "/usr/sbin/runc",
}
STORAGE = CACHE / "images" / "storage"
RUN = Path("/run/facility-images") if os.getuid() == 0 else STORAGE.with_name("run")
"""What lives no longer than this machine runs; sockets' paths are short."""
SETTINGS = CACHE / "images" / "containers.conf"
OLD_CGROUPS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""
"""Where control groups of version 1 are, of which crun and systemd make nothing."""
NO_TLS = (
    "server gave HTTP response to HTTPS client",
    "first record does not look like a TLS handshake",
)
"""What podman says of registries without TLS."""
CGROUPS = Path("/sys/fs/cgroup/cgroup.controllers")


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other program builds or pushes images, and hold them off meanwhile."""
    STORAGE.parent.mkdir(parents=True, exist_ok=True)
    with (STORAGE.parent / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another program that builds images")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def require() -> None:
    """See that podman is there; as root install it from Debian where it is not.

    Raises
    ------
    BuildError
        It is missing and cannot be installed from here.
    """
    left = missing(PACKAGES) if not shutil.which("podman") else []
    if left and (os.getuid() != 0 or not shutil.which("apt-get")):
        raise BuildError(
            f"Images are built with podman, which is missing: install {' '.join(left)} "
            "(on Debian, as root, with apt-get), then try again."
        )
    if left:
        install(PACKAGES, left)


def settings() -> dict[str, str]:
    """Variables that podman runs with."""
    variables = dict(os.environ)
    if not CGROUPS.exists():
        SETTINGS.parent.mkdir(parents=True, exist_ok=True)
        SETTINGS.write_text(OLD_CGROUPS)
        variables["CONTAINERS_CONF"] = str(SETTINGS)
    return variables


def words(*arguments: str) -> list[str]:
    """A podman command."""
    # Else it mounts its storage on itself, and leaves it so.
    no_mount = "--storage-opt=overlay.skip_mount_home=true"
    return ["podman", f"--root={STORAGE}", f"--runroot={RUN}", no_mount, *arguments]


def podman(*arguments: str, fail: bool = True) -> str | None:
    """What a short podman command says; without `fail`, None if it fails.

    Raises
    ------
    BuildError
        It failed; with what it said.
    """
    done = subprocess.run(
        words(*arguments), capture_output=True, text=True, check=False, env=settings()
    )
    if done.returncode == 0:
        return done.stdout.strip()
    if not fail:
        return None
    said = done.stderr.strip()[-1500:]
    raise BuildError(f"`podman {' '.join(arguments)}` failed: {said}")


def inspect(reference: str) -> Mapping[str, Any] | None:
    """What podman knows of an image, None if there is none."""
    said = podman("image", "inspect", reference, fail=False)
    return dict(json.loads(said)[0]) if said else None


def build(
    context: Path,
    reference: str,
    architecture: str,
    *,
    arguments: Mapping[str, str],
) -> None:
    """Build an image from a folder with a Containerfile.

    Parameters
    ----------
    context
        The folder.
    reference, architecture
        What the image is called, and for what it is.
    arguments
        Its `ARG`s.

    Raises
    ------
    BuildError
        It failed; with the last lines of the log.
    """
    # Without a container of its own for each step nothing but root is needed.
    command = words("build", f"--platform=linux/{architecture}", "--isolation=chroot")
    command += ["--network=host", "--pull=never", "--layers", f"--tag={reference}"]
    command += [f"--file={context}/Containerfile", "--format=oci"]
    command += [f"--build-arg={name}={value}" for name, value in arguments.items()]
    log = LOGS / f"build-{reference.rsplit('/', 1)[-1].replace(':', '-')}.log"
    log.unlink(missing_ok=True)
    run([*command, str(context)], f"image {reference}", log, **settings())


def container(
    reference: str,
    architecture: str,
    command: list[str],
    *,
    user: str | None = None,
    mounts: Mapping[Path, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a container that may do nothing, and return what came of it.

    Its root file system is read-only but for /tmp and the user's home; it has no network but
    loopback, and no rights.

    Parameters
    ----------
    reference, architecture
        The image.
    command
        Its words, in place of the image's own.
    user
        As whom it runs, `uid:gid`; by default as the image says.
    mounts
        Files of this machine, and where they are in the container.
    environment
        Variables beside the image's own.
    """
    line = words("run", "--rm", f"--platform=linux/{architecture}", "--pull=never")
    # Else podman raises limits, which a machine may forbid.
    line += [
        "--ulimit=host",
        "--read-only",
        "--tmpfs=/tmp:mode=1777",
        "--tmpfs=/home/jovyan:mode=1777",
    ]
    line += ["--network=none", "--cap-drop=all", "--security-opt=no-new-privileges"]
    line += [f"--user={user}"] if user else []
    line += [f"--volume={path}:{place}:ro" for path, place in (mounts or {}).items()]
    line += [f"--env={name}={value}" for name, value in (environment or {}).items()]
    return subprocess.run(
        [*line, reference, *command],
        capture_output=True,
        text=True,
        check=False,
        env=settings(),
    )


def change(reference: str, architecture: str, command: list[str], folder: Path, said: str) -> None:
    """Run a command in a container that may change a folder of this machine, and nothing else.

    Parameters
    ----------
    reference, architecture
        The image.
    command
        Its words, in place of the image's own.
    folder
        Has the same name in the container.
    said
        What the command reads.
    """
    line = words("run", "--rm", "--interactive", f"--platform=linux/{architecture}")
    # Root of the container owns what this user owns here, with podman's root or without.
    line += ["--pull=never", "--ulimit=host", "--user=0:0", "--entrypoint="]
    line += ["--network=none", f"--volume={folder}:{folder}", reference, *command]
    subprocess.run(line, input=said, capture_output=True, text=True, check=False, env=settings())


def file_of(reference: str, architecture: str, path: str) -> bytes:
    """Read a file of an image, which need not be of this machine's architecture.

    Raises
    ------
    BuildError
        There is no such file, or no such image.
    """
    made = podman("create", "--pull=never", f"--platform=linux/{architecture}", reference, "none")
    with tempfile.TemporaryDirectory() as folder:
        try:
            podman("cp", f"{made}:{path}", f"{folder}/file")
        finally:
            podman("rm", str(made))
        return Path(folder, "file").read_bytes()


def pull(reference: str, architecture: str) -> str | None:
    """Fetch an image; its identity, None where its registry is not reached."""
    platform = f"--platform=linux/{architecture}"
    said = podman("pull", "--quiet", platform, reference, fail=False)
    return said.splitlines()[-1] if said else None


def load(tar: Path, reference: str, architecture: str) -> None:
    """Make an image of one layer from the files of a root file system."""
    podman("import", "--quiet", f"--arch={architecture}", "--os=linux", str(tar), reference)


def join(reference: str, parts: Iterable[str]) -> None:
    """Make a manifest list of images for several architectures."""
    podman("manifest", "rm", reference, fail=False)
    podman("manifest", "create", reference)
    for part in parts:
        podman("manifest", "add", reference, f"containers-storage:{part}")


def push(reference: str, target: str, *, plain: bool = False, compression: str = "gzip") -> str:
    """Copy a manifest list and all that it names into a registry; its digest.

    Parameters
    ----------
    reference
        The manifest list.
    target
        What it is called there, its registry included.
    plain
        Whether the registry speaks HTTP.
    compression
        `gzip`, which everybody reads, or `zstd`, which takes a third of the time.

    Raises
    ------
    BuildError
        The registry does not take it.
    """
    digest = STORAGE.with_name("digest")
    verify = f"--tls-verify={str(not plain).lower()}"
    place = f"docker://{target}"
    packed = f"--compression-format={compression}"
    written = f"--digestfile={digest}"
    try:
        podman("manifest", "push", "--all", verify, packed, written, reference, place)
    except BuildError as error:
        if not any(words in str(error) for words in NO_TLS):
            raise
        host = target.partition("/")[0]
        raise BuildError(
            f"The registry {host} speaks no TLS: write http://{host} if it may be used like that."
        ) from error
    return digest.read_text().strip()
