"""An API server of tests: real HTTP with the objects that it is given, and no rules of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from facility.kubernetes.client.kinds import Kind

PART = 2**16
Object = dict[str, Any]
Asked = tuple[str, str, Any]


class Objects:
    """What is there, and what was asked for.

    Attributes
    ----------
    asked
        Method, path and body of each call that changes something.
    lists
        The text of each list that was asked for, by its path.
    changes
        What a watch tells next; bytes as they are.
    refuses
        Called with method and path; returns a status to refuse with, or how many seconds to hang.
    """

    def __init__(self, objects: Iterable[tuple[Kind, Object]] = ()) -> None:
        self.objects = list(objects)
        self.asked: list[Asked] = []
        self.refuses: Callable[[str, str], int | float | None] = lambda method, path: None
        self.changes: asyncio.Queue[Object | bytes] = asyncio.Queue()
        self.url = ""
        self.lists: dict[str, bytes] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        refused = self.refuses(request.method, request.path)
        if isinstance(refused, float):
            await asyncio.sleep(refused)
        elif refused:
            said = {"kind": "Status", "reason": "Refused", "message": f"{refused} it is"}
            return web.json_response(said, status=refused)
        if request.method == "GET" and "watch" in request.query:
            return await self._watch(request)
        name, matching = self._matching(request.path, request.query.get("labelSelector", ""))
        if request.method == "GET":
            if not name:
                return await self._list(request, matching)
            if not matching:
                return web.json_response({"kind": "Status", "reason": "NotFound"}, status=404)
            return web.json_response(matching[0])
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path, body))
        if request.method == "DELETE":
            self.lists.clear()
            self.objects = [each for each in self.objects if each[1] not in matching]
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _list(self, request: web.Request, items: list[Object]) -> web.StreamResponse:
        """Send a list in small parts, which a client may read one after the other."""
        selector = request.query.get("labelSelector")
        where = f"{request.path}?{selector}" if selector else request.path
        if where not in self.lists:
            listed = {"metadata": {"resourceVersion": "1"}, "items": items}
            self.lists[where] = json.dumps(listed).encode()
        body = self.lists[where]
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for at in range(0, len(body), PART):
            await response.write(body[at : at + PART])
        return response

    def _matching(self, path: str, selector: str) -> tuple[str, list[Object]]:
        """Return the name that a path ends with, if it does, and the objects that it means."""
        base, _, within = path.partition("/namespaces/")
        space, _, rest = within.partition("/")
        if not rest and "/namespaces" in path:
            base, space, rest = base.removesuffix("/namespaces"), "", f"namespaces/{space}"
        elif not rest:
            base, _, rest = path.rpartition("/")
        plural, _, name = rest.partition("/")
        found = [
            each
            for kind, each in self.objects
            if (kind.base, kind.plural) == (base, plural)
            and (not space or _of(each, "namespace") == space)
            and (not name or _of(each, "name") == name)
            and all(_fits(each, term) for term in selector.split(",") if term)
        ]
        return name, found

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            change = await self.changes.get()
            if not isinstance(change, bytes):
                change = json.dumps(change).encode() + b"\n"
            await response.write(change)


def _of(found: Object, key: str) -> Any:
    metadata = found.get("metadata") if isinstance(found, dict) else None
    return metadata.get(key) if isinstance(metadata, dict) else None


def _fits(found: Object, term: str) -> bool:
    key, equals, value = term.partition("=")
    labels = _of(found, "labels")
    return isinstance(labels, dict) and key in labels and (not equals or labels[key] == value)


@asynccontextmanager
async def serving(objects: Objects) -> AsyncIterator[Objects]:
    """Serve objects on a port of this machine."""
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", objects.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    objects.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield objects
    finally:
        await runner.cleanup()
