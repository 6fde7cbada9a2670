"""The image that all others stand upon: from its registry, or else from Debian's packages."""

from pathlib import Path

from tools.building import install, missing, once, run, say
from tools.images import engine
from tools.images.catalog import LOGS
from tools.images.packages import UNPACKED

SUITE = "trixie"
BASE = f"docker.io/library/debian:{SUITE}-slim"
PACKAGES = {"mmdebstrap": "/usr/bin/mmdebstrap"}
# What Debian's slim image leaves out.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
KEPT = "/usr/share/doc/*/copyright"


def bootstrap(architecture: str) -> Path:
    """A tar file with a minimal Debian, made of its packages."""

    def make(into: Path) -> None:
        command = ["mmdebstrap", f"--arch={architecture}", "--variant=minbase"]
        command += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        command += [f"--dpkgopt=path-include={KEPT}", SUITE, str(into / "debian.tar")]
        what = f"Debian {SUITE} for {architecture}"
        run(command, what, LOGS / f"debian-{architecture}.log")

    if left := missing(PACKAGES):
        install(PACKAGES, left)
    about = f"making Debian {SUITE} for {architecture} from its packages: up to 5 minutes"
    name = f"debian-{SUITE}-{architecture}"
    return once(UNPACKED, name, make, about) / "debian.tar"


def debian(architecture: str) -> str:
    """Have the base image for an architecture; its identity.

    It keeps its name where it is made here, so that Containerfiles need not know.
    """
    reference = f"{BASE}-{architecture}"
    found = engine.inspect(reference)
    if found is None:
        fetched = engine.pull(BASE, architecture)
        if fetched:
            engine.podman("tag", fetched, reference)
        else:
            say(f"{BASE} cannot be fetched from its registry")
            engine.load(bootstrap(architecture), reference, architecture)
        found = engine.inspect(reference)
    assert found is not None
    return str(found["Id"])
