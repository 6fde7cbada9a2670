"""What tests do in a real Chromium, and what they look at; each step may leave a screenshot."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Locator, Page, Route, expect, sync_playwright

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
ARTIFACTS = Path(os.environ.get("CI_ARTIFACTS") or Path(__file__).parent / "artifacts")
SLOW = 120_000
"""Milliseconds that one step may take on a busy machine."""
NOTEBOOK_TIME = 300_000
STATUS = "#jp-main-statusbar"
READY = "| Idle"
"""What the status bar says after a kernel's name."""
PROGRESS = re.compile(
    r"Dask cluster \S+: \d+ of \d+ workers after \d+ s(\. Dask cluster[^\n]*(\n  [^\n]*)*)?"
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


@contextmanager
def browser_page(*flags: str) -> Iterator[Page]:
    """A tab of a browser of its own.

    Parameters
    ----------
    flags
        Beside those of every browser.
    """
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        arguments = [*FLAGS, *flags]
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.set_default_timeout(SLOW)
        expect.set_options(timeout=SLOW)
        try:
            yield page
        finally:
            browser.close()


def look(page: Page, name: str) -> None:
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def log_in(page: Page, address: str, user: str, password: str) -> None:
    page.goto(address)
    page.fill("#username_input", user)
    page.fill("#password_input", password)
    page.click("#login_submit")


def wait_for_lab(page: Page) -> None:
    page.wait_for_selector("#jp-main-dock-panel")
    page.wait_for_selector("#jupyterlab-splash", state="detached")


def open_notebook(page: Page, server: str, path: str) -> None:
    """Open a notebook of a user's server alone.

    Parameters
    ----------
    server
        Address of the user's server.
    path
        Of the notebook, from the server's folder.
    """
    page.goto(f"{server}lab/tree/{path}?reset")
    wait_for_lab(page)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    # A notebook is shown before its kernel is looked for, and one that is run by then asks for it.
    expect(page.locator(STATUS)).to_contain_text(READY)


def open_from_list(page: Page, name: str) -> None:
    """Open a notebook with the list of files at the side, and wait for its kernel."""
    page.locator(".jp-DirListing-itemText", has_text=name).dblclick()
    expect(page.locator(STATUS)).to_contain_text(READY)


@contextmanager
def late_lists(page: Page) -> Iterator[Callable[[], None]]:
    """Keep lists of kernels, sessions and terminals as they are now, until the function is called.

    Calling it returns when each of them has been asked for again.
    """
    lists = re.compile(r"/api/(kernels|sessions|terminals)\?")
    kept: dict[str, tuple[Route, APIResponse]] = {}

    def keep(route: Route) -> None:
        (name,) = lists.findall(route.request.url)
        if route.request.method == "GET" and name not in kept:
            kept[name] = route, route.fetch()
        else:
            route.continue_()

    def send() -> None:
        for name, (route, answer) in kept.items():
            with page.expect_request(re.compile(rf"/api/{name}\?")):
                route.fulfill(response=answer)

    page.route(lists, keep)
    page.click('[data-id="jp-running-sessions"]')  # which asks for all
    while len(kept) < 3:
        page.wait_for_timeout(100)
    page.click('[data-id="filebrowser"]')
    yield send
    page.unroute(lists)


def wait_until_idle(page: Page, timeout: float = SLOW) -> None:
    page.wait_for_selector(
        '.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=timeout, state="attached"
    )


def run_all(page: Page) -> None:
    """Choose Run All Cells."""
    page.locator(".lm-MenuBar-itemLabel").get_by_text("Run", exact=True).click()
    page.click('.lm-Menu-item[data-command="runmenu:run-all"]')
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
    try:
        expect(prompt).to_have_text(re.compile(r"\[[*\d]"))
    except AssertionError:
        look(page, "nothing-runs")
        raise


def outputs(page: Page) -> Locator:
    return page.locator(".jp-Notebook .jp-OutputArea-output")


def run_to_plot(page: Page, name: str) -> None:
    """Run an open notebook to its plot, and look whether it complained."""
    run_all(page)
    plot = page.locator(".jp-Notebook .jp-OutputArea-output img").first
    try:
        plot.wait_for(state="attached", timeout=NOTEBOOK_TIME)
        wait_until_idle(page)
    finally:
        look(page, f"{name}-run")
    plot.scroll_into_view_if_needed()
    time.sleep(1)
    look(page, f"{name}-plot")
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.all_inner_texts() == []
    # What is off the screen has no inner text.
    warnings = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    said = "\n".join(text or "" for text in warnings.all_text_contents())
    assert re.sub(PROGRESS, "", said).strip() == "", said


def run_new_cell(page: Page, code: str, expected: str) -> None:
    """Insert a cell below the active one, run it and wait for what it prints."""
    page.locator(".jp-Notebook .jp-CodeCell.jp-mod-active .jp-InputPrompt").click()
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    expect(outputs(page).get_by_text(expected, exact=True)).to_be_visible()


def start_in_panel(page: Page) -> tuple[Locator, str]:
    """Start a Dask cluster in the panel; return its entry there and the link to its dashboard."""
    page.click('[data-id="dask-dashboard-launcher"]')
    panel = page.locator(".dask-DaskClusterManager")
    panel.get_by_text("New").first.click()
    listed = panel.locator(".dask-ClusterListingItem")
    expect(listed).to_have_count(1)
    link = listed.locator("a").get_attribute("href")
    assert link
    return listed, link


def scale_in_panel(page: Page, listed: Locator, workers: int) -> str:
    """Ask the panel for a fixed number of workers; return what it says to that."""
    listed.locator(".dask-ClusterListingItem-scale").click()
    dialog = page.locator(".jp-Dialog")
    dialog.locator(".dask-ScalingCheckbox").uncheck()
    dialog.locator(".dask-ScalingInput").first.fill(str(workers))
    dialog.get_by_role("button", name="SCALE").click()
    expect(dialog).to_contain_text("Failed to scale cluster", timeout=20_000)
    said = dialog.locator(".jp-Dialog-body").inner_text()
    look(page, "6-panel-scaled")
    dialog.locator("button").click()
    return said


def use_client_of_panel(page: Page, listed: Locator) -> str | None:
    """Run the client that the panel writes; return the link that its repr shows."""
    listed.locator(".dask-ClusterListingItem-code").click()
    cell = page.locator(".jp-CodeCell", has_text='Client("tls://').first
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(outputs(page).get_by_text("Connection method:")).to_be_visible()
    return outputs(page).locator("a", has_text="/proxy/").first.get_attribute("href")


def see_dashboard(page: Page, address: str, name: str) -> None:
    """Open a Dask dashboard in a tab of its own, and from there that of one of its workers."""
    tab = page.context.new_page()
    answer = tab.goto(address)
    assert answer is not None
    assert answer.status == 200
    expect(tab.locator("canvas").first).to_be_visible(timeout=SLOW)
    expect(tab).to_have_title("Dask: Status")
    time.sleep(2)
    look(tab, name)
    tab.get_by_text("Info", exact=True).click()
    look(tab, f"{name}-info")
    tab.get_by_text("dashboard", exact=True).first.click()
    expect(tab.locator("canvas").first).to_be_visible(timeout=SLOW)
    time.sleep(2)
    look(tab, f"{name}-worker")
    tab.close()
