"""Where a run takes place: a Dask cluster that is there, or one of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distributed import Client, wait
from distributed.deploy.cluster import Cluster

from facility import names
from facility.analysis.inputs.plan import Plan
from facility.analysis.runner.paused_workers import PATIENCE, check_pool
from facility.analysis.runner.process_chunk import unseen
from facility.deploy.launch import cluster, room
from facility.errors import FilesetError
from facility.request.worker_counts import standing

SEEN_FILES = 20
"""Files that a worker is asked for before the first chunk, each in another folder."""


@contextmanager
def client_of(place: Cluster | Client | None, pool: str | None, chunks: int) -> Iterator[Client]:
    """Give a client of where to run, and close what was opened for that."""
    if isinstance(place, Client):
        yield place
        return
    if place is not None:
        with Client(place) as client:
            yield client
        return
    if pool is None and standing(os.environ):
        with cluster() as made, Client(made) as client:
            yield client
        return
    loaded, limits = room()
    name = pool or loaded.default.name
    limit = limits.get(name)
    # A pool that does not exist or fit here is told about by `cluster`.
    fits = max(1, min(limit.workers, loaded.pools[name].max_workers)) if limit else 1
    wanted: dict[str, Any] = {name: (1, max(1, min(fits, chunks)))}
    with cluster(**wanted) as made, Client(made) as client:
        yield client


def resources_of(pool: str | None) -> dict[str, Any]:
    """Give the arguments of `Client.submit` that have a task run in a pool."""
    return {"resources": {names.pool_tag(pool): 1}} if pool else {}


def check_paths(client: Client, work: Plan, pool: str | None) -> None:
    """Find out before the first chunk whether workers see the files.

    Raises
    ------
    FilesetError
        They do not.
    NoWorkersError
        There are none, and no more are started.
    """
    by_folder = {str(Path(chunk.path).parent): chunk.path for chunk in work.chunks}
    asked = list(by_folder.values())[:SEEN_FILES]
    answer = client.submit(unseen, asked, pure=False, **resources_of(pool))
    while not answer.done():
        with suppress(TimeoutError):
            wait(answer, timeout=PATIENCE)
            break
        check_pool(client, pool)
    missing = answer.result()
    if missing:
        raise FilesetError(
            "The run cannot begin",
            [f"workers do not see {path}; it has to be where they can read it" for path in missing],
        )
