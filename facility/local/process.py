"""A process of a Dask cluster on this machine: one scheduler or one worker.

It imports what it needs as soon as it starts and then reads its settings, one
line of JSON, from its standard input: so all processes start side by side, and
one whose parent dies before that ends by itself.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from facility.system import logs
from facility.system.private_files import open_private

LOG_TAIL = 12
"""Lines of a log that a message shows."""


class ChildProcess:
    """A started process.

    Parameters
    ----------
    module
        Run as ``python -m module``.
    log
        File that takes what it prints.
    python
        Interpreter that runs it.
    folder
        In which it begins; by default this process's own.
    """

    def __init__(
        self,
        module: str,
        log: Path,
        environment: Mapping[str, str],
        python: str = sys.executable,
        folder: Path | None = None,
    ) -> None:
        self.log = log
        self.killed_because: str | None = None
        with os.fdopen(_opened(log), "ab") as output:
            self._popen = subprocess.Popen(
                # -P: a user's random.py must not stand in for the library's.
                [python, "-P", "-m", module],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **environment},
                # Ctrl-C in a terminal is for the user's script alone.
                start_new_session=True,
            )
        self.process = psutil.Process(self._popen.pid)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    def tell(self, settings: Mapping[str, Any]) -> None:
        """Hand over the settings; a process that has ended already is found by `ended`."""
        stdin = _pipe(self._popen.stdin)
        try:
            stdin.write(json.dumps({**settings, "log": str(self.log)}).encode() + b"\n")
            stdin.close()
        except BrokenPipeError:
            self._popen.poll()

    def answer(self) -> dict[str, Any] | None:
        """Wait for one line of JSON; None where the process ends without."""
        line = _pipe(self._popen.stdout).readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def ended(self) -> str | None:
        """Say how the process ended; None while it runs."""
        code = self._popen.poll()
        if code is None:
            return None
        self.release()
        if self.killed_because:
            return self.killed_because
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return "closed" if code == 0 else f"ended with exit code {code}"

    @property
    def exit_code(self) -> int | None:
        """Exit code, None while it runs."""
        return self._popen.poll()

    @property
    def closed_orderly(self) -> bool:
        """Whether the process has ended because it was asked to."""
        return self._popen.poll() == 0

    def memory(self) -> int:
        """Return the resident memory in bytes, 0 where the process is gone."""
        try:
            return int(self.process.memory_info().rss)
        except psutil.Error:
            return 0

    def terminate(self) -> None:
        """Ask the process to close."""
        if self._popen.poll() is None:
            self._popen.terminate()

    def kill(self, because: str | None = None) -> None:
        """End the process at once."""
        if self._popen.poll() is None:
            self.killed_because = because
            self._popen.kill()

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the end; whether it came."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        self.release()
        return True

    def release(self) -> None:
        """Close our ends of the pipes."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue

    def tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(logs.end(self.log).splitlines()[-LOG_TAIL:])


def _opened(log: Path) -> int:
    try:
        return open_private(log, os.O_WRONLY | os.O_APPEND)
    except OSError:  # of a full disk, which is no reason not to work
        return os.open(os.devnull, os.O_WRONLY)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "pipes are always asked for"
    return pipe


def read_settings() -> dict[str, Any]:
    """Read, in the child, what `tell` wrote; end where the parent is gone.

    The user's own modules can be imported from then on: by workers, and by the scheduler, where
    distributed unpickles what tasks are made of.
    """
    line = sys.stdin.readline()
    if not line:
        sys.exit("the process that started this one is gone")
    settings = dict(json.loads(line))
    sys.path.extend(path for path in settings["sys_path"] if path not in sys.path)
    return settings


def keep_settings(settings: Mapping[str, Any]) -> None:
    """Have the program that this process becomes read the same settings."""
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(settings).encode() + b"\n")
        file.seek(0)
        os.dup2(file.fileno(), sys.stdin.fileno())


def write_answer(answer: Mapping[str, Any], log: str) -> None:
    """Write, in the child, what `answer` reads, and leave the pipe."""
    sys.stdout.write(json.dumps(answer) + "\n")
    leave_pipe(log)


def leave_pipe(log: str) -> None:
    """Print to the log from now on."""
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logs.print_to(Path(log))
