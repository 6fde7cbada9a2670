"""The only module that talks to Kubernetes.

It asks by aiohttp, which costs a tenth of the CPU that httpx does, and not by kr8s, which asks
again three times with new credentials after every 403, so also after each one that a quota
answers, and sets ``blockOwnerDeletion`` in what it adopts, which OpenShift refuses.
"""

import asyncio
import copy
import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp

from facility.errors import KubernetesError
from facility.kubernetes.client import answers
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.answers import Keep, ListReader
from facility.kubernetes.client.calls import Call, Object, deletion, worth_repeating
from facility.kubernetes.client.kinds import Kind, kind_of

IN_FLIGHT = 50
"""Calls at once; more wait here instead of in the API server."""
PATIENCE = 60.0
"""Seconds for which a call is repeated while the API server is away or overloaded."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 20.0
PART = 2**16
"""Bytes of an answer that are read at once."""
UNANSWERED = (aiohttp.ClientError, TimeoutError, OSError)


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
        self._sessions: list[aiohttp.ClientSession] = []
        """The one session, once it has been asked for: it belongs to the event loop."""
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def aclose(self) -> None:
        """Close the connections."""
        while self._sessions:
            await self._sessions.pop().close()

    def disown(self) -> None:
        """Let go, in a forked child, of the connections, which its parent goes on using."""
        while self._sessions:
            session = self._sessions.pop()
            connector = session.connector
            session.detach()
            if connector is not None:
                # It would close them as soon as nobody holds it, and warn.
                connector._conns.clear()

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

    async def list(
        self, kind: Kind, selector: str = "", fields: str = "", keep: Keep | None = None
    ) -> Object:
        """Return the list object of what fits the selectors.

        Parameters
        ----------
        keep
            What is kept of each object, which are read one at a time then: for lists of what users
            may have filled.
        """
        params = {"labelSelector": selector, "fieldSelector": fields}
        params = {key: value for key, value in params.items() if value}
        return dict(await self._repeat(self._call("list", "GET", kind, params=params), keep))

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

    # Calls.

    def now(self, call: Call, keep: Keep | None = None) -> Any:
        """Ask once more or again as asynchronous calls do, but wait for the answer.

        Parameters
        ----------
        keep
            As in `list`.

        Raises
        ------
        KubernetesError
            Where it is refused.
        """
        # Proxies of the environment are for the world outside.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=self.account.verify),
        )
        for count in range(1, 6):
            self.calls += 1
            asked = self._request(call, renew=count > 1)
            address = asked.pop("url") + "?" + urllib.parse.urlencode(asked.pop("params"))
            try:
                with opener.open(
                    urllib.request.Request(address, **asked), timeout=ANSWER_SECONDS
                ) as response:
                    if keep is None:
                        kind = response.headers.get_content_type()
                        return answers.read(call, kind, response.read())
                    reader = ListReader(call, keep)
                    while part := response.read(PART):
                        reader.feed(part)
                    return reader.end()
            except urllib.error.HTTPError as error:
                with error:
                    failed = call.failed(error.code, error.read().decode(errors="replace"))
                if not (worth_repeating(failed) or failed.status == 401):
                    raise failed from None
            except (OSError, ValueError, http.client.HTTPException) as error:
                failed = call.failed(None, _cause(error))
            time.sleep(pause(count))
        raise failed

    async def parts(self, call: Call, quiet: float) -> AsyncGenerator[bytes]:
        """Yield an answer that goes on, as it comes and never as a whole.

        Parameters
        ----------
        quiet
            Seconds without a word after which there will be none.

        Raises
        ------
        KubernetesError
            Where it is refused.
        """
        self.calls += 1
        times = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=quiet)
        async with self._session().request(**self._request(call), timeout=times) as response:
            if not response.ok:
                raise call.failed(response.status, await response.text(errors="replace"))
            async for part in response.content.iter_any():
                self.silent_since = None
                yield part

    def reading(self, kind: Kind, name: str = "", part: str = "", **params: str | int) -> Call:
        """Return the call that reads an object or a list, for `now`."""
        return self._call("get", "GET", kind, name, part, params=params)

    def _call(
        self, operation: str, method: str, kind: Kind, name: str = "", part: str = "", **more: Any
    ) -> Call:
        return Call(operation, method, kind, self.namespace, name, part, **more)

    def _request(self, call: Call, *, renew: bool = False) -> dict[str, Any]:
        return {
            "method": call.method,
            "url": f"{self.account.server.rstrip('/')}{call.path}",
            "params": call.params or {},
            "data": None if call.body is None else json.dumps(call.body).encode(),
            "headers": {**self.account.headers(renew=renew), "Content-Type": call.content_type},
        }

    def _session(self) -> aiohttp.ClientSession:
        if not self._sessions:
            # How many calls are in flight is limited above, so that watches do not count.
            connector = aiohttp.TCPConnector(limit=0, ssl=self.account.verify)
            times = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
            # Proxies of the environment are for the world outside.
            self._sessions.append(
                aiohttp.ClientSession(connector=connector, timeout=times, trust_env=False)
            )
        return self._sessions[0]

    def silent(self) -> None:
        """Note that there was no answer."""
        if self.silent_since is None:
            self.silent_since = time.monotonic()

    async def _once(self, call: Call, keep: Keep | None = None) -> Any:
        async with self._room:
            for renew in (False, True):
                self.calls += 1
                try:
                    async with self._session().request(
                        **self._request(call, renew=renew), allow_redirects=False
                    ) as response:
                        if keep is not None and response.ok:
                            reader = ListReader(call, keep)
                            async for part in response.content.iter_any():
                                reader.feed(part)
                            self.silent_since = None
                            return reader.end()
                        body = await response.read()
                except (*UNANSWERED, ValueError) as error:
                    self.silent()
                    raise call.failed(None, _cause(error)) from error
                self.silent_since = None
                if response.status != 401:
                    break
            if not response.ok:
                raise call.failed(response.status, body.decode(errors="replace"))
            return answers.read(call, response.content_type, body)

    async def _attempts(self, call: Call, keep: Keep | None = None) -> AsyncIterator[Any]:
        """Yield attempts, with pauses between them, until the patience ends."""
        deadline = time.monotonic() + PATIENCE
        count = 0
        last: KubernetesError | None = None
        while last is None or time.monotonic() < deadline:

            async def attempt() -> Any:
                nonlocal last
                earlier, last = last, None
                try:
                    return await self._once(call, keep)
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
            await asyncio.sleep(pause(count))
        raise last

    async def _repeat(self, call: Call, keep: Keep | None = None) -> Any:
        async for attempt in self._attempts(call, keep):
            try:
                return await attempt()
            except KubernetesError as error:
                if not worth_repeating(error):
                    raise
        raise AssertionError("the last attempt raises")


def _cause(error: BaseException) -> str:
    """Say why there was no answer, without what a library puts around it."""
    found = getattr(error, "os_error", None) or getattr(error, "reason", None) or error
    return str(found) or type(found).__name__


def pause(count: int) -> float:
    """Seconds to wait after so many failures in a row; not all callers come back at once."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * float(2 ** min(count, 10)))
    return pause * random.uniform(0.5, 1.0)
