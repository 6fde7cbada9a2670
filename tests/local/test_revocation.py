"""A real JupyterHub whose administration takes sessions and tokens of a user away."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import requests

from facility.errors import HubError
from facility.hub.bounds import BODY_BYTES
from facility.hub.kubernetes import audit
from facility.hub.kubernetes.revocation import Hub

SECRET = secrets.token_hex(32)
CONFIG = """
from jupyterhub.proxy import Proxy
from traitlets import Bool
from facility.hub.kubernetes import audit, revocation

class NoProxy(Proxy):
    should_start = Bool(False)
    async def add_route(self, *_): pass
    async def delete_route(self, *_): pass
    async def get_all_routes(self): return {}

c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.hub_bind_url = "http://127.0.0.1:PORT"
from jupyterhub.auth import DummyAuthenticator

class WithPassword(DummyAuthenticator):
    async def authenticate(self, handler, data):
        return data["username"] if data["password"] else None

c.JupyterHub.authenticator_class = WithPassword
c.Authenticator.allow_all = True
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret_file = ""
c.JupyterHub.cookie_secret = bytes.fromhex("SECRET")
c.JupyterHub.services = [
    {"name": revocation.SERVICE, "api_token": revocation.token("SECRET")}
]
c.JupyterHub.custom_scopes = revocation.SCOPES
c.JupyterHub.load_roles = [revocation.ROLE]
c.JupyterHub.extra_handlers.extend(revocation.HANDLERS)
c.Authenticator.admin_users = {"boss"}
audit.configure(c)
audit.watch_logins(c, list(c))
"""

TOKENS = 20
HUB = f"""
from facility.hub import bounds
bounds.MOST_TOKENS = {TOKENS}
bounds.BoundedHub.launch_instance()
"""


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub prints."""
    return tmp_path_factory.mktemp("trail") / "trail"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, trail: Path) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("hub")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = int(probe.getsockname()[1])
    config = folder / "config.py"
    config.write_text(CONFIG.replace("PORT", str(found)).replace("SECRET", SECRET))
    with (folder / "log").open("w") as log, trail.open("w") as printed:
        words = [sys.executable, "-c", HUB, "-f", str(config)]
        hub = subprocess.Popen(words, cwd=folder, stdout=printed, stderr=log, env=dict(os.environ))
    try:
        _wait(found, hub, folder / "log")
        yield found
    finally:
        hub.terminate()
        hub.wait()


