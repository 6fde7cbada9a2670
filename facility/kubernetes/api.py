"""The only module that talks to Kubernetes.

It asks httpx directly, which kr8s is built on: kr8s asks again three times with new
credentials after every 403, so also after each one that a quota answers, and sets
``blockOwnerDeletion`` in what it adopts, which OpenShift refuses.
"""

import asyncio
import copy
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx

from facility.errors import KubernetesError
from facility.kubernetes.account import Account
from facility.kubernetes.calls import Call, Object, deletion, worth_repeating
from facility.kubernetes.kinds import Kind, kind_of

IN_FLIGHT = 50
"""Calls at once; more wait here instead of in the API server."""
PATIENCE = 60.0
"""Seconds for which a call is repeated while the API server is away or overloaded."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
WATCH_SECONDS = 290
"""Seconds after which a watch is asked for again."""

QUIET_SECONDS = 90.0
"""Seconds without a word after which a watch is taken for dead: there is a bookmark a minute."""


class Api:
    """The API server, asked with one account.

    Calls are asynchronous and belong to one event loop; `now` asks and waits, from any thread,
    also while the interpreter exits.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.namespace = account.namespace
        self.calls = 0
        """Calls made so far."""
        self.silent_since: float | None = None
        """Since when the API server has not answered (monotonic, in seconds)."""
        self.delayed: KubernetesError | None = None
        """The refusal of a call that is being tried again."""
        # A client for each connection: the pool inside of one looks at all of its connections
        # whenever it gives one out, which takes longer than the call where there are fifty.
        self._lanes: list[httpx.AsyncClient] = []
        self._free: list[httpx.AsyncClient] = []
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def aclose(self) -> None:
        """Close the connections."""
        lanes, self._lanes[:], self._free[:] = [*self._lanes], [], []
        for lane in lanes:
            await lane.aclose()

    def within(self, namespace: str) -> "Api":
        """Return the same account and connections for another namespace, or for all with ""."""
        other = copy.copy(self)
        other.namespace = namespace
        return other

    # Objects.

    async def create(self, kind: Kind, body: Object) -> Object:
        """Create an object; one that an unanswered call of ours has made already is returned.

        Raises
        ------
        KubernetesError
            Where it is refused.
        """
        call = self._call("create", "POST", kind, body=body)
        unanswered = False
        async for attempt in self._attempts(call):
            try:
                return dict(await attempt())
            except KubernetesError as error:
                if unanswered and error.reason == "AlreadyExists":
                    return await self.get(kind, body["metadata"]["name"]) or {}
                unanswered = unanswered or error.status is None or error.status >= 500
                if not worth_repeating(error):
                    raise
        raise AssertionError("the last attempt raises")

    async def get(self, kind: Kind, name: str) -> Object | None:
        """Return an object, None where there is none."""
        try:
            return dict(await self._repeat(self._call("get", "GET", kind, name)))
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: Kind, selector: str = "", fields: str = "") -> Object:
        """Return the list object of what fits the selectors."""
        params = {"labelSelector": selector, "fieldSelector": fields}
        params = {key: value for key, value in params.items() if value}
        return dict(await self._repeat(self._call("list", "GET", kind, params=params)))

    async def patch(self, kind: Kind, name: str, body: Object) -> Object:
        """Merge a patch into an object."""
        call = self._call(
            "patch", "PATCH", kind, name, body=body, content_type="application/merge-patch+json"
        )
        return dict(await self._repeat(call))

    async def apply(self, manifest: Object, manager: str) -> Object:
        """Make an object, or make it what the manifest says, whoever changed it.

        Parameters
        ----------
        manager
            Who asks: fields that it asked for earlier and does no more are taken away.

        Raises
        ------
        KubernetesError
            Where it is refused.
        """
        metadata = manifest["metadata"]
        call = Call(
            "apply",
            "PATCH",
            kind_of(manifest),
            metadata.get("namespace", ""),
            metadata["name"],
            params={"fieldManager": manager, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )
        return dict(await self._repeat(call))

    async def delete(self, kind: Kind, name: str, grace: int | None = None) -> bool:
        """Ask for the end of an object; whether there was one."""
        try:
            await self._repeat(deletion(self.namespace, kind, name, grace=grace))
        except KubernetesError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def delete_all(self, kind: Kind, selector: str, grace: int | None = None) -> None:
        """Ask for the end of all objects that fit a selector."""
        await self._repeat(deletion(self.namespace, kind, selector=selector, grace=grace))

    async def ask(self, call: Call) -> Any:
        """Make a call, again where that is of use."""
        return await self._repeat(call)

    async def follow(self, kind: Kind, selector: str) -> AsyncIterator[tuple[str, Object]]:
        """Follow what happens to the objects that fit a selector, for ever.

        Yields
        ------
        tuple
            ``("LISTED", list object)`` at first and whenever changes may have been missed, else
            ``("ADDED" | "MODIFIED" | "DELETED", object)``.
        """
        version = ""
        failures = 0
        while True:
            try:
                if not version:
                    listed = await self.list(kind, selector)
                    version = listed["metadata"]["resourceVersion"]
                    yield "LISTED", listed
                async with aclosing(self._watch(kind, selector, version)) as changes:
                    async for change, body in changes:
                        self.silent_since = None
                        failures = 0
                        if change == "ERROR":
                            version = ""
                            break
                        version = body["metadata"]["resourceVersion"]
                        if change != "BOOKMARK":
                            yield change, body
            except KubernetesError as error:
                if error.status == 410:
                    version = ""
                elif not worth_repeating(error):
                    raise
                failures += 1
            except httpx.TransportError:
                self._silent()
                failures += 1
            if failures:
                await asyncio.sleep(_pause(failures))

    async def _watch(
        self, kind: Kind, selector: str, version: str
    ) -> AsyncGenerator[tuple[str, Object]]:
        params: dict[str, str | int] = {
            "watch": "1",
            "labelSelector": selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_SECONDS,
        }
        call = self._call("watch", "GET", kind, params=params)
        self.calls += 1
        async with (
            self._lane() as lane,
            lane.stream(
                "GET",
                call.path,
                params=params,
                headers=self.account.headers(),
                timeout=httpx.Timeout(10.0, read=QUIET_SECONDS),
            ) as response,
        ):
            if response.is_error:
                text = (await response.aread()).decode(errors="replace")
                raise call.failed(response.status_code, text)
            async for line in response.aiter_lines():
                change = json.loads(line)
                yield change["type"], change["object"]

    # Calls.

    def now(self, call: Call) -> Any:
        """Ask once more or again as asynchronous calls do, but wait for the answer.

        Raises
        ------
        KubernetesError
            Where it is refused.
        """
        with httpx.Client(**self._connection()) as client:
            for count in range(1, 6):
                self.calls += 1
                try:
                    response = client.request(**self._request(call, renew=count > 1))
                    return _answer(call, response)
                except httpx.TransportError as error:
                    failed = call.failed(None, str(error) or type(error).__name__)
                except KubernetesError as error:
                    failed = error
                    if not (worth_repeating(error) or error.status == 401):
                        raise
                time.sleep(_pause(count))
        raise failed

    def reading(self, kind: Kind, name: str = "", part: str = "", **params: str | int) -> Call:
        """Return the call that reads an object or a list, for `now`."""
        return self._call("get", "GET", kind, name, part, params=params)

    def _call(
        self, operation: str, method: str, kind: Kind, name: str = "", part: str = "", **more: Any
    ) -> Call:
        return Call(operation, method, kind, self.namespace, name, part, **more)

    def _request(self, call: Call, *, renew: bool = False) -> dict[str, Any]:
        headers = {**self.account.headers(renew=renew), "Content-Type": call.content_type}
        return {
            "method": call.method,
            "url": call.path,
            "params": call.params,
            "content": None if call.body is None else json.dumps(call.body),
            "headers": headers,
            "timeout": httpx.Timeout(20.0, connect=5.0),
        }

    def _connection(self) -> dict[str, Any]:
        # Proxies of the environment are for the world outside.
        return {
            "verify": self.account.verify,
            "base_url": self.account.server,
            "trust_env": False,
        }

    @asynccontextmanager
    async def _lane(self) -> AsyncIterator[httpx.AsyncClient]:
        """Give out the connection that was used last, or a new one where none is free."""
        if self._free:
            lane = self._free.pop()
        else:
            lane = httpx.AsyncClient(**self._connection())
            self._lanes.append(lane)
        try:
            yield lane
        finally:
            if not lane.is_closed:
                self._free.append(lane)

    def _silent(self) -> None:
        if self.silent_since is None:
            self.silent_since = time.monotonic()

    async def _once(self, call: Call) -> Any:
        async with self._room, self._lane() as lane:
            for renew in (False, True):
                self.calls += 1
                try:
                    response = await lane.request(**self._request(call, renew=renew))
                except httpx.TransportError as error:
                    self._silent()
                    raise call.failed(None, str(error) or type(error).__name__) from error
                self.silent_since = None
                if response.status_code != 401:
                    break
            return _answer(call, response)

    async def _attempts(self, call: Call) -> AsyncIterator[Any]:
        """Yield attempts, with pauses between them, until the patience ends."""
        deadline = time.monotonic() + PATIENCE
        count = 0
        last: KubernetesError | None = None
        while last is None or time.monotonic() < deadline:

            async def attempt() -> Any:
                nonlocal last
                earlier, last = last, None
                try:
                    return await self._once(call)
                except KubernetesError as error:
                    last = error
                    raise
                finally:
                    if last is not None and last.status is not None and worth_repeating(last):
                        self.delayed = last
                    elif self.delayed is earlier:
                        self.delayed = None

            yield attempt
            count += 1
            await asyncio.sleep(_pause(count))
        raise last

    async def _repeat(self, call: Call) -> Any:
        async for attempt in self._attempts(call):
            try:
                return await attempt()
            except KubernetesError as error:
                if not worth_repeating(error):
                    raise
        raise AssertionError("the last attempt raises")


def _answer(call: Call, response: httpx.Response) -> Any:
    if response.is_error:
        raise call.failed(response.status_code, response.text)
    if response.headers.get("content-type", "").startswith("application/json"):
        return response.json()
    return response.text


def _pause(count: int) -> float:
    """Seconds to wait after so many failures in a row; not all callers come back at once."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * float(2 ** min(count, 10)))
    return pause * random.uniform(0.5, 1.0)
