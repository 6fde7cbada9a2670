"""Who may log in to the hub on this machine."""

from secrets import compare_digest
from typing import Any

from jupyterhub.auth import Authenticator
from traitlets import Unicode


class OwnerAuthenticator(Authenticator):
    """One user, one password.

    JupyterHub's own `SharedPasswordAuthenticator` fails with an internal error
    on a password with an umlaut, and asks for a user name that it then does
    not check against the password.
    """

    owner = Unicode(help="The one user who may log in.").tag(config=True)
    password = Unicode(help="The password of that user.").tag(config=True)

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """Return the user's name where name and password are right."""
        name = self.normalize_username(data.get("username", ""))
        given = data.get("password", "")
        right_password = compare_digest(given.encode(), self.password.encode())
        return name if right_password and bool(self.password) and name == self.owner else None
