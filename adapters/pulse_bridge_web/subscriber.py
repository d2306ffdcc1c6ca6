"""Takes what the bus tells onto the board, and holds the server."""

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar, Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from pulse_bridge.bus import Batch, Bus
from pulse_bridge.clock import Instant
from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber, SubscriberUrl
from pulse_bridge_web.app import Site, make_app
from pulse_bridge_web.board import Board
from pulse_bridge_web.files import read_files
from pulse_bridge_web.frames import FrameMaker
from pulse_bridge_web.gate import Gate
from pulse_bridge_web.history import BusyError, History
from pulse_bridge_web.hub import Hub
from pulse_bridge_web.options import WebOptions, split_list
from pulse_bridge_web.room import Room
from pulse_bridge_web.safety import HostNames, make_headers, read_token
from pulse_bridge_web.server import adopt, affordable, listen, serve
from pulse_bridge_web.stream import DROP_S, EventStream
from pulse_bridge_web.views import draw_sparks

logger = logging.getLogger(__name__)

_EVENTS_AT_ONCE: Final = 200
_FORGET_EACH_S: Final = 60.0
_PAST_S: Final = 6 * 3600.0
_PAST_EVENTS: Final = 50_000
"""So far back, and so many events, sparklines are drawn from at the start."""


class WebSubscriber(Subscriber):
    """Serves the page, its API and its event stream.

    Args:
        url: As the user wrote it.
        drop_s: A viewer that takes nothing for so long is dropped.

    Raises:
        ConfigError: An option is wrong.
    """

    durable: ClassVar[bool] = False

    def __init__(self, url: SubscriberUrl, *, drop_s: float = DROP_S) -> None:
        self._drop_s = drop_s
        self._options = url.parse_options(WebOptions)
        self._shown = str(url)
        self._source = "no bus"
        self.board = Board(secrets.token_hex(4))
        self.hub = Hub(self.board, FrameMaker(self.board, lambda: self._source))
        self.history = History()
        self.address = ""
        self._forget_at_s = 0.0
        self._past: asyncio.Task[None] | None = None

    def attach(self, bus: Bus) -> None:
        """Keep the bus, for questions about the past."""
        self.history.bus = bus
        self._source = str(bus)

    def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        """Tell whether the page can be served; see `pulse_bridge.doctor`."""
        from pulse_bridge_web.examine import examine  # noqa: PLC0415 - nothing else needs it

        return examine(self._options, self._shown, examination)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Listen on the port.

        Raises:
            ConfigError: It is in use or not to be had, or others could read without a token.
        """
        options = self._options
        token = await asyncio.to_thread(read_token, options.token_env, options.token_file, shown=self._shown)
        files = await asyncio.to_thread(read_files, options.base_path)
        stream = EventStream(self.hub, drop_s=self._drop_s)
        app: ASGIApp = make_app(Site(self.board, self.hub, self.history, files, options.base_path), stream)
        if options.origins:
            app = CORSMiddleware(
                app,
                allow_origins=split_list(options.origins),
                allow_methods=["GET"],
                allow_headers=["authorization", "last-event-id"],
            )
        gate = Gate(
            app,
            base_path=options.base_path,
            hosts=HostNames([options.bind, *split_list(options.hosts)]),
            token=token,
        )
        sock = await self._open_socket(has_token=token is not None)
        connections = affordable(options.max_connections)
        room = Room(connections, options.max_per_address)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serve(gate, sock, room, make_headers(split_list(options.embed))))
            await stack.enter_async_context(self.hub.lifespan())
            self.address = self._address(sock)
            logger.info(
                "serving the page",
                extra={"address": self.address, "token": token is not None, "max_connections": connections},
            )
            try:
                yield
            finally:
                await self._leave_past()

    async def _leave_past(self) -> None:
        past, self._past = self._past, None
        if past is not None:
            past.cancel()
            await asyncio.wait({past})

    async def _open_socket(self, *, has_token: bool) -> socket.socket:
        options = self._options
        if options.fd is not None:
            return adopt(options.fd, has_token=has_token, shown=self._shown)
        return await asyncio.to_thread(listen, options.bind, options.port, has_token=has_token, shown=self._shown)

    def _address(self, sock: socket.socket) -> str:
        bound, port = sock.getsockname()[:2]
        bind = self._options.bind if self._options.fd is None else bound
        host = f"[{bind}]" if ":" in bind else bind
        return f"http://{host}:{port}{self._options.base_path}/"

    async def on_connect(self, saved: Mapping[str, str], at: Instant) -> None:  # noqa: ARG002 - nothing is saved
        """Wait for the snapshot: until then nothing is known of the present."""
        self.board.connect(at)
        self.hub.note()

    async def on_disconnect(self, reason: str) -> None:
        """Say so, and show the last that is known."""
        self.board.disconnect(reason)
        self.hub.note()

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        """Take events in, yielding the event loop every few of them."""
        events = batch.events
        for start in range(0, max(1, len(events)), _EVENTS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            more = start + _EVENTS_AT_ONCE < len(events)
            part = Batch(events[start : start + _EVENTS_AT_ONCE], batch.snapshot, 0 if more else batch.lost)
            self.board.take(part, at, more=more)
        self.hub.note()
        if batch.snapshot and self._past is None and self.history.bus is not None:
            self._past = asyncio.create_task(self._draw_past(int((at.wall_s - _PAST_S) * 1000)))
        return NOTHING

    async def _draw_past(self, since_ms: int) -> None:
        """Draw the sparklines of what was before this start, as far as the bus knows."""
        try:
            past = await self.history.recent(since_ms, _PAST_EVENTS)
        except BusyError:
            return
        self.board.put_past(await asyncio.to_thread(draw_sparks, past.events))
        self.hub.note()

    async def on_tick(self, at: Instant) -> Changes:
        """Notice who fell silent, and let go of what is long over."""
        before = self.board.change
        self.board.tick(at)
        if at.now_s >= self._forget_at_s:
            self._forget_at_s = at.now_s + _FORGET_EACH_S
            self.board.forget(at.wall_s)
        if self.board.change != before:  # else the silence is for the sign of life
            self.hub.note()
        self.hub.revive()
        return NOTHING
