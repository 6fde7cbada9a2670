"""How many workers of each pool this machine has room for."""

from collections.abc import Mapping

from dask.utils import format_bytes

from facility.config import Config, Pool
from facility.machine import Machine
from facility.quantity import format_memory
from facility.request import Limit


def limits(config: Config, machine: Machine) -> dict[str, Limit]:
    """Return the limit of each pool, each taken by itself.

    Pools share the machine's cores, so that a Dask cluster with several pools
    runs on a laptop too; memory is kept apart while workers start
    (`facility.local.backend`).
    """
    return {name: _limit(pool, machine) for name, pool in config.pools.items()}


def _limit(pool: Pool, machine: Machine) -> Limit:
    if pool.gpus > len(machine.gpus):
        has = f"{len(machine.gpus)} GPUs" if machine.gpus else "no GPU"
        return Limit(
            0,
            f"pool {pool.name} needs {pool.gpus} GPU a worker and this machine has {has}; "
            "leave the pool out here, or run where there is one",
        )
    if pool.memory > machine.memory:
        return Limit(
            0,
            f"pool {pool.name} needs {format_memory(pool.memory)} of memory a worker and this "
            f"machine has {format_bytes(machine.memory)}; ask for less with "
            f"memory={{{pool.name!r}: ...}} or in pools.yaml",
        )
    rooms = {
        f"{machine.cores} cores": max(1, int(machine.cores / pool.cpu)),
        f"{format_bytes(machine.memory)} of memory": machine.memory // pool.memory,
    }
    if pool.gpus:
        rooms[f"{len(machine.gpus)} GPUs"] = len(machine.gpus) // pool.gpus
    what = min(rooms, key=lambda resource: rooms[resource])
    return Limit(
        rooms[what],
        f"this machine has {what}, and a worker takes {_share(pool, what)}",
    )


def _share(pool: Pool, what: str) -> str:
    if what.endswith("memory"):
        return format_memory(pool.memory)
    return f"{pool.gpus}" if what.endswith("GPUs") else f"{pool.cpu:g}"


def emulated(config: Config, machine: Machine, asked: Mapping[str, object]) -> list[str]:
    """Say which pools run here on another architecture than their own."""
    return [
        f"pool {name} is for {pool.architecture} and this machine is {machine.architecture}: "
        "its tasks are routed as on the facility, but run on this machine's own processor"
        for name, pool in config.pools.items()
        if name in asked and pool.architecture not in (None, machine.architecture)
    ]
