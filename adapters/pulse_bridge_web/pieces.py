"""Long answers, written piece by piece: one that is written as a whole holds up everybody while it is copied."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pulse_bridge_web import connection as connections
from pulse_bridge_web.connection import Connection
from pulse_bridge_web.frames import Text

PIECE_BYTES: Final = 262_144
UNDER_WAY_BYTES: Final = 67_108_864
"""All long answers under way of one kind are no longer, together: clients may be slow to fetch them."""


class Load:
    """Counts the bytes of answers that are under way."""

    def __init__(self) -> None:
        self._bytes = 0

    def has_room(self, size_bytes: int) -> bool:
        """Say whether one more may set out; the first one may, however long it is."""
        return not self._bytes or self._bytes + size_bytes <= UNDER_WAY_BYTES

    @contextmanager
    def carry(self, size_bytes: int) -> Iterator[None]:
        """Count an answer for the length of the block."""
        self._bytes += size_bytes
        try:
            yield
        finally:
            self._bytes -= size_bytes


async def send_pieces(send: Send, content: Text | memoryview, connection: Connection, limit_s: float) -> bool:
    """Send a part of an answer's body; False where the client takes nothing of it for too long.

    Args:
        limit_s: So long a client may take nothing.
    """
    view = memoryview(content)
    for start in range(0, len(view), PIECE_BYTES):
        piece = bytes(view[start : start + PIECE_BYTES])
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not await connection.drained(limit_s):
            return False
    return True


class PiecedResponse(Response):
    """A response with a body that may be long."""

    load: Load | None = None
    """What counts it while it is under way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a client that takes too long for it is sent off."""
        with self.load.carry(len(self.body)) if self.load else nullcontext():
            await self._send(scope, receive, send)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD" or len(self.body) <= PIECE_BYTES:
            await super().__call__(scope, receive, send)
            return
        connection: Connection = scope["state"]["connection"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with asyncio.timeout(connections.ANSWER_S):
                taken = await send_pieces(send, self.body, connection, connections.ANSWER_S)
        except TimeoutError:
            taken = False
        if not taken:
            await connection.abort()
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
