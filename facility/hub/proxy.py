"""Run the pure-Python configurable-http-proxy so that a notebook's whole traffic gets through.

What it does by itself and why that is changed here, each seen in a run or read
in its source (version 0.4):

- It answers a WebSocket without the subprotocol that the server chose, so
  browsers drop the connection and dashboards stay empty; and it hands on a
  browser's binary messages as text, which Jupyter's own subprotocol is not.
- A server that closes a WebSocket leaves the browser's side open for ever.
- Messages beyond 10 MiB, bodies beyond 100 MiB, the eleventh request at a time
  and answers that take 20 s fail: Tornado's defaults.
- It reports when a route was last used in local time without a zone, which
  JupyterHub reads as UTC: east of Greenwich an idle server looks busy for hours.

It also tells the hub which user of this machine sends a form, such as a password.
"""

import argparse
import asyncio
import functools
import logging
import os
import time
from typing import Any

from configurable_http_proxy import log
from configurable_http_proxy.configproxy import PythonProxy
from configurable_http_proxy.handlers import ProxyHandler
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    websocket_connect,
)

from facility.system.connections import user_of

USER_HEADER = "X-Facility-Machine-User"
"""Number of the machine's user who asks; whatever a browser says under this name is taken away."""
MESSAGE_LIMIT = 1 << 30
BODY_LIMIT = 2 << 30
"""Bytes; this proxy holds a whole message or body in memory."""
REQUESTS_AT_A_TIME = 1000
ANSWER_TIMEOUT = 3600.0
"""Seconds that a notebook server may think about one request."""


class NotebookTraffic(ProxyHandler):
    """Passes requests on, and WebSockets as both sides expect them."""

    ws_client: WebSocketClientConnection | None

    def _get_proxy_request(self, url: str) -> HTTPRequest:
        self.request.headers.pop(USER_HEADER, None)
        if self.request.method == "POST":
            user = user_of(self.request.connection.context.address)
            self.request.headers[USER_HEADER] = str(user)
        request: HTTPRequest = super()._get_proxy_request(url)
        return request

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Choose what the server chose."""
        return None if self.ws_client is None else self.ws_client.selected_subprotocol

    async def start_ws_client(self, path: str | None = None) -> None:
        """Connect to the server before the browser's side is accepted."""
        self.closed = False
        url = await self.get_target_url(path)
        if url is None:
            return
        request = self._get_proxy_request(url.replace("http", "ws", 1))
        try:
            self.ws_client = await websocket_connect(
                request,
                on_message_callback=self.pass_to_browser,
                max_message_size=MESSAGE_LIMIT,
            )
        except HTTPClientError as error:
            self.set_status(error.code)
            await self.finish(error.message)
        except OSError as error:
            await self.handle_proxy_error(503, error)

    def on_message(self, message: str | bytes) -> None:
        """Hand on what the browser sent."""
        if self.ws_client is None:
            return
        if self.target:
            self.proxy.update_last_activity(self.target["prefix"])
        try:
            self.ws_client.write_message(message, binary=isinstance(message, bytes))
        except WebSocketClosedError:
            self.close()

    def pass_to_browser(self, message: str | bytes | None) -> None:
        """Hand on what the server sent; None means that it closed."""
        client = self.ws_client
        if client is None:
            return
        if message is None:
            self.close(client.close_code, client.close_reason)
            return
        if self.target:
            self.proxy.update_last_activity(self.target["prefix"])
        try:
            self.write_message(message, binary=isinstance(message, bytes))
        except WebSocketClosedError:
            client.close()


def arguments() -> argparse.Namespace:
    """Read the arguments that JupyterHub starts its proxy with."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ip", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-ip", required=True)
    parser.add_argument("--api-port", type=int, required=True)
    parser.add_argument("--error-target", required=True)
    parser.add_argument("--log-level", type=str.upper, default="INFO")
    return parser.parse_args()


async def serve(given: argparse.Namespace, token: str | None) -> None:
    """Serve until the process is ended."""
    AsyncHTTPClient.configure(
        None,
        max_clients=REQUESTS_AT_A_TIME,
        max_body_size=BODY_LIMIT,
        max_buffer_size=BODY_LIMIT,
        defaults={"request_timeout": ANSWER_TIMEOUT},
    )
    options: dict[str, Any] = {"error_target": given.error_target, "auth_token": token}
    proxy = PythonProxy(options)
    pages = Application(
        [(r"/(.*)", NotebookTraffic, {"proxy": proxy})],
        websocket_max_message_size=MESSAGE_LIMIT,
    )
    server = functools.partial(HTTPServer, max_body_size=BODY_LIMIT, max_buffer_size=BODY_LIMIT)
    server(pages).listen(given.port, given.ip)
    HTTPServer(proxy.api_app).listen(given.api_port, given.api_ip)
    log.info("Serving on %s:%s", given.ip, given.port)
    await asyncio.Event().wait()


def main() -> None:
    """Start the proxy with the arguments of the command line."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    given = arguments()
    log.setLevel(logging.getLevelName(given.log_level))
    asyncio.run(serve(given, os.environ.get("CONFIGPROXY_AUTH_TOKEN")))


if __name__ == "__main__":
    main()
