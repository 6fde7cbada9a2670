"""What a physicist does in a browser, done by a real Chromium; each step leaves a screenshot."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.local.hub_driver import ROOT, Hub

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ARTIFACTS = Path(os.environ.get("CI_ARTIFACTS") or ROOT / "tests" / "artifacts")
SLOW = 120_000
"""Milliseconds that one step may take on a busy machine."""
NOTEBOOK_TIME = 300_000
PROGRESS = re.compile(
    r"Dask cluster \S+: \d+ of \d+ workers after \d+ s"
    r"|[^:\n]+: [\d,]+ of [\d,]+ \w+, about \d+ s left"
)
"""What may be said of something that takes a while."""


def chromium() -> str:
    found = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium")
    if found is None:
        reason = "no Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def page(hub: Hub) -> Iterator[Page]:
    """Give a browser that is logged in and shows the user's JupyterLab."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        page.set_default_timeout(SLOW)
        expect.set_options(timeout=SLOW)
        try:
            page.goto(hub.address)
            page.fill("#username_input", hub.told("user"))
            page.fill("#password_input", hub.told("password"))
            look(page, "1-login")
            page.click("#login_submit")
            wait_for_lab(page)
            yield page
        finally:
            look(page, "last")
            browser.close()


def look(page: Page, name: str) -> None:
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def wait_for_lab(page: Page) -> None:
    page.wait_for_selector("#jp-main-dock-panel")
    page.wait_for_selector("#jupyterlab-splash", state="detached")


def open_notebook(page: Page, hub: Hub, name: str) -> None:
    page.goto(f"{hub.address}user/{hub.told('user')}/lab/tree/{name}?reset")
    wait_for_lab(page)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    wait_until_idle(page)


def wait_until_idle(page: Page, timeout: float = SLOW) -> None:
    page.wait_for_selector(
        '.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=timeout, state="attached"
    )


def run_all(page: Page) -> None:
    """Choose Run All Cells; JupyterLab ignores that until it knows its kernel."""
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    for _ in range(10):
        page.locator(".lm-MenuBar-itemLabel").get_by_text("Run", exact=True).click()
        page.click('.lm-Menu-item[data-command="runmenu:run-all"]')
        time.sleep(2)
        if re.search(r"\[[*\d]", prompts.first.inner_text()):
            return
    raise AssertionError("the notebook did not start to run")


def outputs(page: Page) -> Locator:
    return page.locator(".jp-Notebook .jp-OutputArea-output")


def run_new_cell(page: Page, code: str, expected: str) -> None:
    """Insert a cell below the active one, run it and wait for what it prints."""
    page.locator(".jp-Notebook .jp-CodeCell.jp-mod-active .jp-InputPrompt").click()
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    expect(outputs(page).get_by_text(expected, exact=True)).to_be_visible()


def test_login_opens_the_notebooks(page: Page):
    page.wait_for_selector(".jp-DirListing-item")
    listed = page.locator(".jp-DirListing-itemText").all_inner_texts()
    shipped = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert shipped
    assert [name for name in listed if name.endswith(".ipynb")] == shipped
    assert page.url.endswith(f"/lab/tree/{shipped[0]}")
    time.sleep(2)  # in which prompts for news, builds and kernels would come up
    look(page, "2-lab")
    assert page.locator(".jp-Dialog").count() == 0
    assert page.locator(".Toastify__toast").count() == 0


def test_notebook_03_runs_to_its_plot(page: Page, hub: Hub):
    (name,) = (path.name for path in (ROOT / "notebooks").glob("03*.ipynb"))
    open_notebook(page, hub, name)
    look(page, "3-notebook-03")
    run_all(page)
    plot = page.locator(".jp-Notebook .jp-OutputArea-output img").first
    try:
        plot.wait_for(state="attached", timeout=NOTEBOOK_TIME)
        wait_until_idle(page)
    finally:
        look(page, "4-notebook-03-run")
    plot.scroll_into_view_if_needed()
    time.sleep(1)
    look(page, "5-notebook-03-plot")
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.all_inner_texts() == []
    # What is off the screen has no inner text.
    warnings = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    said = "\n".join(text or "" for text in warnings.all_text_contents())
    assert re.sub(PROGRESS, "", said).strip() == ""


def test_panel_starts_a_dask_cluster_and_shows_its_dashboard(page: Page, hub: Hub):
    open_notebook(page, hub, "01_first_cluster.ipynb")
    page.click('[data-id="dask-dashboard-launcher"]')
    panel = page.locator(".dask-DaskClusterManager")
    panel.get_by_text("New").first.click()
    listed = panel.locator(".dask-ClusterListingItem")
    expect(listed).to_have_count(1)
    look(page, "6-panel-new")
    link = listed.locator("a").get_attribute("href")
    assert link
    assert re.fullmatch(rf"/user/{hub.told('user')}/proxy/\d+/status", link), link

    # Its client, as the panel writes it.
    listed.locator(".dask-ClusterListingItem-code").click()
    cell = page.locator(".jp-CodeCell", has_text='Client("tls://').first
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(outputs(page).get_by_text("Connection method:")).to_be_visible()
    shown = outputs(page).locator("a", has_text="/proxy/").first.get_attribute("href")
    assert shown == link

    # The dashboard beside the notebook, which computes meanwhile ...
    page.locator(".dask-DashboardListing-item button").get_by_text(
        re.compile("^task stream$", re.IGNORECASE)
    ).click()
    stream = page.frame_locator('iframe[src*="individual-task-stream"]')
    expect(stream.locator("canvas").first).to_be_visible()
    page.locator(".lm-TabBar-tabLabel", has_text="01_first_cluster").click()
    run_new_cell(
        page,
        'print("sum", sum(client.gather(client.map(lambda x: x * x, range(40)))))',
        "sum 20540",
    )
    look(page, "7-panel-client")
    page.locator(".lm-TabBar-tabLabel", has_text="Task Stream").click()
    time.sleep(2)
    look(page, "8-dashboard-panel")

    # ... and in a tab of its own.
    tab = page.context.new_page()
    answer = tab.goto(hub.address.rstrip("/") + link)
    assert answer is not None
    assert answer.status == 200
    expect(tab.locator("canvas").first).to_be_visible(timeout=SLOW)
    expect(tab).to_have_title("Dask: Status")
    time.sleep(2)
    look(tab, "9-dashboard-tab")
    tab.close()

    listed.locator(".dask-ClusterListingItem-stop").click()
    expect(listed).to_have_count(0)
    look(page, "10-panel-stopped")
