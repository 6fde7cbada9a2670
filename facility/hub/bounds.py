"""What one visitor may put into the hub's memory and database, which all users share."""

from functools import wraps
from typing import Any

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from tornado import web

from facility.wording import counted

BODY_BYTES = 1 << 20
"""Bytes of the body of a request at most. Tornado, as it comes, collects 100 MB for anybody, before
it asks who that is."""
MOST_TOKENS = 500
"""Tokens of one user at most, those of sessions and servers included."""
NOTE_CHARACTERS = 1000
"""Of what stands beside a token. JupyterHub's column has 1,023, which SQLite does not enforce."""


class BoundedHub(JupyterHub):
    """JupyterHub whose requests are small, and whose users have not any number of tokens."""

    async def start(self) -> None:
        """Start it, and bound what its server reads."""
        bound_tokens()
        await super().start()
        self.http_server.conn_params.max_body_size = BODY_BYTES


def bound_tokens() -> None:
    """Have the hub refuse a token to who has very many, and one with a long note."""
    unbounded = orm.APIToken.new.__func__
    if hasattr(unbounded, "__wrapped__"):
        return

    @wraps(unbounded)
    def new(cls: type[orm.APIToken], /, *given: Any, user: Any = None, **more: Any) -> str:
        # It may be anything that JSON can say.
        if len(str(more.get("note") or "")) > NOTE_CHARACTERS:
            raise web.HTTPError(
                400, f"The note of a token has at most {NOTE_CHARACTERS:,} characters."
            )
        if user is not None and _count(user) >= MOST_TOKENS:
            orm.APIToken.purge_expired(orm.inspect(user).session)
            if (count := _count(user)) >= MOST_TOKENS:
                raise web.HTTPError(
                    403,
                    f"{user.name} has {counted(count, 'token')}, and {MOST_TOKENS:,} is the most. "
                    "Revoke some at /hub/token, or wait until they expire.",
                )
        return str(unbounded(cls, *given, user=user, **more))

    orm.APIToken.new = classmethod(new)


def _count(user: orm.User) -> int:
    session = orm.inspect(user).session
    return int(session.query(orm.APIToken).filter_by(user_id=user.id).count())
