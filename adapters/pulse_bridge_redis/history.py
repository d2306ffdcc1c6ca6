"""Reading the stream of every event from its beginning, on connections of its own."""

import heapq
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pulse_bridge.bus import Query
from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import Event
from pulse_bridge.event_text import from_text_fields
from pulse_bridge_redis.channels import open_channels
from pulse_bridge_redis.cursor import Entry, parse_entry_id
from pulse_bridge_redis.entries import decode_fields
from pulse_bridge_redis.keys import Layout
from pulse_bridge_redis.options import Target
from pulse_bridge_redis.presence import Ask

logger = logging.getLogger(__name__)

PAGE_ENTRIES: Final = 1000


async def read_history(target: Target, layout: Layout, query: Query) -> AsyncIterator[Event]:
    """Yield the events asked for, by entry id; with partitions, merged by entry id.

    Raises:
        BusUnavailableError: Redis cannot be read now.
        ConfigError: The prefix is in use with another layout.
    """
    if query.limit is not None and query.limit <= 0:
        return
    channels = await open_channels(target)
    skipped = yielded = 0
    try:
        layout.require(await channels.ask("HMGET", layout.meta, *layout.meta_fields), str(target.url))
        async for texts in _merged(channels.ask, layout):
            try:
                event = from_text_fields(decode_fields(texts))
            except EventFormatError:
                skipped += 1
                continue
            if not query.matches(event):
                continue
            yield event
            yielded += 1
            if yielded == query.limit:
                return
    finally:
        await channels.close()
        if skipped:
            logger.warning(
                "entries that are no events were skipped", extra={"prefix": layout.prefix, "entries": skipped}
            )


@dataclass
class _Stream:
    """One partition's stream: what was read of it and is not yielded yet."""

    key: str
    after: bytes = b""
    page: deque[Entry] = field(default_factory=deque)

    async def fill(self, ask: Ask, page_entries: int) -> bool:
        """Read the next page if there is nothing left of the last; False at the end."""
        if not self.page:
            start = b"(" + self.after if self.after else b"-"
            self.page.extend(await ask("XRANGE", self.key, start, "+", "COUNT", page_entries))
            if self.page:
                self.after = self.page[-1][0]
        return bool(self.page)


async def _merged(ask: Ask, layout: Layout) -> AsyncIterator[Sequence[bytes]]:
    streams = [_Stream(keys.events) for keys in layout.all()]
    page_entries = max(20, PAGE_ENTRIES // len(streams))
    heads = [
        (parse_entry_id(stream.page[0][0]), number)
        for number, stream in enumerate(streams)
        if await stream.fill(ask, page_entries)
    ]
    heapq.heapify(heads)
    while heads:
        _, number = heads[0]
        stream = streams[number]
        yield stream.page.popleft()[1]
        if await stream.fill(ask, page_entries):
            heapq.heapreplace(heads, (parse_entry_id(stream.page[0][0]), number))
        else:
            heapq.heappop(heads)
