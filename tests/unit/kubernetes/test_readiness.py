"""Waiting for a scheduler in this Kubernetes."""

import asyncio
import contextlib
import socket

from facility import names
from facility.kubernetes import readiness


async def test_a_try_without_an_answer_is_given_up(monkeypatch):
    """A listener whose queue is full leaves a connection without an answer."""
    tries = []
    connect = asyncio.open_connection

    async def counted(*where):
        tries.append(where)
        return await connect(*where)

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((names.LOOPBACK, 0), backlog=0))
        port = listener.getsockname()[1]
        queued = []
        with contextlib.suppress(TimeoutError):
            while True:
                way = socket.create_connection((names.LOOPBACK, port), timeout=0.2)
                queued.append(stack.enter_context(way))
        monkeypatch.setattr(names, "DASHBOARD_PORT", port)
        monkeypatch.setattr(asyncio, "open_connection", counted)
        waiting = asyncio.ensure_future(readiness.until_it_listens(f"tls://{names.LOOPBACK}:1"))
        while len(tries) < 3:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        for _ in queued:
            listener.accept()[0].close()
        await waiting
