"""What a machine has, read from the files of a made-up one."""

import ast
import os
import platform
import sys
from pathlib import Path

import pytest

from facility.system import machine
from facility.system.machine import (
    architecture_name,
    available_cores,
    available_memory,
    cpu_limit,
    memory_limit,
    parse_cgroups,
    parse_cpu_max,
    parse_cpu_quota,
    parse_meminfo,
    parse_memory_max,
    parse_visible_devices,
    this_machine,
    visible_gpus,
)

GIB = 2**30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1234 kB"


def test_without_groups_the_machine_counts(tmp_path, eight_cores):
    write(tmp_path, {"proc/meminfo": MEMINFO})
    assert available_cores(tmp_path) == 8
    assert available_memory(tmp_path) == 16 * GIB
    assert cpu_limit(tmp_path) is None
    assert memory_limit(tmp_path) is None


def test_version_2_limits_of_the_own_group(tmp_path, eight_cores):
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/user.slice/job",
            "sys/fs/cgroup/user.slice/job/cpu.max": "250000 100000",
            "sys/fs/cgroup/user.slice/job/memory.max": str(4 * GIB),
        },
    )
    assert available_cores(tmp_path) == 3  # 2.5, rounded up
    assert available_memory(tmp_path) == 4 * GIB


def test_version_2_limits_of_the_group_around(tmp_path, eight_cores):
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/user.slice/job",
            "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000",
            "sys/fs/cgroup/user.slice/cpu.max": "100000 100000",
            "sys/fs/cgroup/user.slice/job/memory.max": "max",
            "sys/fs/cgroup/user.slice/memory.high": str(2 * GIB),
        },
    )
    assert available_cores(tmp_path) == 1
    assert available_memory(tmp_path) == 2 * GIB


@pytest.mark.parametrize("path", ["/", "/kubepods/pod1/container", "/../../other"])
def test_in_a_container_the_own_group_is_mounted_as_the_top(tmp_path, eight_cores, path):
    write(
        tmp_path,
        {
            "proc/self/cgroup": f"0::{path}",
            "sys/fs/cgroup/cpu.max": "200000 100000",
            "sys/fs/cgroup/memory.max": str(3 * GIB),
        },
    )
    assert available_cores(tmp_path) == 2
    assert memory_limit(tmp_path) == 3 * GIB


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
def test_version_1(tmp_path, eight_cores, mount):
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/",
            f"sys/fs/cgroup/{mount}/docker/x/cpu.cfs_quota_us": "400000",
            f"sys/fs/cgroup/{mount}/docker/x/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": str(5 * GIB),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert available_cores(tmp_path) == 4
    assert available_memory(tmp_path) == 5 * GIB


def test_a_limit_above_the_machine_is_none(tmp_path):
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "sys/fs/cgroup/cpu.max": "99900000 100000",
            "sys/fs/cgroup/memory.max": str(64 * GIB),
        },
    )
    assert available_memory(tmp_path) == 16 * GIB
    assert available_cores(tmp_path) <= (os.cpu_count() or 1)


def test_a_group_that_cannot_be_read_is_no_limit(tmp_path):
    (tmp_path / "sys/fs/cgroup/cpu.max").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").mkdir()
    assert cpu_limit(tmp_path) is None
    assert memory_limit(tmp_path) is None


def test_a_system_without_affinity_or_meminfo(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores(tmp_path) == 1
    assert available_memory(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("150000 100000", 1.5),
        ("max 100000", None),
        ("100000", None),
        ("a b", None),
        ("", None),
        (None, None),
        ("100000 0", None),
    ],
)
def test_cpu_max(text, cores):
    assert parse_cpu_max(text) == cores


def test_a_quota_of_minus_one_is_no_limit():
    assert parse_cpu_quota("-1", "100000") is None


@pytest.mark.parametrize("text", ["max", "", None, "0", "lots"])
def test_no_memory_limit(text):
    assert parse_memory_max(text) is None


def test_meminfo():
    assert parse_meminfo(MEMINFO) == 16 * GIB
    assert parse_meminfo("MemFree: 3 kB") is None
    assert parse_meminfo(None) is None


def test_cgroups():
    text = "12:cpu,cpuacct:/a:b\n0::/c\nnonsense\n"
    assert parse_cgroups(text) == {"cpu": "/a:b", "cpuacct": "/a:b", "": "/c"}
    assert parse_cgroups(None) == {}


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("0", ("0",)),
        ("2,0", ("2", "0")),
        (" 1 , 3 ", ("1", "3")),
        ("0,0", ("0",)),
        ("0,-1,1", ("0",)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("GPU-8f3a,MIG-1/2", ("GPU-8f3a", "MIG-1/2")),
    ],
)
def test_visible_devices(text, devices):
    assert parse_visible_devices(text) == devices


def test_gpus_are_counted_from_zero_whatever_their_device_files(tmp_path):
    write(tmp_path, {"dev/nvidia3": "", "dev/nvidia5": "", "dev/nvidiactl": "", "dev/null": ""})
    (tmp_path / "dev/nvidia-caps").mkdir()
    assert visible_gpus(tmp_path) == ("0", "1")


def test_gpus_that_only_the_driver_lists(tmp_path):
    (tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    assert visible_gpus(tmp_path) == ("0",)


def test_no_gpus(tmp_path):
    assert visible_gpus(tmp_path) == ()
    write(tmp_path, {"dev/nvidia0": ""})
    assert visible_gpus(tmp_path, "") == ()
    assert this_machine(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}).gpus == ()


@pytest.mark.parametrize(
    ("kernel", "name"),
    [("x86_64", "amd64"), ("AMD64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")],
)
def test_architecture(kernel, name):
    assert architecture_name(kernel) == name


def test_this_machine_is_one():
    found = this_machine()
    assert found.cores >= 1
    assert found.memory > 0
    assert found.architecture == architecture_name(platform.machine())
    assert this_machine(environ={"CUDA_VISIBLE_DEVICES": "1"}).gpus == ("1",)


def test_agrees_with_dask():
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    assert available_cores() <= CPU_COUNT
    assert available_memory() <= MEMORY_LIMIT


def test_imports_the_standard_library_only():
    tree = ast.parse(Path(machine.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported <= sys.stdlib_module_names
