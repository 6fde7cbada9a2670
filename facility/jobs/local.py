"""Jobs as processes of this machine: one folder for each, with its state and its log."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from facility import names
from facility.errors import FacilityError, RequestError, nearest
from facility.jobs.request import Submission
from facility.jobs.script import GRACE, Running, environment, told
from facility.local import process_tree
from facility.request import worker_counts
from facility.system.logs import Follower, LogStream
from facility.system.private_files import (
    check_room,
    make_private,
    open_private,
    refusal,
    write_private,
)
from facility.system.processes import end, with_environment
from facility.table import Table

STATE, LOG, RESERVE = "job.json", "log", "reserve"
FOLDER_VARIABLE = "FACILITY_JOB_FOLDER"
"""Set in every process of a job, by which what is left of it is found."""
PAUSE = 5.0
"""Seconds before a script is started again."""
CLOSE = 10.0
"""Seconds in which what a script has left may end by itself."""
LOOK = 0.2
RESERVED = 2**14
"""Bytes that are kept for what has to be written down though the disk be full by then."""


@dataclass(frozen=True)
class State:
    """What is written down of a job.

    Attributes
    ----------
    pid, born
        The process that watches the script, and when it was started, so that no other with its
        number is taken for it.
    tries
        How often the script has been started.
    ended
        Seconds since 1970, None before.
    """

    script: str
    arguments: tuple[str, ...]
    folder: str
    pools: str
    retries: int
    started: float
    pid: int = 0
    born: float = 0.0
    tries: int = 0
    ended: float | None = None
    code: int | None = None
    stopped: bool = False

    @property
    def runs(self) -> bool:
        """Whether somebody watches the script."""
        return self.watcher is not None

    @property
    def watcher(self) -> psutil.Process | None:
        """The process that watches the script, while it does."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.born) < 1
            watches = self.ended is None and same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if watches else None

    def __str__(self) -> str:
        if self.stopped:
            return "stopped"
        if self.ended is None:
            return "runs" if self.runs else "lost with its process"
        return "done" if self.code == 0 else f"failed ({told(self.code or 0)})"


class MachineJobs:
    """The user's jobs on this machine."""

    def __init__(self) -> None:
        self._folder = names.jobs_folder()

    def submit(self, submission: Submission) -> None:
        """Start a process that outlives this one.

        Raises
        ------
        RequestError
            There is a job of that name.
        FacilityError
                Its folder cannot be made, or takes nothing more.
        """
        folder = self._folder / submission.name
        if folder.exists():
            problem = (
                f"there is a job {submission.name!r}; choose another name, or forget it with "
                f"`facility jobs remove {submission.name}`"
            )
            raise RequestError(f"{submission.script} cannot be submitted", [problem])
        try:
            make_private(folder)
            check_room(folder)
            self._begin(submission, folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise FacilityError(
                f"A job needs a folder of its own, and {folder} cannot be made: "
                f"{refusal(error, folder)}"
            ) from error

    def _begin(self, submission: Submission, folder: Path) -> None:
        state = State(
            str(submission.script),
            submission.arguments,
            str(submission.folder),
            worker_counts.text(submission.pools),
            submission.retries,
            time.time(),
        )
        _write(folder, state)
        write_private(folder / RESERVE, bytes(RESERVED))
        with os.fdopen(open_private(folder / LOG, os.O_WRONLY | os.O_APPEND), "ab") as log:
            watcher = subprocess.Popen(
                [sys.executable, "-P", "-m", "facility.jobs.local", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # It goes on where the task of a worker has submitted it.
                env={**process_tree.without(os.environ), FOLDER_VARIABLE: str(folder)},
                start_new_session=True,
            )
        while not _read(folder).pid:
            if watcher.poll() is not None:
                last = (folder / LOG).read_text(errors="replace").strip()
                raise FacilityError(f"The job {submission.name!r} could not begin:\n{last}")
            time.sleep(0.02)
        # It goes on when this process has ended, which therefore has nothing to wait for.
        watcher.returncode = watcher.returncode or 0

    def table(self) -> Table:
        """List the jobs, the oldest first."""
        found = []
        for folder in self._folders():
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append((folder.name, _read(folder)))
        found.sort(key=lambda each: each[1].started)
        rows = tuple(
            (
                name,
                str(state),
                time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.started)),
                f"{(state.ended or time.time()) - state.started:.0f} s",
                f"{state.tries} of {state.retries + 1}",
                state.script,
            )
            for name, state in found
        )
        columns = ("name", "state", "started", "took", "try", "script")
        return Table(columns, rows, empty="no job of yours is known on this machine")

    def log(self, name: str, *, follow: bool) -> Iterator[str]:
        """Give what a job has printed; with `follow` until it ends."""
        folder = self._find(name)
        log = Follower(folder / LOG)
        while True:
            # Looked at first: what is printed before the end is read after it.
            over = not follow or not _read(folder).runs
            found = log.new()
            if found:
                yield found
            elif over:
                return
            else:
                time.sleep(LOOK)

    def succeeded(self, name: str) -> bool | None:
        """Whether a job ended well; None while it has not ended."""
        state = _read(self._find(name))
        return None if state.runs else state.code == 0 and not state.stopped

    def stop(self, name: str) -> None:
        """Interrupt a job as Ctrl-C does, and end what is left of it."""
        folder = self._find(name)
        watcher = _read(folder).watcher
        if watcher is not None:
            # It may end by itself at any moment, or take too long.
            with contextlib.suppress(psutil.Error):
                watcher.terminate()
                watcher.wait(GRACE + 10)
        _end(folder)
        state = _read(folder)
        if state.ended is None:
            _note(folder, replace(state, ended=time.time(), stopped=True))

    def remove(self, name: str) -> None:
        """Forget a job that has ended, and its log.

        Raises
        ------
        FacilityError
            It runs.
        """
        folder = self._find(name)
        if _read(folder).runs:
            raise FacilityError(f"The job {name!r} runs; stop it first: facility jobs stop {name}")
        shutil.rmtree(folder)

    def _find(self, name: str) -> Path:
        known = [folder.name for folder in self._folders()]
        if name not in known:
            listed = f"; there are {', '.join(known)}" if known else "; there is none"
            raise FacilityError(
                f"There is no job {name!r} of yours on this machine{nearest(name, known)}{listed}."
            )
        return self._folder / name

    def _folders(self) -> list[Path]:
        return sorted(path.parent for path in self._folder.glob(f"*/{STATE}"))


