"""What a worker that has joined does with the user's folder: now, and when it changes."""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed.core import rpc
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol.pickle import dumps

from facility.environment import bootstrap
from facility.environment.archive import Archive, Shelf
from facility.environment.exchange import fetch
from facility.environment.user_folder import UserFolder, explain_absent, forget
from facility.errors import ClusterFailedError

PLUGIN = "facility-folder"


class FolderPlugin(WorkerPlugin):
    """The user's folder as the working directory of a worker.

    Parameters
    ----------
    layers
        Of `UserFolder`, all that there are.
    absent
        Why files stayed behind, by path.
    """

    name = PLUGIN

    def __init__(self, layers: Sequence[Mapping[str, Any]], absent: Mapping[str, str]) -> None:
        self.layers = [dict(each) for each in layers]
        self.absent = dict(absent)

    async def setup(self, worker: Any) -> None:
        """Lay what has changed over what is there, before the worker gets tasks."""
        scratch = _scratch(worker)
        folder: UserFolder = getattr(worker, "user_folder", None) or UserFolder(scratch / "folder")
        worker.user_folder = folder
        shelf = shelf_of(worker)

        def peer(address: str) -> Any:
            return rpc(address, connection_args=worker.connection_args)

        for layer in self.layers[len(folder.applied) :]:
            archive = Archive.from_json(layer["archive"])
            await fetch(archive, shelf, worker.scheduler, peer)
            await asyncio.to_thread(folder.apply, layer, shelf.path(archive.digest))
        if self.layers or self.absent:
            folder.path.mkdir(mode=0o700, exist_ok=True)
            folder.put_on_path()
            os.chdir(folder.path)
            explain_absent(folder.path, self.absent)
        held = [path.stem for path in shelf.folder.glob("*.tar")]
        await worker.scheduler.facility_holds(address=worker.address, digests=held)


class ForgetPlugin(WorkerPlugin):
    """Has a worker that shares the user's files import modules anew."""

    name = PLUGIN

    def __init__(self, tops: Collection[str]) -> None:
        self.tops = list(tops)

    def setup(self, worker: Any) -> None:
        """Forget them."""
        forget(self.tops)


async def register(scheduler: Any, plugin: Any) -> None:
    """Have all workers of a scheduler, also those to come, set a plugin up.

    Raises
    ------
    ClusterFailedError
        What a worker said that could not.
    """
    answers: Mapping[str, Any] = await scheduler.register_worker_plugin(
        plugin=dumps(plugin), name=PLUGIN, idempotent=False
    )
    for worker, answer in answers.items():
        if answer["status"] == "error":
            why = answer.get("exception_text") or "it does not say why"
            raise ClusterFailedError(f"Worker {worker} could not take your folder: {why}")


def shelf_of(worker: Any) -> Shelf:
    """Return where a worker's archives lie: beside what it has fetched, or among its own files."""
    found = bootstrap.received()
    return found.shelf if found else Shelf(_scratch(worker) / "archives")


def _scratch(worker: Any) -> Path:
    """Folder of a worker's own, whatever its working directory becomes."""
    return Path(worker.local_directory).resolve()
