"""What runs in a user's pod: Jupyter's server, with the facility set up around it."""

import os
import platform
import sys
from pathlib import Path

from facility.errors import FacilityError
from facility.hub.user_server import notebooks, python_change
from facility.hub.user_server.environment import certificates_environment, jupyter, panel
from facility.worker.software import packages

FOLDER = "notebooks"
"""Folder of the home with the notebooks that come with the facility."""
LAB = "/lab"


def environment(home: Path, to_read: str | None = None) -> dict[str, str]:
    """Return what the server gets beside what the hub says.

    Certificates are made where there are none, so that ``Client("tls://...")`` works in the first
    kernel.

    Parameters
    ----------
    to_read
        Page at which JupyterLab opens this once, where its user is to know something.
    """
    page = os.environ.get("JUPYTERHUB_DEFAULT_URL") or notebooks.first_page(home / FOLDER, FOLDER)
    if to_read is not None and page.startswith(LAB):
        page = to_read
    link = "{JUPYTERHUB_SERVICE_PREFIX}proxy/{host}:{port}/status"
    return {
        **jupyter(os.environ),
        **panel(link),
        **certificates_environment(print),
        "JUPYTERHUB_DEFAULT_URL": page,
    }


def packages_of_image() -> dict[str, str]:
    """Return the packages that are not the user's own."""
    return packages(place for place in sys.path if place.startswith(sys.prefix))


def main() -> None:
    """Become Jupyter's server for one user.

    Exits with a sentence where the home cannot be written; where it is merely full, its user
    needs a server to clear it up.
    """
    home = Path.home()
    try:
        notebooks.copy_notebooks(home / FOLDER, print)
        to_read = python_change.tell_of_change(
            home, packages_of_image, platform.python_version(), print
        )
        os.environ.update(environment(home, to_read))
    except (FacilityError, OSError) as error:
        sys.exit(f"The server cannot start: {error}")
    os.chdir(home)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterhub.singleuser", *sys.argv[1:]])


if __name__ == "__main__":
    main()
