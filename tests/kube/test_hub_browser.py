"""What a physicist does in a real Chromium with the facility that its chart has installed.

Each user has a host name, and one of them opens a link of another's. How cookies and ways of attack
fare one by one is seen on one machine, in tests/local/test_origins.py; here it is the chart's proxy
that goes by names, and servers in pods.
"""

import re
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
    run_to_plot,
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
PROFILES = {
    "small": {"displayName": "Small", "description": "1 core, 2 GiB", "default": True},
    "large": {
        "displayName": "Large",
        "description": "2 cores, 3 GiB",
        "cpuLimit": 2,
        "memoryLimit": "3Gi",
    },
}
START = 240_000
"""Milliseconds in which a server starts, its image fetched."""
PROGRESS = re.compile(r"namespace is being prepared|does not run yet|starts")
OF_A_SERVER = "daskclusters,deployments,services,pods,secrets"
ADA, MALLORY = "ada", "mallory"
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
    values = {
        "hub": {"domain": f"{HOST}:{before.port}", "usersTrustEachOther": False},
        "singleuser": {"cpuLimit": 1, "profiles": PROFILES},
    }
    with installed_chart(state, tmp_path_factory.mktemp("chart"), helm="4", **values) as found:
        before.target = found.port
        yield found


def address(before: Front, user: str = "") -> str:
    """Where the hub is, or a user's servers."""
    return f"https://{f'{user}.' if user else ''}{HOST}:{before.port}"


def server(before: Front, user: str = ADA) -> str:
    return f"{address(before, user)}/user/{user}/"


def ask_for_server(page: Page, facility: Facility, before: Front, user: str) -> None:
    """Log in, up to the form in which a server is chosen."""
    login = f"{address(before)}/hub/login?next=%2Fhub%2Fspawn"
    log_in(page, login, user, facility.password())
    page.wait_for_selector("#profile-item-large")


@pytest.fixture(scope="module")
def page(facility: Facility, before: Front) -> Iterator[Page]:
    """A browser in which ada has chosen a server, been told of its progress, and waited for it."""
    with browser_page(f"--ignore-certificate-errors-spki-list={before.key}") as page:
        ask_for_server(page, facility, before, ADA)
        look(page, "kube-1-profiles")
        page.check("#profile-item-large")
        page.click("#spawn_form button[type=submit]")
        page.wait_for_selector("#progress-message")
        # Its log is folded up, and the page goes when the server is there.
        expect(page.locator("#progress-log")).to_contain_text(PROGRESS)
        look(page, "kube-2-progress")
        try:
            page.wait_for_selector("#jp-main-dock-panel", timeout=START)
            wait_for_lab(page)
            look(page, "kube-3-lab")
            yield page
        finally:
            look(page, "kube-last")


def stop_server(page: Page, before: Front) -> None:
    # Until its scripts are there, the page's buttons do nothing.
    page.goto(f"{address(before)}/hub/home", wait_until="networkidle")
    page.click("#stop")
    expect(page.locator("#start")).to_contain_text("Start My Server", timeout=START)


@pytest.fixture(scope="module")
def mallory(page: Page, facility: Facility, before: Front) -> None:
    """Another user, who serves what that user likes."""
    browser = page.context.browser
    assert browser is not None
    other = browser.new_context().new_page()
    other.set_default_timeout(START)
    ask_for_server(other, facility, before, MALLORY)
    other.click("#spawn_form button[type=submit]")
    other.wait_for_url(f"{server(before, MALLORY)}**")
    program = Path(origins_mallory.__file__).read_text()
    words = ("python", "-c", IN_PLACE_OF_JUPYTER, program)
    facility.space(MALLORY).run("exec", "notebook", "--", *words)
    stop_server(other, before)
    other.goto(f"{address(before)}/hub/spawn")
    other.click("#spawn_form button[type=submit]")
    other.wait_for_url(f"{server(before, MALLORY)}**")
    other.context.close()


def test_the_chosen_server_starts(facility: Facility, before: Front, page: Page) -> None:
    pod = facility.space(ADA).get("pod", "notebook")
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "2", "memory": str(3 * 2**30), "ephemeral-storage": "10Gi"}
    assert page.url.startswith(f"{server(before)}lab/tree/notebooks/01")


@pytest.mark.parametrize(
    "asked", ["cluster(2)", pytest.param("cluster(cpu=2, arm=1)", marks=pytest.mark.long)]
)
def test_notebook_03_runs_on_pods(before: Front, page: Page, asked: str) -> None:
    open_notebook(page, server(before), "notebooks/03_z_peak.ipynb")
    cell = page.locator(".jp-CodeCell", has_text="c = cluster(2)").locator(".cm-content")
    cell.get_by_text("c = cluster(2)").click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.insert_text(f"c = {asked}")
    run_to_plot(page, "kube-4-notebook-03")
    shown = page.locator(".jp-Notebook .jp-OutputArea-output table").first.inner_text()
    assert re.search(r"\bcpu \(default\)\s+2\b", shown), shown
    assert ("arm" in asked) == bool(re.search(r"\barm\s+1\b", shown)), shown


def test_the_panel_starts_one_whose_dashboard_is_seen(before: Front, page: Page) -> None:
    open_notebook(page, server(before), "notebooks/01_first_cluster.ipynb")
    listed, link = start_in_panel(page)
    assert link.startswith((f"/user/{ADA}/proxy/", server(before))), link
    use_client_of_panel(page, listed)
    # A worker stays as long as its result is held.
    run_new_cell(page, 'kept = client.submit(sum, [1, 2]); print("sum", kept.result())', "sum 3")
    look(page, "kube-5-panel")
    own = address(before, ADA)
    see_dashboard(page, f"{own}{link.removeprefix(own)}", "kube-6-dashboard")


def test_the_documentation_is_at_the_hubs_name(before: Front, page: Page) -> None:
    page.goto(f"{server(before)}lab?reset")
    wait_for_lab(page)
    with page.expect_popup() as opened:
        page.locator(".jp-LauncherCard", has_text="Facility Docs").click()
    expect(opened.value.locator("h1").first).to_be_visible()
    assert opened.value.url.startswith(f"{address(before)}/hub/docs/")


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
    page: Page, mallory: None, facility: Facility, before: Front, way: str
) -> None:
    page.goto(f"{server(before, MALLORY)}cats")
    assert page.title() == "Pictures of cats"
    words = [way, f"{address(before)}/hub/"]
    said = str(page.evaluate("([way, hub]) => attack(way, hub)", words))
    assert owner_of(said, facility) == ""
    assert "Error" in said, said


def test_at_the_hubs_own_name_no_server_is_served(
    facility: Facility, mallory: None, before: Front
) -> None:
    for host, expected in ((f"{MALLORY}.{HOST}", True), (HOST, False), (f"x.{HOST}", False)):
        answer = requests.get(
            f"{facility.address}user/{MALLORY}/cats",
            headers={"Host": f"{host}:{before.port}"},
            allow_redirects=False,
            timeout=60,
        )
        assert ("Pictures of cats" in answer.text) == expected, host


def test_stopping_the_server_leaves_nothing(facility: Facility, before: Front, page: Page) -> None:
    """The last one: the Dask cluster of the panel is still there."""
    stop_server(page, before)
    look(page, "kube-7-stopped")
    space = facility.space(ADA)
    space.wait_until_gone(OF_A_SERVER, seconds=120)
    assert "home" in space.run("get", "pvc", "-o", "name")
