"""Following one partition's stream, on a connection of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError, ResponseError

from pulse_bridge.event import Event
from pulse_bridge_redis.connection import RedisConnection, connect, unavailable
from pulse_bridge_redis.cursor import BEGAN_ANEW, Cursor, Entry, StreamInfo, find_loss
from pulse_bridge_redis.entries import read_entries, read_snapshot
from pulse_bridge_redis.keys import Keys
from pulse_bridge_redis.options import Address, Target
from pulse_bridge_redis.packing import Word, pack

PAGE_ENTRIES: Final = 1000
BLOCK_MS: Final = 5000
"""How long Redis waits for an entry before it answers that there is none: so often a quiet reader looks round."""

_REPLY_TIMEOUT_S: Final = BLOCK_MS / 1000 + 5


class Page(NamedTuple):
    """What one reading brought, not decoded yet, because the next can be read meanwhile.

    Args:
        partition: Its number.
        cursor: The place behind it.
        entries: In order; of a snapshot the newest ones, newest first.
        states: The values of the state hash; None if this is no snapshot.
        lost: So many entries before it were given up.
        began_anew: The stream is another one than the cursor's.
    """

    partition: int
    cursor: Cursor
    entries: list[Entry]
    states: list[bytes] | None = None
    lost: int = 0
    began_anew: bool = False

    @property
    def is_snapshot(self) -> bool:
        """Say whether it tells what is so, and not what came."""
        return self.states is not None

    @property
    def is_empty(self) -> bool:
        """Say whether it only tells that Redis answers."""
        return not (self.entries or self.is_snapshot)

    def decode(self) -> tuple[list[Event], int]:
        """Give the events, and the number of entries that are none."""
        if self.states is None:
            return read_entries(self.entries)
        return read_snapshot(self.states, self.entries)


class PartitionReader:
    """Reads one stream and the state hash beside it.

    Args:
        connection: Connected, nobody else's; at its end when a read is cancelled.
        partition: Its number, 0 where there are none.
        page_entries: The most entries of one page.
    """

    def __init__(
        self, connection: RedisConnection, target: Target, keys: Keys, partition: int, page_entries: int
    ) -> None:
        self._connection = connection
        self._target = target
        self._keys = keys
        self._partition = partition
        self._page_entries = page_entries

    async def snapshot(self) -> Page:
        """Read what is so, and the place from which on the stream tells more.

        Both are read at one moment, so that nothing is told twice and nothing falls between.
        """
        info, newest_first, states = await self._at_once(
            ("XINFO", "STREAM", self._keys.events),
            ("XREVRANGE", self._keys.events, "+", "-", "COUNT", PAGE_ENTRIES),
            ("HGETALL", self._keys.state),
        )
        return Page(self._partition, StreamInfo.of(info).end, newest_first, states[1::2])

    async def pages(self, cursor: Cursor) -> AsyncIterator[Page]:
        """Yield what comes behind a cursor, for ever; a snapshot where something was lost.

        An empty page says that Redis answers: the first one comes at once.

        Raises:
            BusUnavailableError: The connection is lost.
        """
        page = await self._look(cursor)
        yield page
        while True:
            if page.is_empty:
                page = await self._wait(page.cursor)
                yield page
            page = await self._look(page.cursor)
            if not page.is_empty:
                yield page

    async def _look(self, cursor: Cursor) -> Page:
        """Read what is there now, and whether all of it is."""
        info_reply, reply = await self._at_once(
            ("XINFO", "STREAM", self._keys.events),
            ("XREAD", "COUNT", self._page_entries, "STREAMS", self._keys.events, cursor.id_text),
        )
        info, entries = StreamInfo.of(info_reply), _entries_of(reply)
        at_end = len(entries) < self._page_entries
        loss = find_loss(cursor, info, len(entries), at_end=at_end)
        if loss == BEGAN_ANEW:
            return (await self.snapshot())._replace(began_anew=True)
        if loss:
            return (await self.snapshot())._replace(lost=loss)
        if at_end and info.added is not None:
            return Page(self._partition, cursor.behind(entries)._replace(added=info.added), entries)
        return Page(self._partition, cursor.behind(entries), entries)

    async def _wait(self, cursor: Cursor) -> Page:
        """Read what comes next, at the moment it comes."""
        (reply,) = await self._ask_all(
            (
                "XREAD",
                "COUNT",
                self._page_entries,
                "BLOCK",
                BLOCK_MS,
                "STREAMS",
                self._keys.events,
                cursor.id_text,
            )
        )
        entries = _entries_of(reply)
        return Page(self._partition, cursor.behind(entries), entries)

    async def _at_once(self, *commands: tuple[Word, ...]) -> list[Any]:
        """Ask several things of one moment; that there is no stream is an answer, any other refusal an error."""
        *_, replies = await self._ask_all(("MULTI",), *commands, ("EXEC",))
        for reply in replies:
            if isinstance(reply, ResponseError) and "no such key" not in str(reply):
                raise unavailable(reply, self._target) from reply
        return list(replies)

    async def _ask_all(self, *commands: tuple[Word, ...]) -> list[Any]:
        self._connection.write(b"".join(pack(*command) for command in commands))
        try:
            return [await self._connection.read_response() for _ in commands]
        except (RedisError, OSError) as error:
            raise unavailable(error, self._target) from error


def _entries_of(reply: Any) -> list[Entry]:  # noqa: ANN401 - what Redis answers
    return list(reply[0][1]) if reply else []


@asynccontextmanager
async def open_reader(
    target: Target, address: Address | None, keys: Keys, partition: int, page_entries: int
) -> AsyncIterator[PartitionReader]:
    """Connect to the server that has a partition.

    Raises:
        BusUnavailableError: Not possible now, or refused; try again.
    """
    connection = await connect(target, address, reply_timeout_s=_REPLY_TIMEOUT_S)
    try:
        yield PartitionReader(connection, target, keys, partition, page_entries)
    finally:
        await connection.abort()
