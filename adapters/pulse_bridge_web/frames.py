"""What viewers are sent: made once, for everybody who knows as much already.

A frame is compressed by itself, without looking back at what went before. Such pieces, one behind the other, are
one proper stream, so that all viewers share the work although each began at another moment.
Source: RFC 1951 §2.3 (blocks), RFC 1952 §2.3.1 (the head), zlib's `Z_SYNC_FLUSH`.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pydantic_core import to_json as encode_json

from pulse_bridge.event import format_time
from pulse_bridge_web.board import Board, JobKey

GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""What stands before the first frame of a compressed stream."""

KEEP_ALIVE: Final = b"event: ping\ndata: {}\n\n"
"""An event and no comment, because a page's script does not see comments."""

_LEVEL: Final = 1
_JOBS_AT_ONCE: Final = 50
_INLINE_BYTES: Final = 16_384


class Frame:
    """A piece of a stream.

    Args:
        upto: The change behind which a viewer stands that has got it.
    """

    __slots__ = ("_packed", "_packing", "text", "upto")

    def __init__(self, text: bytes, upto: int) -> None:
        self.text = text
        self.upto = upto
        self._packed: bytes | None = None
        self._packing: asyncio.Future[bytes] | None = None

    async def bytes(self, *, packed: bool) -> bytes:
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


def pack(text: bytes) -> bytes:
    """Compress a piece of a stream, up to a whole byte."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)


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

    async def state(self) -> tuple[bytes, int]:
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
        hosts = board.view_hosts(sorted(board.fleet.hosts))
        jobs = await self._jobs(sorted(board.fleet.jobs), spark=True)
        return encode_json(head)[:-1] + b',"hosts":' + hosts + b',"jobs":' + jobs + b"}", upto

    def snapshot(self, state: bytes, upto: int, *, gap: bool) -> Frame:
        """Make of everything the first frame of a viewer.

        Args:
            gap: It asked to go on from where it was, which is not possible.
        """
        data = state[:-1] + b',"gap":true}' if gap else state
        return Frame(self._event("snapshot", data, upto), upto)

    async def since(self, change: int) -> Frame:
        """Make the frame for whoever knows everything up to a change."""
        board = self._board
        upto = board.change
        parts = []
        if board.connection_change > change:
            data = encode_json({"connected": board.connected, "reason": board.reason})
            parts.append(self._event("connection", data, upto))
        jobs, hosts, removed = board.jobs_since(change), board.hosts_since(change), board.removed_since(change)
        if jobs or hosts or removed:
            data = b"".join(
                [
                    b'{"now":"',
                    self._now().encode(),
                    b'","jobs":',
                    await self._jobs(jobs, spark=False),
                    b',"hosts":',
                    board.view_hosts(hosts),
                    b',"removed":',
                    encode_json(removed),
                    b"}",
                ]
            )
            parts.append(self._event("update", data, upto))
        return Frame(b"".join(parts), upto)

    def _event(self, kind: str, data: bytes, upto: int) -> bytes:
        return f"id: {self._board.version(upto)}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"

    async def _jobs(self, keys: Sequence[JobKey], *, spark: bool) -> bytes:
        found: list[bytes] = []
        for start in range(0, len(keys), _JOBS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            found.extend(self._views(keys[start : start + _JOBS_AT_ONCE], spark=spark))
        return b"[" + b",".join(found) + b"]"

    def _views(self, keys: Sequence[JobKey], *, spark: bool) -> Iterable[bytes]:
        for key in keys:
            view = self._board.view_job(key, spark=spark)
            if view is not None:
                yield view

    def _now(self) -> str:
        return format_time(int(self._clock() * 1000))