def _read(folder: Path) -> State:
    fields = json.loads((folder / STATE).read_text())
    return State(**{**fields, "arguments": tuple(fields["arguments"])})


def _write(folder: Path, state: State) -> None:
    write_private(folder / STATE, json.dumps(asdict(state)).encode())


def _note(folder: Path, state: State) -> None:
    """Write down how a job is, on a full disk with what is kept for that."""
    try:
        _write(folder, state)
    except OSError:
        with contextlib.suppress(OSError):
            (folder / RESERVE).unlink(missing_ok=True)
            _write(folder, state)
            write_private(folder / RESERVE, bytes(RESERVED))


def _of_job(folder: Path) -> list[psutil.Process]:
    """Find what runs of a job, its Dask cluster too, but for this process."""
    return with_environment(lambda found: found.get(FOLDER_VARIABLE) == str(folder))


def _end(folder: Path) -> None:
    """End what is left of a job, but for this process."""
    end(_of_job(folder), CLOSE)


def watch(folder: Path) -> None:
    """Run a job's script until it succeeds, is stopped or has used up its tries."""
    own = psutil.Process()
    state = replace(_read(folder), pid=own.pid, born=own.create_time())
    variables = environment(folder.name, state.pools)
    log = LogStream(folder / LOG)
    script = Running(Path(state.script), state.arguments, Path(state.folder), variables, output=log)
    script.listen()
    while True:
        state = replace(state, tries=state.tries + 1)
        _note(folder, state)
        code = script.run()
        # A script that was killed leaves its Dask cluster, for two minutes.
        _end(folder)
        script.finish()
        if code == 0 or script.stopped or state.tries > state.retries:
            break
        text = f"facility: {told(code)}; try {state.tries + 1} of {state.retries + 1} follows"
        log.write(f"{text} in {PAUSE:.0f} s\n".encode())
        if _pause(script):
            break
    ended = replace(state, ended=time.time(), code=code, stopped=script.stopped)
    _note(folder, ended)


def _pause(script: Running) -> bool:
    """Wait before the next try; whether the end was asked for meanwhile."""
    until = time.monotonic() + PAUSE
    while not script.stopped and time.monotonic() < until:
        time.sleep(LOOK)
    return script.stopped


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
