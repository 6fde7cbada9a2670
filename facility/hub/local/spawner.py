"""Notebook servers as processes of the person who started the hub."""

import asyncio
import html
import os
import subprocess
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from traitlets import Integer, Unicode

from facility import names
from facility.errors import HubError
from facility.hub.local import hub_processes
from facility.hub.user_server import notebooks
from facility.hub.user_server.environment import certificates_environment
from facility.system.private_files import open_private, trouble

END_GRACE = 5.0
"""Seconds in which what a stopped server left behind may end by itself."""


class SpawnError(HubError):
    """A notebook server ended while it started; the hub's page shows why."""

    def __init__(self, code: int, log: Path) -> None:
        full = trouble(names.data_folder()) or trouble(Path.home(), "remove something")
        lines = "\n".join([*([full] if full else []), *hub_processes.last_lines(log, 10)])
        self.jupyterhub_message = (
            f"The notebook server ended with exit code {code}. The end of its log {log}:\n{lines}"
        )
        self.jupyterhub_html_message = (
            f"The notebook server ended with exit code {code}. The end of its log "
            f"<code>{html.escape(str(log))}</code>:<pre>{html.escape(lines)}</pre>"
        )
        super().__init__(self.jupyterhub_message)


class OwnSpawner(LocalProcessSpawner):
    """Starts `jupyterhub-singleuser` as the current user, and finds it again.

    LocalProcessSpawner knows a server by the number of its process alone. After
    a reboot that number may be anybody's, so the start time is kept too.
    """

    hub_folder = Unicode(help="Folder of the hub's state.").tag(config=True)
    log_file = Unicode(help="Where the notebook servers log.").tag(config=True)
    umask = Integer(0o022, help="Umask of the notebook servers.").tag(config=True)

    process_started = 0.0
    served_hub = ""

    def make_preexec_fn(self, name: str) -> None:
        """Change no user: the server runs as whoever started the hub."""

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Keep HOME, USER and SHELL as they are."""
        return env

    def get_env(self) -> dict[str, str]:
        """Environment of the server, with what Dask needs to speak TLS."""
        environment: dict[str, str] = super().get_env()
        environment[hub_processes.SERVER_VARIABLE] = self.server_mark
        return environment | certificates_environment(self.log.warning)

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a server that an earlier hub started."""
        super().load_state(state)
        self.process_started = float(state.get("started", 0.0))
        self.served_hub = str(state.get("hub", ""))

    def get_state(self) -> dict[str, Any]:
        """Return what the next hub needs to find this server again."""
        state: dict[str, Any] = super().get_state()
        if self.pid:
            state |= {"started": self.process_started, "hub": self.served_hub}
        return state

    def clear_state(self) -> None:
        """Forget the server."""
        super().clear_state()
        self.process_started = 0.0
        self.served_hub = ""

    async def start(self) -> tuple[str, int]:
        """Start the server and return where it listens.

        Raises
        ------
        SpawnError
            Where it ends instead.
        """
        # The user may have moved the folder away meanwhile.
        notebooks.copy_notebooks(Path(self.notebook_dir), self.log.warning)
        # A log on the own disk: opening it holds nothing up.
        log_file = open_private(Path(self.log_file), os.O_WRONLY | os.O_APPEND)
        with os.fdopen(log_file, "ab") as log:
            self.popen_kwargs = {
                "stdin": subprocess.DEVNULL,
                "stdout": log,
                "stderr": subprocess.STDOUT,
                "cwd": self.notebook_dir or None,
                "umask": self.umask,
            }
            where: tuple[str, int] = await super().start()
        self.process_started = hub_processes.started(self.pid)
        self.served_hub = self.hub.api_url
        await self._until_it_listens(*where)
        return where

    async def _until_it_listens(self, host: str, port: int) -> None:
        """Wait for the server, and tell at once if it died; JupyterHub would wait to the end."""
        process = self.proc
        while process.poll() is None:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return
        raise SpawnError(process.returncode, Path(self.log_file))

    async def poll(self) -> int | None:
        """Return None while the server runs, its exit code or 0 afterwards."""
        known = bool(self.pid)
        status: int | None = 0
        if self.proc is not None or not known:
            status = await super().poll()
        elif hub_processes.same(self.pid, self.process_started):
            if self.served_hub == self.hub.api_url:
                return None
            # It would ask for its user's rights where no hub is any more.
            self.log.warning("Stopping a server that knows its hub as %s", self.served_hub)
        if status is not None and known:
            # It ended unasked; what it started need not notice that.
            await asyncio.to_thread(self._end_left_over)
            self.clear_state()
        return status

    async def stop(self, now: bool = False) -> None:
        """Stop the server and everything that it started."""
        await super().stop(now)
        await asyncio.to_thread(self._end_left_over)

    def _end_left_over(self) -> None:
        hub_processes.end_all(Path(self.hub_folder), self.server_mark, END_GRACE)

    @property
    def server_mark(self) -> str:
        """What `processes.SERVER_VARIABLE` is set to in this server's processes."""
        return f"{self.user.name}/{self.name}"
