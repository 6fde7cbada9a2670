"""Extension of a user's Jupyter server: activity, dashboards, lists of kernels, the Dask panel.

Jupyter counts what a kernel sends. A kernel that computes for an hour without
a word would look idle, and so would one whose Dask cluster works through what
it was given; the culler would stop both in the middle.
"""

import datetime
import os
import time
from typing import Any

from tornado.ioloop import PeriodicCallback
from traitlets.config import Config

from facility import names
from facility.hub.user_server import authority, dashboards, dask_panel, kernel_lists
from facility.local import registry

ACTIVITY_SETTING = "facility_busy_kernel_last_activity"
"""A setting of this ending is one of Jupyter's sources of a server's last activity."""
DEFAULT_INTERVAL = 60.0


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    interval = float(os.environ.get("JUPYTERHUB_ACTIVITY_INTERVAL", DEFAULT_INTERVAL))
    seconds = min(interval, DEFAULT_INTERVAL) / 2

    def note() -> None:
        note_work(server.kernel_manager, server.web_app.settings, within=seconds)

    PeriodicCallback(note, 1000 * seconds).start()
    # Extensions are loaded in the order of their names, jupyter_server_proxy after this one.
    server.update_config(Config({"ServerProxy": {"host_allowlist": dashboards.is_dashboard}}))
    application = server.web_app
    application.add_handlers(".*$", authority.handlers(application.settings["base_url"]))
    application.add_handlers(".*$", kernel_lists.handlers(application.settings["base_url"]))
    dashboards.send_tokens()
    dask_panel.improve()
    if address := os.environ.get(names.DOCUMENTATION_VARIABLE):
        page = application.settings.setdefault("page_config_data", {})
        page["facilityDocumentation"] = address


def note_work(kernels: Any, settings: dict[str, Any], within: float) -> None:
    """Set the last activity to now if a kernel or a Dask cluster is computing.

    Parameters
    ----------
    kernels
        Jupyter's kernel manager: ``list_kernels()`` gives models with an
        ``execution_state``.
    settings
        The web application's settings, changed in place.
    within
        Seconds in which a Dask cluster must have had work.
    """
    busy = any(model.get("execution_state") == "busy" for model in kernels.list_kernels())
    if busy or registry.worked_since(time.time() - within):
        settings[ACTIVITY_SETTING] = datetime.datetime.now(datetime.UTC)
