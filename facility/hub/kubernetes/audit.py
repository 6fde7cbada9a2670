"""The audit trail: who did what to whom, as JSON lines on the hub's standard output.

JupyterHub has a log of events, to which it writes itself what starts and stops. It goes to standard
output here, where nothing else goes, and gets the events of `SCHEMA` besides: one for each login,
and one for each request that gives, takes, looks at or acts for what is another's.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import parse_qs, unquote, urlsplit

from jupyter_events import EventLogger
from jupyterhub import orm
from jupyterhub.log import log_request
from jupyterhub.utils import maybe_future

SCHEMA_ID = "https://facility.invalid/events/audit"
JUPYTERHUB_ID = "https://schema.jupyter.org/jupyterhub/events/server-action"
VERSION = "1"
LONGEST = 512
"""Letters of a field: what is asked may be of any length."""
HUB_OUTPUT = Path("/proc/1/fd/1")
"""Standard output of the hub, for commands in its pod."""

ACTIONS = {
    "login": "a user has logged in, or was refused",
    "logout": "a session has ended",
    "start": "the start of a server was asked for",
    "stop": "the end of a server was asked for",
    "grant": "tokens, rights, groups, shares or users were made or changed",
    "take": "tokens, rights, groups, shares, sessions or users were taken away",
    "impersonate": "somebody went to the server of somebody else",
    "read": "somebody looked at what the hub knows of others",
    "command": "an administrator ran a command in the hub's pod",
}
OUTCOMES = {"done": "it was done", "refused": "it was refused", "failed": "it failed"}


class Event(TypedDict):
    """One line of the trail; `FIELDS` says what each field is."""

    action: str
    outcome: str
    actor: str
    actor_kind: str
    about: str
    what: str
    address: str


FIELDS = {
    "action": "What was done",
    "outcome": "What came of it",
    "actor": "Name of the user or service who did it; empty for nobody who is known",
    "actor_kind": "`user`, `service`, `administrator` (in the hub's pod) or `nobody`",
    "about": "User whom it concerns; empty for all, or for none",
    "what": "The request: method and path; of a command its words",
    "address": "Where it came from, as its headers say, and after `by` the address that connected: "
    "where that is not the proxy's, the headers are the sender's own words",
}
_CHOICES: Mapping[str, Iterable[str]] = {
    "action": ACTIONS,
    "outcome": OUTCOMES,
    "actor_kind": ("user", "service", "administrator", "nobody"),
}
SCHEMA: dict[str, Any] = {
    "$id": SCHEMA_ID,
    "version": VERSION,
    "title": "Audit trail of a facility",
    "description": "Who did what to whom.",
    "type": "object",
    "additionalProperties": False,
    "required": list(FIELDS),
    "properties": {
        name: {
            "type": "string",
            "description": text,
            **({"enum": list(_CHOICES[name])} if name in _CHOICES else {}),
        }
        for name, text in FIELDS.items()
    },
}
_SERVER = r"api/users/(?P<about>[^/]+)/(server|servers/[^/]*)"
REQUESTS: list[tuple[str, str, str]] = [
    ("POST", r"login", "login"),
    ("GET", r"logout", "logout"),
    ("POST", _SERVER, "start"),
    ("(GET|POST)", r"spawn(/(?P<about>[^/]+)(/[^/]*)?)?", "start"),
    ("DELETE", _SERVER, "stop"),
    ("GET", r"user/(?P<about>[^/]+)(/.*)?", "impersonate"),
    ("(GET|POST)", r"api/oauth2/authorize", "impersonate"),
    ("POST", r"api/users/(?P<about>[^/]+)/admin-access", "impersonate"),
    ("GET", r"api/users(/(?P<about>[^/]+)(/(tokens|shared).*)?)?", "read"),
    ("GET", r"(admin|api/(groups|services|proxy|shares|share-codes)(/.*)?)", "read"),
    ("(POST|PUT|PATCH)", r"api/users/(?P<about>[^/]+)/(tokens|shared)(/.*)?", "grant"),
    ("(POST|PUT|PATCH)", r"api/users(/(?P<about>[^/]+))?", "grant"),
    ("(POST|PUT|PATCH)", r"api/(groups|shares|share-codes)(/.*)?", "grant"),
    ("DELETE", r"api/users(/(?P<about>[^/]+)(/(tokens|shared|held)(/.*)?)?)?", "take"),
    ("DELETE", r"api/(groups|shares|share-codes)(/.*)?", "take"),
    ("POST", r"api/users/(?P<about>[^/]+)/authority", "take"),
    ("POST", r"api/(shutdown|proxy|keys/[^/]+)", "command"),
]
"""Method and path below the hub's prefix, and the action that they are."""
_COMPILED = [(re.compile(m), re.compile(p), action) for m, p, action in REQUESTS]
STARTED = 302
"""Status of a page that has begun to start a server."""
UNWATCHED = ("idle-culler",)
"""Services of the hub's own that look at all servers again and again."""
OWN = ("impersonate", "read")
"""Actions that are nothing where they concern who does them."""
_OF_SERVER = re.compile(r"jupyterhub-user-(?P<about>.+)")


