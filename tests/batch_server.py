"""An API server with the batch of a release, for tests."""

import asyncio
import datetime
import json
import ssl
import threading
from typing import Any

from aiohttp import web

from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import CONFIG_MAP, NAMESPACE
from tests.api_server import Objects, serving

SPACE = "batch-af"
SAID = {
    "release": "af",
    "priorityClass": "af-batch",
    "podSecurity": "baseline",
    "grace": 30,
    "largestJob": {"cpu": 8, "memory": "32Gi"},
    "nodeSelector": {"example.org/batch": "yes"},
}
Object = dict[str, Any]


def named(name: str, labels: dict[str, str] | None = None, **more: Any) -> Object:
    metadata = {"name": name, "namespace": SPACE, "uid": name, "labels": labels or {}}
    return {"metadata": metadata, **more}


def config_map(said: str) -> Object:
    return named("facility-batch", data={"batch.json": said, "job.yaml": "kind: Job\n"})


def node(name: str, cpu: str, memory: str, **labels: str) -> Object:
    metadata = {"name": name, "uid": name, "labels": labels or {"example.org/batch": "yes"}}
    return {"metadata": metadata, "status": {"allocatable": {"cpu": cpu, "memory": memory}}}


def pod(name: str, phase: str, queue: str | None) -> Object:
    labels = {} if queue is None else {"pq": queue}
    return named(name, labels, spec={"containers": []}, status={"phase": phase})


class Answers(Objects):
    """Makes Secrets and tokens too."""

    longest = datetime.timedelta(days=365)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.method == "POST" else None
        answer = await super().answer(request)
        if answer.status != 200 or body is None:
            return answer
        # It has been read above.
        self.asked[-1] = (*self.asked[-1][:2], body)
        if request.path.endswith("/token"):
            seconds = datetime.timedelta(seconds=body["spec"]["expirationSeconds"])
            ends = datetime.datetime.now(datetime.UTC) + min(seconds, self.longest)
            status = {"token": "token-of-harvester", "expirationTimestamp": ends.isoformat()}
            metadata = {"name": "harvester", "namespace": SPACE, "uid": "uid-2"}
            return web.json_response({"metadata": metadata, "status": status})
        return web.json_response({**body, "metadata": {**body["metadata"], "uid": "uid-1"}})


class Site:
    """The API server, in a thread of its own: the commands ask and wait."""

    def __init__(self) -> None:
        space = {"name": SPACE, "uid": "1", "labels": {"facility/batch": "af"}}
        self.objects = Answers(
            [
                (NAMESPACE, {"metadata": space}),
                (CONFIG_MAP, config_map(json.dumps(SAID))),
                (CONFIG_MAP, named("kube-root-ca.crt", data={"ca.crt": "CERTIFICATE"})),
            ]
        )
        self._loop = asyncio.new_event_loop()
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    @property
    def longest(self) -> datetime.timedelta:
        """The longest that a token may last."""
        return self.objects.longest

    @longest.setter
    def longest(self, value: datetime.timedelta) -> None:
        self.objects.longest = value

    async def _serve(self) -> None:
        async with serving(self.objects):
            self._ready.set()
            await self._end.wait()

    def __enter__(self) -> "Site":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    def api(self) -> Api:
        return Api(Account(self.objects.url, "default", ssl.create_default_context()))
