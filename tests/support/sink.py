"""A real HTTP server that notes what it is sent, and can hang, refuse or answer anything."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Sink:
    """What was sent, and what is answered.

    Args:
        port: Of 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.statuses: list[int] = []  # answered in turn; then the last for ever
        self.refused: set[str] = set()  # ids of messages that are answered 500 whatever else is said
        self.headers: dict[str, str] = {}
        self.hangs = False
        self.released = threading.Event()

    def url(self, scheme: str = "http", path: str = "/hook") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def bodies(self) -> list[Any]:
        return [request.json for request in self.requests]

    def take(self, request: Request) -> int:
        self.requests.append(request)
        if self.hangs:
            self.released.wait(60)
        if self.refused and request.json["id"] in self.refused:
            return 500
        if not self.statuses:
            return 200
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    sink: Sink

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        sink = self.server.sink
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        status = sink.take(Request(self.path, dict(self.headers), body))
        self.send_response(status)
        for name, value in sink.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@contextmanager
def running_sink() -> Iterator[Sink]:
    """Run a sink; at the end whoever hangs is let go."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.sink = sink = Sink(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
