"""The user's Dask clusters on this machine: one folder for each, mode 0700.

A folder holds certificates, logs, scratch space of workers and `cluster.json`,
from which another process can find, show and end the Dask cluster.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from facility import names
from facility.dask_process.dashboard_access import token_in
from facility.errors import ClusterFailedError, FacilityError, RequestError, nearest
from facility.system.private_files import (
    PRIVATE_FILE,
    check_room,
    make_private,
    refusal,
    write_private,
)

RECORD = "cluster.json"
LOGS = "logs"
SCRATCH = "scratch"
"""What workers put on disk: a folder, or a link to one on the disk that the user has chosen."""
WORK = "work"
"""A file whose time says when the Dask cluster last had work."""
KEEP_LOGS = 86400.0
"""Seconds for which the folder of a Dask cluster that ended badly is kept."""


@dataclass(frozen=True)
class Record:
    """What is written down of a Dask cluster while it runs."""

    name: str
    address: str
    dashboard: str
    pools: tuple[str, ...]
    started: float
    scheduler: int
    """Process id of the scheduler."""
    born: float
    """When that process was started, so that no other with its id is taken for it."""
    owner: int
    """Process id of the owner."""

    @property
    def runs(self) -> bool:
        """Whether its scheduler is still that process."""
        return self._process() is not None

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.scheduler)
            same = abs(process.create_time() - self.born) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def stop(self, timeout: float = 20.0) -> None:
        """Ask the scheduler to close, and end it where it does not."""
        process = self._process()
        if process is None:
            return
        # It may end by itself at any moment.
        with contextlib.suppress(psutil.Error):
            process.terminate()
            try:
                process.wait(timeout)
            except psutil.TimeoutExpired:
                process.kill()


def create(name: str, scratch: Path | None = None) -> Path:
    """Make the folder of a new Dask cluster.

    Parameters
    ----------
    scratch
        Where workers put on disk what does not fit into memory; by default in that folder.

    Raises
    ------
    RequestError
        Where a Dask cluster of that name runs.
    FacilityError
        Where the folder cannot be made, or takes nothing more.
    """
    folder = names.clusters_folder() / name
    found = read(folder)
    if found is not None and found.runs:
        problem = (
            f"one named {name!r} runs since {started(found)}; choose another name, or end it "
            f"with `facility clusters stop {name}`"
        )
        raise RequestError("This Dask cluster cannot be started", [problem])
    try:
        remove(folder)
        make_private(folder / LOGS)
        check_room(folder)
    except OSError as error:
        remove(folder)
        raise FacilityError(
            f"A Dask cluster needs a folder of its own, and {folder} cannot be made: "
            f"{refusal(error, folder)}"
        ) from error
    try:
        if scratch is None:
            make_private(folder / SCRATCH)
        else:
            (folder / SCRATCH).symlink_to(tempfile.mkdtemp(prefix=f"facility-{name}-", dir=scratch))
    except OSError as error:
        remove(folder)
        instead = "set Dask's temporary-directory to a folder"
        raise FacilityError(
            f"The workers of a Dask cluster need a folder in {scratch or folder}, which cannot be "
            f"made: {refusal(error, scratch or folder, instead)}"
        ) from error
    return folder


def remove(folder: Path) -> None:
    """Remove the folder of a Dask cluster, and what its workers have put elsewhere."""
    remove_scratch(folder)
    shutil.rmtree(folder, ignore_errors=True)


def remove_scratch(folder: Path) -> None:
    """Remove what workers have put on disk."""
    scratch = folder / SCRATCH
    shutil.rmtree(scratch.resolve(), ignore_errors=True)
    if scratch.is_symlink():
        scratch.unlink()


def write(folder: Path, record: Record) -> None:
    """Write the record of a running Dask cluster, whole or not at all."""
    write_private(folder / RECORD, json.dumps(asdict(record)).encode())


def read(folder: Path) -> Record | None:
    """Read the record in a folder, if there is one."""
    try:
        fields = json.loads((folder / RECORD).read_text())
        return Record(**{**fields, "pools": tuple(fields["pools"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_work(folder: Path) -> None:
    """Note that a Dask cluster has work now, where the disk has room for that."""
    with contextlib.suppress(OSError):
        (folder / WORK).touch(mode=PRIVATE_FILE)


def worked_since(moment: float) -> bool:
    """Tell whether any of the user's Dask clusters had work since then (seconds, Unix time)."""
    return any(_modified(folder / WORK) >= moment for folder in _folders())


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def records() -> list[Record]:
    """List the Dask clusters that run, oldest first, and tidy up after those that do not."""
    found = []
    for folder in _folders():
        record = read(folder)
        if record is not None and record.runs:
            found.append(record)
        elif time.time() - _modified(folder) > KEEP_LOGS:
            remove(folder)
    return sorted(found, key=lambda record: record.started)


def _folders() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from [path for path in names.clusters_folder().iterdir() if path.is_dir()]


def find(name: str) -> Record:
    """Return the running Dask cluster of that name.

    Raises
    ------
    ClusterFailedError
        Where none of that name runs.
    """
    running = {record.name: record for record in records()}
    if name not in running:
        listed = f"; running: {', '.join(running)}" if running else "; none runs"
        raise ClusterFailedError(
            f"There is no Dask cluster {name!r} of yours on this machine"
            f"{nearest(name, running)}{listed}."
        )
    return running[name]


def dashboard_token(port: int) -> str:
    """Return the token of the user's dashboard at a port of this machine; nothing without one."""
    for record in filter(None, map(read, _folders())):
        if urlsplit(record.dashboard).port == port:
            return token_in(record.dashboard)
    return ""


def started(record: Record) -> str:
    """Return when a Dask cluster was started, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started))
