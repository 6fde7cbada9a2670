"""Everything that is built once: Kubernetes, Cilium and more from Go modules, a base from Debian.

Each thing has a folder of its own, named by a hash of its sources and flags. Go compares every
module with the checksums in go.sum.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.kube.bringup import site
from tests.kube.bringup.components import CILIUM, COMPONENTS, HELMS, Component, key, link_flags
from tests.kube.bringup.image import tar_of
from tests.kube.bringup.places import SOURCES, Places
from tools.building import BuildError, fingerprint, once, remove, run
from tools.emulation import emulating

KUBERNETES_PARTS = (
    "etcd",
    "coredns",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
)
"""Names by which the one program is called."""
DEBIAN = "bookworm"
BASE_PACKAGES = ("ca-certificates", "python3-minimal", "iproute2", "curl")


def helm_programs(where: Places) -> dict[str, str]:
    """Helm's own programs, each under its version."""
    folders = needed(where)
    return {str(each): str(folders[f"helm{each}"] / f"helm{each}") for each in HELMS}


def base_key() -> str:
    """Hash of all that the base images and the pause program are built from."""
    return fingerprint([DEBIAN, *BASE_PACKAGES], [SOURCES / "pause.c"])


def go(component: Component, folder: Path, *words: str) -> str:
    """What a short Go command says in the folder of a component."""
    done = subprocess.run(["go", *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            f"`go {' '.join(words)}` failed for {component.name}: {done.stderr.strip()[-500:]}"
        )
    return done.stdout.strip()


def make_component(component: Component, where: Places, into: Path) -> None:
    """Build the programs of one component from a copy of its sources."""
    log = where.logs / f"build-{component.name}.log"
    log.unlink(missing_ok=True)
    sources = into / "src"
    shutil.copytree(component.sources, sources)
    if component.name == "containerd":
        choose_platform(component, sources)
    for program in component.programs:
        flags = ["-trimpath", "-v", "-tags", program.tags]
        flags += ["-ldflags", link_flags(program, component.version)]
        command = ["go", "build", *flags, "-o", str(into / program.name), program.package]
        run(command, program.name, log, cwd=sources, CGO_ENABLED=0)
    if component.name == "kubernetes":
        for part in KUBERNETES_PARTS:
            (into / part).symlink_to("kube")
    if component.name == "cilium":
        # The agent compiles these when it runs.
        module = Path(go(component, sources, "list", "-m", "-f", "{{.Dir}}", CILIUM))
        shutil.copytree(module / "bpf", into / "bpf")
        for path, _, files in os.walk(into / "bpf"):
            for file in (path, *(f"{path}/{name}" for name in files)):
                Path(file).chmod(Path(file).stat().st_mode | 0o200)
    remove(sources)


def choose_platform(component: Component, sources: Path) -> None:
    """Have containerd's own idea of its platform replaced by that of our file."""
    module = "github.com/containerd/platforms"
    go(component, sources, "mod", "download", module)
    origin = Path(go(component, sources, "list", "-m", "-f", "{{.Dir}}", module))
    shutil.copytree(origin, sources / "platforms")
    for path in (sources / "platforms", *(sources / "platforms").iterdir()):
        path.chmod(0o755)
    shutil.copy(sources / "platform.go.txt", sources / "platforms" / "defaults_unix.go")
    go(component, sources, "mod", "edit", f"-replace={module}=./platforms")


def make_base(where: Places, into: Path) -> None:
    """Build what the site's own images are made of, but for CoreDNS."""
    log = where.logs / "build-base.log"
    log.unlink(missing_ok=True)
    program = into / site.PAUSE
    command = ["gcc", "-static", "-Os", "-o", str(program), str(SOURCES / "pause.c")]
    run(command, "the pause program", log)
    tar_of(program, into / "pause.tar")
    with emulating():
        for node in site.NODES:
            tar = into / f"base.{node.name}.tar"
            command = ["mmdebstrap", f"--arch={node.name}", "--variant=minbase"]
            command += [f"--include={','.join(BASE_PACKAGES)}", DEBIAN, str(tar)]
            run(command, f"Debian base for {node.name}", log)


def needed(where: Places) -> dict[str, Path]:
    """Where each component lies, or is to lie, by its name; nothing is built."""
    folders = {c.name: where.built / f"{c.name}-{c.version}-{key(c)}" for c in COMPONENTS}
    return folders | {"base": where.built / f"base-{base_key()}"}


def build(where: Places) -> Mapping[str, Path]:
    """Build what is not there yet, and return the folder of each component by its name."""
    folders = needed(where)
    for component in COMPONENTS:

        def make(into: Path, component: Component = component) -> None:
            make_component(component, where, into)

        about = f"building {component.name} {component.version}: up to {component.minutes} minutes"
        once(where.built, folders[component.name].name, make, about)
    once(
        where.built,
        folders["base"].name,
        lambda into: make_base(where, into),
        "making Debian bases for both architectures: up to 6 minutes",
    )
    return folders
