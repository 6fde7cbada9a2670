"""What stands for a mark in a page: a generated part, or a part of another file of the repository.

    <!-- generated: command -->
    <!-- file: CONTRIBUTING.md -->
    <!-- file: images/README.md, Measured -->

The last one is the section of that file under that heading. Headings are moved down by as much as
the heading above the mark asks for.
"""

import re
from pathlib import Path

from tools.docs.reference import PARTS

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"^<!-- (generated|file): ([^,\n]+?)(?:, ([^\n]+?))? -->$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(?:#[^)]*)?\)")


def filled(text: str) -> str:
    """Return a page with its marks replaced.

    Raises
    ------
    ValueError
        Where a mark asks for what there is not.
    """
    return MARK.sub(_part, text)


def _part(mark: re.Match[str]) -> str:
    kind, name, heading = mark.groups()
    if kind == "generated":
        if name not in PARTS:
            raise ValueError(f"nothing generated is called {name!r}; there are {', '.join(PARTS)}")
        return PARTS[name]()
    return from_file(ROOT / name, heading)


def from_file(path: Path, heading: str | None) -> str:
    """Return the text of a file below its title, or of one of its sections.

    Links to other pages stay links. Those to files of the repository, which a reader of the pages
    does not have beside them, become the names of those files.
    """
    text = path.read_text()
    if heading is None:
        found = text.partition("\n")[2]
    else:
        parts = re.split(rf"^## {re.escape(heading)}\n", text, flags=re.MULTILINE)
        if len(parts) != 2:
            raise ValueError(f"{path.relative_to(ROOT)} has no heading {heading!r}")
        found = parts[1].partition("\n## ")[0]

    def named(link: re.Match[str]) -> str:
        label, target = link.groups()
        name = (path.parent / target).resolve().relative_to(ROOT).as_posix()
        if name.startswith("docs/"):
            return f"[{label}](/{name.removeprefix('docs/')})"
        return f"`{name}`" if label.strip("`") in (target, name) else f"{label} (`{name}`)"

    return LINK.sub(named, found).strip() + "\n"
