"""Who may see a dashboard on this machine: whoever has its token, as with Jupyter.

Dask's dashboards ask nobody who they are, and a port of 127.0.0.1 is open to all users of the
machine. Each Dask cluster has a token, which stands in the link to its dashboard and in files that
only its user may read. A browser keeps it in a cookie; programs may send it in a header.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

TOKEN_HEADER = "X-Facility-Dashboard"
TOKEN_ARGUMENT = "token"
REFUSED = (
    "This dashboard is its user's alone. Open it with the link that `c.dashboard_link` gives in "
    "Python, or that `facility clusters list` shows: it ends with ?token=... and is needed once in "
    "each browser."
)
FOREIGN = "This dashboard answers no page of another address."


@dataclass(frozen=True)
class Answer:
    """What is answered instead of what was asked for."""

    status: int
    page: str
    cookie: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Those that go with it."""
        cookie = {"Set-Cookie": self.cookie} if self.cookie else {}
        return {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", **cookie}


def new_token() -> str:
    """Make a token that nobody guesses."""
    return secrets.token_urlsafe(32)


def with_token(link: str, token: str) -> str:
    """Write a token into a link, nothing where there is no link or token."""
    if not link or not token:
        return link
    parts = urlsplit(link)
    query = [*parse_qsl(parts.query), (TOKEN_ARGUMENT, token)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def token_in(link: str) -> str:
    """Return the token that stands in a link, nothing where there is none."""
    return dict(parse_qsl(link.partition("?")[2].partition("#")[0])).get(TOKEN_ARGUMENT, "")


def cookie_name(token: str) -> str:
    """Name of the cookie with a token: those of one host's ports are sent to all of them."""
    return f"facility-dashboard-{sha256(token.encode()).hexdigest()[:16]}"


def answer_instead(uri: str, headers: Mapping[str, str], token: str) -> Answer | None:
    """Say what a request without the token is told; None where it may have what it asks for.

    Parameters
    ----------
    uri
        Path and query.
    headers
        Of the request; their names in any letters.
    """
    if _same(headers.get(TOKEN_HEADER, ""), token):
        # No page of a browser can send it: a program or a proxy that has asked who is there.
        return None
    given = token_in(uri)
    if not _same(given, token) and not _same(_kept(headers.get("Cookie", ""), token), token):
        return Answer(401 if not given else 403, _page(REFUSED))
    origin = headers.get("Origin", "")
    if origin and origin.partition("://")[2].lower() != headers.get("Host", "").lower():
        return Answer(403, _page(FOREIGN))
    if given and headers.get("Sec-Fetch-Mode") == "navigate":
        # A page that goes on by itself: a strict cookie is not sent after a redirect of a link
        # that stood on another site.
        cookie = f"{cookie_name(token)}={token}; Path=/; HttpOnly; SameSite=Strict"
        onward = escape(_without_token(uri), quote=True)
        return Answer(
            200,
            f'<!doctype html><meta http-equiv="refresh" content="0;url={onward}">'
            f'<a href="{onward}">The dashboard</a>',
            cookie,
        )
    return None


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _kept(cookies: str, token: str) -> str:
    try:
        found = SimpleCookie(cookies).get(cookie_name(token))
    except CookieError:
        return ""
    return found.value if found else ""


def _without_token(uri: str) -> str:
    """Write where to go on: relative, since a proxy may have taken away what stands before."""
    path, _, given = uri.partition("?")
    query = [each for each in parse_qsl(given) if each[0] != TOKEN_ARGUMENT]
    page = path.rpartition("/")[2]
    return f"./{page}" + (f"?{urlencode(query)}" if query else "")


def _page(text: str) -> str:
    return f"<!doctype html><title>Dask dashboard</title><p>{escape(text)}</p>"
