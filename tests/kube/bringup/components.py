"""What is built from Go modules: which programs, from which packages, with which flags."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.kube.bringup.places import SOURCES
from tools.building import fingerprint

LINK = "-s -w"
CILIUM = "github.com/cilium/cilium"


@dataclass(frozen=True)
class Program:
    """One program of a Go module: what it is called, its package, build tags and linker flags."""

    name: str
    package: str
    tags: str = ""
    link: str = LINK


@dataclass(frozen=True)
class Component:
    """Programs from one folder of sources, whose go.mod pins `module`."""

    name: str
    module: str
    programs: tuple[Program, ...]
    minutes: int

    @property
    def sources(self) -> Path:
        """The folder with go.mod and go.sum."""
        return SOURCES / self.name

    @property
    def version(self) -> str:
        """The version of `module` that go.mod asks for, such as v1.35.4."""
        return version_of(self.module, (self.sources / "go.mod").read_text())


CILIUM_LINK = (
    f"{LINK} -X '{CILIUM}/pkg/version.ciliumVersion="
    "{bare} unknown 2025-01-01T00:00:00+00:00 go version go1 linux/amd64'"
)
HELMS = (3, 4)
"""Versions of Helm that the chart is tried with."""
KUBERNETES_LINK = (
    f"{LINK} -X k8s.io/component-base/version.gitVersion={{version}}"
    " -X k8s.io/component-base/version.gitMajor=1"
    " -X k8s.io/component-base/version.gitMinor={minor}"
    " -X k8s.io/client-go/pkg/version.gitVersion={version}"
)
COMPONENTS = (
    Component(
        "kubernetes",
        "k8s.io/kubernetes",
        (
            Program("kube", ".", link=KUBERNETES_LINK),
            Program("kubectl", "./kubectl", link=KUBERNETES_LINK),
            Program("csi-driver", "./csi"),
        ),
        minutes=9,
    ),
    Component(
        "cilium",
        CILIUM,
        (
            Program("cilium-agent", f"{CILIUM}/daemon", "osusergo", CILIUM_LINK),
            Program("cilium-cni", f"{CILIUM}/plugins/cilium-cni", "osusergo", CILIUM_LINK),
            Program(
                "cilium-operator",
                f"{CILIUM}/operator",
                "osusergo,ipam_provider_operator",
                CILIUM_LINK,
            ),
        ),
        minutes=8,
    ),
    Component(
        "storage",
        "github.com/rancher/local-path-provisioner",
        (Program("local-path-provisioner", "github.com/rancher/local-path-provisioner"),),
        minutes=2,
    ),
    Component(
        "containerd",
        "github.com/containerd/containerd",
        (
            Program(
                "containerd",
                "github.com/containerd/containerd/cmd/containerd",
                "no_btrfs,no_devmapper,no_zfs,no_aufs",
            ),
        ),
        minutes=3,
    ),
    *(
        Component(
            f"helm{number}",
            f"helm.sh/helm/v{number}",
            (
                Program(
                    f"helm{number}",
                    f"helm.sh/helm/v{number}/cmd/helm",
                    link=f"{LINK} -X helm.sh/helm/v{number}/internal/version.version={{version}}",
                ),
            ),
            minutes=2,
        )
        for number in HELMS
    ),
)


def version_of(module: str, go_mod: str) -> str:
    """The version of a module that a go.mod requires."""
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", go_mod, re.M)
    if not found:
        raise ValueError(f"go.mod does not require {module}")
    return found[1]


def link_flags(program: Program, version: str) -> str:
    """Linker flags of a program with its version in them."""
    minor = version.split(".")[1]
    return program.link.format(version=version, bare=version.removeprefix("v"), minor=minor)


def key(component: Component) -> str:
    """Hash of all that a component is built from but Go itself, of which any will do."""
    files = [path for path in component.sources.rglob("*") if path.is_file()]
    return fingerprint([repr(component.programs)], files)
