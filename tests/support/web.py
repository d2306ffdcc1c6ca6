"""The page's server as a test starts it, and a reader of its event stream."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx
import pytest

from pulse_bridge.bus import Batch, Bus, open_bus
from pulse_bridge.clock import Instant
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import Event
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.subscriber import SubscriberUrl
from pulse_bridge.subscription import Subscription
from pulse_bridge.testing import SAMPLE_MS
from pulse_bridge_web import WebSubscriber
from tests.support.processes import WAIT_S, free_port, wait_until


class Told(NamedTuple):
    """One event of a stream; a comment has the kind `comment` and its text as data."""

    id: str
    kind: str
    data: Any


class EventReader:
    """Reads a stream of server-sent events."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> Told:
        """Give the next event or comment."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(WAIT_S):
            async for line in self._lines:
                if line.startswith(":"):
                    return Told("", "comment", line[1:].strip())
                if not line and "data" in fields:
                    return Told(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
        raise EOFError("the stream has ended")

    async def until_job(self, job: str, **fields: Any) -> Told:
        """Give the first frame in which a job has some fields."""
        while True:
            told = await self.next()
            if told.kind in {"snapshot", "update"}:
                for view in told.data["jobs"]:
                    if view["job"] == job and all(view.get(name) == value for name, value in fields.items()):
                        return told


class Page:
    """A server on a free port, whose verbs a test calls as the runtime does, on a clock that the test sets."""

    def __init__(self, *, bus: Bus | None = None, drop_s: float = 30.0, **options: str) -> None:
        self.port = int(options.get("port", free_port()))
        self.now = Instant(1000.0, SAMPLE_MS / 1000)
        query = urlencode({"port": str(self.port), **options}, quote_via=quote)
        self.subscriber = WebSubscriber(SubscriberUrl.parse(f"web?{query}"), drop_s=drop_s)
        self.hub = self.subscriber.hub
        if bus is not None:
            self.subscriber.attach(bus)
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}{options.get('base_path', '').rstrip('/')}", timeout=WAIT_S
        )

    async def connect(self, *snapshot: Event) -> None:
        """Begin a connection."""
        await self.subscriber.on_connect({}, self.now)
        await self.give(*snapshot, snapshot=True)

    async def give(self, *events: Event, snapshot: bool = False) -> None:
        """Give a batch."""
        assert await self.subscriber.on_batch(Batch(events, snapshot), self.now) == {}

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and tick."""
        self.now = Instant(self.now.now_s + seconds, self.now.wall_s + seconds)
        assert await self.subscriber.on_tick(self.now) == {}

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask; a header's `_` stands for its `-`."""
        return await self.client.get(path, headers=_named(headers))

    async def json(self, path: str) -> Any:
        """Ask, and read the answer."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @asynccontextmanager
    async def events(self, path: str = "/events", **headers: str) -> AsyncIterator[EventReader]:
        """Follow what happens."""
        async with self.client.stream("GET", path, headers=_named(headers)) as response:
            assert response.status_code == 200, response.status_code
            yield EventReader(response)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def serving(*snapshot: Event, **options: Any) -> AsyncIterator[Page]:
    """Start a server that is connected to a bus with some events."""
    page = Page(**options)
    async with page.subscriber.lifespan(), page.client:
        await page.connect(*snapshot)
        yield page


@asynccontextmanager
async def following(bus: Bus | str, folder: Path, **options: Any) -> AsyncIterator[Page]:
    """Start a server that follows a real bus, as `pulse-bridge subscribe` runs it."""
    page = Page(**options)
    found = open_bus(bus) if isinstance(bus, str) else bus
    letters = DeadLetters(folder / "dead.jsonl")
    subscription = Subscription(page.subscriber, found, name="web", shown=str(found), letters=letters)
    stop = asyncio.Event()
    running = asyncio.create_task(subscription.run(stop))
    try:
        await wait_until(lambda: page.subscriber.board.connected or running.done(), "it is connected")
        async with page.client:
            yield page
    finally:
        stop.set()
        await running


async def refusal(**options: Any) -> str:
    """Start a server that must not start; gives the sentence."""
    page = Page(**options)
    with pytest.raises(ConfigError) as error:
        async with page.subscriber.lifespan():
            pass
    await page.client.aclose()
    assert "\n" not in str(error.value)
    return str(error.value)


async def ask_raw(port: int, request: bytes) -> bytes:
    """Send bytes, and give all that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(WAIT_S):
            writer.write(request)
            return await reader.read()
    finally:
        writer.close()


def open_viewer(port: int, receive_bytes: int) -> socket.socket:
    """Open an event stream that nobody reads, with little room for what comes."""
    viewer = socket.socket()
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    viewer.connect(("127.0.0.1", port))
    viewer.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return viewer


def jobs_of(view: Sequence[dict[str, Any]]) -> list[str]:
    """Name the jobs of a view."""
    return [job["job"] for job in view]
