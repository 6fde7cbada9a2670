"""What the hub's own process does when a key is new: take it into use, without a restart.

JupyterHub reads its keys when it starts. These calls of its API, which only the hub's own
administration may make, read the files of the hub's Secret again. No key is sent.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.fernet import InvalidToken
from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.crypto import CryptKeeper
from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from facility import names
from facility.errors import one_line
from facility.hub.kubernetes import revocation
from facility.hub.kubernetes.release import FOLDER, crypt_keys, read_secrets

SETTLE_SECONDS = 1.0
"""Seconds in which what is being encrypted with the old key is written."""
SERVER_SECONDS = 20.0
TOKEN_SECONDS = 60
"""Lifetime of the token with which a user's server is asked."""


def _checked(handler: APIHandler) -> None:
    if revocation.ROTATE not in handler.expanded_scopes:
        raise web.HTTPError(403, f"This needs the scope {revocation.ROTATE}.")


class KeyInUse(APIHandler):
    """``POST /hub/api/keys/KEY``: use what the hub's Secret holds now."""

    folder: Path = FOLDER

    async def post(self, key: str) -> None:
        """Take a key into use."""
        _checked(self)
        try:
            answer = await USES[key](self, read_secrets(self.folder))
        except KeyError as error:
            raise web.HTTPError(404, f"The hub's Secret has no {error}.") from None
        except ValueError as error:
            raise web.HTTPError(400, f"The {key} key cannot be used: {error}") from None
        self.write(json.dumps(answer))


async def _cookie(hub: KeyInUse, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Log everybody out: browsers at the hub at once, those at servers by their tokens."""
    secret = secrets["cookie-secret"]
    new = bytes.fromhex(secret)
    sessions = hub.db.query(orm.APIToken).filter(orm.APIToken.session_id.is_not(None)).all()
    count = len({each.session_id for each in sessions})
    for each in (*sessions, *hub.db.query(orm.OAuthCode)):
        hub.db.delete(each)
    administration = orm.Service.find(hub.db, revocation.SERVICE)
    # It follows from the secret. JupyterHub adds those of its configuration and takes none away.
    administration.api_tokens.clear()
    hub.db.flush()
    administration.new_api_token(revocation.token(secret), note="from config", generated=False)
    hub.db.commit()
    already = hub.settings["cookie_secret"] == new
    hub.settings["cookie_secret"] = new
    return {"already": already, "sessions": count}


async def _crypt(hub: KeyInUse, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Write what authenticators keep anew with the first key, and forget the others."""
    keeper = CryptKeeper.instance()
    before = list(keeper.keys)
    keeper.keys = crypt_keys(secrets["crypt-key"])
    if not keeper.keys or (before and before[0] not in keeper.keys):
        keeper.keys = before
        raise ValueError(
            "the key that is in use is not among those of the Secret, and what it has encrypted "
            "could not be read any more; write NEW;OLD"
        )
    already = keeper.keys == before and len(before) == 1
    await asyncio.sleep(SETTLE_SECONDS)
    written, unreadable = 0, []
    kept = orm.User.encrypted_auth_state
    for user in hub.db.query(orm.User).filter(kept.is_not(None)):
        try:
            user.encrypted_auth_state = keeper.fernet.rotate(user.encrypted_auth_state)
            written += 1
        except InvalidToken:
            unreadable.append(user.name)
    hub.db.commit()
    keeper.keys = keeper.keys[:1]
    return {"already": already, "written": written, "unreadable": unreadable}


async def _proxy(hub: KeyInUse, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Speak to the proxy with the new token; with ``?routes=1`` tell it where all servers are."""
    already = hub.proxy.auth_token == secrets["proxy-token"]
    hub.proxy.auth_token = secrets["proxy-token"]
    if hub.get_query_argument("routes", ""):
        await hub.proxy.check_routes(hub.users, hub.services)
    return {"already": already}


USES: dict[str, Callable[[KeyInUse, Mapping[str, str]], Awaitable[dict[str, Any]]]] = {
    "cookie": _cookie,
    "crypt": _crypt,
    "proxy": _proxy,
}


class UsersAuthority(APIHandler):
    """``POST /hub/api/users/NAME/authority``: have a user's servers make their authority anew."""

    async def post(self, user_name: str) -> None:
        """Ask each server that runs; one that does not answer is told."""
        _checked(self)
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404)
        body = self.get_json_body() or {}
        try:
            after = datetime.fromisoformat(body["after"]).isoformat()
        except (KeyError, TypeError, ValueError):
            raise web.HTTPError(400, "This needs `after`, a time as ISO 8601 has it.") from None
        renewed, left = [], []
        # For the sake of what the user's server believes: it asks the hub whose the token is.
        scopes = [f"access:servers!user={user.name}"]
        note = "for a new certificate authority"
        token = user.new_api_token(scopes=scopes, expires_in=TOKEN_SECONDS, note=note)
        try:
            for name, spawner in user.spawners.items():
                if not spawner.ready:
                    continue
                address = url_path_join(spawner.server.url, names.AUTHORITY_PATH)
                try:
                    await _ask_server(address, token, after)
                    renewed.append(name)
                except (HTTPClientError, OSError) as error:
                    server = f"The server {name}" if name else "The server"
                    left.append(f"{server} of {user.name} did not do it: {one_line(error)}")
        finally:
            made = orm.APIToken.find(self.db, token)
            if made is not None:
                self.db.delete(made)
                self.db.commit()
        self.write(json.dumps({"renewed": renewed, "left": left}))


async def _ask_server(address: str, token: str, after: str) -> None:
    request = HTTPRequest(
        address,
        method="POST",
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
        body=json.dumps({"after": after}),
        connect_timeout=SERVER_SECONDS,
        request_timeout=SERVER_SECONDS,
        # To be asked to log in is no answer.
        follow_redirects=False,
    )
    await AsyncHTTPClient().fetch(request)


HANDLERS = [
    (rf"/api/keys/({'|'.join(USES)})", KeyInUse),
    (r"/api/users/([^/]+)/authority", UsersAuthority),
]
