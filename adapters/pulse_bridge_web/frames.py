"""What viewers are sent: made once, for everybody who knows as much already.

A frame is compressed by itself, without looking back at what went before. Such pieces, one behind the other, are
one proper stream, so that all viewers share the work although each began at another moment.
Source: RFC 1951 §2.3 (blocks), RFC 1952 §2.3.1 (the head), zlib's `Z_SYNC_FLUSH`.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from pydantic_core import to_json as encode_json

from pulse_bridge.event import format_time
from pulse_bridge_web.board import Board

KeyT = TypeVar("KeyT")

Text = bytes | bytearray
"""It grows in place while it is made: ten thousand jobs are tens of megabytes, too much to be copied at once."""

GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""What stands before the first frame of a compressed stream."""

KEEP_ALIVE: Final = b"event: ping\ndata: {}\n\n"
"""An event and no comment, because a page's script does not see comments."""

_LEVEL: Final = 1
_VIEWS_AT_ONCE: Final = 50
_COPIED_AT_ONCE_BYTES: Final = 1_048_576
_INLINE_BYTES: Final = 16_384


class Frame:
    """A piece of a stream.

    Args:
        upto: The change behind which a viewer stands that has got it.
    """

    __slots__ = ("_packed", "_packing", "text", "upto")

    def __init__(self, text: Text, upto: int) -> None:
        self.text = text
        self.upto = upto
        self._packed: bytes | None = None
        self._packing: asyncio.Future[bytes] | None = None

    async def bytes(self, *, packed: bool) -> Text:
        """Give it as it is sent, compressed or not."""
        if not packed:
            return self.text
        if self._packed is None and len(self.text) <= _INLINE_BYTES:
            self._packed = pack(self.text)
        if self._packed is None:
            # In a thread, which lets go of the interpreter while it compresses; once, whoever else asks meanwhile.
            if self._packing is None:
                self._packing = asyncio.ensure_future(asyncio.to_thread(pack, self.text))
            self._packed = await asyncio.shield(self._packing)
        return self._packed


def pack(text: Text) -> bytes:
    """Compress a piece of a stream, up to a whole byte."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    view = memoryview(text)
    packed = [
        packer.compress(view[start : start + _COPIED_AT_ONCE_BYTES])
        for start in range(0, len(view), _COPIED_AT_ONCE_BYTES)
    ]
    return b"".join([*packed, packer.flush(zlib.Z_SYNC_FLUSH)])


class FrameMaker:
    """Writes what the board knows. Yields the event loop every few jobs: others live on it.

    What changes meanwhile may be in a frame already, and comes again with the next.

    Args:
        source: The bus for a person, without a secret.
        clock: Gives Unix seconds.
    """

    def __init__(self, board: Board, source: Callable[[], str], clock: Callable[[], float] = time.time) -> None:
        self._board = board
        self._source = source
        self._clock = clock

    async def state(self) -> tuple[Text, int]:
        """Give everything as the JSON object of `GET /api/jobs`, and the change behind which it is."""
        board = self._board
        upto = board.change
        head = {
            "connected": board.connected,
            "reason": board.reason,
            "now": self._now(),
            "source": self._source(),
            "version": board.version(upto),
        }
        text = bytearray(encode_json(head)[:-1] + b',"hosts":[')
        await self._view(text, board.view_host, sorted(board.fleet.hosts))
        text += b'],"jobs":['
        await self._view(text, partial(board.view_job, spark=True), sorted(board.fleet.jobs))
        text += b"]}"
        return text, upto

    async def snapshot(self, state: Text, upto: int, *, gap: bool) -> Frame:
        """Make of everything the first frame of a viewer.

        Args:
            gap: It asked to go on from where it was, which is not possible.
        """
        text = bytearray(self._head("snapshot", upto))
        rest = memoryview(state)[:-1]
        for start in range(0, len(rest), _COPIED_AT_ONCE_BYTES):
            if start:
                await asyncio.sleep(0)
            text += rest[start : start + _COPIED_AT_ONCE_BYTES]
        text += b',"gap":true}\n\n' if gap else b"}\n\n"
        return Frame(text, upto)

    async def since(self, change: int) -> Frame:
        """Make the frame for whoever knows everything up to a change."""
        board = self._board
        upto = board.change
        text = bytearray()
        if board.connection_change > change:
            data = encode_json({"connected": board.connected, "reason": board.reason})
            text += self._head("connection", upto) + data + b"\n\n"
        jobs, hosts = board.jobs_since(change), board.hosts_since(change)
        removed, hosts_removed = board.removed_since(change), board.hosts_removed_since(change)
        if jobs or hosts or removed or hosts_removed:
            text += self._head("update", upto) + b'{"now":' + encode_json(self._now()) + b',"jobs":['
            await self._view(text, partial(board.view_job, spark=False), jobs)
            text += b'],"hosts":['
            await self._view(text, board.view_host, hosts)
            text += b'],"removed":' + encode_json(removed) + b',"hosts_removed":' + encode_json(hosts_removed)
            text += b"}\n\n"
        return Frame(text, upto)

    def _head(self, kind: str, upto: int) -> bytes:
        return f"id: {self._board.version(upto)}\nevent: {kind}\ndata: ".encode()

    async def _view(self, text: bytearray, view: Callable[[KeyT], bytes | None], keys: Sequence[KeyT]) -> None:
        """Put behind a text, with commas between, what each key's view is, some at a time."""
        first = True
        for start in range(0, len(keys), _VIEWS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            views = [made for key in keys[start : start + _VIEWS_AT_ONCE] if (made := view(key)) is not None]
            if views:
                text += b",".join(views) if first else b",".join([b"", *views])
                first = False

    def _now(self) -> str:
        return format_time(int(self._clock() * 1000))
