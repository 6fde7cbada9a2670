"""What stands before the hub and brings TLS, as an Ingress does."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facility.names import LOOPBACK
from tests.local.origins import write_certificates

PIECE = 1 << 16


class Front:
    """Hands on what comes by TLS.

    Parameters
    ----------
    folder
        With the certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.key = write_certificates(folder)
        """What Chromium knows it by."""
        self.target = 0
        """Port of this machine to which it hands on."""
        self.port = 0
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(folder / "hub.pem", folder / "hub.key")

    async def listen(self) -> asyncio.Server:
        """Begin, at a port that is free."""
        found = await asyncio.start_server(self._answer, LOOPBACK, 0, ssl=self._context)
        self.port = found.sockets[0].getsockname()[1]
        return found

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, on = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, on), _pass(back, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.close()


@contextmanager
def front(folder: Path) -> Iterator[Front]:
    """One that stands there meanwhile."""
    found, loop = Front(folder), asyncio.new_event_loop()
    server = loop.run_until_complete(found.listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
