"""Follow what happens to objects, for ever."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from facility.errors import KubernetesError
from facility.kubernetes.client.api import UNANSWERED, Api, pause
from facility.kubernetes.client.calls import Call, Object, worth_repeating
from facility.kubernetes.client.changes import Change, ChangeReader
from facility.kubernetes.client.kinds import Kind

WATCH_SECONDS = 290
"""Seconds after which a watch is asked for again."""
QUIET_SECONDS = 90.0
"""Seconds without a word after which a watch is taken for dead: there is a bookmark a minute."""


async def follow(api: Api, kind: Kind, selector: str) -> AsyncGenerator[tuple[str, Object]]:
    """Follow what happens to the objects that fit a selector, for ever.

    Yields
    ------
    tuple
        ``("LISTED", list object)`` at first and whenever changes may have been missed, else
        ``("ADDED" | "MODIFIED" | "DELETED", object)``. The list object has one more key,
        ``asked``: when it was asked for (monotonic, in seconds).

    Raises
    ------
    KubernetesError
        Where it is refused.
    """
    version = ""
    failures = 0
    told: set[str] = set()
    while True:
        try:
            if not version:
                asked = time.monotonic()
                listed = await api.list(kind, selector)
                version = listed["metadata"]["resourceVersion"]
                yield "LISTED", {**listed, "asked": asked}
            async with aclosing(_watch(api, kind, selector, version, told)) as changes:
                async for change, body in changes:
                    if change == "ERROR":
                        version = ""
                        # Also here, or a line that nobody can read would have all listed at once,
                        # and again with the next.
                        failures += 1
                        break
                    failures = 0
                    version = body["metadata"]["resourceVersion"]
                    if change != "BOOKMARK":
                        yield change, body
        except KubernetesError as error:
            if error.status == 410:
                version = ""
            elif not worth_repeating(error):
                raise
            failures += 1
        except UNANSWERED:
            api.silent()
            failures += 1
        if failures:
            await asyncio.sleep(pause(failures))


async def _watch(
    api: Api, kind: Kind, selector: str, version: str, told: set[str]
) -> AsyncGenerator[Change]:
    params: dict[str, str | int] = {
        "watch": "1",
        "labelSelector": selector,
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": WATCH_SECONDS,
    }
    call = Call("watch", "GET", kind, api.namespace, params=params)
    reader = ChangeReader(kind, told)
    async with aclosing(api.parts(call, QUIET_SECONDS)) as parts:
        async for part in parts:
            for change in reader.feed(part):
                yield change
