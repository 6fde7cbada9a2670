"""What lies outside of the Kubernetes: addresses of the tests' own, in their network namespace.

They stand for a cloud's metadata, for foreign private networks, for a service of the site and for
the internet. Packets of pods alone are led there, so that the machine itself sees none of them.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.kube.bringup import site
from tests.kube.bringup.network import command
from tools.building import BuildError

NAME = "kt-outside"
CABLE = "kt-out0"
ENDS = ("198.18.0.1", "198.18.0.2")
"""Of the cable, in a range for measurements."""
TABLE, PRIORITY = "4242", "1000"
METADATA = "169.254.169.254"
PUBLIC = "198.51.100.7"
"""Of a range for documentation: for policies an address of the internet."""
PRIVATE = ("10.99.0.7", "100.64.9.7", "172.20.0.7", "192.168.77.7")
OF_THE_SITE = "10.99.0.8"
PORTS = (8443, 8444)
LISTEN = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    chosen.register(socket.create_server(("", port)), selectors.EVENT_READ)
print("listens", flush=True)
while True:
    for key, _ in chosen.select():
        key.fileobj.accept()[0].close()
"""


def targets(*addresses: str) -> list[str]:
    """Each address with each port."""
    return [f"{address}:{port}" for address in addresses for port in PORTS]


@contextmanager
def outside() -> Iterator[None]:
    """Something that listens at all these addresses and ports, for pods of the first node."""
    take_away()
    try:
        command("ip", "netns", "add", NAME)
        command("ip", "link", "add", CABLE, "type", "veth", "peer", "name", "eth0", "netns", NAME)
        command("ip", "addr", "add", f"{ENDS[0]}/30", "dev", CABLE)
        command("ip", "link", "set", CABLE, "up")
        inside = ("ip", "-n", NAME)
        command(*inside, "addr", "add", f"{ENDS[1]}/30", "dev", "eth0")
        command(*inside, "link", "set", "eth0", "up")
        for address in (METADATA, PUBLIC, *PRIVATE, OF_THE_SITE):
            command(*inside, "addr", "add", f"{address}/32", "dev", "eth0")
            command("ip", "route", "add", address, "via", ENDS[1], "table", TABLE)
        where = ("from", site.POD_RANGE, "lookup", TABLE)
        command("ip", "rule", "add", *where, "priority", PRIORITY)
        enter = ("nsenter", f"--net=/run/netns/{NAME}")
        listener = subprocess.Popen(
            [*enter, sys.executable, "-c", LISTEN, *map(str, PORTS)], stdout=subprocess.PIPE
        )
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"listens\n"
            yield
        finally:
            listener.kill()
            listener.communicate()
    finally:
        take_away()


def take_away() -> None:
    """Leave nothing, also of a run that was killed."""
    words = (
        ("ip", "rule", "del", "priority", PRIORITY),
        ("ip", "route", "flush", "table", TABLE),
        ("ip", "link", "del", CABLE),
        ("ip", "netns", "del", NAME),
    )
    for each in words:
        with suppress(BuildError):
            command(*each)
    # The kernel takes a cable away a moment after its namespace.
    time.sleep(0.1)
