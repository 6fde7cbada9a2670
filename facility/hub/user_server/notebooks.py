"""The user's copies of the notebooks that come with the facility."""

import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path

from facility.errors import HubError
from facility.system.private_files import (
    READABLE_FOLDER,
    is_full,
    make_folder,
    refusal,
    write_readable,
)

RECORD = ".facility.json"
"""In the user's folder: what each copy was when it was made, as a hash."""
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": platform.python_version(),
}
"""What the kernel of every user says of itself."""


def shipped_folder() -> Path | None:
    """Folder of the notebooks as they were installed, or those of a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if folder.is_dir():
            return folder
    return None


def copy_notebooks(
    target: Path, say: Callable[[str], object], source: Path | None = None
) -> list[str]:
    """Copy the notebooks that are not there, and those that the user never changed.

    Where the disk is full this is told and the rest is not copied: who clears it up needs a
    server.

    Parameters
    ----------
    target
        The user's folder, made where it is missing.
    say
        Tells that the disk is full.
    source
        Where to copy from, by default `shipped_folder`.

    Returns
    -------
    list of str
        Names of what was copied.

    Raises
    ------
    HubError
        Where the folder cannot be written for another reason.
    """
    source = source or shipped_folder()
    try:
        make_folder(target, READABLE_FOLDER)
        return [] if source is None else _copy(target, source)
    except OSError as error:
        wrong = HubError(
            f"The notebooks cannot be copied to {target}: "
            f"{refusal(error, target, 'choose one with --notebooks')}"
        )
        if not is_full(error):
            raise wrong from error
        say(str(wrong))
        return []


def _copy(target: Path, source: Path) -> list[str]:
    record_file = target / RECORD
    try:
        record = json.loads(record_file.read_text())
    except (FileNotFoundError, ValueError):
        record = {}
    copied = []
    for shipped in sorted(source.iterdir()):
        if not shipped.is_file() or shipped.name.startswith("."):
            continue
        own, content = target / shipped.name, _for_its_kernel(shipped)
        new = _hash(content)
        if own.exists():
            there = _hash(own.read_bytes())
            if there != record.get(shipped.name) or there == new:
                continue
        write_readable(own, content)
        record[shipped.name] = new
        copied.append(shipped.name)
        write_readable(record_file, json.dumps(record, indent=1).encode())
    return copied


def _for_its_kernel(shipped: Path) -> bytes:
    """Return a notebook as JupyterLab would have it; else opening it would be a change of it."""
    content = shipped.read_bytes()
    if shipped.suffix != ".ipynb":
        return content
    notebook = json.loads(content)
    notebook["metadata"] |= {"kernelspec": KERNEL, "language_info": LANGUAGE}
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def first_page(folder: Path, within: str = "") -> str:
    """Path at which JupyterLab opens: the first notebook of the folder.

    Parameters
    ----------
    within
        Path of the folder in what JupyterLab shows.
    """
    notebooks = sorted(path.name for path in folder.glob("*.ipynb"))
    path = "/".join(part for part in (within, notebooks[0]) if part) if notebooks else ""
    return f"/lab/tree/{path}" if path else "/lab"
