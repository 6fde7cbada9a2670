"""Pools for a machine without a pools.yaml."""

from facility.config.model import Config
from facility.config.pool import MAX_WORKERS, MIN_MEMORY, Pool
from facility.system.machine import Machine

BUILTIN_SOURCE = "built-in pools of this machine"

_MEMORY_STEP = 64 * 2**20
_SMALL_WORKER = 512 * 2**20


def builtin(machine: Machine) -> Config:
    """Make the pools that fit a machine.

    `cpu` has one-core workers that share four fifths of the memory; where that
    leaves a worker less than 512 MiB, fewer workers. A machine with GPUs has
    `gpu` too, a worker for each. No number of workers is refused: what the
    machine has room for is granted, so that a script for a facility runs here.
    """
    usable = max(machine.memory * 4 // 5 // _MEMORY_STEP * _MEMORY_STEP, MIN_MEMORY)
    workers = max(1, min(machine.cores, usable // _SMALL_WORKER))
    memory = max(usable // workers // _MEMORY_STEP * _MEMORY_STEP, MIN_MEMORY)
    pools = {
        "cpu": Pool(
            name="cpu",
            description="one core of this machine",
            default=True,
            cpu=1,
            memory=memory,
            memory_max=usable,
            max_workers=MAX_WORKERS,
        )
    }
    if machine.gpus:
        cores = max(1, min(4, machine.cores // len(machine.gpus)))
        pools["gpu"] = Pool(
            name="gpu",
            description="one GPU of this machine",
            scarce=True,
            gpus=1,
            cpu=cores,
            memory=min(usable, memory * cores),
            memory_max=usable,
            max_workers=MAX_WORKERS,
        )
    return Config(pools=pools, source=BUILTIN_SOURCE)
