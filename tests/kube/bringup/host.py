"""What this machine must have, and how it comes by it: root, Go, disk space, Debian packages."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.kube.bringup import site
from tests.kube.bringup.places import Places
from tools import emulation
from tools.building import BuildError, install, missing

PACKAGES = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "/usr/sbin/iptables-save",
    "iproute2": "/usr/sbin/ip",
    "conntrack": "/usr/sbin/conntrack",
    "ipset": "/usr/sbin/ipset",
    "clang-16": "/usr/bin/clang-16",
    "bpftool": "/usr/sbin/bpftool",
    "docker-registry": "/usr/bin/docker-registry",
    "mmdebstrap": "/usr/bin/mmdebstrap",
    "gcc": "/usr/bin/gcc",
    "libc6-dev": "/usr/include/stdio.h",
    # A database for the hub.
    "postgresql-15": "/usr/lib/postgresql/15/bin/postgres",
} | emulation.PACKAGES
"""Debian packages that are needed, and a file of each by which it is known."""
GO = (1, 25)
COLD_SPACE = 15 << 30
"""Bytes: Go's caches, what is built, and images."""
WARM_SPACE = 4 << 30


def go_version(said: str) -> tuple[int, int] | None:
    """Version in what `go version` says."""
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def sentence(problems: Iterable[str]) -> str:
    """All that is missing, in one sentence."""
    return "A Kubernetes cannot be brought up here: " + "; ".join(problems) + "."


def what_is_missing(
    *, uid: int, go: str | None, free: int, needed: int, packages: list[str], apt: bool
) -> list[str]:
    """Say what this machine lacks, each with what to do about it.

    Parameters
    ----------
    uid
        Of this process.
    go
        What `go version` said, None without Go, "" where nothing is left to build with it.
    free, needed
        Bytes where the cache lies.
    packages
        Debian packages that are not installed.
    apt
        Whether they can be installed from here.
    """
    problems = []
    if uid != 0:
        problems.append(
            "it needs root, for namespaces and control groups (or set KUBECONFIG to use a "
            "Kubernetes that is there)"
        )
    wanted = ".".join(map(str, GO))
    if go == "":
        pass
    elif go is None:
        problems.append(f"Go is missing, which builds it (install {wanted} or newer)")
    elif (go_version(go) or (0, 0)) < GO:
        problems.append(f"Go is too old: {go.strip()} (install {wanted} or newer)")
    if free < needed:
        problems.append(
            f"{free / 2**30:.1f} GiB of disk are free where the cache lies, and "
            f"{needed / 2**30:.0f} GiB are needed"
        )
    if packages and not apt:
        problems.append(
            f"Debian packages are missing (apt-get install --no-install-recommends "
            f"{' '.join(packages)})"
        )
    return problems


def check(where: Places, *, built: bool) -> None:
    """See that all is there; install Debian packages that are not.

    Raises
    ------
    BuildError
        Something is missing that cannot be had from here; it names all of it.
    """
    where.root.mkdir(parents=True, exist_ok=True)
    go = "" if built else None
    if not built and shutil.which("go"):
        go = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    packages = missing(PACKAGES)
    root = os.getuid() == 0
    problems = what_is_missing(
        uid=os.getuid(),
        go=go,
        free=shutil.disk_usage(where.root).free,
        needed=WARM_SPACE if built else COLD_SPACE,
        packages=packages,
        apt=root and shutil.which("apt-get") is not None,
    )
    if problems:
        raise BuildError(sentence(problems))
    if packages:
        install(PACKAGES, packages)


def listens(address: str, port: int) -> bool:
    """Whether something on this machine answers at a port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, port)) == 0


def check_free() -> None:
    """See that nobody uses the names and ports that are about to be used.

    Raises
    ------
    BuildError
        Somebody does; nothing was changed.
    """
    names = [site.BRIDGE, site.VETH, "cni0", "cilium_host"]
    taken = [f"interface {name}" for name in names if Path("/sys/class/net", name).exists()]
    ports = [("127.0.0.1", site.ETCD_PORT), ("127.0.0.1", site.ETCD_PEER_PORT)]
    ports += [("127.0.0.1", port) for port in (10248, 10249, 10256, 10257, 10259)]
    taken += [f"port {port}" for address, port in ports if listens(address, port)]
    if taken:
        raise BuildError(
            f"Another program uses {', '.join(taken)}, which this Kubernetes needs: end it "
            "(an interface goes with `ip link del`), then try again."
        )
