"""Starts and ends the processes of one Dask cluster on this machine."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from facility import names
from facility.config import Pool
from facility.dask_process import dask_settings
from facility.dask_process.dashboard_access import new_token, with_token
from facility.errors import ClusterFailedError
from facility.local import process_tree, registry
from facility.local.process import ChildProcess
from facility.quantity import format_memory
from facility.request.checked_request import Ended, PoolRequest
from facility.security.certificates import Authority, authority, server_files
from facility.system import logs
from facility.system.machine import Machine, this_machine
from facility.system.private_files import trouble
from facility.system.processes import end
from facility.wording import counted
from facility.worker.settings import library_settings, resources, spilling
from facility.worker.software import OTHER_SOFTWARE

if TYPE_CHECKING:
    from distributed.security import Security

TERMINATE_AT = 0.95
"""Fraction of its memory above which a worker is ended, as distributed's nanny does."""
CLOSE_SECONDS = 5.0
LOOK = 0.05
CONNECT_SECONDS = 60.0
"""Seconds after which a worker that reaches no scheduler ends by itself."""


@dataclass(frozen=True)
class Member:
    """One worker process."""

    request: PoolRequest
    child: ChildProcess
    devices: tuple[str, ...]


class LocalBackend:
    """The processes of one Dask cluster.

    Parameters
    ----------
    name
        Name of the Dask cluster.
    python
        Interpreter of scheduler and workers, where it is another than this process's: then it is
        to them what an image is, and they see none of this process's files.
    """

    def __init__(
        self, name: str, machine: Machine | None = None, python: str | None = None
    ) -> None:
        self.name = name
        self.python = python
        self.shares_files = python is None
        self.machine = machine or this_machine()
        self.authority: Authority = authority()
        self.folder = registry.create(name, dask_settings.temporary_directory())
        self.members: dict[str, Member] = {}
        self._leaving: set[ChildProcess] = set()
        self.dashboard_token = new_token()
        self._scheduler: ChildProcess | None = None
        self._address: str | None = None
        self._untold: list[tuple[ChildProcess, dict[str, Any]]] = []
        self._over = False
        """Whether its end has begun, after which nothing more is started."""
        self._ending, self._issuing = threading.RLock(), threading.RLock()
        self._hurried = False

    @property
    def security(self) -> "Security":
        """What a client needs to connect."""
        return self.authority.security()

    # The scheduler.

    async def start_scheduler(
        self, settings: Mapping[str, Any], pools: Iterable[str]
    ) -> dict[str, Any]:
        """Start the scheduler; its address and services.

        Raises
        ------
        ClusterFailedError
            With the last lines of its log.
        """
        with self._ending:
            self._check_begun()
            child = self._child("facility.local.scheduler", "scheduler", {})
            self._scheduler = child
        await asyncio.to_thread(self._issue)
        child.tell({**self._common(), "facility": dict(settings), "folder": str(self.folder)})
        answer = await asyncio.to_thread(child.answer)
        if answer is None:
            await asyncio.to_thread(child.wait, CLOSE_SECONDS)
            raise ClusterFailedError(
                f"The scheduler of Dask cluster {self.name!r} did not start: it "
                f"{child.ended() or 'does not answer'}. {dask_settings.suspects()} "
                f"Its log ends with:\n{child.tail()}"
            )
        self._address = answer["address"]
        for waiting, told in self._untold:
            waiting.tell({**told, "scheduler": self._address})
        self._untold.clear()
        with self._ending:
            self._check_begun()
            self._write(answer, pools, child)
        return answer

    def _issue(self) -> None:
        """Write the certificates, unless their folder is being removed."""
        with self._issuing:
            self._check_begun()
            self.authority.issue(self.folder)

    def _check_begun(self) -> None:
        if self._over:
            raise ClusterFailedError(f"Dask cluster {self.name!r} was ended while it started.")

    def _write(
        self, answer: Mapping[str, Any], pools: Iterable[str], scheduler: ChildProcess
    ) -> None:
        registry.write(
            self.folder,
            registry.Record(
                name=self.name,
                address=answer["address"],
                dashboard=with_token(
                    f"http://{names.LOOPBACK}:{answer['services']['dashboard']}/status",
                    self.dashboard_token,
                ),
                pools=tuple(pools),
                started=time.time(),
                scheduler=scheduler.pid,
                born=scheduler.process.create_time(),
                owner=os.getpid(),
            ),
        )

    def scheduler_ended(self) -> str | None:
        """Say how the scheduler ended; None while it runs."""
        return self._scheduler.ended() if self._scheduler else None

    def scheduler_closed_orderly(self) -> bool:
        """Whether the scheduler ended because it decided to or was asked to."""
        return self._scheduler is not None and self._scheduler.closed_orderly

    # Workers.

    def room_for(self, request: PoolRequest) -> str | None:
        """Say why there is no room for one more group now; None where there is."""
        given = sum(member.request.memory for member in self.members.values())
        need = request.memory * request.pool.processes
        if given + need > self.machine.memory:
            return (
                f"{format_memory(given)} of this machine's {format_bytes(self.machine.memory)} "
                f"of memory are given to workers, and one more takes {format_memory(need)}"
            )
        if request.pool.gpus * request.pool.processes > len(self._free_devices()):
            gpus = counted(len(self.machine.gpus), "GPU is", "GPUs are")
            return f"of this machine's GPUs none is free: {gpus} in use"
        return None

    def start_group(self, group: str, members: Iterable[str], request: PoolRequest) -> None:
        """Start the worker processes of a group, or some that it lost."""
        with self._ending:
            for member in () if self._over else members:
                self._start_member(member, request)

    def _start_member(self, name: str, request: PoolRequest) -> None:
        pool = request.pool
        devices = tuple(self._free_devices()[: pool.gpus])
        environment = {**library_settings(request.memory, pool.threads), **pool.env}
        if self.machine.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        child = self._child("facility.local.worker", name, environment)
        self.members[name] = Member(request, child, devices)
        common = self._common()
        settings = {
            **common,
            "name": name,
            "threads": pool.threads,
            "memory": request.memory,
            "resources": resources(pool),
            "folder": str(self.folder),
            "death_timeout": CONNECT_SECONDS,
            "dask": {**common["dask"], **spilling(pool)},
            "shares_files": self.shares_files,
        }
        if self._address is None:
            self._untold.append((child, settings))
        else:
            child.tell({**settings, "scheduler": self._address})

    def unplaced(self) -> frozenset[str]:
        """Return the workers that have no place to run yet: none, here."""
        return frozenset()

    def reasons(self, pool: str) -> list[str]:
        """Say why started workers of a pool do not run yet: nothing holds a process up."""
        return []

    def remarks(self) -> list[str]:
        """Say what concerns all pools: a disk that takes nothing more."""
        found = trouble(self.folder) if self.folder.is_dir() else None
        if found is None:
            return []
        return [f"{found} What workers print is lost meanwhile, and new ones may not start."]

    def ended(self) -> list[Ended]:
        """Return the workers that ended since the last call, and forget them.

        Workers above their memory are ended here: a task that takes it all
        must not take the machine down.
        """
        found = []
        for name, member in list(self.members.items()):
            used = member.child.memory()
            if used > TERMINATE_AT * member.request.memory:
                member.child.kill(_too_much(used, member.request))
                member.child.wait(CLOSE_SECONDS)
            how = member.child.ended()
            if how is not None:
                del self.members[name]
                # They have its connections too, without whose end its scheduler misses nothing.
                end(process_tree.of_worker(self.folder, name, member.child.pid), 0)
                orderly = member.child.closed_orderly
                tail = "" if orderly else member.child.tail()
                final = member.child.exit_code == OTHER_SOFTWARE
                how = f"cannot work for this process: {tail}" if final else how
                found.append(Ended(name, how, "" if final else tail, orderly, final))
        return found

    async def stop_members(self, members: Iterable[str]) -> None:
        """End workers that have been retired or never joined."""
        found = {name: self.members.pop(name).child for name in members if name in self.members}
        # Until they have ended they are the backend's: whoever waits here may be cancelled.
        self._leaving |= set(found.values())

        def stop() -> None:
            self._end(found.values())
            self._leaving -= set(found.values())
            for name, child in found.items():
                end(process_tree.of_worker(self.folder, name, child.pid), 0)

        await asyncio.to_thread(stop)

    def absent(self, pool: Pool) -> Iterable[str]:
        """Return nothing: workers see all folders of this machine."""
        return ()

    def note_work(self) -> None:
        """Let a notebook server know that it is not idle."""
        registry.note_work(self.folder)

    def logs(self, member: str | None = None, most: int = logs.SHOWN) -> str:
        """Return the end of what a worker, or without a name the scheduler, has printed."""
        return logs.end(self.folder / registry.LOGS / f"{member or 'scheduler'}.log", most)

    # Ends.

    async def close(self, *, keep_logs: bool = False) -> None:
        """End everything and remove the folder."""
        await asyncio.to_thread(self.close_now, keep_logs=keep_logs)

    def close_now(self, *, keep_logs: bool = False) -> None:
        """End everything from any thread, also while the interpreter exits."""
        self._over = True
        self.abandon()
        with self._ending, self._issuing:
            children = self._workers()
            if self._scheduler is not None:
                children.insert(0, self._scheduler)
            self._end(children)
            self.members.clear()
            self._leaving.clear()
            if not self.scheduler_closed_orderly():
                # Else it has seen to what tasks had started.
                end(process_tree.of_cluster(self.folder), 0)
            if not keep_logs:
                registry.remove(self.folder)
                return
            registry.remove_scratch(self.folder)
            for path in self.folder.glob("*"):
                if path.is_file():
                    path.unlink(missing_ok=True)

    def hurry(self) -> None:
        """Wait no longer for what is being ended, but make it end."""
        self._hurried = True

    def abandon(self) -> bool:
        """Ask everything to end, without waiting; the scheduler sees to it from then on."""
        self._over = True
        if self._scheduler is not None:
            self._scheduler.terminate()
        for child in self._workers():
            child.terminate()
        return True

    def disown(self) -> None:
        """Do nothing with these processes, which are children of another."""
        self._over = True

    def _end(self, children: Iterable[ChildProcess]) -> None:
        """Ask all to close, then end those that do not."""
        children = list(children)
        for child in children:
            child.terminate()
        deadline = time.monotonic() + CLOSE_SECONDS
        for child in children:
            while not child.wait(LOOK) and time.monotonic() < deadline and not self._hurried:
                pass
            child.kill()
            child.wait(CLOSE_SECONDS)
            child.release()

    # Parts.

    def _workers(self) -> list[ChildProcess]:
        return [*(member.child for member in list(self.members.values())), *self._leaving]

    def _child(self, module: str, name: str, environment: Mapping[str, str]) -> ChildProcess:
        log = self.folder / registry.LOGS / f"{name}.log"
        own = {**environment, **process_tree.environment(self.folder, name)}
        if self.python is None:
            return ChildProcess(module, log, own)
        own |= {"PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}
        return ChildProcess(module, log, own, self.python, self.folder)

    def _common(self) -> dict[str, Any]:
        return {
            "dashboard_token": self.dashboard_token,
            "sys_path": [path or str(Path.cwd()) for path in sys.path] if self.shares_files else [],
            "security": {
                "require_encryption": True,
                "tls_ca_file": str(self.authority.ca_file),
                "tls_client_cert": str(self.authority.client_cert),
                "tls_client_key": str(self.authority.client_key),
                **server_files(self.folder),
            },
            "dask": {
                **dask_settings.OURS,
                **self.authority.configuration(),
                "temporary-directory": str(self.folder / registry.SCRATCH),
                # Processes are watched as such. A time to live would take a worker for
                # dead whose task holds the interpreter for minutes, as compiled code does.
                "distributed.scheduler.worker-ttl": None,
            },
        }

    def _free_devices(self) -> list[str]:
        taken = {device for member in self.members.values() for device in member.devices}
        return [device for device in self.machine.gpus if device not in taken]


def _too_much(used: int, request: PoolRequest) -> str:
    """Say how a worker ended that took too much memory, and what helps."""
    pool = request.pool
    text = f"used {format_bytes(used)} of its {format_memory(request.memory)} of memory"
    if request.memory < pool.memory_max:
        text += f" (memory={{{pool.name!r}: {format_memory(pool.memory_max)!r}}} allows more)"
    return f"{text} and was ended"
