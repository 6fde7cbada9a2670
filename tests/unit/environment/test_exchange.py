"""Who serves an archive to whom, and how many at a time."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facility.environment import exchange
from facility.environment.archive import BLOCK, Archive, digest_of
from facility.environment.difference import Image
from facility.environment.exchange import (
    SCHEDULER,
    SCHEDULER_AT_ONCE,
    WORKER_AT_ONCE,
    Exchange,
    image,
)

DIGEST = "a" * 64


def served(tmp_path: Path, *workers: str) -> Exchange:
    """An exchange whose scheduler has workers at these addresses."""
    return Exchange(SimpleNamespace(workers=dict.fromkeys(workers)), tmp_path)


def test_an_image_says_what_the_notebook_compares_with() -> None:
    found = Image.from_answer(image())
    assert found.packages["facility"]
    assert any(tag.startswith("py3-none-any") for tag in found.tags)


async def test_the_scheduler_serves_a_few_at_a_time(tmp_path: Path) -> None:
    found = served(tmp_path)
    first = [await found.source(DIGEST, []) for _ in range(SCHEDULER_AT_ONCE)]
    assert {each["address"] for each in first} == {SCHEDULER}
    waiting = asyncio.ensure_future(found.source(DIGEST, []))
    await asyncio.sleep(0)
    assert not waiting.done()
    await found.fetched(first[0]["lease"])
    assert (await waiting)["address"] == SCHEDULER


async def test_those_who_have_it_serve_others_unless_they_failed_or_left(tmp_path: Path) -> None:
    found = served(tmp_path, "tls://a", "tls://b")
    for address in ("tls://a", "tls://b", "tls://gone"):
        await found.holds(address, [DIGEST])
    places = [await found.source(DIGEST, []) for _ in range(2 * WORKER_AT_ONCE)]
    counts = [sum(each["address"] == one for each in places) for one in ("tls://a", "tls://b")]
    assert counts == [WORKER_AT_ONCE, WORKER_AT_ONCE]
    assert (await found.source(DIGEST, []))["address"] == SCHEDULER
    await found.fetched(places[0]["lease"])
    assert (await found.source(DIGEST, ["tls://a", "tls://b"]))["address"] == SCHEDULER


async def test_one_that_fetches_and_is_gone_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "LEASE_SECONDS", 0.0)
    found = served(tmp_path)
    for _ in range(2 * SCHEDULER_AT_ONCE):
        assert (await found.source(DIGEST, []))["address"] == SCHEDULER


async def test_a_worker_that_asks_early_waits_and_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ANSWER_SECONDS", 0.01)
    found = served(tmp_path)
    assert await found.wanted() is None
    description: dict[str, Any] = {"archives": (), "targets": (), "layers": (), "hash": ""}
    await found.announce(description)
    assert await found.wanted() == {**description, "layers": []}


async def test_a_notebook_gives_an_archive_block_by_block(tmp_path: Path) -> None:
    found = served(tmp_path)
    data = os.urandom(BLOCK + 1)
    archive = Archive(digest_of(data), len(data), "site", "name")
    assert found.missing([archive.digest]) == [archive.digest]
    await found.put(archive.digest, 0, data[:BLOCK], len(data))
    assert found.missing([archive.digest]) == [archive.digest]
    await found.put(archive.digest, BLOCK, data[BLOCK:], len(data))
    assert found.missing([archive.digest]) == []
