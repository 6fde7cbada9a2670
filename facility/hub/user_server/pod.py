"""What runs in a user's pod: Jupyter's server, with the facility set up around it."""

import os
import sys
from pathlib import Path

from facility.errors import FacilityError
from facility.hub.user_server import notebooks
from facility.hub.user_server.environment import certificates_environment, jupyter, panel

FOLDER = "notebooks"
"""Folder of the home with the notebooks that come with the facility."""


def environment(home: Path) -> dict[str, str]:
    """Return what the server gets beside what the hub says.

    Certificates are made where there are none, so that ``Client("tls://...")`` works in the first
    kernel.
    """
    link = "{JUPYTERHUB_SERVICE_PREFIX}proxy/{host}:{port}/status"
    return {
        **jupyter(os.environ),
        **panel(link),
        **certificates_environment(print),
        "JUPYTERHUB_DEFAULT_URL": os.environ.get("JUPYTERHUB_DEFAULT_URL")
        or notebooks.first_page(home / FOLDER, FOLDER),
    }


def main() -> None:
    """Become Jupyter's server for one user.

    Exits with a sentence where the home cannot be written; where it is merely full, its user
    needs a server to clear it up.
    """
    home = Path.home()
    try:
        notebooks.copy_notebooks(home / FOLDER, print)
        os.environ.update(environment(home))
    except (FacilityError, OSError) as error:
        sys.exit(f"The server cannot start: {error}")
    os.chdir(home)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterhub.singleuser", *sys.argv[1:]])


if __name__ == "__main__":
    main()
