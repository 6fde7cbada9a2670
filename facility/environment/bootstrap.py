"""What a worker does before it joins: fetch what the notebook has above the image, start anew.

Nothing of what is fetched is imported until then: the process that runs the worker finds it where
Python looks for modules.
"""

import importlib
import json
import os
import platform
import shutil
import sys
import tarfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from facility.environment.archive import Archive, Shelf, unpack
from facility.environment.exchange import fetch

VARIABLE = "FACILITY_ENVIRONMENT"
"""Environment variable of a worker that has fetched: the folder where it all lies."""
STATE = "environment.json"


class EnvironmentTroubleError(Exception):
    """What was sent cannot be used here; as a sentence for the user."""


@dataclass(frozen=True)
class Environment:
    """What a worker has fetched.

    Attributes
    ----------
    folder
        Where it lies.
    targets
        Folders below it from which is imported.
    """

    folder: Path
    targets: tuple[str, ...]
    archives: tuple[Archive, ...]
    skipped: tuple[str, ...] = ()
    """Packages that are compiled for another architecture, and not here."""

    @property
    def shelf(self) -> Shelf:
        """Its archives, for others to fetch."""
        return Shelf(self.folder / "archives")

    def variables(self) -> dict[str, str]:
        """Return what a process has to be started with to have it."""
        paths = [str(self.folder / each) for each in self.targets]
        before = os.environ.get("PYTHONPATH", "")
        both = os.pathsep.join([*paths, before] if before else paths)
        return {VARIABLE: str(self.folder), "PYTHONPATH": both}

    def failing_import(self) -> str | None:
        """Import what the notebook has imported of it; say which one fails, and how."""
        for archive in self.archives:
            for top in archive.imports:
                try:
                    importlib.import_module(top)
                except BaseException as error:  # noqa: BLE001 - it runs the user's code
                    last = traceback.format_exception_only(error)[-1].strip()
                    return (
                        f"{archive.name} {archive.version}".strip()
                        + f", which the notebook has sent, cannot be imported here: {last}"
                    )
        return None


def received() -> Environment | None:
    """Return what this process was started with; None where there is nothing."""
    place = os.environ.get(VARIABLE)
    if not place:
        return None
    state = json.loads((Path(place) / STATE).read_text())
    return Environment(
        Path(place),
        tuple(state["targets"]),
        tuple(map(Archive.from_json, state["archives"])),
        tuple(state["skipped"]),
    )


async def obtain(
    address: str, folder: Path, connection: Mapping[str, Any], disk: int | None = None
) -> Environment | None:
    """Ask a scheduler what there is above the image, and fetch it; None where there is nothing.

    Parameters
    ----------
    address
        Of the scheduler.
    folder
        Where it is to lie.
    connection
        Arguments of connections.
    disk
        Bytes that this worker may have on its disk.

    Raises
    ------
    EnvironmentTroubleError
    OSError
        The scheduler does not answer.
    """
    from distributed.core import rpc

    def peer(other: str) -> Any:
        return rpc(other, connection_args=dict(connection))

    async with peer(address) as scheduler:
        while (description := await scheduler.facility_wanted()) is None:
            pass
        archives = [Archive.from_json(each) for each in description["archives"]]
        fitting = [each for each in archives if each.machine in ("", platform.machine())]
        layers = [Archive.from_json(each["archive"]) for each in description["layers"]]
        if not archives and not layers:
            return None
        check_room(sum(each.size for each in (*fitting, *layers)), folder, disk)
        found = Environment(
            folder,
            tuple(description["targets"]),
            tuple(fitting),
            tuple(each.name for each in archives if each not in fitting),
        )
        for archive in (*fitting, *layers):
            try:
                await fetch(archive, found.shelf, scheduler, peer)
                if archive in fitting:
                    unpack(found.shelf.path(archive.digest), folder / archive.target)
            except (OSError, tarfile.TarError) as error:
                raise EnvironmentTroubleError(
                    f"what the notebook has above the image did not arrive: {error}"
                ) from error
    state = {
        "targets": found.targets,
        "archives": [each.as_json() for each in fitting],
        "skipped": found.skipped,
    }
    (folder / STATE).write_text(json.dumps(state))
    return found


def check_room(size: int, folder: Path, disk: int | None) -> None:
    """Refuse what has no room here: packed, to be handed on, and unpacked.

    Raises
    ------
    EnvironmentTroubleError
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    room = free if disk is None else min(free, disk)
    if 2 * size > room:
        raise EnvironmentTroubleError(
            f"what the notebook has above the image takes {2 * size / 1e6:.0f} MB here, packed and "
            f"unpacked, and a worker has {room / 1e6:.0f} MB of disk; cluster(environment=False) "
            "sends nothing, and an administrator can raise the pool's `disk`"
        )


def start_anew(found: Environment) -> NoReturn:
    """Become the process that has what was fetched where its imports look."""
    os.environ.update(found.variables())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
