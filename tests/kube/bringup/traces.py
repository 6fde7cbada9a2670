"""What a Kubernetes leaves on a machine: looked at before it comes and after it has gone."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tests.kube.bringup.places import Places
from tools import emulation

MARKS = ("KUBE-", "CNI-", "CILIUM", "cilium")
"""By these, chains and rules of the firewall are known."""
FIREWALLS = ("iptables", "ip6tables")
FOLDERS = (
    "/etc/cni/net.d",
    "/opt/cni",
    "/opt/containerd",
    "/run/cilium",
    "/run/containerd",
    "/run/netns",
    "/var/lib/cilium",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
"""Folders that the programs make outside of ours, whatever they are told."""
SETTINGS = Path("/proc/sys")
RESTORED = (
    "net/ipv4/ip_forward",
    "net/",
    "kernel/keys/",
    "kernel/panic",
    "kernel/timer_migration",
    "kernel/unprivileged_bpf_disabled",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
"""Settings that are put back; the first resets others, so that it goes first."""
RESTLESS = re.compile(
    r"^(dev|debug|fs|user)/|random|ns_last_pid|nf_conntrack_count|perf_|pty/nr|stat_refresh|"
    r"sched_|compact_memory|drop_caches|/neigh/|flush$|rcu|next_id$"
)
"""Settings that change by themselves, or that reading would change."""
Snapshot = dict[str, dict[str, str]]


def lines_of(*command: str) -> list[str]:
    """Lines that a command says; none if it is not there."""
    with suppress(FileNotFoundError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]
    return []


def settings() -> Iterator[tuple[str, str]]:
    """Each setting of the kernel that stays as it is, and its value."""
    for folder, _, files in os.walk(SETTINGS):
        for file in files:
            path = Path(folder, file)
            name = str(path.relative_to(SETTINGS))
            if not RESTLESS.search(name) and path.stat().st_mode & 0o400:
                with suppress(OSError, UnicodeDecodeError):
                    yield name, path.read_text().strip()


def rules(firewall: str) -> list[str]:
    """Rules and chains of a firewall; not counters, nor the tables that are always there."""
    said = lines_of(f"{firewall}-save")
    bare = [re.sub(r"\[\d+:\d+\]", "", line).strip() for line in said]
    builtin = re.compile(r"^:(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) ACCEPT$")
    return [
        line
        for line in bare
        if line[0] not in "#*" and line != "COMMIT" and not builtin.match(line)
    ]


def children(folder: str) -> list[str]:
    """Names in a folder; none if it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(os.listdir(folder))  # noqa: PTH208
    return []


def ours(where: Places) -> list[tuple[int, str]]:
    """Processes of our own programs, and the parents of our containers, with their arguments.

    Not kubectl: that is somebody's who looks.
    """
    found = []
    for pid in (int(name) for name in children("/proc") if name.isdecimal()):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            built = os.readlink(f"/proc/{pid}/exe").startswith(f"{where.built}/")  # noqa: PTH115
            shim = "-address" in words and any(w.startswith(f"{where.run}/") for w in words)
            if (built and not words[0].endswith("kubectl")) or shim:
                found.append((pid, " ".join(words).strip()[:200]))
    return found


def snapshot(where: Places) -> Snapshot:
    """What there is on this machine of all that a Kubernetes makes, in kinds."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    groups = [
        f"{hierarchy}/{name}"
        for hierarchy in ("", *children("/sys/fs/cgroup"))
        for name in children(f"/sys/fs/cgroup/{hierarchy}")
        if Path("/sys/fs/cgroup", hierarchy, name).is_dir()
    ]
    lists: dict[str, list[str]] = {
        "interface": children("/sys/class/net"),
        "address": [line for line in lines_of("ip", "-br", "addr") if not line.startswith("veth")],
        "route": lines_of("ip", "route"),
        "routing rule": lines_of("ip", "rule"),
        "network namespace": children("/run/netns"),
        "mount": mounts,
        "control group": groups,
        "IP set": lines_of("ipset", "list", "-n"),
        "emulator": children("/proc/sys/fs/binfmt_misc"),
        "folder": [folder for folder in FOLDERS if Path(folder).exists()],
        "process": [f"{pid} {words}" for pid, words in ours(where)],
    }
    if emulation.is_held():
        # An image is being built beside.
        lists["emulator"] = []
        lists["mount"] = [path for path in mounts if path != str(emulation.BINFMT)]
    lists |= {f"rule of {name}": rules(name) for name in FIREWALLS}
    found: Snapshot = {kind: dict.fromkeys(names, "") for kind, names in lists.items()}
    return found | {"kernel setting": dict(settings())}


def left(before: Mapping[str, Mapping[str, str]], after: Snapshot) -> list[str]:
    """What there is now and was not before, or has another value; each with its kind."""
    found = []
    for kind, names in after.items():
        earlier = before.get(kind, {})
        for name, value in names.items():
            if kind == "kernel setting":
                if name in earlier and earlier[name] != value:
                    found.append(f"{kind} {name}: {value}, was {earlier[name]}")
            elif name not in earlier:
                found.append(f"{kind} {name}")
    return found


def write(where: Places) -> None:
    """Write down what the machine is like, unless that was done for a run that still stands."""
    if not where.before.exists():
        fresh = where.before.with_suffix(".new")
        fresh.write_text(json.dumps(snapshot(where)))
        fresh.replace(where.before)


def read(where: Places) -> Snapshot:
    """What was written down; nothing if there is nothing."""
    return json.loads(where.before.read_text()) if where.before.exists() else {}


def restore_settings(before: Mapping[str, str]) -> None:
    """Put kernel settings back that differ from `before`."""
    for prefix in RESTORED:
        for name, value in settings():
            if name.startswith(prefix) and before.get(name, value) != value:
                with suppress(OSError):
                    (SETTINGS / name).write_text(before[name])
