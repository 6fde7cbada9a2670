"""What a physicist does in a browser, done by a real Chromium; each step leaves a screenshot."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import (
    READY,
    STATUS,
    browser_page,
    late_lists,
    log_in,
    look,
    open_from_list,
    open_notebook,
    run_new_cell,
    run_to_plot,
    scale_in_panel,
    see_dashboard,
    start_in_panel,
    use_client_of_panel,
    wait_for_lab,
)
from tests.local.hub_driver import ROOT, Hub

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def page(hub: Hub) -> Iterator[Page]:
    """Give a browser that is logged in and shows the user's JupyterLab."""
    with browser_page() as page:
        page.goto(hub.address)
        page.wait_for_selector("#username_input")
        look(page, "1-login")
        log_in(page, hub.address, hub.told("user"), hub.told("password"))
        wait_for_lab(page)
        try:
            yield page
        finally:
            look(page, "last")


def server(hub: Hub) -> str:
    return f"{hub.address}user/{hub.told('user')}/"


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


def test_opening_a_notebook_does_not_change_it(page: Page, hub: Hub):
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        open_notebook(page, server(hub), path.name)
        time.sleep(1)  # in which what the kernel says of itself would be taken over
        expect(page.locator(".lm-TabBar-tab.jp-mod-current", has_text=path.name)).to_be_visible()
        assert page.locator(".lm-TabBar-tab.jp-mod-dirty").count() == 0, path.name


def test_the_documentation_opens_from_the_launcher_and_the_help_menu(page: Page, hub: Hub):
    """The hub serves it: there may be no internet."""
    page.goto(f"{server(hub)}lab?reset")
    card = page.locator(".jp-LauncherCard", has_text="Facility Docs")
    with page.expect_popup() as opened:
        card.click()
    pages = opened.value
    expect(pages.locator("h1").first).to_be_visible()
    assert pages.url.removeprefix(hub.address) in ("hub/docs/", "/hub/docs/")
    look(pages, "documentation")
    links = pages.locator("a.internal[href$='.html']").all()
    links[0].click()
    expect(pages.locator("h1").first).to_be_visible()
    pages.close()
    page.locator(".lm-MenuBar-itemLabel", has_text="Help").click()
    expect(page.locator(".lm-Menu-itemLabel", has_text="Facility Documentation")).to_be_visible()
    page.keyboard.press("Escape")


def test_notebook_03_runs_to_its_plot(page: Page, hub: Hub):
    (name,) = (path.name for path in (ROOT / "notebooks").glob("03*.ipynb"))
    open_notebook(page, server(hub), name)
    run_to_plot(page, "3-notebook-03")


def test_lists_that_come_late_take_no_kernel_and_no_terminal_away(page: Page, hub: Hub):
    page.goto(f"{server(hub)}lab?reset")
    wait_for_lab(page)
    with late_lists(page) as send:
        page.locator(".jp-LauncherCard", has_text="Terminal").click()
        expect(page.locator(".jp-Terminal")).to_be_visible()
        open_from_list(page, "02_pools_and_routing.ipynb")
        send()
    expect(page.locator(".jp-Terminal")).to_have_count(1)
    expect(page.locator(STATUS)).to_contain_text(READY)
    page.locator(".jp-Notebook .jp-CodeCell").first.click()
    run_new_cell(page, "print('still', 'here')", "still here")
    look(page, "4-late-list")


def test_the_widget_of_a_notebook_tells_what_it_does_not_do(page: Page, hub: Hub):
    open_notebook(page, server(hub), "01_first_cluster.ipynb")
    page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").first.click()
    run_new_cell(page, 'from facility import cluster\nc = cluster(1)\nprint("there")\nc', "there")
    widget = page.locator(".jp-Notebook .widget-tab").first
    widget.get_by_text("Scaling", exact=True).click()
    widget.get_by_text("Adaptive Scaling").click()
    widget.locator("input[type=number]").nth(1).fill("3")
    widget.get_by_role("button", name="Adapt").click()
    expect(widget).to_contain_text("the minimum is above the maximum")
    look(page, "5-widget-wrong")
    run_new_cell(page, 'c.close(); print("gone")', "gone")
    expect(widget.get_by_role("button", name="Adapt")).to_be_disabled()
    widget.get_by_text("Status", exact=True).click()
    expect(widget).to_contain_text("is closed")
    look(page, "5-widget-closed")


def test_panel_starts_a_dask_cluster_and_shows_its_dashboard(page: Page, hub: Hub):
    open_notebook(page, server(hub), "01_first_cluster.ipynb")
    listed, link = start_in_panel(page)
    look(page, "6-panel-new")
    expect(listed).to_contain_text(re.compile(r"^dask-\w+Scheduler.*Minimum Workers: 0Maximum"))
    assert "workers instead of 50: " in scale_in_panel(page, listed, 50)
    assert re.fullmatch(rf"/user/{hub.told('user')}/proxy/\d+/status", link), link
    assert use_client_of_panel(page, listed) == link

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
    see_dashboard(page, hub.address.rstrip("/") + link, "9-dashboard-tab")
    listed.locator(".dask-ClusterListingItem-stop").click()
    expect(listed).to_have_count(0)
    look(page, "10-panel-stopped")
