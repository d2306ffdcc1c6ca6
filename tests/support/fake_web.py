"""A server of the page that says what a test wants: the contract of `adapters/pulse_bridge_web`, by hand."""

import json
import mimetypes
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.processes import WAIT_S, free_port

STATIC = Path(__file__).parents[2] / "adapters" / "pulse_bridge_web" / "static"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'self'; form-action 'self'"
)
View = dict[str, Any]


def rfc3339(instant: datetime) -> str:
    """Write an instant as events do."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_view(job: str = "llm/run a", *, host: str = "node1", **changes: Any) -> View:
    """Make a job as the server tells of it: half way through, written just now. `None` leaves a field out."""
    now = datetime.now(UTC)
    view: View = {
        "id": f"fake-{next(_numbers)}",
        "kind": "change",
        "host": host,
        "job": job,
        "run": int((now - timedelta(hours=1)).timestamp()),
        "state": "running",
        "status": "running",
        "epoch": 1.5,
        "total_epochs": 3.0,
        "loss": 0.342,
        "message": "epoch 2/3",
        "timestamp": int(now.timestamp()),
        "progress": 50.0,
        "eta_s": 754.0,
        "diverged": False,
        "observed_at": rfc3339(now),
        "hearing": "heard",
    }
    view |= changes
    return {name: value for name, value in view.items() if value is not None}


def host_view(host: str = "node1", hearing: str = "heard", **changes: Any) -> View:
    """Make a host as the server tells of it."""
    view = {"host": host, "hearing": hearing, "last_seen": rfc3339(datetime.now(UTC)), "version": "0.1.0"}
    return view | changes


_numbers = iter(range(1, 2**60))


class FakeWeb:
    """Serves the page and sends what it is told to every viewer.

    Args:
        base_path: What everything lies below, without a slash at its end.
        port: A free one where absent. Servers at one port, one behind the other, have one origin: a browser
            keeps the page's files.
    """

    def __init__(self, base_path: str = "", *, port: int | None = None) -> None:
        self.port = port or free_port()
        self.base_path = base_path
        self.jobs: dict[tuple[str, str], View] = {}
        self.hosts: dict[str, View] = {}
        self.histories: dict[tuple[str, str], list[View]] = {}
        self.incomplete: str | None = None
        self.refusals: list[int] = []  # HTTP statuses that the next questions about the past are answered with
        self.connected = True
        self.reason: str | None = None
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.source = "redis://127.0.0.1:6379"
        self.requests: list[str] = []
        self.thawed = threading.Event()  # cleared: new requests are taken and not answered, as by a frozen server
        self.thawed.set()
        self._viewers: set[queue.SimpleQueue[bytes | None]] = set()
        self._lock = threading.Lock()
        self._change = 0
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Give the address of the overview."""
        return f"http://127.0.0.1:{self.port}{self.base_path}/"

    @property
    def viewers(self) -> int:
        """Say how many streams are open."""
        return len(self._viewers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.web = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def stop(self) -> None:
        """Listen no more, and end every stream."""
        self.thawed.set()
        if self._server is None:
            return
        server, self._server = self._server, None
        with self._lock:
            for viewer in self._viewers:
                viewer.put(None)
        server.shutdown()
        server.server_close()
        server.hang_up()

    def put(self, *views: View) -> None:
        """Have jobs and hosts, as the next snapshot tells them; a host that is not told of is heard."""
        for view in views:
            if "job" in view:
                self.jobs[view["host"], view["job"]] = view
                self.hosts.setdefault(view["host"], host_view(view["host"]))
            else:
                self.hosts[view["host"]] = view

    def send(self, *views: View, removed: Iterable[tuple[str, str]] = ()) -> None:
        """Send an update of jobs and hosts to every viewer."""
        self.put(*views)
        for key in removed:
            del self.jobs[key]
        update = {
            "now": self.now,
            "jobs": [
                {name: value for name, value in view.items() if name != "spark"} for view in views if "job" in view
            ],
            "hosts": [view for view in views if "job" not in view],
            "removed": list(removed),
        }
        self._broadcast("update", update)

    def say_connection(self, *, connected: bool, reason: str | None = None) -> None:
        """Tell every viewer whether the bus is heard."""
        self.connected, self.reason = connected, reason
        self._broadcast("connection", {"connected": connected, "reason": reason})

    def send_snapshot(self) -> None:
        """Make every viewer begin anew."""
        self._broadcast("snapshot", self.snapshot())

    @property
    def now(self) -> str:
        """Give the instant on this server's clock."""
        return rfc3339(self.clock())

    def snapshot(self) -> View:
        """Give everything."""
        return {
            "connected": self.connected,
            "reason": self.reason,
            "now": self.now,
            "source": self.source,
            "version": f"boot-{self._change}",
            "hosts": list(self.hosts.values()),
            "jobs": list(self.jobs.values()),
        }

    def _broadcast(self, kind: str, data: Mapping[str, Any]) -> None:
        with self._lock:
            self._change += 1
            for viewer in self._viewers:
                viewer.put(self._frame(kind, data))

    def _frame(self, kind: str, data: Mapping[str, Any]) -> bytes:
        return f"id: boot-{self._change}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()

    def join(self) -> "queue.SimpleQueue[bytes | None]":
        """Add a viewer, who gets a snapshot first."""
        viewer: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with self._lock:
            viewer.put(self._frame("snapshot", self.snapshot()))
            self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: "queue.SimpleQueue[bytes | None]") -> None:
        """Forget a viewer."""
        with self._lock:
            self._viewers.discard(viewer)


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    web: FakeWeb

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that left."""

    def hang_up(self) -> None:
        """End what is open: a browser would go on to ask on a line that it has."""
        for request in list(self._open):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes; the second would wait for 40 ms
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name for it
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer what the page asks."""
        web = self.server.web
        web.requests.append(self.path)
        address = urlsplit(self.path)
        path = address.path.removeprefix(web.base_path)
        web.thawed.wait(WAIT_S)
        with suppress(ConnectionError):
            if path == "/events":
                self._stream()
            elif path == "/":
                self._shell("index.html")
            elif path.startswith("/jobs/"):
                self._shell("job.html")
            elif path.startswith("/static/"):
                self._file(STATIC / path.removeprefix("/static/"))
            elif path.startswith("/api/jobs/") and path.endswith("/history"):
                self._history(path.removeprefix("/api/jobs/").removesuffix("/history"), parse_qs(address.query))
            else:
                self._answer(b"{}", "application/json", 404)

    def _shell(self, name: str) -> None:
        text = (STATIC / name).read_text(encoding="utf-8").replace("__BASE__", self.server.web.base_path + "/")
        self._answer(text.encode(), "text/html; charset=utf-8")

    def _file(self, path: Path) -> None:
        kind = {".js": "text/javascript"}.get(path.suffix) or mimetypes.guess_type(path.name)[0] or ""
        if path.is_file():
            self._answer(path.read_bytes(), kind, keep="max-age=600")
        else:
            self._answer(b"", "text/plain", 404)

    def _history(self, names: str, query: Mapping[str, list[str]]) -> None:
        web = self.server.web
        if web.refusals:
            self._answer(b"{}", "application/json", web.refusals.pop(0))
            return
        host, _, job = names.partition("/")
        events = web.histories.get((unquote(host), unquote(job)), [])
        since = query.get("since", [""])[0]
        until = query.get("until", ["~"])[0]
        found = [event for event in events if since <= event["observed_at"] < until]
        answer = {"events": found, "complete": web.incomplete is None, "reason": web.incomplete, "kept": True}
        self._answer(json.dumps(answer).encode(), "application/json")

    def _answer(self, body: bytes, kind: str, status: int = 200, *, keep: str = "no-store") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", keep)
        self.send_header("content-security-policy", CSP)
        self.send_header("x-content-type-options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("cache-control", "no-store")
        self.send_header("connection", "close")
        self.end_headers()
        web = self.server.web
        viewer = web.join()
        try:
            self.wfile.write(b"retry: 200\n\n")
            while (frame := _next(viewer)) is not None:
                self.wfile.write(frame)
        finally:
            web.leave(viewer)


def _next(viewer: "queue.SimpleQueue[bytes | None]") -> bytes | None:
    """Wait for a frame; a comment now and then shows whether the viewer is still there."""
    try:
        return viewer.get(timeout=1)
    except queue.Empty:
        return b": still here\n\n"
