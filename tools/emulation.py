"""Let this machine's kernel run arm64 programs, by Debian's qemu-user-static."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def binfmt_rule(text: str) -> str:
    """The kernel's line for an emulator from Debian's description of it."""
    words = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    flags = "".join(
        flag
        for key, flag in (("preserve", "P"), ("credentials", "OC"), ("fix_binary", "F"))
        if words.get(key) == "yes"
    )
    fields = (EMULATOR, "M", words["offset"], words["magic"], words["mask"], words["interpreter"])
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
            (BINFMT / "register").write_text(binfmt_rule(EMULATOR_RULE.read_text()))
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
