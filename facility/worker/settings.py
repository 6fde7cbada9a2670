"""What a worker process of a pool is given, wherever it runs: tags, environment, settings."""

from typing import Any

from facility import names
from facility.config import Pool

ROOMY = 2**30
"""Bytes of memory from which on a worker keeps freed memory for a while."""


def resources(pool: Pool) -> dict[str, float]:
    """Return the Dask resources that a worker of a pool advertises."""
    found = {names.pool_tag(pool.name): names.TAG_CAPACITY}
    if pool.gpus:
        found[names.GPU_RESOURCE] = float(pool.gpus)
    return found


def library_settings(memory: int, threads: int) -> dict[str, str]:
    """Environment for numerical libraries: no threads of their own, and a malloc for chunks.

    distributed makes malloc give freed memory back at once, which costs a
    columnar analysis half of its time in page faults (``benchmarks/analysis.py``:
    1.0 against 2.8 million events/s on 2 workers). A worker with room keeps some, in
    huge pages where the kernel has them (another 4 %), which needs the one heap that
    lies in one piece; threads of tasks side by side would wait for it.

    Parameters
    ----------
    memory
        Memory of the worker in bytes.
    threads
        How many tasks it works on at once.
    """
    import dask
    import distributed  # noqa: F401  # whose defaults these are

    found = {
        str(key): str(value)
        for key, value in dask.config.get("distributed.nanny.pre-spawn-environ").items()
    }
    if memory >= ROOMY:
        found |= {"MALLOC_TRIM_THRESHOLD_": str(2**26), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
        if threads == 1:
            found |= {"MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    return found


SPILLED = 0.8
"""Share of a worker process's disk that it may spill to, where `spill` names no size."""


def spilling(pool: Pool, disk: int | None = None) -> dict[str, Any]:
    """Dask configuration of a pool's `spill`.

    Parameters
    ----------
    disk
        Bytes that a worker process has on the disk; None where nothing limits them.
    """
    if pool.spill is False:
        return {"distributed.worker.memory.target": False, "distributed.worker.memory.spill": False}
    if pool.spill is True:
        return {} if disk is None else {"distributed.worker.memory.max-spill": int(disk * SPILLED)}
    return {"distributed.worker.memory.max-spill": pool.spill}
