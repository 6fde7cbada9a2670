"""Extension of a user's Jupyter server: a kernel that computes counts as activity.

Jupyter counts what a kernel sends. A kernel that computes for an hour without
a word would look idle, and the culler would stop it in the middle.
"""

import datetime
import os
from typing import Any

from tornado.ioloop import PeriodicCallback

ACTIVITY_SETTING = "facility_busy_kernel_last_activity"
"""A setting of this ending is one of Jupyter's sources of a server's last activity."""
DEFAULT_INTERVAL = 60.0


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    interval = float(os.environ.get("JUPYTERHUB_ACTIVITY_INTERVAL", DEFAULT_INTERVAL))
    callback = PeriodicCallback(
        lambda: note_busy_kernels(server.kernel_manager, server.web_app.settings),
        1000 * min(interval, DEFAULT_INTERVAL) / 2,
    )
    callback.start()


def note_busy_kernels(kernels: Any, settings: dict[str, Any]) -> None:
    """Set the last activity to now if any kernel is computing.

    Parameters
    ----------
    kernels
        Jupyter's kernel manager: ``list_kernels()`` gives models with an
        ``execution_state``.
    settings
        The web application's settings, changed in place.
    """
    if any(model.get("execution_state") == "busy" for model in kernels.list_kernels()):
        settings[ACTIVITY_SETTING] = datetime.datetime.now(datetime.UTC)
