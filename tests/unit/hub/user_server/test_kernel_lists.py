"""Starts and lists of kernels take turns, and none waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from facility.hub.user_server.kernel_lists import Turns

LONG = 60.0
SHORT = 0.05


async def enter(turn: AbstractAsyncContextManager[None], end: asyncio.Event) -> None:
    async with turn:
        await end.wait()


@asynccontextmanager
async def inside(*turns: AbstractAsyncContextManager[None]) -> AsyncIterator[asyncio.Event]:
    """Be in all these blocks at once, until the event is set."""
    end = asyncio.Event()
    tasks = [asyncio.create_task(enter(turn, end)) for turn in turns]
    try:
        await asyncio.sleep(0)
        yield end
        end.set()
    finally:
        await asyncio.gather(*tasks)


async def entered(turn: AbstractAsyncContextManager[None]) -> None:
    async with turn:
        pass


@pytest.mark.parametrize("first", ["start", "list"])
async def test_each_waits_for_all_the_others(first: str):
    turns = Turns(LONG)
    second = "list" if first == "start" else "start"
    async with inside(*(getattr(turns, first)() for _ in range(3))) as end:
        other = asyncio.create_task(entered(getattr(turns, second)()))
        await asyncio.sleep(SHORT)
        assert not other.done()
        end.set()
        await other


async def test_starts_are_not_put_off_by_lists_that_come_after_them():
    turns = Turns(LONG)
    async with inside(turns.list()) as end_of_list:
        start = asyncio.create_task(entered(turns.start()))
        await asyncio.sleep(0)
        late = asyncio.create_task(entered(turns.list()))
        await asyncio.sleep(SHORT)
        assert not start.done()
        assert not late.done()
        end_of_list.set()
        await asyncio.gather(start, late)


async def test_a_start_that_hangs_holds_up_a_list_for_a_while_only():
    turns = Turns(SHORT)
    async with inside(turns.start()):
        await entered(turns.list())
        await entered(turns.start())


async def test_an_answer_that_nobody_takes_holds_up_a_start_for_a_while_only():
    turns = Turns(SHORT)
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await turns.sent(never)
    async with inside(turns.list()):
        await entered(turns.start())


async def test_what_fails_or_is_given_up_is_over():
    turns = Turns(LONG)
    with pytest.raises(OSError, match="no kernel"):
        async with turns.start():
            raise OSError("no kernel")
    async with inside(turns.list()):
        given_up = asyncio.create_task(entered(turns.start()))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await entered(turns.list())
