"""Waiting for a scheduler in this Kubernetes that has just been started."""

import asyncio
import contextlib
from urllib.parse import urlsplit

from facility import names

LISTEN_SECONDS = 5.0
"""Seconds for which a scheduler is waited for, whose dashboard's port may not be reachable."""
LISTEN_EVERY = 0.03
LISTEN_TRY_SECONDS = 0.2
"""Seconds after which one try is given up.

Until a node knows the new pod, and the rules for it, it may drop what is sent there without a word:
TCP tries again after 1 s and 3 s.
"""


async def until_it_listens(address: str) -> None:
    """Wait until a scheduler listens, for a while at most.

    distributed waits ever longer between its own tries, and would be up to a second late. Of a
    scheduler's ports the dashboard's opens first, and takes a connection without a word amiss.

    Parameters
    ----------
    address
        Of the scheduler, ``tls://host:port``.
    """
    loop = asyncio.get_running_loop()
    host = urlsplit(address).hostname
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LISTEN_SECONDS):
            while True:
                try:
                    # By number below: a name server may need longer than one try has.
                    found = await loop.getaddrinfo(host, names.DASHBOARD_PORT)
                    async with asyncio.timeout(LISTEN_TRY_SECONDS):
                        _, writer = await asyncio.open_connection(*found[0][4][:2])
                except OSError:
                    await asyncio.sleep(LISTEN_EVERY)
                else:
                    writer.close()
                    return
