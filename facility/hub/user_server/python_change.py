"""What a user's home has lost from sight when the image came with another Python.

Packages of `pip install --user` and environments of one Python are not seen by another one. The
first server after such a change lists them in a file that JupyterLab opens, with the command that
installs them again. Nothing in the home is changed.
"""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from facility import names
from facility.system.private_files import make_private, write_private, write_readable
from facility.wording import counted
from facility.worker.software import minor

RECORD = "python.json"
"""In the data folder: the Python of the last server."""
NOTICE = "PYTHON-HAS-CHANGED.md"
ENVIRONMENTS = ("*/pyvenv.cfg", "*/.venv/pyvenv.cfg", "*/venv/pyvenv.cfg", ".*/*/pyvenv.cfg")
"""Where environments are looked for in a home, beside those of its kernels."""
_SEES_IMAGE = re.compile(r"^include-system-site-packages\s*=\s*true", re.M | re.I)
_VERSION = re.compile(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", re.M)


@dataclass(frozen=True)
class Lost:
    """Packages of one folder that no Python sees any more.

    Parameters
    ----------
    packages
        What pip has to be told to install each of them again, by what it is called.
    environment
        Their environment, None for those of `pip install --user`.
    kernel
        Name of the Jupyter kernel that runs in it.
    sees_image
        Whether the environment sees the packages of the image too.
    """

    packages: dict[str, str]
    environment: Path | None = None
    kernel: str = ""
    sees_image: bool = False

    def command(self, tool: str) -> str:
        """Return what installs them again, in a shell."""
        wanted = shlex.join(self.packages.values())
        if self.environment is None:
            return f"{tool} -m pip install --user {wanted}"
        folder = shlex.quote(str(self.environment))
        also = " --system-site-packages" if self.sees_image else ""
        new = f"{tool} -m venv --clear --without-pip{also} {folder}"
        return f"{new} && {tool} -m pip --python {folder} install {wanted}" if wanted else new


def packages(site: Path) -> dict[str, str]:
    """List the packages of a folder, each with what pip has to be told to install it again."""
    found: dict[str, str] = {}
    for folder in sorted(site.glob("*.dist-info")):
        name = folder.name.removesuffix(".dist-info").rpartition("-")[0]
        # An installation that was cut off leaves a folder with a tilde.
        if not name or name.startswith("~"):
            continue
        found[name] = _source(folder, name)
    return found


def _source(info: Path, name: str) -> str:
    """Name a package, or where it came from if that was no index."""
    try:
        origin = json.loads((info / "direct_url.json").read_text())
        url = str(origin["url"])
        revision = origin.get("vcs_info")
    except (OSError, ValueError, KeyError, TypeError):
        return name
    if revision:
        url = f"{revision['vcs']}+{url}@{revision['commit_id']}"
    return f"{name} @ {url}"


def lost(home: Path, old: str, shipped: Iterable[str]) -> list[Lost]:
    """Find what the Python of an earlier image saw in a home and this one does not.

    Parameters
    ----------
    home
        The user's home.
    old
        The earlier Python, such as 3.11.
    shipped
        Names of the image's own packages, which need not be installed again.
    """
    here = {_plain(name) for name in shipped}
    own = packages(home / ".local" / "lib" / f"python{old}" / "site-packages")
    own = {name: wanted for name, wanted in own.items() if _plain(name) not in here}
    found = [Lost(own)] if own else []
    kernels = _kernels(home)
    for folder in sorted(_environments(home) | set(kernels)):
        about = _settings(folder)
        if _python_of(about) == old and not _has_python_of_its_own(folder / "bin" / "python"):
            site = folder / "lib" / f"python{old}" / "site-packages"
            inside = {name: text for name, text in packages(site).items() if name != "pip"}
            sees = _SEES_IMAGE.search(about) is not None
            found.append(Lost(inside, folder, kernels.get(folder, ""), sees))
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _kernels(home: Path) -> dict[Path, str]:
    """Name the user's kernels that run in an environment, by its folder."""
    found = {}
    for spec in sorted(home.glob(".local/share/jupyter/kernels/*/kernel.json")):
        try:
            program = Path(json.loads(spec.read_text())["argv"][0])
        except (OSError, ValueError, LookupError, TypeError):
            continue
        if program.is_absolute() and (program.parents[1] / "pyvenv.cfg").exists():
            found[program.parents[1]] = spec.parent.name
    return found


def _environments(home: Path) -> set[Path]:
    return {each.parent for pattern in ENVIRONMENTS for each in home.glob(pattern)}


def _settings(environment: Path) -> str:
    try:
        return (environment / "pyvenv.cfg").read_text()
    except (OSError, ValueError):
        return ""


def _python_of(settings: str) -> str | None:
    found = _VERSION.search(settings)
    return found[1] if found else None


def _has_python_of_its_own(program: Path) -> bool:
    """Tell whether an environment's Python is there still, and is not that of the image."""
    image = Path(getattr(sys, "_base_executable", sys.executable))
    try:
        return program.exists() and program.resolve() != image.resolve()
    except OSError:
        return False


def notice(found: Iterable[Lost], old: str, new: str) -> str:
    """Write what the user reads."""
    found = list(found)
    lines = [f"# Python has changed from {old} to {new}", ""]
    lines += ["The facility's image has a new Python. What you had installed for the old one is"]
    lines += ["still in your home, and is not seen any more:", ""]
    for each in found:
        listed = ", ".join(each.packages) or "no packages"
        if each.environment is None:
            lines.append(f"* {counted(len(each.packages), 'package')} of yours: {listed}")
        else:
            kernel = f", kernel {each.kernel}" if each.kernel else ""
            lines.append(f"* environment {each.environment}{kernel}: {listed}")
    command = " \\\n  && ".join(each.command("python3") for each in found)
    lines += [
        "",
        "This installs all of them again, in the newest versions; paste it into a terminal",
    ]
    lines += ["(File > New > Terminal):", "", "```sh", command, "```", ""]
    lines += [
        "Environments are made anew by it, and what is in them now is removed. Delete this file"
    ]
    lines += ["when you have read it: it does not come again.", ""]
    return "\n".join(lines)


def tell_of_change(
    home: Path, shipped: Callable[[], Iterable[str]], version: str, say: Callable[[str], object]
) -> str | None:
    """Write the notice if this is the first server with another Python than the last one had.

    Parameters
    ----------
    home
        The user's home.
    shipped
        Names the image's own packages.
    version
        Of this Python.
    say
        Is told where a file cannot be written: a full disk does not keep a server from starting.

    Returns
    -------
    str or None
        The page at which JupyterLab opens, where there is something to read.
    """
    new = minor(version)
    record = names.data_folder() / RECORD
    old = _last(record, home, new)
    if old == new:
        return None
    page = None
    try:
        if old is not None and (found := lost(home, old, shipped())):
            write_readable(home / NOTICE, notice(found, old, new).encode())
            page = f"/lab/tree/{NOTICE}"
            say(f"Python has changed from {old} to {new}: {NOTICE} lists what is not seen any more")
        make_private(record.parent)
        write_private(record, json.dumps({"python": new}).encode())
    except OSError as error:
        say(f"What Python {old} had in {home} cannot be told: {error}")
    return page


def _last(record: Path, home: Path, new: str) -> str | None:
    """Name the Python of the last server; the newest other one in the home where none is noted."""
    try:
        return str(json.loads(record.read_text())["python"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    folders = [path.name for path in (home / ".local" / "lib").glob("python3.*")]
    seen = {match[1] for name in folders if (match := re.fullmatch(r"python(3\.\d+)", name))}
    seen |= {
        found
        for each in (*_kernels(home), *_environments(home))
        if (found := _python_of(_settings(each)))
    }
    return max(seen - {new}, key=lambda each: int(each.split(".")[1]), default=None)
