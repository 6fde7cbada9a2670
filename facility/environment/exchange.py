"""Archives between a notebook, a scheduler and its workers, over the connections of Dask.

The notebook gives each archive once to the scheduler, which keeps it on disk. It serves a few
workers at a time, and sends others to workers that have it already.
"""

import asyncio
import itertools
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from facility.environment import user_folder
from facility.environment.archive import Archive, Shelf, unpack
from facility.environment.installed import distributions

SCHEDULER_AT_ONCE, WORKER_AT_ONCE = 3, 2
"""How many workers fetch from each at a time."""
LEASE_SECONDS = 120.0
"""Seconds after which one that fetches counts as gone."""
ANSWER_SECONDS = 20.0
"""Seconds after which a worker is told to ask again, where nothing has been announced yet."""
TRIES = 5
SCHEDULER = ""
"""Where an archive is fetched, if not from a worker's address."""


def image() -> dict[str, Any]:
    """Describe the interpreter of this process, as `facility.environment.difference.Image`."""
    from packaging.tags import sys_tags

    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: each.version for name, each in distributions(sys.path).items()},
        "places": list(sys.path),
        "tags": sorted(map(str, sys_tags())),
    }


class Exchange:
    """What a scheduler has been given, and who has it.

    Parameters
    ----------
    scheduler
        Whose workers fetch.
    folder
        On its disk; for its own files, which are removed with it.
    """

    def __init__(self, scheduler: Any, folder: Path) -> None:
        self.scheduler = scheduler
        self.shelf = Shelf(folder / "archives")
        self.user_folder = user_folder.UserFolder(folder / "folder")
        self._folder = folder
        self._image: dict[str, Any] | None = None
        self._announced = asyncio.Event()
        self._description: dict[str, Any] = {}
        self._holders: dict[str, set[str]] = {}
        self._leases: dict[int, tuple[str, float]] = {}
        self._numbers = itertools.count()
        self._freed = asyncio.Condition()

    def calls(self) -> dict[str, Callable[..., Any]]:
        """Return what others may call, by name."""
        return {
            "facility_image": self.image,
            "facility_missing": self.missing,
            "facility_put": self.put,
            "facility_announce": self.announce,
            "facility_change": self.change,
            "facility_forget": lambda tops: user_folder.forget(tops),
            "facility_wanted": self.wanted,
            "facility_source": self.source,
            "facility_fetched": self.fetched,
            "facility_holds": self.holds,
            "facility_archive": self.shelf.read,
        }

    # What the notebook calls.

    def image(self) -> dict[str, Any]:
        """Describe the interpreter as it was before anything was put above it."""
        if self._image is None:
            self._image = image()
        return self._image

    def missing(self, digests: Collection[str]) -> list[str]:
        """Name the archives that have not been given yet."""
        return [digest for digest in digests if not self.shelf.has(digest)]

    async def put(self, digest: str, offset: int, block: bytes, size: int) -> None:
        """Take the next block of an archive."""
        await asyncio.to_thread(self.shelf.append, digest, offset, block, size)

    async def announce(self, description: dict[str, Any]) -> None:
        """Take what workers are to have, and have it here too, before anything is unpickled."""
        archives = [Archive.from_json(each) for each in description["archives"]]
        for archive in archives:
            target = self._folder / archive.target
            if archive.machine in ("", platform.machine()):
                await asyncio.to_thread(unpack, self.shelf.path(archive.digest), target)
        put_on_path([str(self._folder / each) for each in description["targets"]])
        for layer in description["layers"]:
            await self._apply(layer)
        # What comes over the wire has tuples in place of lists.
        self._description = {**description, "layers": list(description["layers"])}
        self._announced.set()

    async def change(self, layer: dict[str, Any]) -> list[dict[str, Any]]:
        """Take a change of the user's folder; all layers of it."""
        await self._apply(layer)
        self._description["layers"].append(layer)
        return list(self._description["layers"])

    async def _apply(self, layer: Mapping[str, Any]) -> None:
        path = self.shelf.path(layer["archive"]["digest"])
        await asyncio.to_thread(self.user_folder.apply, layer, path)
        self.user_folder.put_on_path()

    # What workers call.

    async def wanted(self) -> dict[str, Any] | None:
        """Say what workers are to have; None where it is not known yet."""
        try:
            await asyncio.wait_for(self._announced.wait(), ANSWER_SECONDS)
        except TimeoutError:
            return None
        return self._description

    async def source(self, digest: str, avoid: Collection[str]) -> dict[str, Any]:
        """Say where a worker may fetch an archive, once somebody is free to serve it."""
        async with self._freed:
            while True:
                now = time.monotonic()
                self._leases = {n: each for n, each in self._leases.items() if each[1] > now}
                busy = Counter(address for address, _ in self._leases.values())
                there = self._holders.get(digest, set()) & self.scheduler.workers.keys()
                free = [a for a in sorted(there - set(avoid)) if busy[a] < WORKER_AT_ONCE]
                address = min(free, key=busy.__getitem__) if free else SCHEDULER
                if free or busy[SCHEDULER] < SCHEDULER_AT_ONCE:
                    number = next(self._numbers)
                    self._leases[number] = address, now + LEASE_SECONDS
                    return {"address": address, "lease": number}
                try:
                    await asyncio.wait_for(self._freed.wait(), 1.0)
                except TimeoutError:
                    continue

    async def fetched(self, lease: int) -> None:
        """Note that one who fetched has finished, or has given up."""
        async with self._freed:
            self._leases.pop(lease, None)
            self._freed.notify_all()

    async def holds(self, address: str, digests: Collection[str]) -> None:
        """Note that a worker can serve archives."""
        async with self._freed:
            for digest in digests:
                self._holders.setdefault(digest, set()).add(address)
            self._freed.notify_all()


