"""Objects are followed through whatever a user makes of one, over real HTTP."""

import asyncio
import copy
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from facility.errors import KubernetesError
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.changes import LONGEST_LINE
from facility.kubernetes.client.kinds import POD
from facility.kubernetes.client.watch import follow
from tests import api_objects
from tests.api_server import Objects, serving
from tests.unit.kubernetes.client.test_changes import huge


def pod(name: str) -> dict[str, Any]:
    found = copy.deepcopy(api_objects.SERVER)
    found["metadata"]["name"] = name
    return found


@asynccontextmanager
async def following(objects: Objects) -> AsyncIterator[Any]:
    """Yield what returns the next change: its type, and the names of its objects."""
    async with serving(objects):
        api = Api(Account(objects.url, "af-ada", ssl.create_default_context()))
        try:
            async with aclosing(follow(api, POD, "")) as changes:

                async def following_one() -> tuple[str, ...]:
                    change, body = await asyncio.wait_for(anext(changes), 30)
                    bodies = body["items"] if change == "LISTED" else [body]
                    return change, *(each["metadata"]["name"] for each in bodies)

                yield following_one
        finally:
            await api.aclose()


@pytest.mark.parametrize("size", [2**16, 1_500_000, 3 * 2**20])
async def test_a_pod_as_large_as_etcd_takes_is_followed(size: int) -> None:
    objects = Objects([(POD, pod("first"))])
    objects.changes.put_nowait(huge(size, "ADDED", name="large"))
    objects.changes.put_nowait({"type": "ADDED", "object": pod("next")})
    async with following(objects) as seen:
        assert await seen() == ("LISTED", "first")
        assert await seen() == ("ADDED", "large")
        assert await seen() == ("ADDED", "next")


async def test_a_longer_one_is_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    objects = Objects([(POD, pod("first"))])
    for _ in range(5):
        objects.changes.put_nowait(huge(3 * LONGEST_LINE, name="large"))
    objects.changes.put_nowait({"type": "ADDED", "object": pod("next")})
    objects.changes.put_nowait(huge(3 * LONGEST_LINE, "DELETED", name="large"))
    objects.changes.put_nowait({"type": "DELETED", "object": pod("next")})
    async with following(objects) as seen:
        assert await seen() == ("LISTED", "first")
        assert await seen() == ("ADDED", "next")
        assert await seen() == ("DELETED", "large")
        assert await seen() == ("DELETED", "next")
    assert sum("is left out" in each.message for each in caplog.records) == 1


async def test_after_a_line_that_says_nothing_all_are_listed_again() -> None:
    objects = Objects([(POD, pod("first"))])
    async with following(objects) as seen:
        assert await seen() == ("LISTED", "first")
        for said in (b"no change\n", b"x" * 2 * LONGEST_LINE + b"\n", b'{"type":"ERROR"}\n'):
            objects.changes.put_nowait(said)
            assert await seen() == ("LISTED", "first")
        objects.changes.put_nowait({"type": "ADDED", "object": pod("next")})
        assert await seen() == ("ADDED", "next")


async def test_a_refusal_ends_it() -> None:
    objects = Objects()
    objects.refuses = lambda method, path: 403
    async with following(objects) as seen:
        with pytest.raises(KubernetesError, match="HTTP 403"):
            await seen()
