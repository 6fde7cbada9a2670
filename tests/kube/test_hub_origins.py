"""Users of the installed chart, each with a host name, of whom one opens the other's link.

How cookies and ways of attack fare one by one is seen on one machine, in
tests/local/test_origins.py; here it is the chart's proxy that goes by names, and servers in pods.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser import (
    browser_page,
    log_in,
    look,
    open_notebook,
    run_new_cell,
    see_dashboard,
    start_in_panel,
    use_client_of_panel,
    wait_for_lab,
)
from tests.kube.charts import Facility, installed_chart
from tests.kube.tls_front import Front, front
from tests.local import origins_mallory
from tests.local.origins import HOST

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]
START = 240_000
"""Milliseconds in which a server starts, its image fetched."""
VICTIM, MALLORY = "alice", "mallory"
IN_PLACE_OF_JUPYTER = """
import pathlib, sys
folder = pathlib.Path.home() / "jupyterhub"
folder.mkdir()
(folder / "__init__.py").touch()
(folder / "singleuser.py").write_text(sys.argv[1])
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("front")) as found:
        yield found


@pytest.fixture(scope="module")
def facility(
    state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, before: Front
) -> Iterator[Facility]:
    hub = {"domain": f"{HOST}:{before.port}", "usersTrustEachOther": False}
    folder = tmp_path_factory.mktemp("chart")
    with installed_chart(state, folder, helm="4", hub=hub) as found:
        before.target = found.port
        yield found


def address(before: Front, user: str = "") -> str:
    """Where the hub is, or a user's servers."""
    return f"https://{f'{user}.' if user else ''}{HOST}:{before.port}"


def start_server(page: Page, facility: Facility, before: Front, user: str) -> None:
    """Log in, and open the user's server."""
    login = f"{address(before)}/hub/login?next=%2Fhub%2Fspawn"
    log_in(page, login, user, facility.password())
    page.wait_for_url(f"{address(before, user)}/user/{user}/**", timeout=START)


@pytest.fixture(scope="module")
def page(facility: Facility, before: Front) -> Iterator[Page]:
    """The victim's browser, while another user serves what that user likes."""
    with browser_page(f"--ignore-certificate-errors-spki-list={before.key}") as page:
        browser = page.context.browser
        assert browser is not None
        other = browser.new_context().new_page()
        other.set_default_timeout(START)
        start_server(other, facility, before, MALLORY)
        program = Path(origins_mallory.__file__).read_text()
        words = ("python", "-c", IN_PLACE_OF_JUPYTER, program)
        facility.space(MALLORY).run("exec", "notebook", "--", *words)
        other.goto(f"{address(before)}/hub/home")
        other.click("#stop")
        expect(other.locator("#start")).to_contain_text("Start My Server", timeout=START)
        other.goto(f"{address(before)}/hub/spawn")
        other.wait_for_url(f"{address(before, MALLORY)}/user/{MALLORY}/**", timeout=START)
        other.context.close()
        start_server(page, facility, before, VICTIM)
        wait_for_lab(page)
        yield page


def owner_of(token: str, facility: Facility) -> str:
    """Whom the hub takes the bearer of a token for; nobody where it refuses."""
    answer = requests.get(
        f"{facility.address}hub/api/user",
        headers={"Authorization": f"token {token}"},
        timeout=60,
    )
    return str(answer.json()["name"]) if answer.ok else ""


@pytest.mark.parametrize("way", ["fetch", "window"])
def test_a_link_that_was_opened_hands_nothing_over(
    page: Page, facility: Facility, before: Front, way: str
) -> None:
    page.goto(f"{address(before, MALLORY)}/user/{MALLORY}/cats")
    assert page.title() == "Pictures of cats"
    words = [way, f"{address(before)}/hub/"]
    said = str(page.evaluate("([way, hub]) => attack(way, hub)", words))
    assert owner_of(said, facility) == ""
    assert "Error" in said, said


def test_at_the_hubs_own_name_no_server_is_served(facility: Facility, before: Front) -> None:
    for host, expected in ((f"{MALLORY}.{HOST}", True), (HOST, False), (f"x.{HOST}", False)):
        answer = requests.get(
            f"{facility.address}user/{MALLORY}/cats",
            headers={"Host": f"{host}:{before.port}"},
            allow_redirects=False,
            timeout=60,
        )
        assert ("Pictures of cats" in answer.text) == expected, host


def test_the_visitors_own_panel_and_dashboards_are_at_the_visitors_name(
    page: Page, before: Front
) -> None:
    server = f"{address(before, VICTIM)}/user/{VICTIM}/"
    open_notebook(page, server, "notebooks/01_first_cluster.ipynb")
    listed, link = start_in_panel(page)
    assert link.startswith((f"/user/{VICTIM}/", server))
    use_client_of_panel(page, listed)
    # A worker stays as long as its result is held.
    run_new_cell(page, 'kept = client.submit(sum, [1, 2]); print("sum", kept.result())', "sum 3")
    look(page, "kube-origins-panel")
    see_dashboard(
        page,
        f"{address(before, VICTIM)}{link.removeprefix(address(before, VICTIM))}",
        "kube-origins-dashboard",
    )


def test_the_documentation_is_at_the_hubs_name(page: Page, before: Front) -> None:
    page.goto(f"{address(before, VICTIM)}/user/{VICTIM}/lab?reset")
    wait_for_lab(page)
    with page.expect_popup() as opened:
        page.locator(".jp-LauncherCard", has_text="Facility Docs").click()
    expect(opened.value.locator("h1").first).to_be_visible()
    assert opened.value.url.startswith(f"{address(before)}/hub/docs/")