def event(
    method: str, uri: str, base: str, status: int, actor: str, kind: str, address: str
) -> Event | None:
    """Return what a request of the hub is in the trail, None where it is nothing.

    Parameters
    ----------
    uri
        What was asked for, with its query.
    base
        URL prefix of the hub, as ``/hub/``.
    status
        HTTP status of the answer.
    actor, kind
        Who asked.
    address
        Where it came from.
    """
    parts = urlsplit(uri)
    path = parts.path.removeprefix(base).rstrip("/")
    for methods, paths, action in _COMPILED:
        found = paths.fullmatch(path)
        if found is None or not methods.fullmatch(method):
            continue
        about = unquote(found.groupdict().get("about") or "")
        if path == "api/oauth2/authorize":
            client = _OF_SERVER.fullmatch(parse_qs(parts.query).get("client_id", [""])[0])
            if client is None:
                return None
            # A named server's own name follows that of its user.
            about = unquote(client["about"])
        if method == "GET" and action == "start" and status != STARTED:
            # The page on which one chooses a server.
            return None
        if action == "read" and actor in UNWATCHED:
            return None
        if action in OWN and _is_own(about, actor, client=path.endswith("authorize")):
            return None
        outcome = "failed" if status >= 500 else "refused" if status >= 400 else "done"
        return _short(
            {
                "action": action,
                "outcome": outcome,
                "actor": actor,
                "actor_kind": kind,
                "about": about,
                "what": f"{method} {parts.path}",
                "address": address,
            }
        )
    return None


def whence(request: Any) -> str:
    """Return where a request came from: what its headers say, and by whom they came.

    Parameters
    ----------
    request
        Of Tornado, which believes ``X-Real-Ip`` of anybody.
    """
    told, peer = str(request.remote_ip), str(request.connection.context.address[0])
    return told if told == peer else f"{told} by {peer}"


def _is_own(about: str, actor: str, *, client: bool) -> bool:
    return bool(actor) and (about == actor or (client and about.startswith(f"{actor}-")))


def _short(found: Event) -> Event:
    return {key: str(value)[:LONGEST] for key, value in found.items()}  # type: ignore[return-value]


# The hub.


def tell(log: EventLogger, found: Event) -> None:
    """Write an event into JupyterHub's log."""
    if SCHEMA_ID not in log.schemas:
        log.register_event_schema(SCHEMA)
    log.emit(schema_id=SCHEMA_ID, data=dict(found))


def answered(handler: Any) -> None:
    """Log a request as JupyterHub does, and tell what it was.

    It is called by Tornado after each answer; nothing of it may fail.
    """
    log_request(handler)
    try:
        _tell_of(handler)
    except Exception:
        logging.getLogger("facility").exception("A request is not in the audit trail")


def _tell_of(handler: Any) -> None:
    settings = handler.settings
    if "hub" not in settings or "eventlog" not in settings:
        return
    request = handler.request
    actor, kind = _who(handler)
    status = handler.get_status()
    found = event(
        request.method,
        request.uri,
        settings["hub"].base_url,
        status,
        actor,
        kind,
        whence(request),
    )
    if found is None or (found["action"] == "login" and status < 400):
        # A login that succeeds is told by the authenticator, whatever page it ends on.
        return
    if found["action"] == "login":
        found["about"] = handler.get_body_argument("username", "")[:LONGEST]
    tell(settings["eventlog"], found)


def _who(handler: Any) -> tuple[str, str]:
    """Return who has asked, and of what kind they are."""
    try:
        user = handler.current_user
    except Exception:  # noqa: BLE001 - credentials that cannot be read are nobody's
        user = None
    if user is None:
        return "", "nobody"
    return str(user.name), "service" if isinstance(user, orm.Service) else "user"


def after_login(earlier: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return what JupyterHub calls after each login, before which a site's own is called."""

    async def hook(authenticator: Any, handler: Any, model: Any) -> Any:
        if earlier is not None:
            model = await maybe_future(earlier(authenticator, handler, model))
        if model and handler is not None and "eventlog" in handler.settings:
            name = str(model["name"])
            found: Event = {
                "action": "login",
                "outcome": "done",
                "actor": name,
                "actor_kind": "user",
                "about": name,
                "what": f"{handler.request.method} {handler.request.path}",
                "address": whence(handler.request),
            }
            tell(handler.settings["eventlog"], _short(found))
        return model

    return hook


def configure(c: Any) -> None:
    """Have JupyterHub tell all of it; what a site has set of the same is kept."""
    c.EventLogger.handlers = [logging.StreamHandler(sys.stdout)]
    c.JupyterHub.tornado_settings = {"log_function": answered}


def watch_logins(c: Any, sections: Iterable[str]) -> None:
    """Have each authenticator tell logins, after what a site has it do.

    Parameters
    ----------
    sections
        Names of all sections of the configuration.
    """
    for name in {"Authenticator", *sections}:
        if not name.endswith("Authenticator"):
            continue
        section = c[name]
        earlier = section.post_auth_hook if "post_auth_hook" in section else None
        if name == "Authenticator" or earlier is not None:
            section.post_auth_hook = after_login(earlier)


# Commands in the hub's pod.


def command(words: Iterable[str], about: str, outcome: str) -> None:
    """Tell what an administrator has done with a command, where the hub's own events go.

    Who it was knows the API server alone, whose audit log has each ``exec`` into the hub's pod.
    """
    found: Event = {
        "action": "command",
        "outcome": outcome,
        "actor": "",
        "actor_kind": "administrator",
        "about": about,
        "what": " ".join(words),
        "address": "",
    }
    try:
        with HUB_OUTPUT.open("a") as output:
            tell(EventLogger(handlers=[logging.StreamHandler(output)]), _short(found))
    except OSError as error:
        print(f"This command is not in the hub's audit trail: {error}", file=sys.stderr)
