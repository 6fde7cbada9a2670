"""The way to a scheduler: inside of Kubernetes straight, from outside through the API server.

From outside a port of this machine leads to one of its pod. What goes through is TLS already,
with certificates on both sides; or a dashboard, which the other users of this machine may not see.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders, HTTPInputError, parse_request_start_line
from tornado.websocket import WebSocketClientConnection, websocket_connect

from facility import names
from facility.dask_process.dashboard_access import answer_instead
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import POD

PROTOCOL = "v4.channel.k8s.io"
"""Of Kubernetes' websockets: the first byte of a message says of which channel it is."""
DATA, ERROR = b"\0", b"\1"
CHUNK = 2**16
PING_SECONDS = 20.0
"""Seconds between two signs of life, without which gateways close a connection."""
CONNECT_SECONDS = 10.0

logger = logging.getLogger("facility")


class Forward:
    """Listens on a port of this machine, and carries each connection to a pod.

    Parameters
    ----------
    token
        What the first request of a connection has to have, where it is one of HTTP to a dashboard.
        What follows on a connection is of the same program.
    """

    def __init__(self, api: Api, pod: str, port: int, token: str = "") -> None:
        self.api = api
        self.pod = pod
        self.port = port
        self.token = token
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[Any]] = set()

    async def open(self) -> int:
        """Begin to listen; the port."""
        self._server = await asyncio.start_server(self._accepted, names.LOOPBACK, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more, and end what is carried."""
        if self._server is None:
            return
        self._server.close()
        tasks = list(self._carrying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server = None

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        try:
            head = await admitted(reader, writer, self.token) if self.token else b""
            if head is not None:
                await self._carry(head, reader, writer)
        except (OSError, HTTPClientError, TimeoutError) as error:
            # Who connected sees the end of the connection, and asks again.
            logger.debug("no way to port %s of pod %s: %r", self.port, self.pod, error)
        except asyncio.CancelledError:
            # Of no use to the server that has made this task, which would report it.
            pass
        finally:
            self._carrying.discard(task)
            writer.close()

    async def _carry(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        socket = await self._connect()
        if head:
            await socket.write_message(DATA + head, binary=True)
        ways = [
            asyncio.ensure_future(self._there(reader, socket)),
            asyncio.ensure_future(self._back(socket, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            socket.close()

    async def _connect(self) -> WebSocketClientConnection:
        account = self.api.account
        path = self.api.reading(POD, self.pod, "portforward").path
        request = HTTPRequest(
            f"wss{account.server.removeprefix('https')}{path}?ports={self.port}",
            headers=await asyncio.to_thread(account.headers),
            ssl_options=account.verify,
            connect_timeout=CONNECT_SECONDS,
        )
        self.api.calls += 1
        return await websocket_connect(request, subprotocols=[PROTOCOL], ping_interval=PING_SECONDS)

    async def _there(self, reader: asyncio.StreamReader, socket: WebSocketClientConnection) -> None:
        while data := await reader.read(CHUNK):
            await socket.write_message(DATA + data, binary=True)

    async def _back(self, socket: WebSocketClientConnection, writer: asyncio.StreamWriter) -> None:
        greeted = set()
        while (message := await socket.read_message()) is not None:
            assert isinstance(message, bytes)
            channel, data = message[:1], message[1:]
            if channel not in greeted:
                # Each channel begins with the number of its port.
                greeted.add(channel)
            elif channel == DATA:
                writer.write(data)
                await writer.drain()
            elif channel == ERROR and data:
                logger.debug(
                    "pod %s, port %s: %s", self.pod, self.port, data.decode(errors="replace")
                )
                return


async def admitted(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str
) -> bytes | None:
    """Read the head of a connection's first request, and refuse one without the token.

    Returns
    -------
    bytes, optional
        What was read; None where it has been answered.
    """
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), CONNECT_SECONDS)
        line, _, fields = head.decode("latin1").partition("\r\n")
        uri = parse_request_start_line(line).path
        answer = answer_instead(uri, HTTPHeaders.parse(fields), token)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, HTTPInputError):
        return None
    if answer is None:
        return head
    said = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        "Content-Type: text/html; charset=UTF-8",
        f"Content-Length: {len(answer.page.encode())}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    writer.write("\r\n".join([*said, "", answer.page]).encode())
    await writer.drain()
    return None