def _wait(port: int, hub: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            if requests.get(f"http://127.0.0.1:{port}/hub/health", timeout=5).ok:
                return
        except requests.RequestException:
            pass
        assert hub.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def logged_in(port: int, user: str) -> requests.Session:
    session = requests.Session()
    login = f"http://127.0.0.1:{port}/hub/login"
    session.get(login, timeout=20)
    data = {"username": user, "password": "x", "_xsrf": session.cookies.get("_xsrf", path="/hub/")}
    session.post(login, data=data, allow_redirects=False, timeout=20)
    return session


def holds(port: int, session: requests.Session) -> bool:
    """Whether a session is that of a user who has logged in."""
    home = f"http://127.0.0.1:{port}/hub/home"
    return session.get(home, allow_redirects=False, timeout=20).status_code == 200


def with_token(port: int, token: str, method: str = "GET", path: str = "user") -> int:
    address = f"http://127.0.0.1:{port}/hub/api/{path}"
    headers = {"Authorization": f"token {token}"}
    return requests.request(method, address, headers=headers, timeout=20).status_code


def asked_for_token(
    port: int, user: str, session: requests.Session, **more: object
) -> requests.Response:
    return session.post(
        f"http://127.0.0.1:{port}/hub/api/users/{user}/tokens",
        params={"_xsrf": session.cookies.get("_xsrf", path="/hub/")},
        headers={"Referer": f"http://127.0.0.1:{port}/hub/token"},
        json=more,
        timeout=20,
    )


def made_token(port: int, user: str, session: requests.Session) -> str:
    answer = asked_for_token(port, user, session)
    assert answer.ok, answer.text
    return str(answer.json()["token"])


def test_sessions_and_tokens_of_one_user_end_at_once(port: int) -> None:
    ada, again, bob = (logged_in(port, name) for name in ("ada", "ada", "bob"))
    token, bobs = made_token(port, "ada", ada), made_token(port, "bob", bob)
    assert holds(port, ada)
    assert holds(port, again)
    assert with_token(port, token) == 200
    taken = Hub(SECRET, "/", port).take("ada")
    assert taken is not None
    assert taken["tokens"] >= 1
    assert taken["servers"] == []
    assert not holds(port, ada)
    assert not holds(port, again)
    assert with_token(port, token) == 403
    # Another's are as they were, and who may log in does so anew.
    assert holds(port, bob)
    assert with_token(port, bobs) == 200
    assert holds(port, logged_in(port, "ada"))


def test_nobody_else_may_do_it(port: int, trail: Path) -> None:
    bob = logged_in(port, "bob")
    token = made_token(port, "bob", bob)
    assert with_token(port, token, "DELETE", "users/bob/held") == 403
    assert with_token(port, "wrong", "DELETE", "users/bob/held") == 403
    assert holds(port, bob)
    with pytest.raises(HubError, match="The hub answers 403"):
        Hub(secrets.token_hex(32), "/", port).take("bob")


# The audit trail of the same hub.


def told(port: int, trail: Path, **fields: str) -> list[dict[str, str]]:
    """Lines of the trail that say so; each obeys its schema."""
    # Any request is told after those before it, and each after its answer.
    marks = trail.read_text().count('"logout"')
    requests.get(f"http://127.0.0.1:{port}/hub/logout", timeout=20)
    deadline = time.monotonic() + 20
    while trail.read_text().count('"logout"') == marks:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lines = [json.loads(line) for line in trail.read_text().splitlines()]
    for line in lines:
        assert line["__schema__"] == audit.SCHEMA_ID
        said = {key: value for key, value in line.items() if not key.startswith("__")}
        jsonschema.validate(said, audit.SCHEMA)
    return [line for line in lines if fields.items() <= line.items()]


def test_logins_are_told_and_refused_ones_too(port: int, trail: Path) -> None:
    logged_in(port, "carl")
    (line,) = told(port, trail, action="login", actor="carl")
    assert (line["outcome"], line["actor_kind"], line["address"]) == ("done", "user", "127.0.0.1")
    refused = requests.Session()
    login = f"http://127.0.0.1:{port}/hub/login"
    refused.get(login, timeout=20)
    data = {"username": "mallory", "password": "", "_xsrf": refused.cookies.get("_xsrf")}
    assert refused.post(login, data=data, timeout=20).status_code == 403
    (line,) = told(port, trail, action="login", about="mallory")
    assert (line["outcome"], line["actor"], line["actor_kind"]) == ("refused", "", "nobody")
    assert line["address"] == "127.0.0.1"


def test_an_address_that_is_only_told_is_told_with_who_told_it(port: int, trail: Path) -> None:
    forged = requests.Session()
    forged.headers["X-Real-Ip"] = "192.0.2.9"
    login = f"http://127.0.0.1:{port}/hub/login"
    forged.get(login, timeout=20)
    data = {"username": "forger", "password": "", "_xsrf": forged.cookies.get("_xsrf")}
    assert forged.post(login, data=data, timeout=20).status_code == 403
    (line,) = told(port, trail, action="login", about="forger")
    assert line["address"] == "192.0.2.9 by 127.0.0.1"


def test_what_an_administrator_does_of_others_is_told(port: int, trail: Path) -> None:
    logged_in(port, "ada")
    boss = logged_in(port, "boss")
    token = made_token(port, "boss", boss)
    (line,) = told(port, trail, action="grant", actor="boss")
    assert line["what"] == "POST /hub/api/users/boss/tokens"
    assert token not in trail.read_text()
    before = len(told(port, trail, actor="boss"))
    assert with_token(port, token, path="users/ada") == 200
    assert with_token(port, token, path="users/boss") == 200
    (line,) = told(port, trail, action="read", actor="boss")
    assert line["about"] == "ada"
    assert len(told(port, trail, actor="boss")) == before + 1
    assert with_token(port, token, "DELETE", "users/ada/held") == 403
    (line,) = told(port, trail, action="take", actor="boss")
    assert (line["about"], line["outcome"]) == ("ada", "refused")
    Hub(SECRET, "/", port).take("ada")
    (line,) = told(port, trail, action="take", about="ada", outcome="done", actor="administration")[
        -1:
    ]
    assert line["actor_kind"] == "service"


def test_an_unknown_user_is_none(port: int) -> None:
    assert Hub(SECRET, "/", port).take("nobody") is None


def test_a_hub_that_is_away_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    with pytest.raises(HubError, match="does not answer to DELETE users/ada/held"):
        Hub(SECRET, "/", free).take("ada")


# What all users share.


def test_a_request_of_megabytes_is_refused_before_it_is_collected(port: int) -> None:
    """Nobody has to log in for it."""
    address = f"http://127.0.0.1:{port}/hub/login"

    def refused(data: bytes | Iterator[bytes]) -> bool:
        try:
            return requests.post(address, data=data, timeout=20).status_code == 400
        except requests.RequestException:  # it has been closed while more was sent
            return True

    assert refused(b"x" * (BODY_BYTES + 1))
    assert refused(b"x" * BODY_BYTES for _ in range(2)), "sent in chunks"
    assert requests.post(address, data=b"x" * 1000, timeout=20).status_code == 403


def test_a_user_has_not_any_number_of_tokens(port: int) -> None:
    gil = logged_in(port, "gil")
    made = 0
    for _ in range(TOKENS + 1):
        answer = asked_for_token(port, "gil", gil)
        if not answer.ok:
            break
        made += 1
    assert 0 < made < TOKENS + 1
    assert answer.status_code == 403
    assert f"{TOKENS} is the most. Revoke some at /hub/token" in answer.json()["message"]
    # Another user is as before, and so is this one's session.
    assert holds(port, gil)
    ada = logged_in(port, "ada")
    assert made_token(port, "ada", ada)
    for note in ("x" * 5000, ["x" * 5000], {"x": "x" * 5000}):
        long = asked_for_token(port, "ada", ada, note=note)
        assert (long.status_code, "at most 1,000 characters" in long.text) == (400, True)
    # Revoked, there is room again.
    url = f"http://127.0.0.1:{port}/hub/api/users/gil/tokens"
    xsrf = {"_xsrf": gil.cookies.get("_xsrf", path="/hub/")}
    headers = {"Referer": f"http://127.0.0.1:{port}/hub/token"}
    tokens = gil.get(url, params=xsrf, headers=headers, timeout=20).json()["api_tokens"]
    for token in tokens:
        if token["note"] == "Requested via api":
            gil.delete(f"{url}/{token['id']}", params=xsrf, headers=headers, timeout=20)
    assert made_token(port, "gil", gil)
