"""Which files a `.gitignore` or `.facilityignore` means: patterns as git understands them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

IGNORE_FILES = (".gitignore", ".facilityignore")
"""Read in each folder; what the second one says counts more."""


@dataclass(frozen=True)
class Pattern:
    """One line of such a file."""

    matches: re.Pattern[str]
    folders_only: bool
    again: bool
    """Whether it takes files in again that an earlier line has left out."""


def patterns(lines: Iterable[str], below: str = "") -> list[Pattern]:
    """Read the lines of one file.

    Parameters
    ----------
    below
        Path of the file's folder, with a slash at its end, empty for the outermost.
    """
    found = []
    for line in lines:
        text = line.rstrip("\n").rstrip()
        if not text or text.startswith("#"):
            continue
        again = text.startswith("!")
        text = text[1:] if again or text.startswith("\\") else text
        folders_only = text.endswith("/")
        text = text.rstrip("/")
        anchored = "/" in text
        form = _form(text.lstrip("/"))
        start = re.escape(below) + ("" if anchored else "(?:.*/)?")
        found.append(Pattern(re.compile(start + form), folders_only, again))
    return found


def of_folder(folder: Path, below: str = "") -> list[Pattern]:
    """Read the files of a folder that say what is ignored; none where they cannot be read."""
    found: list[Pattern] = []
    for name in IGNORE_FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found += patterns(text.splitlines(), below)
    return found


def is_ignored(path: str, is_folder: bool, found: Iterable[Pattern]) -> bool:
    """Tell whether a path is left out; the last pattern that matches decides."""
    ignored = False
    for pattern in found:
        if (is_folder or not pattern.folders_only) and pattern.matches.fullmatch(path):
            ignored = not pattern.again
    return ignored


def _form(text: str) -> str:
    """Write a pattern of git as a regular expression."""
    form, position = "", 0
    while position < len(text):
        rest = text[position:]
        if rest.startswith("**/"):
            form, position = form + "(?:.*/)?", position + 3
        elif rest == "**":
            form, position = form + ".*", position + 2
        elif rest[0] == "*":
            form, position = form + "[^/]*", position + 1
        elif rest[0] == "?":
            form, position = form + "[^/]", position + 1
        elif rest[0] == "[" and "]" in rest[2:]:
            end = rest.index("]", 2)
            inside = rest[1:end].replace("\\", "\\\\")
            inside = "^" + inside[1:] if inside.startswith("!") else inside
            form, position = f"{form}[{inside}]", position + end + 1
        else:
            form, position = form + re.escape(rest[0]), position + 1
    return form
