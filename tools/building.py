"""Build things that take minutes once, and keep them in folders named by what they are made of."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

STARTED = time.monotonic()
KEPT = "KEPT_CACHE_HOME"
"""Variable with the user's cache folder, which tests set for their own processes."""
CACHE = (
    Path(os.environ.get(KEPT) or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    / "facility"
)
"""The user's cache folder."""
APT_SECONDS = 600
"""Seconds to wait for another program that installs packages."""


class BuildError(Exception):
    """What is missing or went wrong, in one sentence, and what to do about it."""


def say(text: str) -> None:
    """Print what happens and when, in seconds since this program started."""
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


def fingerprint(parts: Iterable[str], files: Iterable[Path] = ()) -> str:
    """Sixteen characters that change with each part, and with each file's name and content."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def run(command: list[str], what: str, log: Path, **settings: object) -> None:
    """Run a long command and say every half minute that it still runs.

    Parameters
    ----------
    command
        Its words.
    what
        What it builds.
    log
        The file that its output is added to.
    **settings
        Environment variables beside this process's own; `cwd` is the folder to run in.

    Raises
    ------
    BuildError
        It failed; with the last lines of its log.
    """
    begin = time.monotonic()
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    folder = environment.pop("cwd", None)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            cwd=folder,
        )
        try:
            while True:
                try:
                    code = child.wait(timeout=30)
                    break
                except subprocess.TimeoutExpired:
                    lines = log.read_text(errors="replace").splitlines()
                    last = lines[-1][:80] if lines else "nothing said yet"
                    say(f"  {what}: {time.monotonic() - begin:.0f} s, {len(lines)} steps, {last}")
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    if code:
        lines = log.read_text(errors="replace").splitlines()[-8:]
        tail = "".join(f"\n    {line[:300]}" for line in lines)
        raise BuildError(f"{what} could not be built; the last lines of {log}:{tail}")


def once(folder: Path, name: str, make: Callable[[Path], None], about: str) -> Path:
    """Return `name` in `folder`, made by `make` if it is not there.

    What stopped half-way is removed: there is never half of one.
    """
    final = folder / name
    if final.is_dir():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f".{name}.*"):
        remove(stale)
    say(about)
    fresh = folder / f".{name}.{os.getpid()}"
    fresh.mkdir()
    try:
        make(fresh)
        fresh.rename(final)
    except BaseException:
        remove(fresh)
        raise
    return final


def remove(folder: Path) -> None:
    """Remove a folder, read-only parts of it too."""
    for path, _, _ in os.walk(folder):
        with suppress(OSError):
            Path(path).chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


def missing(packages: dict[str, str], root: Path = Path("/")) -> list[str]:
    """Name the Debian packages that are not installed, each known by one of its files."""
    return [name for name, file in packages.items() if not (root / file.lstrip("/")).exists()]


def install(packages: dict[str, str], names: list[str]) -> None:
    """Install Debian packages, without the services that some of them start.

    apt-get gives up where another one runs: two calls of this take turns, and dpkg's lock is waited
    for where a program of somebody else holds it.

    Raises
    ------
    BuildError
        They cannot be installed, or do not hold the files they are known by.
    """
    say(f"installing Debian packages: {' '.join(names)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    wait = f"-oDPkg::Lock::Timeout={APT_SECONDS}"
    words = ["apt-get", "install", wait, "-y", "-qq", "--no-install-recommends", *names]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "apt.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for command in (["apt-get", "update", "-qq"], words):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
                raise BuildError(
                    f"`{' '.join(command)}` failed ({' '.join(last)}): install these packages by "
                    "hand."
                )
    left = missing(packages)
    if left:
        raise BuildError(
            f"apt-get installed {', '.join(left)}, but not {', '.join(packages[n] for n in left)}: "
            "this machine is not Debian 12, whose files are expected."
        )
