"""What this machine lets one process use: cores, memory, GPUs, architecture.

The limits of the batch system or container that runs the process count, not
what is built into the machine. Nothing here imports Dask or starts a process,
so that it costs nothing at import. Every reader takes the root of the file
system, for tests.
"""

import math
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ROOT = Path("/")
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Machine:
    """What one process may use here.

    Parameters
    ----------
    cores
        Processor cores, at least 1.
    memory
        Bytes.
    gpus
        One value of `CUDA_VISIBLE_DEVICES` for each device.
    architecture
        `amd64` or `arm64`; another machine's own name as it is.
    """

    cores: int
    memory: int
    gpus: tuple[str, ...]
    architecture: str


def this_machine(root: Path = _ROOT, environ: Mapping[str, str] | None = None) -> Machine:
    """Look at the machine that this process runs on.

    Parameters
    ----------
    root
        Root of the file system with `/proc`, `/sys` and `/dev`.
    environ
        Environment variables, by default those of the process.
    """
    environ = os.environ if environ is None else environ
    return Machine(
        cores=available_cores(root),
        memory=available_memory(root),
        gpus=visible_gpus(root, environ.get("CUDA_VISIBLE_DEVICES")),
        architecture=architecture_name(platform.machine()),
    )


def architecture_name(machine: str) -> str:
    """Translate what the kernel calls an architecture to what container images call it."""
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


def available_cores(root: Path = _ROOT) -> int:
    """Count the cores that affinity and control groups leave to this process.

    A fraction of a core is rounded up, as Dask does: a limit of 1.5 cores runs
    two threads at three quarters of their speed rather than leaving a half idle.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    limit = cpu_limit(root)
    return max(1, count if limit is None else min(count, math.ceil(limit)))


def available_memory(root: Path = _ROOT) -> int:
    """Bytes that the machine and control groups leave to this process."""
    total = total_memory(root)
    limit = memory_limit(root)
    return total if limit is None else min(total, limit)


def cpu_limit(root: Path = _ROOT) -> float | None:
    """Cores that the control groups of this process allow, None without a limit."""
    limits = []
    for folder in _group_folders(root, ("cpu", "cpu,cpuacct", "cpuacct,cpu")):
        limits += [
            parse_cpu_max(_read(folder / "cpu.max")),
            parse_cpu_quota(
                _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
            ),
        ]
    return min((limit for limit in limits if limit is not None), default=None)


def memory_limit(root: Path = _ROOT) -> int | None:
    """Bytes that the control groups of this process allow, None without a limit.

    `memory.high` counts too: above it a process is slowed to a standstill
    rather than killed. `memory.low` and version 1's soft limit are promises of
    the kernel, not limits.
    """
    files = ("memory.max", "memory.high", "memory.limit_in_bytes")
    limits = [
        parse_memory_max(_read(folder / name))
        for folder in _group_folders(root, ("memory",))
        for name in files
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def total_memory(root: Path = _ROOT) -> int:
    """Bytes built into the machine."""
    found = parse_meminfo(_read(root / "proc/meminfo"))
    if found is not None:
        return found
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def visible_gpus(root: Path = _ROOT, visible: str | None = None) -> tuple[str, ...]:
    """Name the NVIDIA devices that a process started here would see.

    Parameters
    ----------
    root
        Root of the file system.
    visible
        `CUDA_VISIBLE_DEVICES`; it decides where it is set, None where it is not.

    Returns
    -------
    tuple of str
        Indices as CUDA counts them (from 0 over the devices that are there,
        whatever their numbers under `/dev`), or the names given in `visible`.
    """
    if visible is not None:
        return parse_visible_devices(visible)
    numbered = _count(root / "dev", re.compile(r"nvidia[0-9]+").fullmatch)
    return tuple(str(i) for i in range(numbered or _count(root / "proc/driver/nvidia/gpus", bool)))


def parse_visible_devices(text: str) -> tuple[str, ...]:
    """Read `CUDA_VISIBLE_DEVICES`: CUDA ignores the first invalid entry and all after it."""
    devices: list[str] = []
    for entry in text.split(","):
        entry = entry.strip()
        if not re.fullmatch(r"[0-9]+|(GPU|MIG)-.+", entry):
            break
        devices.append(entry)
    return tuple(dict.fromkeys(devices))


def parse_cpu_max(text: str | None) -> float | None:
    """Read version 2's `cpu.max`, such as `150000 100000` or `max 100000`, as cores."""
    words = (text or "").split()
    if len(words) != 2:
        return None
    return parse_cpu_quota(*words)


def parse_cpu_quota(quota: str | None, period: str | None) -> float | None:
    """Read version 1's quota and period in microseconds as cores; -1 is no limit."""
    try:
        micro, of = int(quota or ""), int(period or "")
    except ValueError:
        return None
    return micro / of if micro > 0 and of > 0 else None


def parse_memory_max(text: str | None) -> int | None:
    """Read a limit in bytes; `max`, nothing and 0 are no limit."""
    try:
        return int(text or "") or None
    except ValueError:
        return None


def parse_meminfo(text: str | None) -> int | None:
    """Read `MemTotal` of `/proc/meminfo` in bytes."""
    match = re.search(r"^MemTotal:\s*([0-9]+) kB$", text or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def parse_cgroups(text: str | None) -> dict[str, str]:
    """Read `/proc/self/cgroup`: the path of each controller, version 2's under ``""``."""
    paths: dict[str, str] = {}
    for line in (text or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if number.isdigit() and separator:
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _group_folders(root: Path, mounts: tuple[str, ...]) -> Iterator[Path]:
    """Folders of this process's control group and of all groups around it.

    A limit of any of them holds. In a container the path may be the host's
    while its own group is mounted as the top, which the walk up reaches too.
    """
    paths = parse_cgroups(_read(root / "proc/self/cgroup"))
    top = root / "sys/fs/cgroup"
    for base, path in (
        (top, paths.get("", "/")),
        *((top / mount, paths.get(mounts[0], "/")) for mount in mounts),
    ):
        group = PurePosixPath("/", path)
        for step in (group, *group.parents):
            # A path outside the own namespace reads "/../..".
            yield base.joinpath(*(part for part in step.parts[1:] if part != ".."))


def _read(path: Path) -> str | None:
    """Text of a file of the kernel, None where there is none to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _count(folder: Path, wanted: Callable[[str], object]) -> int:
    """How many entries of a folder are wanted, 0 where there is no folder."""
    try:
        return sum(1 for entry in folder.iterdir() if wanted(entry.name))
    except OSError:
        return 0
