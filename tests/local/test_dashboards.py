"""Dashboards on a machine that others use too: who gets to see them."""

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import websocket
from playwright.sync_api import expect

from facility import cluster, clusters, names
from facility.dask_process.dashboard_access import TOKEN_HEADER, cookie_name, token_in
from facility.deploy.cluster import PooledCluster
from tests.browser import browser_page, look
from tests.local.pools import POOLS, until

pytestmark = pytest.mark.timeout(300)
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def routes(dask_scheduler: Any = None, dask_worker: Any = None) -> list[str]:
    """Patterns of all routes that an HTTP server of Dask really has."""
    application = (dask_scheduler or dask_worker).http_application
    found = []

    def walk(router: Any) -> None:
        for rule in router.rules:
            if hasattr(rule.matcher, "regex"):
                found.append(rule.matcher.regex.pattern)
            if hasattr(rule.target, "rules"):
                walk(rule.target)

    for each in (application, *application.applications):
        walk(each.default_router)
        walk(each.wildcard_router)
    return found


def path_of(pattern: str) -> str:
    """A path that a pattern matches."""
    path = re.sub(r"\\(.)", r"\1", re.sub(r"\([^)]*\)", "1", pattern.rstrip("$")))
    return "/" + path.replace("?", "").replace(".*", "1").strip("/")


