"""How many workers of each pool this machine has room for."""

from collections.abc import Mapping

from dask.utils import format_bytes

from facility.config import Config, Pool
from facility.quantity import format_memory
from facility.request.checked_request import Limit
from facility.system.machine import Machine
from facility.wording import counted


def limits(config: Config, machine: Machine) -> dict[str, Limit]:
    """Return the limit of each pool, each taken by itself.

    Pools share the machine's cores, so that a Dask cluster with several pools
    runs on a laptop too; memory is kept apart while workers start
    (`facility.local.backend`).
    """
    return {name: _limit(pool, machine) for name, pool in config.pools.items()}


def _limit(pool: Pool, machine: Machine) -> Limit:
    if pool.gpus > len(machine.gpus):
        has = counted(len(machine.gpus), "GPU") if machine.gpus else "no GPU"
        return Limit(
            0,
            f"pool {pool.name} needs {counted(pool.gpus, 'GPU')} a worker and this machine has "
            f"{has}; leave the pool out here, or run where there is one",
        )
    if pool.memory > machine.memory:
        return Limit(
            0,
            f"pool {pool.name} needs {format_memory(pool.memory)} of memory a worker and this "
            f"machine has {format_bytes(machine.memory)}; ask for less with "
            f"memory={{{pool.name!r}: ...}} or in pools.yaml",
        )
    memory = f"{format_bytes(machine.memory)} of memory", format_memory(pool.memory)
    rooms = [
        (max(1, int(machine.cores / pool.cpu)), counted(machine.cores, "core"), f"{pool.cpu:g}"),
        (machine.memory // pool.memory, *memory),
    ]
    if pool.gpus:
        gpus = counted(len(machine.gpus), "GPU")
        rooms.append((len(machine.gpus) // pool.gpus, gpus, f"{pool.gpus}"))
    workers, has, share = min(rooms, key=lambda room: room[0])
    return Limit(workers, f"this machine has {has}, and a worker takes {share}")


def emulated(config: Config, machine: Machine, asked: Mapping[str, object]) -> list[str]:
    """Say which pools run here on another architecture than their own."""
    return [
        f"pool {name} is for {pool.architecture} and this machine is {machine.architecture}: "
        "its tasks are routed as on the facility, but run on this machine's own processor"
        for name, pool in config.pools.items()
        if name in asked and pool.architecture not in (None, machine.architecture)
    ]
