"""One connection of a client: uvicorn's own, with the limits that it lacks."""

import asyncio
import logging
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

import h11
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from pulse_bridge_web.room import Room

logger = logging.getLogger("pulse_bridge_web.http")
logger.setLevel(logging.ERROR)  # what strangers send that is no HTTP is no news


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what our own end cut off."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


logger.addFilter(_is_news)

REQUEST_S: Final = 10.0
"""So long a client may take to send its request."""

ANSWER_S: Final = 60.0
"""So long a client may take to fetch the rest of an answer, once it is all written."""

RETRY_S: Final = "10"
"""Whoever finds no room may ask again then."""

LOW_WATER_BYTES: Final = 16_384
HIGH_WATER_BYTES: Final = 65_536
"""Above this a viewer is waited for; what is above is at most one frame."""


class Connection(H11Protocol):
    """A connection, which the application finds in the state of its scope.

    Args:
        room: Shared by all connections of a server.
    """

    def __init__(self, config: Config, server_state: ServerState, *, room: Room) -> None:
        self._room = room
        self._address = ""
        self._place = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()
        super().__init__(config, server_state, {"connection": self})
        self.logger = logger
        self.access_log = False  # an address may carry the token
        self._answer_request = self.app
        self.app = self._answer_or_refuse

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the connection, or close it where there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        self._address = self.client[0] if self.client else ""
        self._place = self._room.enter(self._address)
        if self._room.is_crammed(self._address, self._place):
            transport.abort()
            return
        self._set_deadline(REQUEST_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request in; it must be whole in time."""
        super().data_received(data)
        if self.is_answering:
            self._clear_deadline()
        elif self._deadline is None:
            self._set_deadline(REQUEST_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; where an answer has begun, there is only the end.

        Args:
            msg: For a person.
        """
        if self.is_answering:
            self.cycle.disconnected = True  # what was asked before it has no answer any more
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        body = f"{msg}\n".encode()
        headers = [
            *self.server_state.default_headers,
            (b"date", formatdate(usegmt=True).encode()),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, reason=b"Bad Request", headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the end, but not for ever."""
        super().on_response_complete()
        if not self.is_answering:
            self._clear_deadline()
            self._set_deadline(ANSWER_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._clear_deadline()
        self._room.leave(self._address)
        self._lost.set()
        super().connection_lost(exc)

    async def _answer_or_refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._room.refusal(self._address, self._place)
        if refusal is None:
            await self._answer_request(scope, receive, send)
            return
        headers = {"retry-after": RETRY_S, "connection": "close", "cache-control": "no-store"}
        await JSONResponse({"error": refusal}, 503, headers)(scope, receive, send)

    @property
    def is_answering(self) -> bool:
        """Say whether a request is at work."""
        cycle: object = self.cycle  # None before the first request, whatever its type says
        return isinstance(cycle, RequestResponseCycle) and not cycle.response_complete

    async def drained(self, limit_s: float) -> bool:
        """Wait until the client has taken most of what was written; False where it takes too long."""
        if not self.flow.write_paused:
            return True
        try:
            async with asyncio.timeout(limit_s):
                await self.flow.drain()
        except TimeoutError:
            return False
        return True

    async def abort(self) -> None:
        """Close it at once, and throw away what was written and not taken."""
        self.transport.abort()
        await self._lost.wait()

    def _set_deadline(self, after_s: float, then: Callable[[], Any]) -> None:
        self._deadline = self.loop.call_later(after_s, then)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