def ask(
    address: str, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode(errors="replace")
    finally:
        connection.close()


def of_worker(c: PooledCluster) -> str:
    (worker,) = c.scheduler_info["workers"].values()
    return f"127.0.0.1:{worker['services']['dashboard']}"


@pytest.fixture(scope="module")
def running() -> Iterator[PooledCluster]:
    with cluster(1, config=POOLS) as c, c.get_client():
        c.wait_for_workers(1)
        token = token_in(c.dashboard_link)
        for address in (urlsplit(c.dashboard_link).netloc, of_worker(c)):
            # Until Bokeh's pages are there as well.
            until(
                lambda address=address: (
                    "bokeh" in ask(address, "/status", headers={TOKEN_HEADER: token})[2]
                )
            )
        yield c


@pytest.fixture(scope="module")
def address(running: PooledCluster) -> str:
    return urlsplit(running.dashboard_link).netloc


@pytest.fixture(scope="module")
def token(running: PooledCluster) -> str:
    return token_in(running.dashboard_link)


@pytest.fixture(scope="module")
def cookie(address: str, token: str) -> str:
    """What a browser keeps that has opened the link."""
    status, headers, page = ask(address, f"/status?a=b&token={token}", headers=NAVIGATION)
    assert status == 200
    assert token not in page
    assert 'content="0;url=./status?a=b"' in page
    kept = headers["Set-Cookie"]
    assert kept == f"{cookie_name(token)}={token}; Path=/; HttpOnly; SameSite=Strict"
    assert headers["Referrer-Policy"] == "no-referrer"
    return kept.partition(";")[0]


@pytest.mark.parametrize("server", ["scheduler", "worker"])
def test_without_the_token_no_route_answers(running: PooledCluster, server: str) -> None:
    client = running.get_client()
    if server == "scheduler":
        where = urlsplit(running.dashboard_link).netloc
        found = client.run_on_scheduler(routes)
    else:
        where = of_worker(running)
        (found,) = client.run(routes).values()
    paths = {path_of(pattern) for pattern in found} | {"/", "/sitemap.json", "/nothing/there"}
    expected = {"/status", "/status/ws", "/status/autoload.js", "/metrics", "/health"}
    assert expected <= paths
    assert len(paths) > (100 if server == "scheduler" else 30)
    told = {path: ask(where, path)[0] for path in paths}
    assert set(told.values()) == {401}, told
    wrong = {"Cookie": f"{cookie_name('x')}=x", TOKEN_HEADER: "x", "Authorization": "token x"}
    for method in METHODS:
        assert ask(where, "/status", method, wrong)[0] == 401
        assert ask(where, "/status?token=wrong", method)[0] == 403
    page = ask(where, "/status")[2]
    assert "c.dashboard_link" in page
    assert "bokeh" not in page


def test_with_the_link_the_page_is_there(
    running: PooledCluster, address: str, cookie: str, token: str
) -> None:
    for path in ("/status", "/info/main/workers.html", "/json/counts.json", "/metrics"):
        for asked, headers in (
            (f"{path}?token={token}", {}),
            (path, {"Cookie": f"other=1; {cookie}"}),
            (path, {TOKEN_HEADER: token}),
        ):
            assert ask(address, asked, headers=headers)[0] == 200, (asked, headers)
    # The worker's pages, with the links that the scheduler's have.
    page = ask(address, "/info/main/workers.html", headers={"Cookie": cookie})[2]
    (link,) = set(re.findall(r"\.\./\.\.(/proxy/\d+/127\.0\.0\.1)/status", page)) or {""}
    assert link, page
    assert "bokeh" in ask(address, f"{link}/status", headers={"Cookie": cookie})[2]
    assert ask(of_worker(running), "/status", headers={"Cookie": cookie})[0] == 200


def connect(address: str, path: str, page: str, **options: Any) -> str:
    """Open a websocket of Bokeh as the page does, and return what it says first."""
    session = json.loads(re.findall(r'"token":("[^"]+")', page)[0])
    connection = websocket.create_connection(
        f"ws://{address}{path}/ws", subprotocols=["bokeh", session], timeout=60, **options
    )
    try:
        return str(connection.recv()) + str(connection.recv()) + str(connection.recv())
    finally:
        connection.close()


def test_a_websocket_opens_for_the_own_page_alone(
    running: PooledCluster, address: str, cookie: str, token: str
) -> None:
    page = ask(address, "/status", headers={"Cookie": cookie})[2]
    assert "ACK" in connect(address, "/status", page, cookie=cookie, origin=f"http://{address}")
    assert "ACK" in connect(address, "/status", page, cookie=cookie, suppress_origin=True)
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null", f"http://{address}.evil.x"):
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            connect(address, "/status", page, cookie=cookie, origin=origin)
    with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
        connect(address, "/status", page, origin=f"http://{address}")
    # The worker's, through the scheduler.
    worker = f"/proxy/{of_worker(running).partition(':')[2]}/127.0.0.1/status"
    page = ask(address, worker, headers={"Cookie": cookie})[2]
    assert "ACK" in connect(address, worker, page, cookie=cookie, origin=f"http://{address}")
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        connect(address, worker, page, cookie=cookie, origin="http://evil.example")


def test_the_link_is_in_the_list_of_dask_clusters() -> None:
    with cluster(0, config=POOLS) as c:
        (listed,) = clusters()
        assert listed["dashboard"] == c.dashboard_link
        assert ask(urlsplit(c.dashboard_link).netloc, "/health")[0] == 401
        (record,) = names.clusters_folder().glob("*/cluster.json")
        assert record.stat().st_mode & 0o777 == 0o600
        assert record.parent.stat().st_mode & 0o777 == 0o700
        token = token_in(c.dashboard_link)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                assert token not in " ".join([*process.cmdline(), *process.environ().values()])


@pytest.mark.browser
def test_one_click_opens_it_in_a_browser(running: PooledCluster, token: str) -> None:
    with browser_page() as page:
        closed = page.goto(running.dashboard_link.partition("?")[0])
        assert closed is not None
        assert closed.status == 401
        # From a page of another site, as a link in a terminal or a mail is.
        page.set_content(f'<a href="{running.dashboard_link}">open</a>')
        page.click("a")
        page.wait_for_url(re.compile(r"/status$"))
        expect(page.locator(".bk-Figure").first).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        look(page, "dashboard-by-link")
        page.goto(running.dashboard_link.partition("status")[0] + "info/main/workers.html")
        page.locator("a", has_text="dashboard").first.click()
        page.wait_for_url(re.compile(r"/proxy/.*/status$"))
        expect(page.locator(".bk-Figure").first).to_be_visible()
