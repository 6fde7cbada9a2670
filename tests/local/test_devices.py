"""GPU pools without a GPU: CUDA_VISIBLE_DEVICES says that there are two, and no task uses them.

What needs a device is in tests/gpu.
"""

import os

import pytest
from distributed import Client

from facility import RequestError, cluster
from tests.local.pools import SMALL, until, where

CONFIG = {
    "pools": {
        "cpu": {**SMALL, "default": True},
        "gpu": {**SMALL, "gpus": 1, "scarce": True},
    }
}


def devices() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_one_visible_device_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with cluster(config=CONFIG, cpu=1, gpu=2, wait=3) as c, Client(c) as client:
        seen = client.run(devices)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert {workers[address]["name"]: device for address, device in seen.items()} in (
            {"cpu-0": "", "gpu-0": "4", "gpu-1": "7"},
            {"cpu-0": "", "gpu-0": "7", "gpu-1": "4"},
        )
        assert client.submit(where, resources={"GPU": 1}, pure=False).result() == "gpu"
        assert set(client.gather(client.map(where, range(50), pure=False))) == {"cpu"}
        c.scale(gpu=1)
        until(lambda: len(c.workers) == 2)
        c.scale(gpu=2)
        until(lambda: len(client.run(devices)) == 3)
        assert sorted(client.run(devices).values()) == ["", "4", "7"]


def test_a_gpu_pool_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(RequestError, match="pool gpu needs 1 GPU a worker and this machine has no"):
        cluster(config=CONFIG, gpu=1)
