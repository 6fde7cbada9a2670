"""Takes a Kubernetes down: whatever up started, in any state, and all that it left."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.kube.bringup import network, site, traces
from tests.kube.bringup.node import CGROUPS, ctr
from tests.kube.bringup.places import Places
from tests.kube.bringup.process import Ledger, Process, end, start_time
from tests.kube.bringup.site import Node
from tools import emulation
from tools.building import remove, say

STAYS_SECONDS = 10.0
"""Seconds after which what is left is left for good."""


def is_up(where: Places) -> bool:
    """Whether something was started that was not taken down, whole or not."""
    return where.before.exists() or where.ledger.exists() or where.run.exists()


def process_of(pid: int) -> Process:
    """A process as it is now."""
    return Process("", pid, start_time(pid) or 0)


def in_cgroups(node: Node) -> list[Process]:
    """Processes of a node's pods."""
    files = [
        file for root in CGROUPS.glob(f"**/kube-{node.name}") for file in root.rglob("cgroup.procs")
    ]
    pids: set[int] = set()
    for file in files:
        with suppress(OSError):
            pids.update(int(word) for word in file.read_text().split())
    return [process_of(pid) for pid in pids]


def end_containers(node: Node, where: Places, ledger: Ledger) -> None:
    """End a node's containers, its containerd and what was mounted for them."""
    for process in in_cgroups(node):
        process.send(signal.SIGKILL)
    socket = where.node(node.name) / "containerd.sock"
    if socket.exists():
        with suppress(subprocess.TimeoutExpired):
            tasks = ctr(socket, "tasks", "list", "-q")
            if tasks:
                ctr(socket, "tasks", "rm", "-f", *tasks)
            containers = ctr(socket, "containers", "list", "-q")
            if containers:
                ctr(socket, "containers", "rm", *containers)
    ledger.end(f"containerd-{node.name}")


def unmount(where: Places) -> None:
    """Unmount all that is mounted below our folder, the innermost first."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted(points, reverse=True):
        if point.startswith((f"{where.root}/", "/run/containerd/")):
            subprocess.run(["umount", "-l", point], capture_output=True, check=False)


def clear_firewall(before: traces.Snapshot) -> None:
    """Take away the rules and chains that were not there before."""
    for name in traces.FIREWALLS:
        now = traces.lines_of(f"{name}-save")
        kept = before.get(f"rule of {name}", {})
        rest = network.without("\n".join(now), traces.MARKS, kept)
        if any(mark in line for line in now for mark in traces.MARKS):
            command = [f"{name}-restore", "-w"]
            subprocess.run(command, input=rest, text=True, capture_output=True, check=False)


def clear_network(before: traces.Snapshot) -> None:
    """Take away namespaces, interfaces and routes; those of pods go with them."""
    earlier = before.get("network namespace", {})
    names = [node.namespace for node in site.NODES if node.namespace]
    names += [name for name in traces.children("/run/netns") if name.startswith("cni-")]
    for name in names:
        if name not in earlier and Path("/run/netns", name).exists():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    bridges = ("cni0", site.BRIDGE)
    # The kernel may keep a pod's namespace long after its last process, and its cable with it.
    cables = [name for name in traces.children("/sys/class/net") if bridge_of(name) in bridges]
    for name in (*cables, "cilium_host", site.VETH, *bridges):
        if Path("/sys/class/net", name).exists():
            subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
    if "/run/netns" not in before.get("mount", {"/run/netns": ""}):
        subprocess.run(["umount", "/run/netns"], capture_output=True, check=False)


def bridge_of(interface: str) -> str:
    """Name the bridge that an interface is plugged into; empty where it is in none."""
    try:
        return Path("/sys/class/net", interface, "master").readlink().name
    except OSError:
        return ""


def clear_cgroups() -> None:
    """Remove the nodes' control groups, the innermost first."""
    for node in site.NODES:
        for root in CGROUPS.glob(f"**/kube-{node.name}"):
            for folder, _, _ in os.walk(root, topdown=False):
                with suppress(OSError):
                    Path(folder).rmdir()


def what_stays(before: traces.Snapshot, where: Places) -> list[str]:
    """Say what is left and does not go away by itself.

    The kernel takes a network namespace that nobody uses apart later, and its interfaces with it.
    """
    deadline = time.monotonic() + STAYS_SECONDS
    while (found := traces.left(before, traces.snapshot(where))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def down(where: Places) -> list[str]:
    """End and remove everything; return what is left that was not there before.

    It relies on nothing but what lies on disk, so that it also ends what a killed run left, and
    it may be interrupted and called again.
    """
    if not is_up(where):
        say("No Kubernetes of ours is up.")
        return []
    before = traces.read(where)
    ledger = Ledger(where)
    say("ending Kubernetes")
    ledger.end("kubelet", "proxy", "storage", "controllers", "scheduler")
    for node in site.NODES:
        end_containers(node, where, ledger)
    # A server without its store would wait for it.
    for name in ("cilium", "apiserver", ""):
        ledger.end(name)
    # The parents of containers whose containerd was killed.
    end([process_of(pid) for pid, _ in traces.ours(where)], patience=0.5)
    unmount(where)
    clear_network(before)
    clear_firewall(before)
    clear_cgroups()
    emulation.stop_emulating(site.HOLDER)
    if before:
        traces.restore_settings(before["kernel setting"])
        for folder in traces.FOLDERS:
            if folder not in before["folder"]:
                remove(Path(folder))
    remove(where.run)
    remaining = what_stays(before, where) if before else []
    where.before.unlink(missing_ok=True)
    say("down; nothing is left" if not remaining else "down, but this is left:")
    for line in remaining:
        print(f"    {line}", flush=True)
    return remaining
