"""What a user of the hub holds, taken away at once: sessions and tokens, by the hub itself.

JupyterHub has no call for it: it knows a session by a number of its user, which nothing changes,
and tokens are deleted one by one. So this is one more call of its API, which only the hub's own
administration may make.
"""

import hashlib
import hmac
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.orm import new_token
from tornado import web

from facility import names
from facility.errors import HubError

SERVICE = "administration"
SCOPE, ROTATE = "custom:facility:revoke", "custom:facility:rotate"
SCOPES = {
    SCOPE: {"description": "Take sessions and tokens of a user away"},
    ROTATE: {"description": "Take new keys into use"},
}
ROLE = {
    "name": SERVICE,
    "scopes": [SCOPE, ROTATE, "delete:servers", "list:users", "read:servers"],
    "services": [SERVICE],
}
ANSWER_SECONDS = 30.0


class WhatAUserHolds(APIHandler):
    """``DELETE /hub/api/users/NAME/held``: what a user holds."""

    async def delete(self, user_name: str) -> None:
        """Let no session and no token of a user hold any more."""
        if SCOPE not in self.expanded_scopes:
            raise web.HTTPError(403, f"This needs the scope {SCOPE}.")
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404)
        tokens = len(user.orm_user.api_tokens)
        user.orm_user.api_tokens.clear()
        user.orm_user.oauth_codes.clear()
        user.orm_user.cookie_id = new_token()
        self.db.commit()
        servers = [name for name, each in user.spawners.items() if each.active]
        self.write(json.dumps({"tokens": tokens, "servers": servers}))


HANDLERS = [(r"/api/users/([^/]+)/held", WhatAUserHolds)]


def token(secret: str) -> str:
    """Return the token of the hub's administration.

    It follows from a secret that the hub's pod has, so that it stands nowhere.

    Parameters
    ----------
    secret
        The hub's cookie secret.
    """
    return hmac.new(secret.encode(), b"facility: administration", hashlib.sha256).hexdigest()


def quoted(name: str) -> str:
    """Write a user's or a server's name as a part of a path."""
    return urllib.parse.quote(name, safe="")


class Hub:
    """The hub of this pod, asked as its administration.

    Parameters
    ----------
    secret
        The hub's cookie secret.
    base_url
        URL prefix of the hub.
    """

    def __init__(self, secret: str, base_url: str, port: int = names.HUB_PORT) -> None:
        self._token = token(secret)
        self._address = f"http://{names.LOOPBACK}:{port}{base_url}hub/api"

    def take(self, user: str) -> dict[str, Any] | None:
        """Take sessions and tokens away; return how many, and which servers there are.

        Returns
        -------
        dict or None
            None where the hub knows no such user.

        Raises
        ------
        HubError
            Where the hub does not do it.
        """
        return self.ask("DELETE", f"users/{quoted(user)}/held")

    def stop(self, user: str, server: str) -> None:
        """Ask for the end of a server.

        Raises
        ------
        HubError
            Where the hub does not do it.
        """
        who, name = quoted(user), quoted(server)
        self.ask("DELETE", f"users/{who}/servers/{name}" if server else f"users/{who}/server")

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Ask the hub's API.

        Returns
        -------
        dict or None
            None where the hub knows nothing of that path.

        Raises
        ------
        HubError
            Where the hub does not do it.
        """
        request = urllib.request.Request(
            f"{self._address}/{path}",
            method=method,
            data=None if method == "DELETE" else json.dumps(body or {}).encode(),
            headers={
                "Authorization": f"token {self._token}",
                "Content-Type": "application/json",
            },
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=ANSWER_SECONDS) as response:
                return dict(json.loads(response.read() or "{}"))
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                said = error.read().decode(errors="replace")[:300]
            raise HubError(f"The hub answers {error.code} to {method} {path}: {said}") from None
        except (OSError, ValueError) as error:
            raise HubError(f"The hub does not answer to {method} {path}: {error}") from None
