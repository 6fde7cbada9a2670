"""The map of the package in CONTRIBUTING.md, from its layers and docstrings: `make house`.

`python -m tools.house --check` says whether the map is that of the code.
"""

import ast
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "facility"
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- made by `make house` -->\n", "<!-- end of what `make house` makes -->\n"
WIDTH = 96


def docstring(path: Path) -> list[str]:
    """Return the paragraphs of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")


def layers(folder: str) -> list[list[str]]:
    """Return the layers of a folder, the uppermost first, as import-linter holds them.

    Parameters
    ----------
    folder
        As in ``facility.analysis``.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    found: list[str] = next(
        (each["layers"] for each in contracts if each.get("containers") == [folder]), []
    )
    return [layer.replace(":", "|").replace(" ", "").split("|") for layer in found]


def picture() -> Iterator[str]:
    """Draw the layers of the package: each imports from those below it, never from those above."""
    rows = [[_shown(name) for name in sorted(layer)] for layer in layers("facility")]
    inside = max(len("   ".join(row)) for row in rows) + 2
    for row in rows:
        yield f"    +{'-' * inside}+"
        yield f"    |{'   '.join(row).center(inside)}|"
    yield f"    +{'-' * inside}+"


def _shown(name: str) -> str:
    return f"{name}/" if (PACKAGE / name).is_dir() else name


def folders() -> list[Path]:
    """Return the folders of the package with Python in them, each before what is in it."""
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


def modules(folder: Path) -> list[str]:
    """Return the modules of a folder, in the order of its layers: what is called first, first."""
    order = [name for layer in layers(_dotted(folder)) for name in sorted(layer)]
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    return sorted(names, key=lambda name: order.index(name) if name in order else 0)


def _dotted(folder: Path) -> str:
    return ".".join(folder.relative_to(ROOT).parts)


def described() -> Iterator[str]:
    """Say of each folder what belongs there, what does not, and which modules it has."""
    for folder in folders():
        first, *more = docstring(folder / "__init__.py")
        depth = len(folder.relative_to(PACKAGE).parts)
        indent = "  " * depth
        text = " ".join(" ".join([first, *more[:1]]).split()) if depth else first
        yield from _item(f"{indent}* ", f"**`{folder.relative_to(ROOT)}/`** {text}")
        yield from _item(f"{indent}  ", ", ".join(f"`{name}`" for name in modules(folder)))


def _item(begin: str, text: str) -> Iterator[str]:
    after = " " * len(begin)
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=begin, subsequent_indent=after,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def section() -> str:
    """Return the generated part of the page."""
    return "\n".join([*picture(), "", *described(), ""])


def with_section(page: str) -> str:
    """Return the page with the generated part as it should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{section()}\n{END}{after}"


def main() -> int:
    """Write the map, or check it."""
    page = PAGE.read_text()
    made = with_section(page)
    if "--check" in sys.argv:
        return int(made != page)
    PAGE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