async def fetch(archive: Archive, shelf: Shelf, scheduler: Any, peer: Callable[[str], Any]) -> None:
    """Fetch an archive from the scheduler, or from a worker that has it; elsewhere where one fails.

    Parameters
    ----------
    scheduler
        RPC to it.
    peer
        Opens an RPC to a worker, as a context.

    Raises
    ------
    OSError
        It could not be fetched anywhere, or there is no room.
    """
    avoid: list[str] = []
    problem: Exception = OSError("no try")
    for attempt in range(TRIES):
        if shelf.has(archive.digest):
            return
        place = await scheduler.facility_source(digest=archive.digest, avoid=avoid)
        address = place["address"]
        try:
            if address == SCHEDULER:
                await _read(archive, shelf, scheduler)
            else:
                async with peer(address) as worker:
                    await _read(archive, shelf, worker)
        except (OSError, ValueError, TimeoutError) as error:
            if isinstance(error, OSError) and error.errno is not None and address == SCHEDULER:
                raise  # of this disk
            problem = error
            avoid += [address] if address else []
            await asyncio.sleep(0.1 * attempt)
        finally:
            await scheduler.facility_fetched(lease=place["lease"])
    if not shelf.has(archive.digest):
        raise OSError(f"{archive.name} could not be fetched: {problem}")


async def _read(archive: Archive, shelf: Shelf, source: Any) -> None:
    offset = 0
    while True:
        block = await source.facility_archive(digest=archive.digest, offset=offset)
        if not isinstance(block, bytes | bytearray | memoryview) or not (
            len(block) or archive.size == 0
        ):
            raise ValueError(f"the answer to {archive.digest[:12]} at {offset} is no block")
        if await asyncio.to_thread(
            shelf.append, archive.digest, offset, bytes(block), archive.size
        ):
            return
        offset += len(block)


def put_on_path(paths: Collection[str]) -> None:
    """Let this process import from folders, after Python's own and before what is installed."""
    installed = [n for n, each in enumerate(sys.path) if each.endswith(("-packages", ".egg"))]
    first = installed[0] if installed else len(sys.path)
    sys.path[first:first] = [each for each in paths if each not in sys.path]
