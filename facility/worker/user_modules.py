"""The user's own modules, the files beside a notebook or a script, sent to workers.

They travel as a plugin of the workers, which the scheduler keeps for those that come later. The
scheduler itself gets their files too: distributed unpickles there what tasks are made of.
"""

import asyncio
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol.pickle import dumps

from facility.errors import ClusterFailedError
from facility.module_path import ModulePath, top_names
from facility.wording import counted

MOST = 10 * 2**20
"""Bytes that are sent at most: more is no code."""
SENT = (".py", ".json", ".toml", ".yaml", ".yml")
"""Endings of what is sent of a package; beside the notebook only ``.py``."""
PLUGIN = "facility-modules"


@dataclass(frozen=True)
class Modules:
    """What there is to send."""

    folder: Path
    files: Mapping[str, bytes] = field(default_factory=dict)
    """By path below the folder."""
    left_out: tuple[str, ...] = ()
    """What is not sent, and why."""

    def __str__(self) -> str:
        size = sum(map(len, self.files.values()))
        listed = ", ".join(sorted(top_names(self.files))) or "no module"
        files = counted(len(self.files), "file")
        lines = [f"{listed} of {self.folder} ({files}, {size / 1000:.0f} kB)"]
        return "; ".join([*lines, *self.left_out])


def users_folder() -> Path:
    """Return where the notebook or script lies: the first place that Python looks for modules."""
    found = Path(sys.path[0] or ".").resolve()
    places = {Path(sysconfig.get_path(name)) for name in ("scripts", "stdlib", "purelib")}
    return found if found.is_dir() and found not in places else Path.cwd()


def find(folder: Path) -> Modules:
    """Return the modules and packages of a folder.

    Those are left out whose names Python itself or an installed package has: on a worker they
    might stand in for what it needs. So are those that cannot be read.
    """
    elsewhere = [path for path in sys.path if Path(path or ".").resolve() != folder]
    files: dict[str, bytes] = {}
    left_out = []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        return Modules(folder, {}, (f"nothing is sent: {error.strerror}",))
    for entry in entries:
        name = entry.name.removesuffix(".py")
        if not name.isidentifier():
            continue
        try:
            package = (entry / "__init__.py").is_file()
            if not (package or entry.suffix == ".py"):
                continue
            if (
                name in sys.stdlib_module_names
                or name == "facility"
                or PathFinder.find_spec(name, elsewhere) is not None
            ):
                left_out.append(f"{name} is left out: an installed module has this name")
                continue
            files |= _read(sorted(entry.rglob("*")) if package else [entry], folder)
        except OSError as error:
            left_out.append(f"{name} is left out: {error.strerror}")
    size = sum(map(len, files.values()))
    if size > MOST:
        largest = max(files, key=lambda name: len(files[name]))
        problem = (
            f"nothing is sent: they have {size / 2**20:.0f} MiB of the {MOST / 2**20:.0f} that "
            f"code may have, {largest} most; move it, or work in a folder of its own"
        )
        return Modules(folder, {}, (problem,))
    return Modules(folder, files, tuple(left_out))


def _read(paths: list[Path], folder: Path) -> dict[str, bytes]:
    """Return what is sent of a module or package, by path below the folder."""
    found = {}
    for path in paths:
        within = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in within.parts)
        if path.suffix in SENT and path.is_file() and not hidden:
            found[str(within)] = path.read_bytes()
    return found


async def send(scheduler: Any) -> Modules:
    """Have all workers of a scheduler, also those to come, import the user's modules anew.

    Parameters
    ----------
    scheduler
        RPC to the scheduler.

    Returns
    -------
    Modules
        What was sent.

    Raises
    ------
    ClusterFailedError
        What a worker said that could not take them.
    """
    found = await asyncio.to_thread(lambda: find(users_folder()))
    await scheduler.facility_modules(files=dict(found.files))
    plugin = dumps(UsersModules(found.files))
    answers = await scheduler.register_worker_plugin(plugin=plugin, name=PLUGIN, idempotent=False)
    for worker, answer in answers.items():
        if answer["status"] == "error":
            why = answer.get("exception_text") or "it does not say why"
            raise ClusterFailedError(f"Worker {worker} could not take your modules: {why}")
    return found


class UsersModules(WorkerPlugin):
    """Modules of the user's, on a worker."""

    name = PLUGIN

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self._module_path: ModulePath | None = None

    def setup(self, worker: Any) -> None:
        """Let them be imported."""
        self._module_path = ModulePath(Path(worker.local_directory) / "modules")
        self._module_path.replace(self.files)

    def teardown(self, worker: Any) -> None:
        """Let them be found no more."""
        if self._module_path is not None:
            self._module_path.remove()
