"""Configuration of JupyterHub for one person on one machine.

JupyterHub executes this file; `configure` is a function of `HubSettings` alone.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facility import names
from facility.hub import documentation
from facility.hub.local.authenticator import OwnerAuthenticator
from facility.hub.local.settings import FOLDER_VARIABLE, HubSettings, password
from facility.hub.local.spawner import OwnSpawner
from facility.hub.user_server import notebooks
from facility.hub.user_server.environment import jupyter, panel

START_TIMEOUT = 120
"""Seconds that a notebook server may take to start on a busy machine."""
CULL_INTERVALS = 4
"""How often idleness is looked at within the idle timeout."""
LONGEST_INTERVAL = 300
CULLER_SCOPES = ("list:users", "read:users:activity", "read:servers", "delete:servers")
NOT_INHERITED = ("CONFIGPROXY_", "JUPYTERHUB_", "JPY_", "MAKE", "MFLAGS", "FACILITY_HUB")
"""Beginnings of variables that are the hub's or make's own and no matter of a notebook."""
DASHBOARD_LINK = "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"
"""Dashboards are reached through the hub, which asks who is there."""


def configure(c: Any, settings: HubSettings, secret: str, environ: Mapping[str, str]) -> None:
    """Set up JupyterHub.

    Parameters
    ----------
    c
        JupyterHub's configuration, changed in place.
    settings
        Where everything is.
    secret
        The user's password.
    environ
        Environment of the hub, of which notebooks inherit what is not the hub's own.
    """
    hub = c.JupyterHub
    hub.bind_url = settings.address
    hub.hub_bind_url = f"http://{names.LOOPBACK}:{settings.hub_port}"
    # Ctrl-C stops everything. A hub that is killed stops nothing, and the next
    # one finds the servers in its database.
    hub.cleanup_servers = True
    hub.cleanup_proxy = True
    hub.upgrade_db = True
    hub.last_activity_interval = interval(settings)
    hub.template_vars = {
        "announcement_login": "Name and password are printed where the hub was started."
    }

    c.ConfigurableHTTPProxy.command = [sys.executable, "-m", "facility.hub.proxy"]
    c.ConfigurableHTTPProxy.api_url = f"http://{names.LOOPBACK}:{settings.proxy_port}"

    hub.authenticator_class = OwnerAuthenticator
    c.OwnerAuthenticator.owner = settings.user
    c.OwnerAuthenticator.password = secret
    c.OwnerAuthenticator.allowed_users = {settings.user}

    hub.spawner_class = OwnSpawner
    spawner = c.OwnSpawner
    spawner.hub_folder = str(settings.folder)
    spawner.log_file = str(settings.server_log)
    spawner.umask = settings.umask
    spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
    # Jupyter refuses to run as root unless it is told to.
    spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
    spawner.notebook_dir = str(settings.notebooks)
    spawner.default_url = notebooks.first_page(settings.notebooks)
    spawner.start_timeout = spawner.http_timeout = START_TIMEOUT
    spawner.poll_interval = 5
    spawner.interrupt_timeout, spawner.term_timeout = 15, 5
    spawner.env_keep = sorted(key for key in environ if not key.startswith(NOT_INHERITED))
    spawner.environment = server_environment(settings, environ) | documentation.serve(c, "/")

    hub.services = services(settings)
    hub.load_roles = [
        {"name": service["name"], "scopes": list(CULLER_SCOPES), "services": [service["name"]]}
        for service in hub.services
    ]


def interval(settings: HubSettings) -> int:
    """Seconds between two looks at what the servers do."""
    if not settings.idle_timeout:
        return LONGEST_INTERVAL
    return max(1, min(LONGEST_INTERVAL, settings.idle_timeout // CULL_INTERVALS))


def services(settings: HubSettings) -> list[dict[str, Any]]:
    """Return the culler of idle servers, or nothing where they may idle for ever."""
    if not settings.idle_timeout:
        return []
    culler = {
        "name": "idle-culler",
        "command": [
            sys.executable,
            "-m",
            "facility.hub.culler",
            f"--timeout={settings.idle_timeout}",
            f"--cull-every={interval(settings)}",
        ],
        "environment": {FOLDER_VARIABLE: str(settings.folder)},
    }
    return [culler]


def server_environment(settings: HubSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of a notebook server beside what it inherits.

    Its kernels, terminals and the Dask panel get them too: the panel's NEW
    starts a Dask cluster of the facility, which ends when idle; links to
    dashboards lead through the hub.
    """
    return {
        FOLDER_VARIABLE: str(settings.folder),
        **jupyter(environ),
        "JUPYTERHUB_ACTIVITY_INTERVAL": str(interval(settings)),
        **panel(DASHBOARD_LINK),
    }


if "get_config" in globals():
    _settings = HubSettings.load(Path(os.environ[FOLDER_VARIABLE]))
    configure(
        get_config(),  # type: ignore[name-defined]  # noqa: F821
        _settings,
        password(_settings.folder),
        os.environ,
    )
