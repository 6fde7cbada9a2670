"""Growing pauses between wrong passwords, by user and address.

A try during a pause is answered at once and not looked at, so that guessing costs the hub little.
Who guesses holds up nobody at another address, and at their own nobody whose name they do not try
or who has logged in from there before.
"""

import asyncio
import contextlib
import ipaddress
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jupyterhub.auth import Authenticator
from tornado import web
from traitlets import List, Unicode

from facility.wording import counted

FREE = 4
"""Wrong passwords without a pause, for a slip of the fingers."""
LONGEST = 30.0
FORGOTTEN = 900.0
"""Seconds without a try after which wrong ones are forgotten."""
NAMES, KNOWN, ADDRESSES = 10, 256, 4096
"""What is remembered: names of one address that have not logged in from there, others of it, and
addresses. Further names share one count, or guessing with a new name each time had no pause."""
NAME_LENGTH = 64
IPV6_NETWORK = 56
"""Length of the networks that IPv6 gives one customer: each has more addresses than can be kept."""
LOOKUP_SECONDS = 5.0
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass
class Tries:
    """What was tried for one name from one address."""

    wrong: int = 0
    pause_ends: float = 0.0
    last: float = 0.0
    known: bool = False
    """Whether this name has logged in from there."""


class Pauses:
    """Who has to wait, in bounded memory.

    Parameters
    ----------
    clock
        Seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._addresses: OrderedDict[str, dict[str | None, Tries]] = OrderedDict()

    def begin(self, name: str, address: str) -> float:
        """Begin a try, which counts as wrong until it is told to be right.

        Returns
        -------
        float
            Seconds to wait before any; 0 where the password may be looked at now.
        """
        now = self._clock()
        tries = self._tries(name, address)
        if tries.pause_ends > now:
            return tries.pause_ends - now
        if now - tries.last > FORGOTTEN:
            tries.wrong = 0
        tries.wrong += 1
        tries.last = now
        if tries.wrong > FREE:
            # Of a long row the power would be beyond a float.
            tries.pause_ends = now + min(LONGEST, 2.0 ** min(tries.wrong - FREE - 1, 10))
        return 0.0

    def right(self, name: str, address: str) -> None:
        """Say that the password of the last try was right."""
        name = name[:NAME_LENGTH]
        shared = self._tries(name, address)
        names = self._addresses[address]
        if names.get(name) is not shared:
            shared.wrong -= 1
            shared.pause_ends = 0.0
        names.pop(name, None)
        known = [each for each, tries in names.items() if tries.known]
        if len(known) >= KNOWN:
            del names[known[0]]
        names[name] = Tries(last=self._clock(), known=True)

    def _tries(self, name: str, address: str) -> Tries:
        names = self._addresses.setdefault(address, {})
        self._addresses.move_to_end(address)
        if len(self._addresses) > ADDRESSES:
            self._addresses.popitem(last=False)
        key: str | None = name[:NAME_LENGTH]
        if key not in names:
            unknown = [each for each in names if each is not None and not names[each].known]
            old = self._clock() - FORGOTTEN
            for each in [each for each in unknown if names[each].last < old]:
                del names[each]
                unknown.remove(each)
            if len(unknown) >= NAMES:
                key = None
        return names.setdefault(key, Tries(last=self._clock()))


def networks(texts: Iterable[str]) -> list[Network]:
    """Read address ranges.

    Raises
    ------
    ValueError
        Where one is none.
    """
    return [ipaddress.ip_network(text) for text in texts]


def client_address(request: Any, trusted: Callable[[str], bool]) -> str:
    """Return where a request comes from, as the proxies say that are trusted.

    JupyterHub's own ``remote_ip`` is what ``X-Real-Ip`` says, whoever sends it.

    Parameters
    ----------
    request
        Of Tornado.
    trusted
        Whether the proxy at an address tells the truth about who asked it.
    """
    found = plain(request.connection.context.address[0]) or ""
    told = ",".join(request.headers.get_list("X-Forwarded-For")).split(",")
    for text in reversed([each for each in told if each.strip()]):
        if not trusted(found) or (before := plain(text)) is None:
            break
        found = before
    return found


def plain(text: str) -> str | None:
    """Read an address as proxies write them, with a port or not; None where it is none."""
    text = text.strip().strip('"')
    with_port = re.fullmatch(r"\[(.+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+", text)
    try:
        found = ipaddress.ip_address(
            (with_port[1] or with_port[2]) if with_port else text.partition("%")[0]
        )
    except ValueError:
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


def neighbourhood(address: str) -> str:
    """Return what counts as one address."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, IPV6_NETWORK), strict=False))


class PausingAuthenticator(Authenticator):
    """Mixed into an authenticator with passwords, before its class."""

    trusted_proxies = List(
        Unicode(), help="Address ranges of proxies that say truly who asks them."
    ).tag(config=True)
    proxy_host = Unicode(help="Name that resolves to the addresses of the hub's own proxy.").tag(
        config=True
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.pauses = Pauses()
        self._trusted = networks(self.trusted_proxies)
        self._own_proxy: set[str] = set()
        self._looked_up = -LOOKUP_SECONDS

    async def authenticate(self, handler: Any, data: dict[str, str]) -> Any:
        """Ask the authenticator unless there is a pause.

        Raises
        ------
        tornado.web.HTTPError
            Where there is one.
        """
        name = self.normalize_username(data.get("username") or "")
        address = await self.address(handler.request)
        if wait := self.pauses.begin(name, address):
            raise too_many(wait)
        found = await super().authenticate(handler, data)
        if found is not None:
            self.pauses.right(name, address)
        return found

    async def address(self, request: Any) -> str:
        """Return what counts as the address that a request comes from."""
        peer = plain(request.connection.context.address[0])
        await self._find_own_proxy(peer)

        def trusted(address: str) -> bool:
            if address in self._own_proxy:
                return True
            return bool(address) and any(
                ipaddress.ip_address(address) in network for network in self._trusted
            )

        return neighbourhood(client_address(request, trusted))

    async def _find_own_proxy(self, peer: str | None) -> None:
        now = time.monotonic()
        if not self.proxy_host or (peer in self._own_proxy and now - self._looked_up < 60):
            return
        if now - self._looked_up < LOOKUP_SECONDS:
            return
        self._looked_up = now
        # A name that does not resolve now may do later; meanwhile the proxy's own address counts.
        with contextlib.suppress(OSError, TimeoutError):
            loop = asyncio.get_running_loop()
            found = await asyncio.wait_for(loop.getaddrinfo(self.proxy_host, None), LOOKUP_SECONDS)
            self._own_proxy = {str(plain(str(each[4][0]))) for each in found}


def too_many(wait: float) -> web.HTTPError:
    """Return what tells for how long no password is looked at."""
    seconds = math.ceil(wait)
    said = (
        f"Too many wrong passwords. Wait {counted(seconds, 'second')}, then log in again; until "
        "then no password is looked at."
    )
    error = web.HTTPError(429, said)
    # Both are what JupyterHub's pages of errors look for.
    vars(error).update(jupyterhub_message=said, headers={"Retry-After": str(seconds)})
    return error
