"""Make the picture of README: `python -m tests.picture` writes `docs/_static/z-peak.png`.

A real hub on this machine and a real Chromium: notebook 03 at its peak, and beside it the task
stream of its Dask cluster.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import (
    READY,
    STATUS,
    browser_page,
    log_in,
    open_notebook,
    outputs,
    run_all,
    wait_for_lab,
)
from tests.local.hub_driver import ROOT, Hub

PICTURE = ROOT / "docs" / "_static" / "z-peak.png"
NOTEBOOK = "03_z_peak.ipynb"
MOST = 300_000
"""Bytes of the picture."""
AGAIN = """\
import time

print("dashboard:", c.dashboard_link)
time.sleep(40)
for _ in range(6):
    facility.run(ZPeak(), files, c, progress=False)
"""
"""What the task stream shows, which knows of nothing before it was opened."""


def draw(page: Page, hub: Hub) -> None:
    """Run the notebook as far as its peak, and put the dashboard beside it."""
    server = f"{hub.address}user/{hub.told('user')}/"
    page.set_default_timeout(40_000)
    log_in(page, hub.address, hub.told("user"), hub.told("password"))
    wait_for_lab(page)
    open_notebook(page, server, NOTEBOOK)
    # The Dask cluster is to be there in the end, and the kernel to go on while the dashboard opens.
    cell = page.locator(".jp-CodeCell", has_text="client.close()")
    cell.locator(".jp-InputPrompt").click()
    page.keyboard.press("d")
    page.keyboard.press("d")
    cell = page.locator(".jp-CodeCell", has_text="runner = processor.Runner")
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(AGAIN)
    run_all(page)
    plots = page.locator(".jp-Notebook .jp-OutputArea-output img")
    expect(plots).to_have_count(2)
    page.set_viewport_size({"width": 1400, "height": 770})
    page.click('[data-id="dask-dashboard-launcher"]')
    found = re.search(r"/\S+/status", outputs(page).get_by_text("dashboard:").inner_text())
    assert found
    page.get_by_placeholder("DASK DASHBOARD URL").fill(found[0])
    page.keyboard.press("Enter")
    entry = page.locator(".dask-DashboardListing-item button")
    entry.get_by_text(re.compile("^task stream$", re.IGNORECASE)).click()
    frame = page.frame_locator('iframe[src*="individual-task-stream"]')
    expect(frame.locator("canvas").first).to_be_visible()
    # Beside the notebook: its tab is taken to the right edge.
    tab = page.locator(".lm-TabBar-tab", has_text="Task Stream").bounding_box()
    dock = page.locator("#jp-main-dock-panel").bounding_box()
    assert tab
    assert dock
    x, y = tab["x"] + 40, tab["y"] + 10
    page.mouse.move(x, y)
    page.mouse.down()
    # Away from the frame below, which would take the mouse for its own.
    page.mouse.move(x + 15, y, steps=3)
    page.mouse.move(x + 15, y - 40, steps=8)
    for part in (0.8, 0.98):
        page.mouse.move(dock["x"] + part * dock["width"], dock["y"] + 0.5 * dock["height"], steps=8)
    page.mouse.up()
    page.locator(".lm-TabBar-tabLabel", has_text=NOTEBOOK).click()
    page.keyboard.press("Control+B")
    expect(page.locator(STATUS)).to_contain_text(READY, timeout=90_000)
    plots.last.evaluate("plot => plot.scrollIntoView({block: 'end'})")
    time.sleep(3)
    page.screenshot(path=PICTURE)


def main() -> int:
    """Make it."""
    with tempfile.TemporaryDirectory() as folder, browser_page() as page:
        hub = Hub(Path(folder) / "data", "--port", "8760").ready()
        try:
            draw(page, hub)
        finally:
            hub.clean_up()
    size = PICTURE.stat().st_size
    print(f"{PICTURE.relative_to(ROOT)}: {size:,} bytes")
    return int(size > MOST)


if __name__ == "__main__":
    sys.exit(main())
