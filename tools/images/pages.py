"""The built documentation for the hub's image, made again only where what it is made of changes."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.building import CACHE, BuildError, fingerprint, once, remove
from tools.images.catalog import ROOT

FOLDER = CACHE / "docs"
PAGES = ("docs/*", "notebooks/*.ipynb", "tools/docs/*", "*.md", "requirements-docs.lock")
"""Of what is told besides in the code."""
TOLD_WHOLE = ("cli.py", "config/*", "hub/kubernetes/values/*", "hub/local/launcher.py", "jobs/*")
"""Modules of the package whose strings are told too: options, keys, values."""


def key() -> str:
    """Hash of all that the pages are made of; a change of other code leaves it as it is."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(
        [*words, *PAGES, "facility"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = sorted({ROOT / name for name in done.stdout.split("\0") if name})
    listed = [path for path in listed if path.is_file()]
    package = ROOT / "facility"
    code = [path for path in listed if path.is_relative_to(package)]
    whole = [path for path in code if any(path.match(f"facility/{each}") for each in TOLD_WHOLE)]
    told = [f"{path}: {text}" for path in code if path.suffix == ".py" for text in _told(path)]
    files = [path for path in listed if path not in set(code)] + whole
    names = [str(path.relative_to(ROOT)) for path in files]
    return fingerprint([*told, *names], files)


def _told(module: Path) -> Iterator[str]:
    """Yield what a page may tell of a module: signatures, docstrings, constants' values."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            returns = ast.unparse(node.returns) if node.returns else ""
            yield f"{node.name}({ast.unparse(node.args)}) -> {returns}"
        elif isinstance(node, ast.ClassDef):
            yield f"{node.name}({', '.join(map(ast.unparse, node.bases))})"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.col_offset == 0:
            yield ast.unparse(node)


def built() -> Path:
    """Return the folder of the pages, made where it is not there.

    Raises
    ------
    BuildError
        They cannot be built; with what Sphinx said.
    """

    def make(into: Path) -> None:
        command = [sys.executable, "-m", "tools.docs", "--into", str(into)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-1500:]
            raise BuildError(f"The documentation of the hub's image cannot be built: {said}")

    pages = once(FOLDER, key(), make, "building the documentation for the hub's image")
    for other in FOLDER.iterdir():
        # Another program may be building one right now.
        if other != pages and not other.name.startswith("."):
            remove(other)
    return pages
