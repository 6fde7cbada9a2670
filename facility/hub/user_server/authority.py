"""A new certificate authority in a user's home, where an administrator asks for it."""

from datetime import datetime
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from facility import names
from facility.errors import FacilityError
from facility.security import certificates


class NewAuthority(APIHandler):
    """``POST facility/authority``: make the authority anew unless it is newer than a time."""

    @web.authenticated
    async def post(self) -> None:
        """Make it anew. Kernels find the new one where they found the old."""
        try:
            after = datetime.fromisoformat((self.get_json_body() or {})["after"])
        except (KeyError, TypeError, ValueError):
            raise web.HTTPError(400, "This needs `after`, a time as ISO 8601 has it.") from None
        try:
            certificates.authority(after=after)
        except FacilityError as error:
            raise web.HTTPError(507, str(error)) from None
        self.set_status(204)
        self.finish()


def handlers(base_url: str) -> list[tuple[str, Any]]:
    """Return what answers below a server's prefix."""
    return [(url_path_join(base_url, names.AUTHORITY_PATH), NewAuthority)]
