"""Events as pods of Dask workers leave them: made and removed with many calls in flight.

async with Bulk(state) as bulk:
    events = Events(bulk, namespaces, [0, 50_000, 100_000])
    await events.reach(50_000)
"""

import asyncio
import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

from kubernetes_asyncio import client, config

from benchmarks._measure import note

IN_FLIGHT = 48
LABEL = "facility-benchmark"
"""Label of the events, by which they are removed; its value is their batch."""
TOLD = (
    ("Scheduled", "Successfully assigned {namespace}/{pod} to amd64", "default-scheduler"),
    ("Pulled", 'Container image "registry.test/facility/analysis" already present', "kubelet"),
    ("Created", "Container created", "kubelet"),
    ("Started", "Container started", "kubelet"),
    ("Killing", "Stopping container worker", "kubelet"),
)
"""What is told of each worker's pod: reason, message and who tells it."""


class Request(NamedTuple):
    """One call of the API server."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


class Bulk:
    """The API server, asked with all rights and many calls in flight.

    Parameters
    ----------
    state
        What runs, as `make kube-up` wrote it down.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = state

    async def __aenter__(self) -> Self:
        settings = client.Configuration()
        await config.load_kube_config(self.state["kubeconfig"], client_configuration=settings)
        token = await settings.get_api_key_with_prefix("BearerToken")
        self.headers = {"Content-Type": "application/json"}
        self.headers |= {"Authorization": token} if token else {}
        self.server = str(settings.host)
        self.client = client.ApiClient(settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def run(self, requests: Iterable[Request], *, allowed: Sequence[int] = ()) -> None:
        """Make calls, in any order.

        Parameters
        ----------
        allowed
            Status codes that are no failure beside those of success.

        Raises
        ------
        RuntimeError
            One was refused.
        """
        # One iterator that several take from: each request is made once.
        shared = iter(requests)

        async def work() -> None:
            for request in shared:
                await self._ask(request, allowed)

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work())

    async def _ask(self, request: Request, allowed: Sequence[int]) -> None:
        session = self.client.rest_client.pool_manager
        content = None if request.body is None else json.dumps(request.body)
        async with session.request(
            request.method, self.server + request.path, data=content, headers=self.headers
        ) as answer:
            text = await answer.read()
            if answer.status >= 400 and answer.status not in allowed:
                raise RuntimeError(f"{request.method} {request.path}: {text[:500].decode()}")


def event(namespace: str, number: int, batch: str, now: datetime.datetime) -> dict[str, Any]:
    """Return an event of a Dask worker's pod, as kubelet and scheduler write them.

    Parameters
    ----------
    number
        Which of the namespace's events; each pod has as many as `TOLD` holds.
    """
    worker, step = divmod(number, len(TOLD))
    reason, message, source = TOLD[step]
    pod = f"dask-worker-{batch}-{worker:05d}"
    # The scheduler writes the newer kind of time, and none of the older.
    seconds, exact = now.strftime("%Y-%m-%dT%H:%M:%SZ"), now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    newer = source == "default-scheduler"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{pod}.{step:016x}",
            "namespace": namespace,
            "labels": {LABEL: batch},
        },
        "involvedObject": {
            "kind": "Pod",
            "namespace": namespace,
            "name": pod,
            "uid": f"00000000-0000-4000-8000-{worker:012x}",
            "apiVersion": "v1",
            "resourceVersion": str(number),
            **({} if newer else {"fieldPath": "spec.containers{worker}"}),
        },
        "reason": reason,
        "message": message.format(namespace=namespace, pod=pod),
        "type": "Normal",
        "firstTimestamp": None if newer else seconds,
        "lastTimestamp": None if newer else seconds,
        "eventTime": exact if newer else None,
        **({"action": "Binding"} if newer else {"count": 1}),
        "reportingComponent": source,
        "reportingInstance": "amd64",
        "source": {} if newer else {"component": source, "host": "amd64"},
    }


def steps(
    batches: Sequence[tuple[int, int]], there: int, wanted: int
) -> list[tuple[int, tuple[int, int]]]:
    """Return the batches to make, or to remove, in order: each with its number.

    Parameters
    ----------
    batches
        From how many events to how many each leads; they follow one another.
    """
    low, high = sorted((there, wanted))
    found = [each for each in enumerate(batches) if low <= each[1][0] < high]
    return found if wanted > there else found[::-1]


class Events:
    """Events in several namespaces, as many in each.

    Parameters
    ----------
    bulk
        Asks.
    namespaces
        Where they are; they exist.
    levels
        How many events there will be at one time or another.
    """

    def __init__(self, bulk: Bulk, namespaces: Sequence[str], levels: Iterable[int]) -> None:
        self.bulk = bulk
        self.namespaces = namespaces
        self.batches = list(pairwise(sorted({0, *levels})))
        self.there = 0

    async def reach(self, count: int) -> None:
        """Make or remove events until there are so many; `count` is one of the levels."""
        for number, (low, high) in steps(self.batches, self.there, count):
            before, after = (low, high) if count > self.there else (high, low)
            note(f"events: {before:,} -> {after:,} ...")
            more = after > before
            await self.bulk.run(
                self._made(str(number), after - before) if more else self._removed(str(number))
            )
            self.there = after

    def _made(self, batch: str, count: int) -> Iterator[Request]:
        now = datetime.datetime.now(datetime.UTC)
        for index in range(count):
            number, where = divmod(index, len(self.namespaces))
            namespace = self.namespaces[where]
            path = f"/api/v1/namespaces/{namespace}/events"
            yield Request("POST", path, event(namespace, number, batch, now))

    def _removed(self, batch: str) -> Iterator[Request]:
        for namespace in self.namespaces:
            path = f"/api/v1/namespaces/{namespace}/events?labelSelector={LABEL}%3D{batch}"
            yield Request("DELETE", path)
