"""Variables of users' servers that are the same on one machine and on Kubernetes."""

import os
from collections.abc import Mapping
from pathlib import Path

JUPYTER_CONFIG = Path(__file__).with_name("jupyter")
"""Folder with the configuration of users' servers."""


def with_config_path(folder: Path, environ: Mapping[str, str]) -> str:
    """Return the JUPYTER_CONFIG_PATH that has a folder before what is in it already."""
    paths = [str(folder), environ.get("JUPYTER_CONFIG_PATH", "")]
    return os.pathsep.join(path for path in paths if path)


def panel(dashboard_link: str) -> dict[str, str]:
    """Return what the Dask panel needs.

    Its NEW starts a Dask cluster of the facility, which ends when idle.

    Parameters
    ----------
    dashboard_link
        Form of links to dashboards, through the hub, which asks who is there.
    """
    return {
        "DASK_DISTRIBUTED__DASHBOARD__LINK": dashboard_link,
        "DASK_LABEXTENSION__FACTORY__MODULE": "facility",
        "DASK_LABEXTENSION__FACTORY__CLASS": "cluster",
        "DASK_LABEXTENSION__FACTORY__KWARGS__IDLE_TIMEOUT": "1h",
    }
