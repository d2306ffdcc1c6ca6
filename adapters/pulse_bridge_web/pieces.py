"""Long answers, written piece by piece: one that is written as a whole holds up everybody while it is copied."""

import asyncio
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pulse_bridge_web import connection as connections
from pulse_bridge_web.connection import Connection
from pulse_bridge_web.frames import Text

PIECE_BYTES: Final = 262_144


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a client that takes too long for it is sent off."""
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
