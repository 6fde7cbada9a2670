"""What a port that leads to a dashboard in Kubernetes asks of who connects."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from facility.dask_process.dashboard_access import TOKEN_HEADER, cookie_name
from facility.kubernetes.client.port_forward import admitted

TOKEN = "a-token"


@asynccontextmanager
async def port() -> AsyncIterator[Callable[[bytes], "asyncio.Future[bytes]"]]:
    """A port that answers with what it would send on; what it gives connects and sends."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await admitted(reader, writer, TOKEN)
        if head is not None:
            rest = await reader.read()
            writer.write(b"SENT ON:" + head + rest)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    number = server.sockets[0].getsockname()[1]

    async def ask(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(sent)
        writer.write_eof()
        found = await reader.read()
        writer.close()
        return found

    try:
        yield lambda sent: asyncio.ensure_future(ask(sent))
    finally:
        server.close()


def request(uri: str = "/status", *fields: str) -> bytes:
    return "\r\n".join([f"GET {uri} HTTP/1.1", "Host: 127.0.0.1:1", *fields, "", "more"]).encode()


@pytest.mark.parametrize(
    "sent",
    [
        request(f"/status?token={TOKEN}"),
        request("/status", f"Cookie: {cookie_name(TOKEN)}={TOKEN}"),
        request("/status", f"{TOKEN_HEADER.lower()}: {TOKEN}"),
        request("/ws", f"Cookie: {cookie_name(TOKEN)}={TOKEN}", "Origin: http://127.0.0.1:1"),
    ],
)
async def test_with_the_token_all_is_sent_on_as_it_came(sent: bytes) -> None:
    async with port() as ask:
        assert await ask(sent) == b"SENT ON:" + sent


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(), b"401 Unauthorized"),
        (request("/status", "Cookie: token=a-token"), b"401 Unauthorized"),
        (request("/status", "Cookie: \xff;=;"), b"401 Unauthorized"),
        (request("/status?token=other"), b"403 Forbidden"),
        (
            request("/ws", f"Cookie: {cookie_name(TOKEN)}={TOKEN}", "Origin: http://evil.example"),
            b"403 Forbidden",
        ),
    ],
)
async def test_without_it_nothing_is(sent: bytes, status: bytes) -> None:
    async with port() as ask:
        answer = await ask(sent)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"SENT ON" not in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01 nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n",
        b"x" * 2**18,
    ],
)
async def test_what_is_no_request_is_not_answered(sent: bytes) -> None:
    async with port() as ask:
        try:
            assert await ask(sent) == b""
        except ConnectionError:
            return


async def test_a_browser_gets_a_cookie_and_goes_on() -> None:
    async with port() as ask:
        sent = request(f"/status?a=%3Cb&token={TOKEN}", "Sec-Fetch-Mode: navigate")
        head, _, page = (await ask(sent)).decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert f"Set-Cookie: {cookie_name(TOKEN)}={TOKEN}; Path=/; HttpOnly; SameSite=Strict" in head
    assert 'content="0;url=./status?a=%3Cb"' in page
