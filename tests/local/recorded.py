"""Servers of HTTP on loopback that answer what real ones do, and note what they were asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What a server says to one question."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, content: Any, status: int = 200, **headers: str) -> "Answer":
        return cls(
            json.dumps(content).encode(), status, {"Content-Type": "application/json", **headers}
        )

    @classmethod
    def lines(cls, rows: list[Any]) -> "Answer":
        """Rucio's form of lists: one JSON document a line."""
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return cls(body, 200, {"Content-Type": "application/x-json-stream"})


@dataclass
class Recorded:
    """A server.

    Attributes
    ----------
    answers
        By method and path, as ``"GET /ping"``; what is not there is not found.
    asked
        Method and path, headers, and body of each question.
    """

    address: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [question for question, _, _ in self.asked]


@contextmanager
def recorded() -> Iterator[Recorded]:
    server = Recorded()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            question = f"{self.command} {self.path}"
            server.asked.append((question, dict(self.headers), json.loads(body) if body else None))
            found = server.answers.get(question) or Answer(b"", 404)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = do_POST = answer  # noqa: N815 - names that http.server asks for

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
