"""A link to another user's server is opened: what that server's page can do then.

The hub, its proxy, the servers and the browser are real; the names are those of this machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page

from tests.browser import browser_page, log_in, look, wait_for_lab
from tests.local.origins import HOST, PASSWORD, Origins, origins
from tests.local.origins_config import MALLORY

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
VICTIM = "alice"


def start_server(page: Page, hub: Origins, user: str) -> None:
    """Log in, and open the user's server."""
    log_in(page, f"{hub.address()}/hub/login?next=%2Fhub%2Fspawn", user, PASSWORD)
    page.wait_for_url(f"**/user/{user}/**")


@contextmanager
def link_opened(hub: Origins, mallorys: str) -> Iterator[Page]:
    """The victim's browser, which has opened the victim's own server and then mallory's."""
    with browser_page(f"--ignore-certificate-errors-spki-list={hub.key}") as page:
        browser = page.context.browser
        assert browser is not None
        other = browser.new_context().new_page()
        start_server(other, hub, MALLORY)
        other.context.close()
        start_server(page, hub, VICTIM)
        wait_for_lab(page)
        page.goto(f"{mallorys}/user/{MALLORY}/cats")
        assert page.title() == "Pictures of cats"
        yield page


def owner_of(token: str, hub: Origins) -> str:
    """Whom the hub takes the bearer of a token for; nobody where it refuses."""
    answer = requests.get(
        f"https://127.0.0.1:{hub.port}/hub/api/user",
        headers={"Host": f"{HOST}:{hub.port}", "Authorization": f"token {token}"},
        verify=str(hub.folder / "ca.pem"),
        timeout=60,
    )
    return str(answer.json()["name"]) if answer.ok else ""


def attack(page: Page, way: str, hub: Origins) -> str:
    """What the page says that it has got."""
    words = [way, f"{hub.address()}/hub/"]
    return str(page.evaluate("([way, hub]) => attack(way, hub)", words))


def test_at_one_address_a_link_that_was_opened_hands_over_the_account(tmp_path: Path) -> None:
    """Which is why the chart refuses it."""
    with (
        origins(tmp_path, usersTrustEachOther=True) as hub,
        link_opened(hub, hub.address()) as page,
    ):
        for way in ("fetch", "window"):
            said = attack(page, way, hub)
            assert owner_of(said, hub) == VICTIM, said


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origins]:
    with origins(tmp_path_factory.mktemp("apart"), domain=HOST) as found:
        yield found


@pytest.fixture(scope="module")
def page(apart: Origins) -> Iterator[Page]:
    with link_opened(apart, apart.address(MALLORY)) as found:
        yield found


@pytest.mark.parametrize("way", ["frame", "window", "fetch", "post"])
def test_with_a_name_for_each_user_nothing_is_handed_over(
    page: Page, apart: Origins, way: str
) -> None:
    page.goto(f"{apart.address(MALLORY)}/user/{MALLORY}/{way}")
    said = attack(page, way, apart)
    look(page, f"origins-{way}")
    assert owner_of(said, apart) == ""
    assert "Error" in said, said


def answer_at(hub: Origins, host: str, path: str) -> requests.Response:
    return requests.get(
        f"https://127.0.0.1:{hub.port}{path}",
        headers={"Host": f"{host}:{hub.port}"},
        verify=str(hub.folder / "ca.pem"),
        allow_redirects=False,
        timeout=60,
    )


@pytest.mark.usefixtures("page")
def test_a_server_is_at_its_users_name_alone(apart: Origins) -> None:
    path = f"/user/{MALLORY}/cats"
    assert "Pictures of cats" in answer_at(apart, f"{MALLORY}.{HOST}", path).text
    for other in (HOST, f"{VICTIM}.{HOST}", f"x.{HOST}", "127.0.0.1"):
        assert "Pictures of cats" not in answer_at(apart, other, path).text
    # Whoever goes by the number, as probes do, still sees that the hub is there.
    assert answer_at(apart, "127.0.0.1", "/hub/login").status_code == 200


def cookies(page: Page) -> dict[str, Any]:
    return {each["name"]: each for each in page.context.cookies()}


def test_cookies_are_locked_to_their_host(page: Page, apart: Origins) -> None:
    found = cookies(page)
    for name, host in (
        ("__Host-jupyterhub-hub-login", HOST),
        (f"__Host-jupyterhub-user-{VICTIM}", f"{VICTIM}.{HOST}"),
    ):
        assert (found[name]["domain"], found[name]["path"]) == (host, "/")
        assert found[name]["secure"] is True
    # The hub gives this one to all names, and logs nobody in by it.
    sent = set((apart.folder / "cookies").read_text().split())
    assert sent <= {"jupyterhub-session-id", "_xsrf"}


def test_mallory_cannot_put_another_cookie_in_their_place(page: Page, apart: Origins) -> None:
    before = cookies(page)["__Host-jupyterhub-hub-login"]
    page.goto(f"{apart.address(MALLORY)}/user/{MALLORY}/cats")
    for name in ("__Host-jupyterhub-hub-login", "jupyterhub-hub-login"):
        cookie = f"{name}=x; domain={HOST}; path=/; secure"
        page.evaluate("cookie => { document.cookie = cookie }", cookie)
    assert cookies(page)["__Host-jupyterhub-hub-login"] == before
    page.goto(f"{apart.address()}/hub/home")
    assert page.evaluate("jhdata.user") == VICTIM


ELSEWHERE = """
async server => {
  const kernels = `${server}api/kernels`;
  const told = [];
  const read = fetch(kernels, { credentials: 'include' });
  told.push(await read.then(answer => answer.text(), String));
  // No answer is seen of this one; what counts is whether a kernel starts.
  await fetch(kernels, { method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}' });
  const socket = new WebSocket(`${server.replace('https', 'wss')}api/events/subscribe`);
  told.push(await new Promise(done => {
    socket.onopen = () => done('opened');
    socket.onerror = () => done('refused');
  }));
  return told;
}
"""


KERNELS = """
async server => {
  const [, xsrf] = document.cookie.match(/_xsrf=([^;]+)/);
  const answer = await fetch(`${server}api/kernels`, { headers: { 'X-XSRFToken': xsrf } });
  return answer.json();
}
"""


def test_the_visitors_own_server_is_closed_to_it_and_open_to_the_visitor(
    page: Page, apart: Origins
) -> None:
    server = f"{apart.address(VICTIM)}/user/{VICTIM}/"
    page.goto(f"{apart.address(MALLORY)}/user/{MALLORY}/cats")
    read, socket = page.evaluate(ELSEWHERE, server)
    assert read.startswith("TypeError")
    assert socket == "refused"
    page.goto(f"{server}lab?reset")
    wait_for_lab(page)
    assert page.evaluate(KERNELS, server) == []
    assert page.url.startswith(server)
