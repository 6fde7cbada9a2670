"""What the hub of this user keeps on disk: folder, password, ports, settings of a run."""

import getpass
import json
import re
import secrets
import socket
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facility import names
from facility.errors import HubError
from facility.system.private_files import check_room, make_private, refusal, write_private

FOLDER_VARIABLE = names.HUB_VARIABLE
DEFAULT_PORT = 8000
INNER_PORTS = range(20000, 30000)
"""Where hub and proxy talk to each other: below the ports that systems give to clients."""
PORTS_TRIED = 100
PASSWORD_BYTES = 12


@dataclass(frozen=True)
class HubSettings:
    """How one run of the hub is set up; written by the launcher, read by the hub's config.

    Parameters
    ----------
    folder
        State of the hub: database, cookie secret, password, logs.
    notebooks
        Folder on which a user's JupyterLab opens.
    user
        The one user who may log in.
    port
        Where the proxy, thus a browser, finds the hub.
    hub_port, proxy_port
        Where the hub listens for its proxy and servers, and the proxy for its hub.
    idle_timeout
        Seconds after which an idle notebook server is stopped; 0 for never.
    umask
        Of notebook servers: that of who starts the hub, whose own files nobody else may read.
    """

    folder: Path
    notebooks: Path
    user: str
    port: int
    hub_port: int
    proxy_port: int
    idle_timeout: int = 3600
    umask: int = 0o022

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{names.LOOPBACK}:{self.port}/"

    @property
    def hub_log(self) -> Path:
        """Log of JupyterHub, its proxy and its culler."""
        return self.folder / "logs" / "hub.log"

    @property
    def server_log(self) -> Path:
        """Log of the notebook servers."""
        return self.folder / "logs" / "server.log"

    def save(self) -> None:
        """Write the settings where `load` reads them."""
        content = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }
        write_private(self.folder / "settings.json", json.dumps(content, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> "HubSettings":
        """Read what `save` wrote."""
        content: dict[str, Any] = json.loads((folder / "settings.json").read_text())
        content |= {key: Path(content[key]) for key in ("folder", "notebooks")}
        return cls(**content)


def hub_folder() -> Path:
    """Folder of the hub's state."""
    return names.data_folder() / "hub"


def prepare_folder(folder: Path) -> None:
    """Make the hub's folder, for the user's eyes only.

    Raises
    ------
    HubError
        Where nothing can be written.
    """
    try:
        make_private(folder / "logs")
        folder.chmod(0o700)
        check_room(folder)
    except OSError as error:
        raise HubError(
            f"The hub keeps its state in {folder}, which cannot be written: "
            f"{refusal(error, folder)}"
        ) from error


def password(folder: Path) -> str:
    """Return the password of this hub, generated at the first call and kept."""
    path = folder / "password"
    if path.exists():
        path.chmod(0o600)
        kept = path.read_text().strip()
        if kept:
            return kept
    generated = secrets.token_urlsafe(PASSWORD_BYTES)
    write_private(path, f"{generated}\n".encode())
    return generated


def user_name() -> str:
    """Name to log in with: that of this process' user, as far as JupyterHub can take it."""
    try:
        own = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        own = ""
    return re.sub(r"[^a-z0-9._-]+", "-", own.lower()).strip("-") or "user"


def free_port(wanted: int, avoid: Collection[int] = ()) -> int:
    """Return the first port from `wanted` on that nobody listens on.

    Raises
    ------
    HubError
        Where `wanted` is no port that this user may use, or none is free.
    """
    if not 1 <= wanted <= 65535:
        raise HubError(f"Port {wanted} was asked for; a port is a number from 1 to 65535.")
    for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
        if port in avoid:
            continue
        try:
            with socket.socket() as probe:
                # As servers do it: a port that closed a moment ago is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((names.LOOPBACK, port))
        except PermissionError as error:
            raise HubError(
                f"Port {port} is kept for the system's administrator; use one from 1024 to 65535."
            ) from error
        except OSError:
            continue
        return port
    raise HubError(
        f"None of the {PORTS_TRIED} ports from {wanted} on is free; choose another with --port."
    )


def remembered_hub_port(folder: Path) -> int:
    """Port of the last run's hub: notebook servers that still run know it by that."""
    try:
        return HubSettings.load(folder).hub_port
    except (OSError, ValueError, TypeError, KeyError):
        return unusual_port()


def unusual_port() -> int:
    """Return a port that two hubs that start at one moment will hardly both choose."""
    return secrets.choice(INNER_PORTS)
