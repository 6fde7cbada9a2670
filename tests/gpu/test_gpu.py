"""A GPU pool on a machine with an NVIDIA GPU; run by `make test-gpu`.

These tests need a real device. On a machine without one they are left out, and
`make test-gpu` says so.
"""

import os
from collections.abc import Iterator
from typing import Any

import boost_histogram as bh
import numpy as np
import pytest
from distributed import Client

from facility import cluster
from facility.analysis import compare
from facility.analysis.samples.kinematics import pair_mass
from facility.deploy.cluster import PooledCluster
from facility.system.machine import this_machine
from tests.local.pools import where

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not this_machine().gpus, reason="this machine has no NVIDIA GPU"),
]
POOLS: dict[str, Any] = {
    "pools": {
        "cpu": {"cpu": 1, "memory": "2Gi", "maxWorkers": 4, "default": True},
        "gpu": {"cpu": 1, "memory": "8Gi", "gpus": 1, "maxWorkers": 64, "scarce": True},
    }
}
EDGES = np.linspace(60.0, 120.0, 61)
"""GeV."""


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(config=POOLS, cpu=1, gpu=1, wait=2, timeout=120) as made:
        yield made


@pytest.fixture(scope="module")
def client(c: PooledCluster) -> Iterator[Client]:
    with Client(c) as made:
        yield made


def devices() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def masses(seed: int, events: int = 1_000_000) -> "np.ndarray[Any, Any]":
    """Masses of a made-up resonance in GeV."""
    return 91.2 + 2.5 * np.random.default_rng(seed).standard_cauchy(events)


def histogram_on_the_gpu(seed: int) -> "np.ndarray[Any, Any]":
    import cupy

    counts, _ = cupy.histogram(cupy.asarray(masses(seed)), bins=cupy.asarray(EDGES))
    return cupy.asnumpy(counts)


def histogram_on_the_cpu(seed: int) -> "np.ndarray[Any, Any]":
    return np.histogram(masses(seed), bins=EDGES)[0]


def pair_masses(library: str, pairs: int = 1_000_000) -> bh.Histogram:
    """Masses of made-up muon pairs in MeV by NumPy or CuPy; the CPU fills the histogram."""
    import importlib

    xp = importlib.import_module(library)
    rng = np.random.default_rng(7)
    momenta = [
        xp.asarray(each)
        for _ in range(2)
        for each in (
            rng.exponential(20e3, pairs) + 25e3,
            rng.uniform(-2.5, 2.5, pairs),
            rng.uniform(-np.pi, np.pi, pairs),
        )
    ]
    masses = pair_mass(*momenta)
    assert isinstance(masses, xp.ndarray)
    histogram = bh.Histogram(bh.axis.Regular(100, 0.0, 500e3), storage=bh.storage.Weight())
    histogram.fill(masses if xp is np else xp.asnumpy(masses))
    return histogram


def take_all_device_memory() -> str:
    import cupy

    free, total = cupy.cuda.runtime.memGetInfo()
    try:
        cupy.empty(2 * total, dtype="u1")
    except cupy.cuda.memory.OutOfMemoryError:
        return f"refused with {free} of {total} bytes free"
    return "granted"


def test_one_device_a_gpu_worker_and_none_elsewhere(c: PooledCluster, client: Client) -> None:
    with c.on("gpu"):
        assert client.submit(devices, pure=False).result() == this_machine().gpus[0]
    assert client.submit(devices, pure=False).result() == ""


def test_untagged_tasks_stay_off_the_gpu(client: Client) -> None:
    assert set(client.gather(client.map(where, range(200), pure=False))) == {"cpu"}


def test_a_gpu_is_a_resource_of_its_own(client: Client) -> None:
    assert client.submit(where, resources={"GPU": 1}, pure=False).result(timeout=60) == "gpu"


def test_histogram_equals_the_cpus(c: PooledCluster, client: Client) -> None:
    seeds = range(4)
    with c.on("gpu"):
        gpu = client.map(histogram_on_the_gpu, seeds)
    cpu = client.map(histogram_on_the_cpu, seeds)
    for one, other in zip(client.gather(gpu), client.gather(cpu), strict=True):
        np.testing.assert_array_equal(one, other)


def test_masses_of_pairs_compare_with_the_cpus(c: PooledCluster, client: Client) -> None:
    with c.on("gpu"):
        gpu = client.submit(pair_masses, "cupy")
    cpu = client.submit(pair_masses, "numpy")
    # Functions of the two differ in the last digit: a pair may fall on the other side of an edge.
    compared = compare(gpu.result(), cpu.result(), absolute=2.0, relative=0.0)
    print(compared)
    assert compared.ok, compared
    assert gpu.result().sum(flow=True).value == cpu.result().sum(flow=True).value == 1_000_000


def test_too_much_device_memory_is_refused_and_the_worker_lives(
    c: PooledCluster, client: Client
) -> None:
    with c.on("gpu"):
        assert "refused" in client.submit(take_all_device_memory, pure=False).result()
        assert client.submit(where, pure=False).result() == "gpu"
    assert "lost" not in c.explain()


def test_no_more_workers_than_devices(caplog: pytest.LogCaptureFixture) -> None:
    with cluster(config=POOLS, gpu=(0, 64)) as c:
        assert f"gets at most {len(this_machine().gpus)} workers" in caplog.text
        assert c.adapt(gpu=(0, 1)).maximum == 1
