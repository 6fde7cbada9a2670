"""Let this machine's kernel run arm64 programs, by qemu of Debian."""

import fcntl
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.building import CACHE, BuildError, install, missing, once, run, say

BINFMT = Path("/proc/sys/fs/binfmt_misc")
EMULATOR = "qemu-aarch64"
EMULATOR_RULE = Path("/usr/share/binfmts/qemu-aarch64")
HOLDERS = Path("/run/facility-emulation")
"""A file for everybody who needs the emulator, and one each for what was done for them."""
MOUNTED, REGISTERED = "mounted", "registered"
PACKAGES = {
    "arch-test": "/usr/bin/arch-test",
    "qemu-user-static": "/usr/bin/qemu-aarch64-static",
}
"""Debian packages that are needed, and a file of each by which it is known."""
QUICK = 10
"""Version of qemu from which on signing pointers costs nothing. Debian 13 does it in all its arm64
programs: Python 3.13 in a loop takes 10 s with qemu 7.2, and 1.1 s with 10.0."""
SUITE = "trixie"
"""Debian that has it, for machines whose own is older."""
FETCHER = {"mmdebstrap": "/usr/bin/mmdebstrap"}


def emulator(own: Path) -> Path:
    """Return the program to emulate with: the machine's own, or a newer one where that is slow.

    Parameters
    ----------
    own
        The machine's.
    """
    version = _version(own)
    if version >= QUICK:
        return own

    def make(into: Path) -> None:
        tar, name = into / "all.tar", "./usr/bin/qemu-aarch64"
        command = ["mmdebstrap", "--variant=extract", "--include=qemu-user", SUITE, str(tar)]
        run(command, f"the emulator of Debian {SUITE}", CACHE / "emulation" / "log")
        # By this name it knows that it is told how the program was called.
        with tarfile.open(tar) as content, (into / own.name).open("wb") as file:
            packed = content.extractfile(name)
            assert packed is not None, "it is a file"
            shutil.copyfileobj(packed, file)
        (into / own.name).chmod(0o755)
        tar.unlink()

    try:
        if left := missing(FETCHER):
            install(FETCHER, left)
        about = f"fetching the emulator of Debian {SUITE}, which is ten times as fast"
        return once(CACHE / "emulation", f"qemu-{SUITE}", make, about) / own.name
    except (BuildError, OSError, KeyError) as error:
        say(f"arm64 programs run slowly, with qemu {version}: {error}")
        return own


def _version(program: Path) -> int:
    """Return the version of a qemu, 0 where it does not say."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    found = re.search(r"version (\d+)", done.stdout)
    return int(found[1]) if found else 0


def binfmt_rule(text: str, choose: Callable[[Path], Path] = Path) -> str:
    """The kernel's line for an emulator from Debian's description of it.

    Parameters
    ----------
    choose
        Gives the program to use in place of the one that is described.
    """
    words = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    flags = "".join(
        flag
        for key, flag in (("preserve", "P"), ("credentials", "OC"), ("fix_binary", "F"))
        if words.get(key) == "yes"
    )
    program = str(choose(Path(words["interpreter"])))
    fields = (EMULATOR, "M", words["offset"], words["magic"], words["mask"], program)
    return ":" + ":".join(fields) + ":" + flags


def emulate(holder: str) -> None:
    """Let the kernel run arm64 programs, in containers too, until the last holder stops.

    Parameters
    ----------
    holder
        The process id of who needs it, or another name.
    """
    with _alone():
        HOLDERS.mkdir(parents=True, exist_ok=True)
        (HOLDERS / holder).touch()
        if not (BINFMT / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True)
            (HOLDERS / MOUNTED).touch()
        if not (BINFMT / EMULATOR).exists():
            (BINFMT / "register").write_text(binfmt_rule(EMULATOR_RULE.read_text(), emulator))
            (HOLDERS / REGISTERED).touch()


def is_held() -> bool:
    """Whether somebody needs the emulator; processes that ended do not count."""
    names = {path.name for path in HOLDERS.iterdir()} if HOLDERS.is_dir() else set()
    held = names - {MOUNTED, REGISTERED}
    return any(not name.isdigit() or Path("/proc", name).exists() for name in held)


def take_out() -> None:
    """Undo what `emulate` did to the kernel."""
    if (HOLDERS / REGISTERED).exists() and (BINFMT / EMULATOR).exists():
        (BINFMT / EMULATOR).write_text("-1")
    if (HOLDERS / MOUNTED).exists() and (BINFMT / "register").exists():
        subprocess.run(["umount", str(BINFMT)], check=False)


def stop_emulating(holder: str) -> None:
    """Take the emulator out of the kernel, if `emulate` put it in and nobody else needs it."""
    with _alone():
        if not HOLDERS.is_dir():
            return
        (HOLDERS / holder).unlink(missing_ok=True)
        if is_held():
            return
        take_out()
        shutil.rmtree(HOLDERS)


@contextmanager
def _alone() -> Iterator[None]:
    """Let no other process register or take out meanwhile."""
    folder = os.open(HOLDERS.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def emulating() -> Iterator[None]:
    """Let the kernel run arm64 programs for a while, and be as before after that."""
    holder = str(os.getpid())
    emulate(holder)
    try:
        yield
    finally:
        stop_emulating(holder)
