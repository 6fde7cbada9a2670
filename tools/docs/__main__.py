"""Build the documentation: `make docs`.

python -m tools.docs [--notebooks FOLDER] [--into FOLDER]
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from facility.wording import counted
from tools.docs.check import problems

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "docs"
PAGES = BUILT / "html"


def main() -> int:
    """Build all pages, then look at what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description="Build the docs.")
    parser.add_argument(
        "--notebooks", type=Path, default=ROOT / "notebooks", help="folder of the tutorial's"
    )
    parser.add_argument("--into", type=Path, default=PAGES, help="folder of the built pages")
    arguments = parser.parse_args()
    pages = arguments.into.resolve()
    began = time.monotonic()
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--jobs", "auto", "--quiet"]
    command += ["--fail-on-warning", "--nitpicky", str(ROOT / "docs"), str(pages)]
    environment = os.environ | {
        "DOCS_NOTEBOOKS": str(arguments.notebooks.resolve()),
        "PYTHONPATH": str(ROOT),
    }
    with TemporaryDirectory() as folder:
        # Two that are built at once are not in each other's way.
        kept = BUILT / "doctrees" if pages == PAGES else Path(folder)
        command += ["--doctree-dir", str(kept)]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code:
        return code
    wrong = list(problems(pages))
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if wrong:
        return 1
    count = counted(len(list((ROOT / "docs").rglob("*.md"))), "page")
    print(f"{count} in {os.path.relpath(pages, ROOT)}, made in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
