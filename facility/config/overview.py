"""What pools there are, as a table for a terminal or a notebook."""

from collections.abc import Mapping

from facility.config.model import Config
from facility.config.pool import Pool
from facility.quantity import format_cores, format_memory
from facility.table import Table

_COLUMNS = (
    "pool",
    "description",
    "default",
    "cpu",
    "memory",
    "gpus",
    "architecture",
    "most workers",
    "here",
    "price/h",
    "spot",
)


def pools_table(config: Config, rooms: Mapping[str, int]) -> Table:
    """List the pools, in the order of the file.

    Parameters
    ----------
    rooms
        How many workers of each pool there is room for here.
    """
    rows = tuple(_row(pool, rooms[pool.name]) for pool in config.pools.values())
    return Table(_COLUMNS, rows, "no pools")


def _row(pool: Pool, room: int) -> tuple[object, ...]:
    memory = format_memory(pool.memory)
    if pool.memory_max > pool.memory:
        memory = f"{memory}..{format_memory(pool.memory_max)}"
    price = None if pool.price_per_hour is None else f"{pool.price_per_hour:g}"
    return (
        pool.name,
        pool.description or None,
        pool.default,
        format_cores(pool.cpu),
        memory,
        pool.gpus or None,
        pool.architecture or "any",
        pool.max_workers,
        min(room, pool.max_workers),
        price,
        pool.spot,
    )


def names_of(config: Config) -> str:
    """List the names of the pools in one line, with the default marked."""
    return ", ".join(
        f"{name} (default)" if pool.default else name for name, pool in config.pools.items()
    )
