"""The documentation that the hub serves to its users."""

from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from traitlets.config import Config

from facility import names
from facility.hub import documentation


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "docs"
    (folder / "physicists").mkdir(parents=True)
    (folder / "index.html").write_text("first page")
    (folder / "physicists" / "index.html").write_text("for physicists")
    (tmp_path / "secret").write_text("of the hub")
    monkeypatch.setattr(documentation, "INSTALLED", folder)
    return folder


def test_where_there_is_none_nothing_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documentation, "INSTALLED", tmp_path)
    monkeypatch.setattr(documentation, "CHECKOUT", tmp_path / "nowhere")
    c = Config()
    assert documentation.serve(c, "/") == {}
    assert "extra_handlers" not in c.JupyterHub


async def test_the_hub_serves_the_pages_and_nothing_beside_them(pages: Path) -> None:
    c = Config()
    environment = documentation.serve(c, "/af/")
    assert environment == {names.DOCUMENTATION_VARIABLE: "/af/hub/docs/"}
    handlers = [
        (f"/af/hub{path}", *rest) for path, *rest in c.JupyterHub.extra_handlers.get_value([])
    ]
    server = HTTPServer(Application(handlers))
    socket, port = bind_unused_port()
    server.add_socket(socket)
    client, base = AsyncHTTPClient(), f"http://127.0.0.1:{port}/af/hub/docs"
    try:
        for path, said in (("", "first"), ("/", "first"), ("/physicists/", "for physicists")):
            answer = await client.fetch(base + path)
            assert answer.body.decode().startswith(said)
        for path in ("/../secret", "/%2e%2e/secret", "/nothing"):
            with pytest.raises(HTTPClientError, match="40[34]"):
                await client.fetch(base + path)
    finally:
        server.stop()
        client.close()
