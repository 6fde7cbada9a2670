"""Build the documentation: `make docs`.

python -m tools.docs [--notebooks FOLDER] [--into FOLDER]
"""

import argparse
import hashlib
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
MADE_FROM = BUILT / "made-from"
"""Digest of what the pages are made from; not there while they are made."""


def digest_of_sources(root: Path = ROOT) -> str:
    """Digest of all files of this copy, since pages show code, values and tests too.

    Returns
    -------
    str
        Nothing outside of git, which says what belongs to the copy.
    """
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(words, cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    found = hashlib.sha256()
    for name in sorted(set(listed.split(b"\0")) - {b""}):
        path = root / os.fsdecode(name)
        content = path.read_bytes() if path.is_file() else b""
        found.update(b"%d %s %d\n" % (len(name), name, len(content)))
        found.update(content)
    # Sphinx and its extensions are those that the lock files name; this is their Python.
    found.update(sys.version.encode())
    return found.hexdigest()


def main() -> int:
    """Build all pages, then look at what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description="Build the docs.")
    parser.add_argument(
        "--notebooks", type=Path, default=ROOT / "notebooks", help="folder of the tutorial's"
    )
    parser.add_argument("--into", type=Path, default=PAGES, help="folder of the built pages")
    arguments = parser.parse_args()
    pages = arguments.into.resolve()
    # Of the usual pages it is known what they were made from.
    usual = pages == PAGES and arguments.notebooks.resolve() == ROOT / "notebooks"
    digest = digest_of_sources() if usual else ""
    if digest and MADE_FROM.exists() and MADE_FROM.read_text() == digest:
        print(f"The pages in {os.path.relpath(pages, ROOT)} are as new as what they are made from.")
        return 0
    MADE_FROM.unlink(missing_ok=True)
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
    if digest:
        MADE_FROM.write_text(digest)
    print(f"{count} in {os.path.relpath(pages, ROOT)}, made in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
