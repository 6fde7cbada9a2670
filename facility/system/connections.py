"""Whose connection it is that a process of this machine has made to another one."""

import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TABLES = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}


def user_of(address: Sequence[Any] | None) -> int | None:
    """Return the number of the user who holds a connection's other end.

    Parameters
    ----------
    address
        Address and port of that end, as sockets tell them.

    Returns
    -------
    int, optional
        None where it is not of this machine, has ended, or the system does not say (Linux does).
    """
    if not address or len(address) < 2:
        return None
    try:
        host = ipaddress.ip_address(address[0])
        wanted = f"{_written(host)}:{address[1]:04X}"
        # In memory: reading it holds nothing up.
        lines = TABLES[host.version].read_text().splitlines()
    except (OSError, ValueError):
        return None
    for line in lines[1:]:
        words = line.split()
        if words[1] == wanted:
            return int(words[7])
    return None


def _written(host: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Write an address as the kernel does: words of four bytes, each in the machine's order."""
    words = [host.packed[start : start + 4] for start in range(0, len(host.packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
