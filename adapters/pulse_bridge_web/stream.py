"""One viewer's stream of server-sent events, as an ASGI application.

sse-starlette would start four tasks for each viewer and compress nothing; this is all that is needed.
Source: HTML Living Standard, "Server-sent events".
"""

import asyncio
import logging
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from pulse_bridge_web.connection import Connection
from pulse_bridge_web.frames import GZIP_HEAD, pack
from pulse_bridge_web.hub import Hub, Viewer
from pulse_bridge_web.pieces import send_pieces

logger = logging.getLogger(__name__)

DROP_S: Final = 30.0
"""A viewer that takes nothing for so long is dropped."""

_RETRY: Final = b"retry: 2000\n\n"
"""Milliseconds after which a browser asks again."""


class EventStream:
    """Answers `GET /events`.

    Args:
        drop_s: A viewer that takes nothing for so long is dropped.
    """

    def __init__(self, hub: Hub, *, drop_s: float = DROP_S) -> None:
        self._hub = hub
        self._drop_s = drop_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send frames until the viewer leaves or the server ends."""
        headers = Headers(scope=scope)
        packed = accepts_gzip(headers)
        answer = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept-encoding"),
            (b"x-accel-buffering", b"no"),  # nginx would hold it back
        ]
        if packed:
            answer.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": answer})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        viewer = self._hub.join(headers.get("last-event-id"), packed=packed)
        leaving = asyncio.ensure_future(until_left(receive))
        leaving.add_done_callback(lambda _: self._hub.leave(viewer))
        try:
            head = GZIP_HEAD + pack(_RETRY) if packed else _RETRY
            await send({"type": "http.response.body", "body": head, "more_body": True})
            await self._send_frames(viewer, send, scope["state"]["connection"])
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            self._hub.leave(viewer)

    async def _send_frames(self, viewer: Viewer, send: Send, connection: Connection) -> None:
        while (content := await self._hub.next(viewer)) is not None:
            # Only then is the next one made: a frame that waits for its turn would be old when it comes.
            if not await send_pieces(send, content, connection, self._drop_s):
                logger.info("a viewer took nothing and is dropped", extra={"after_s": self._drop_s})
                await connection.abort()
                return


async def until_left(receive: Receive) -> None:
    """Wait until the client has left, or has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


def accepts_gzip(headers: Headers) -> bool:
    """Say whether an answer may be compressed. Source: RFC 9110 §12.5.3."""
    for part in headers.get("accept-encoding", "").split(","):
        coding, _, quality = part.partition(";")
        if coding.strip().lower() in {"gzip", "*"}:
            return quality.replace(" ", "").lower() not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
