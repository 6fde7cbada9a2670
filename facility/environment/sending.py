"""The notebook's side: find what workers lack, pack it, and give it to the scheduler once."""

import asyncio
import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from facility import names
from facility.environment import folder as folders
from facility.environment.archive import BLOCK, Archive, Shelf, pack
from facility.environment.difference import SITE, Difference, Image, Part, difference
from facility.environment.folder import Folder, Limits
from facility.environment.on_worker import FolderPlugin, register
from facility.environment.shared import Shared
from facility.errors import ClusterFailedError
from facility.system.private_files import is_full
from facility.table import Table, Text
from facility.wording import counted

FOLDER = "folder"
NOTHING = "nothing was sent: workers have what this process has"
OFF = "nothing was sent: environment=False"


@dataclass
class Sending(Shared):
    """What one Dask cluster's workers are sent.

    Parameters
    ----------
    enabled
        Whether anything is.
    limits
        Of the folder beside the notebook or script.
    """

    enabled: bool = True
    limits: Limits = field(default_factory=Limits.said)
    archives: list[Archive] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    """What is not sent, and why."""
    user_folder: Folder | None = None
    doing: str | None = None
    """What is being done now, where it may take a while."""

    async def send(self, scheduler: Any) -> None:
        """Give a scheduler what its workers lack, and tell it and them what there is.

        Parameters
        ----------
        scheduler
            RPC to the scheduler.

        Raises
        ------
        ClusterFailedError
            Packages that must agree do not, or something could not be read or kept.
        """
        if not self.enabled:
            await scheduler.facility_announce(description=self._description())
            return
        image = Image.from_answer(await scheduler.facility_image())
        try:
            own = await asyncio.to_thread(folders.users_folder)
            found = await asyncio.to_thread(self._look, image, own)
            _refuse(found)
            kept = await asyncio.to_thread(self._pack, found)
            layer = await asyncio.to_thread(self._first_layer, own)
        except OSError as error:
            raise ClusterFailedError(
                f"What this process has above the image cannot be packed: {error}. "
                "cluster(environment=False) sends nothing."
            ) from error
        self.layers = [] if layer is None else [layer[0]]
        await self._give(scheduler, kept, b"" if layer is None else layer[1])
        await scheduler.facility_announce(description=self._description())
        await self._tell_workers(scheduler)

    def _look(self, image: Image, own: Path) -> Difference:
        return difference(sys.path, image, own=own, machine=platform.machine())

    def _pack(self, found: Difference) -> Shelf:
        shelf = Shelf(names.cache_folder() / "environment")
        self.left, self.archives, self.origins = dict(found.left), [], {}
        for part in found.parts:
            self.doing = f"{part.name} {part.version} is being packed"
            digest, size = shelf.packed(part.files)
            self.archives.append(_archive(part, digest, size))
            self.origins[digest] = part.origin
        if found.parts:
            shelf.prune()
        self.doing = None
        return shelf

    def _first_layer(self, own: Path) -> tuple[dict[str, Any], bytes] | None:
        self.user_folder = folders.look(own, self.limits)
        return self._layer(list(self.user_folder.files), [])

    def _layer(self, paths: list[str], removed: list[str]) -> tuple[dict[str, Any], bytes] | None:
        """Pack files of the folder as a layer; None where nothing is left to send."""
        assert self.user_folder is not None
        left = dict(self.user_folder.left)
        packed: list[str] = []

        def read(path: str) -> bytes | None:
            assert self.user_folder is not None
            data = folders.content(self.user_folder, path)
            if (why := folders.withheld(data)) is not None:
                left[path] = why
                return None
            packed.append(path)
            return data

        data = pack(paths, read)
        self.user_folder = replace(self.user_folder, left=left)
        if not packed and not removed:
            return None
        digest = hashlib.sha256(data).hexdigest()
        archive = Archive(digest, len(data), FOLDER, str(self.user_folder.path))
        return {"archive": archive.as_json(), "files": packed, "removed": removed}, data

    def _description(self) -> dict[str, Any]:
        targets = list(dict.fromkeys(each.target for each in self.archives))
        found = {
            "archives": [each.as_json() for each in self.archives],
            # Folders of PYTHONPATH are looked at before what is installed.
            "targets": sorted(targets, key=lambda each: each == SITE),
            "layers": self.layers,
        }
        text = json.dumps(found, sort_keys=True).encode()
        return {**found, "hash": hashlib.sha256(text).hexdigest()}

    async def _give(self, scheduler: Any, shelf: Shelf, layer: bytes) -> None:
        """Send what the scheduler has not, block by block."""
        sizes = {each.digest: each.size for each in self.archives}
        missing = await scheduler.facility_missing(digests=list(sizes))
        try:
            await self._give_blocks(
                scheduler, shelf, {each: sizes[each] for each in missing}, layer
            )
        except OSError as error:
            if not is_full(error):
                raise
            size = (sum(sizes.values()) + len(layer)) / 1e6
            raise ClusterFailedError(
                f"The scheduler has no room for the {size:.0f} MB that this process has above the "
                f"image: {error.strerror}. cluster(environment=False) "
                "sends nothing; an administrator can give schedulers more disk."
            ) from error
        finally:
            self.doing = None

    async def _give_blocks(
        self, scheduler: Any, shelf: Shelf, sizes: Mapping[str, int], layer: bytes
    ) -> None:
        done, total = 0, sum(sizes.values()) + len(layer)
        for digest in sizes:
            for offset in range(0, sizes[digest], BLOCK):
                self.doing = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB have been sent"
                block = await asyncio.to_thread(shelf.read, digest, offset)
                await scheduler.facility_put(
                    digest=digest, offset=offset, block=block, size=sizes[digest]
                )
                done += len(block)
        if layer:
            digest = hashlib.sha256(layer).hexdigest()
            for offset in range(0, len(layer), BLOCK):
                self.doing = f"{(done + offset) / 1e6:.0f} of {total / 1e6:.0f} MB have been sent"
                await scheduler.facility_put(
                    digest=digest,
                    offset=offset,
                    block=layer[offset : offset + BLOCK],
                    size=len(layer),
                )

    async def _tell_workers(self, scheduler: Any) -> None:
        absent = self.user_folder.left if self.user_folder is not None else {}
        if not (self.layers or self.archives or absent):
            return
        await register(scheduler, FolderPlugin(self.layers, absent))

    async def send_folder(self, scheduler: Any) -> Text:
        """Send what has changed in the user's folder since it was last sent; what that was.

        Raises
        ------
        ClusterFailedError
            A worker could not take it, or environment=False was asked for.
        """
        own = await asyncio.to_thread(folders.users_folder)
        if not self.enabled or self.user_folder is None:
            raise ClusterFailedError("Nothing is sent to these workers: environment=False.")
        before = self.user_folder
        self.user_folder = await asyncio.to_thread(folders.look, own, self.limits)
        now = self.user_folder.files
        changed = [path for path in now if before.files.get(path) != now[path]]
        removed = [path for path in before.files if path not in now]
        # What was kept back for its content, and has not been read again.
        kept = {path: why for path, why in before.left.items() if path in now}
        left = {path: why for path, why in kept.items() if path not in changed}
        self.user_folder = replace(self.user_folder, left={**self.user_folder.left, **left})
        layer = await asyncio.to_thread(self._layer, changed, removed)
        text = f"nothing has changed in {own}"
        if layer is not None:
            await self._give_layer(scheduler, *layer)
            files = counted(len(layer[0]["files"]), "file")
            text = f"sent: {files} of {own}, {len(layer[1]) / 1000:.0f} kB"
            text += f"; {counted(len(removed), 'file is', 'files are')} gone" if removed else ""
        stays = [f"{path} is not sent: {why}" for path, why in self.user_folder.left.items()]
        return Text("; ".join([text, *stays]))

    async def _give_layer(self, scheduler: Any, layer: dict[str, Any], data: bytes) -> None:
        archives, self.archives = self.archives, []
        try:
            await self._give(scheduler, Shelf(Path()), data)
        finally:
            self.archives = archives
        self.layers = list(await scheduler.facility_change(layer=layer))
        await self._tell_workers(scheduler)

    def remarks(self) -> list[str]:
        """Say what is being packed or sent, while workers wait for it."""
        if self.doing is None:
            return []
        return [f"What this process has above the image of workers: {self.doing}."]

    def table(self) -> Table:
        """Return what was sent and what was not, and why."""
        rows: list[tuple[object, ...]] = [
            (each.name, each.version, _size(each.size), f"sent from {self.origins[each.digest]}")
            for each in self.archives
        ]
        for number, layer in enumerate(self.layers):
            count = counted(len(layer["files"]), "file")
            what = "the folder beside the notebook or script" if not number else "what changed"
            size = _size(layer["archive"]["size"])
            rows.append((layer["archive"]["name"], count, size, f"sent: {what}"))
        left = {**self.left, **(self.user_folder.left if self.user_folder is not None else {})}
        rows += [(what, "", "", f"not sent: {why}") for what, why in left.items()]
        empty = NOTHING if self.enabled else OFF
        return Table(("what", "version", "size", "how"), tuple(rows), empty=empty)


def _archive(part: Part, digest: str, size: int) -> Archive:
    used = tuple(top for top in part.imports if top in sys.modules)
    return Archive(digest, size, part.target, part.name, part.version, used, part.machine)


def _refuse(found: Difference) -> None:
    if not found.refused:
        return
    raise ClusterFailedError(
        f"Workers would not understand this process: {'; '.join(found.clashes)}. These packages "
        "are never sent, since scheduler and workers speak with them. Type\n"
        f"    python -m pip install {' '.join(found.refused)}\n"
        "and start the kernel or script again."
    )


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
