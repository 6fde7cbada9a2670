"""The built documentation, which the hub serves to its users: most facilities have no internet."""

import sys
from pathlib import Path
from typing import Any

from tornado.web import StaticFileHandler

from facility import names

INSTALLED = Path(sys.prefix) / "share" / "facility" / "docs"
"""Where the hub's image has it."""
CHECKOUT = Path(__file__).resolve().parents[2] / "build" / "docs" / "html"
"""Where `make docs` puts it."""


def folder() -> Path | None:
    """Return the folder of the built pages; None where there are none."""
    places = (INSTALLED, CHECKOUT)
    return next((place for place in places if (place / "index.html").is_file()), None)


def serve(c: Any, base_url: str) -> dict[str, str]:
    """Have the hub serve the pages below ``hub/docs/``, where there are any.

    Parameters
    ----------
    c
        JupyterHub's configuration.
    base_url
        URL prefix of the hub.

    Returns
    -------
    dict of str
        Variables by which users' servers know.
    """
    pages = folder()
    if pages is None:
        return {}
    where = {"path": str(pages), "default_filename": "index.html"}
    c.JupyterHub.extra_handlers.extend(
        [(r"/docs()", StaticFileHandler, where), (r"/docs/(.*)", StaticFileHandler, where)]
    )
    return {names.DOCUMENTATION_VARIABLE: f"{base_url.rstrip('/')}/hub/docs/"}
