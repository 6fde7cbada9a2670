"""Configuration of a hub for several users on this machine: the chart's own, but for Kubernetes.

What `origins.py` wrote beside the certificates says where everything listens.
"""

import json
import os
import sys
from pathlib import Path

from facility.hub.kubernetes.configuration import configure
from facility.hub.kubernetes.release import read_values
from facility.hub.kubernetes.values.tenant_model import Installation

MALLORY = "mallory"
"""Who serves a program of his own instead of Jupyter."""

if "get_config" in globals():
    c = get_config()  # type: ignore[name-defined]  # noqa: F821
    folder = Path(os.environ["ORIGINS_FOLDER"])
    given = json.loads((folder / "hub.json").read_text())
    configure(
        c, Installation(read_values(given["values"]), "af", "hub", "0"), secrets=given["secrets"]
    )
    hub = c.JupyterHub
    hub.bind_url = given["bind"]
    hub.hub_bind_url = given["hub"]
    del hub.hub_connect_url
    hub.ssl_cert, hub.ssl_key = str(folder / "hub.pem"), str(folder / "hub.key")
    hub.cleanup_servers = hub.cleanup_proxy = True
    hub.services, hub.load_roles, hub.extra_handlers = [], [], []
    c.ConfigurableHTTPProxy.should_start = True
    c.ConfigurableHTTPProxy.api_url = given["proxy"]
    c.ConfigurableHTTPProxy.command = given["command"]
    c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")
    hub.spawner_class = "simple"
    c.SimpleLocalProcessSpawner.home_dir_template = str(folder / "{username}")
    c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
    c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
    # The tests know by it that a server is theirs.
    c.Spawner.environment = {"ORIGINS_FOLDER": str(folder)}

    def choose(spawner):  # type: ignore[no-untyped-def]
        if spawner.user.name == MALLORY:
            spawner.cmd = [sys.executable, str(Path(__file__).with_name("origins_mallory.py"))]
            spawner.args = []

    c.Spawner.pre_spawn_hook = choose
