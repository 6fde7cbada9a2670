"""Lists of kernels that are never older than a start which was answered before them.

JupyterLab asks for its kernels and sessions every few seconds, and lets go of a kernel that is
missing in the answer. So none of these lists is made while a kernel or a session is being started,
and a start waits until the lists that were made before it have been sent. Answers that overtake
each other on their way to the browser are put in order there: `jupyter/labextensions`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any

from jupyter_server.services.kernels.handlers import MainKernelHandler
from jupyter_server.services.sessions.handlers import SessionHandler, SessionRootHandler
from jupyter_server.utils import url_path_join
from tornado import web

PATIENCE = 10.0
"""Seconds that lists wait for starts, and starts for lists: a start that hangs holds up nothing."""


class Turns:
    """Starts of kernels and lists of kernels take turns; several starts, or several lists, do not.

    Parameters
    ----------
    patience
        Seconds after which one no longer waits for the others.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._starts = 0
        self._lists = 0
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def start(self) -> AsyncIterator[None]:
        """Hold up new lists in this block, which begins when those at work have been sent."""
        self._starts += 1
        try:
            await self._until(lambda: not self._lists)
            yield
        finally:
            self._starts -= 1
            self._tell()

    @asynccontextmanager
    async def list(self) -> AsyncIterator[None]:
        """Begin this block when nothing starts, and hold up starts in it."""
        await self._until(lambda: not self._starts)
        self._lists += 1
        try:
            yield
        finally:
            self._lists -= 1
            self._tell()

    async def sent(self, answer: "asyncio.Future[None]") -> None:
        """Wait for an answer to be sent, to somebody who may have gone."""
        await asyncio.wait([answer], timeout=self._patience)

    async def _until(self, holds: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while not holds():
                    await self._ended.wait()

    def _tell(self) -> None:
        self._ended.set()
        self._ended = asyncio.Event()


class InTurn(web.RequestHandler):
    """What the handlers below have in common."""

    def initialize(self, turns: Turns) -> None:
        """Take what all of them share."""
        self.turns = turns

    def finish(self, *arguments: Any, **named: Any) -> "asyncio.Future[None]":
        """Answer, and remember the answer."""
        self.answer = super().finish(*arguments, **named)
        return self.answer


def lists(method: Any) -> Any:
    """Make of Jupyter's method one that lists when nothing is being started."""

    @wraps(method)
    async def in_turn(self: InTurn) -> None:
        async with self.turns.list():
            await method(self)
            await self.turns.sent(self.answer)

    return in_turn


def starts(method: Any) -> Any:
    """Make of Jupyter's method one that starts something while nothing is listed."""

    @wraps(method)
    async def in_turn(self: InTurn, **named: Any) -> None:
        async with self.turns.start():
            await method(self, **named)

    return in_turn


class Kernels(MainKernelHandler, InTurn):
    """All kernels."""

    get = lists(MainKernelHandler.get)
    post = starts(MainKernelHandler.post)


class Sessions(SessionRootHandler, InTurn):
    """All sessions: notebooks and consoles, each with its kernel."""

    get = lists(SessionRootHandler.get)
    post = starts(SessionRootHandler.post)


class OneSession(SessionHandler, InTurn):
    """A session, which may get another kernel."""

    patch = starts(SessionHandler.patch)


def handlers(base_url: str) -> list[Any]:
    """Return what answers instead of Jupyter's own handlers.

    Parameters
    ----------
    base_url
        Path below which the server answers.
    """
    with_turns = {"turns": Turns()}
    return [
        (url_path_join(base_url, path), handler, with_turns)
        for path, handler in (
            ("api/kernels", Kernels),
            ("api/sessions", Sessions),
            (r"api/sessions/(?P<session_id>\w+-\w+-\w+-\w+-\w+)", OneSession),
        )
    ]
