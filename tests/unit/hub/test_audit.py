"""Which requests are in the audit trail, and as what."""

import json
import logging
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jupyter_events import EventLogger
from traitlets.config import Config

from facility.hub.kubernetes import audit
from facility.hub.kubernetes.audit import Event, event


def asked(method: str, path: str, status: int = 200, actor: str = "ada") -> Event | None:
    return event(method, f"/af/hub/{path}", "/af/hub/", status, actor, "user", "192.0.2.7")


@pytest.mark.parametrize(
    ("method", "path", "status", "action", "about"),
    [
        ("POST", "api/users/bob/server", 201, "start", "bob"),
        ("POST", "api/users/ada/servers/big", 201, "start", "ada"),
        ("GET", "spawn/bob", 302, "start", "bob"),
        ("DELETE", "api/users/bob/server", 204, "stop", "bob"),
        ("POST", "api/users/ada/tokens", 201, "grant", "ada"),
        ("PATCH", "api/users/bob", 200, "grant", "bob"),
        ("POST", "api/groups/atlas/users", 200, "grant", ""),
        ("DELETE", "api/users/bob", 204, "take", "bob"),
        ("DELETE", "api/users/bob/tokens/a1", 204, "take", "bob"),
        ("GET", "api/users/bob", 200, "read", "bob"),
        ("GET", "api/users?offset=50", 200, "read", ""),
        ("GET", "admin", 200, "read", ""),
        ("GET", "user/bob/lab", 302, "impersonate", "bob"),
        (
            "GET",
            "api/oauth2/authorize?client_id=jupyterhub-user-bob&x=y",
            302,
            "impersonate",
            "bob",
        ),
        ("GET", "api/users/b%2Fb", 404, "read", "b/b"),
        ("POST", "api/shutdown", 202, "command", ""),
        ("GET", "logout", 200, "logout", ""),
    ],
)
def test_what_is_told(method: str, path: str, status: int, action: str, about: str) -> None:
    found = asked(method, path, status)
    assert found is not None
    assert (found["action"], found["about"]) == (action, about)
    jsonschema.validate(dict(found), audit.SCHEMA)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "api/users/ada", 200),
        ("GET", "user/ada/lab", 302),
        ("GET", "spawn", 200),
        ("GET", "home", 200),
        ("GET", "api/user", 200),
        ("POST", "api/users/ada/activity", 200),
        ("GET", "api/oauth2/authorize?client_id=jupyterhub-user-ada", 302),
        ("GET", "api/oauth2/authorize?client_id=jupyterhub-user-ada-big", 302),
        ("GET", "static/a.js", 200),
    ],
)
def test_what_concerns_oneself_is_nobodys(method: str, path: str, status: int) -> None:
    assert asked(method, path, status) is None


@pytest.mark.parametrize(("status", "outcome"), [(200, "done"), (403, "refused"), (503, "failed")])
def test_what_came_of_it(status: int, outcome: str) -> None:
    found = asked("DELETE", "api/users/bob/server", status)
    assert found is not None
    assert found["outcome"] == outcome


def test_nothing_is_longer_than_a_line_should_be() -> None:
    found = asked("GET", f"api/users/{'x' * 10_000}\nforged", 404)
    assert found is None or max(map(len, map(str, found.values()))) <= audit.LONGEST


def test_a_name_of_several_lines_stays_on_one() -> None:
    output = StringIO()
    found = asked("GET", "api/users/b%0Ab", 404)
    assert found is not None
    audit.tell(EventLogger(handlers=[logging.StreamHandler(output)]), found)
    (line,) = output.getvalue().splitlines()
    assert json.loads(line)["about"] == "b\nb"


def test_the_culler_looks_at_all_servers_without_a_word() -> None:
    assert event("GET", "/hub/api/users", "/hub/", 200, "idle-culler", "service", "x") is None
    assert event("DELETE", "/hub/api/users/a/server", "/hub/", 200, "idle-culler", "service", "x")


async def test_a_sites_own_hook_is_called_first() -> None:
    async def own(authenticator: Any, handler: Any, model: Any) -> Any:
        return {**model, "name": "ada"}

    c = Config()
    c.GitHubOAuthenticator.post_auth_hook = own
    audit.watch_logins(c, list(c))
    for section in (c.Authenticator, c.GitHubOAuthenticator):
        model = await section.post_auth_hook(None, None, {"name": "x"})
        assert model["name"] == ("ada" if section is c.GitHubOAuthenticator else "x")


def test_commands_go_where_the_hubs_events_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "HUB_OUTPUT", tmp_path / "out")
    audit.command(("tenants", "revoke"), "ada", "done")
    line = json.loads((tmp_path / "out").read_text())
    assert (line["action"], line["what"], line["about"]) == ("command", "tenants revoke", "ada")
    monkeypatch.setattr(audit, "HUB_OUTPUT", tmp_path / "nowhere" / "out")
    audit.command(("tenants", "list"), "", "done")
    assert "is not in the hub's audit trail" in capsys.readouterr().err


def test_each_field_is_of_the_schema() -> None:
    assert {*Event.__annotations__} == {*audit.FIELDS} == {*audit.SCHEMA["properties"]}
