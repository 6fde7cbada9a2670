"""Variables of users' servers that are the same on one machine and on Kubernetes."""

import datetime
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from facility import names
from facility.errors import FacilityError
from facility.security import certificates
from facility.system.private_files import is_full

JUPYTER = Path(__file__).with_name("jupyter")
"""Folder with the configuration of users' servers, and with an extension of JupyterLab."""


def jupyter(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the paths on which Jupyter finds what is ours, before what is on them already."""
    return {
        name: os.pathsep.join(path for path in (str(JUPYTER), environ.get(name, "")) if path)
        for name in ("JUPYTER_CONFIG_PATH", "JUPYTER_PATH")
    }


def certificates_environment(say: Callable[[str], object]) -> dict[str, str]:
    """Return what Dask needs to speak TLS; nothing where the disk has no room for certificates.

    Raises
    ------
    FacilityError
        Where they cannot be kept for another reason.
    """
    try:
        return certificates.authority(after=asked_after(os.environ)).environment()
    except FacilityError as error:
        if not is_full(error):
            raise
        say(str(error))
        return {}


def asked_after(environ: Mapping[str, str]) -> datetime.datetime | None:
    """Return the time before which no authority is used, where an administrator has said one."""
    try:
        return datetime.datetime.fromisoformat(environ.get(names.AUTHORITY_VARIABLE, ""))
    except ValueError:
        return None


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
