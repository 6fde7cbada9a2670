"""Look at the built pages with axe, in a real Chromium: `make docs-axe`.

What axe calls serious or critical fails; the rest is told.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from facility.wording import counted
from tools.building import BuildError
from tools.docs.__main__ import BUILT, PAGES

HERE = Path(__file__).parent
WRONG = ("serious", "critical")
SCHEMES = ("light", "dark")


def script() -> str:
    """Return axe, which npm fetches and compares with its lock where it is not there yet.

    Raises
    ------
    BuildError
        It cannot be fetched.
    """
    folder = BUILT / "node"
    found = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, folder / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        try:
            subprocess.run(command, cwd=folder, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BuildError(f"npm could not fetch axe-core: {error}") from None
    return found.read_text()


def looked_at(pages: list[Path], chromium: str) -> Iterator[tuple[str, str, str]]:
    """Yield how bad it is, where, and what axe says, for each kind of problem of each page."""
    axe = script()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for number, path in enumerate(pages):
            # Every page in one of the two, turn and turn about: what they differ in is the theme's.
            scheme = SCHEMES[number % len(SCHEMES)]
            page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
            page.goto(path.as_uri())
            page.evaluate(axe)
            found: dict[str, Any] = page.evaluate("axe.run()")
            page.close()
            for problem in found["violations"]:
                first = problem["nodes"][0]["html"]
                where = f"{path.relative_to(PAGES)} ({scheme})"
                told = f"{problem['id']}, {counted(len(problem['nodes']), 'place')}: {first}"
                yield problem["impact"], where, told
        browser.close()


def main() -> int:
    """Look at all pages."""
    pages = sorted(path for path in PAGES.rglob("*.html") if "_static" not in path.parts)
    try:
        found = list(looked_at(pages, sys.argv[1]))
    except BuildError as error:
        sys.exit(str(error))
    for impact, where, told in found:
        print(f"{impact}: {where}: {told}")
    wrong = [impact for impact, *_ in found if impact in WRONG]
    print(f"{counted(len(pages), 'page')}, {counted(len(wrong), 'serious problem')}")
    return int(bool(wrong) or not pages)


if __name__ == "__main__":
    sys.exit(main())
