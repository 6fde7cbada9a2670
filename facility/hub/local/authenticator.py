"""Who may log in to the hub on this machine."""

import os
from secrets import compare_digest
from typing import Any

from jupyterhub.auth import Authenticator
from traitlets import Unicode

from facility.hub.login_pauses import PausingAuthenticator
from facility.hub.proxy import USER_HEADER
from facility.system.connections import user_of


class OwnerPassword(Authenticator):
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


class OwnerAuthenticator(PausingAuthenticator, OwnerPassword):
    """One user, one password, and pauses between wrong ones.

    On this machine every address is the same; who guesses is told apart by the user of the machine
    whose connection it is, so that no other one can hold up the owner.
    """

    async def address(self, request: Any) -> str:
        """Return the number of the user whose connection it is, as text."""
        user = user_of(request.connection.context.address)
        if (
            user == os.geteuid()
        ):  # the proxy, or a process of the owner's that may say what it likes
            return str(request.headers.get(USER_HEADER, user))
        return str(user)
