"""What a physicist does in a real Chromium with the facility that its chart has installed."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
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


@pytest.fixture(scope="module")
def facility(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    with installed_chart(state, tmp_path_factory.mktemp("chart"), helm="4") as found:
        common = found.values["singleuser"]
        found.upgrade(singleuser={**common, "cpuLimit": 1, "profiles": PROFILES})
        found.wait_until_it_answers()
        yield found


@pytest.fixture(scope="module")
def page(facility: Facility) -> Iterator[Page]:
    """A browser in which ada has chosen a server, been told of its progress, and waited for it."""
    with browser_page() as page:
        log_in(page, facility.address, "ada", facility.password())
        page.wait_for_selector("#profile-item-large")
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


def server(facility: Facility) -> str:
    return f"{facility.address}user/ada/"


def test_the_chosen_server_starts(facility: Facility, page: Page) -> None:
    pod = facility.space("ada").get("pod", "notebook")
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "2", "memory": str(3 * 2**30), "ephemeral-storage": "10Gi"}
    assert page.url.startswith(f"{server(facility)}lab/tree/notebooks/01")


def test_notebook_03_runs_on_pods_of_both_architectures(facility: Facility, page: Page) -> None:
    open_notebook(page, server(facility), "notebooks/03_z_peak.ipynb")
    cell = page.locator(".jp-CodeCell", has_text="c = cluster(2)").locator(".cm-content")
    cell.get_by_text("c = cluster(2)").click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.insert_text("c = cluster(cpu=2, arm=1)")
    run_to_plot(page, "kube-4-notebook-03")
    shown = page.locator(".jp-Notebook .jp-OutputArea-output table").first.inner_text()
    assert re.search(r"\barm\s+1\b", shown), shown


def test_the_panel_starts_one_whose_dashboard_is_seen(facility: Facility, page: Page) -> None:
    open_notebook(page, server(facility), "notebooks/01_first_cluster.ipynb")
    listed, link = start_in_panel(page)
    assert link.startswith("/user/ada/proxy/"), link
    assert use_client_of_panel(page, listed) == link
    # A worker stays as long as its result is held.
    run_new_cell(page, 'kept = client.submit(sum, [1, 2]); print("sum", kept.result())', "sum 3")
    look(page, "kube-5-panel")
    see_dashboard(page, facility.address.rstrip("/") + link, "kube-6-dashboard")


def test_stopping_the_server_leaves_nothing(facility: Facility, page: Page) -> None:
    """The last one: the Dask cluster of the panel is still there."""
    page.goto(f"{facility.address}hub/home")
    page.click("#stop")
    expect(page.locator("#start")).to_have_text(re.compile("Start My Server"), timeout=START)
    look(page, "kube-7-stopped")
    space = facility.space("ada")
    space.wait_until_gone(OF_A_SERVER, seconds=120)
    assert "home" in space.run("get", "pvc", "-o", "name")
