"""Reading what was from its beginning, on connections of its own: the stream of every event, or each job's own."""

import heapq
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from pulse_bridge.bus import Query
from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import Event, JobEvent
from pulse_bridge.event_text import from_text_fields
from pulse_bridge_redis.channels import Channels, open_channels
from pulse_bridge_redis.cursor import Entry, parse_entry_id
from pulse_bridge_redis.entries import decode_fields, read_snapshot
from pulse_bridge_redis.job_entries import JobEntries
from pulse_bridge_redis.keys import Layout
from pulse_bridge_redis.options import Target
from pulse_bridge_redis.presence import Ask

logger = logging.getLogger(__name__)

PAGE_ENTRIES: Final = 1000

Read = Callable[[Entry], Event]
"""Reads an entry; raises EventFormatError for one that is no event."""


async def read_history(target: Target, layout: Layout, query: Query) -> AsyncIterator[Event]:
    """Yield the events asked for, by entry id; with partitions or from the jobs' own streams, merged by entry id.

    Raises:
        BusUnavailableError: Redis cannot be read now.
        ConfigError: The prefix is in use with another layout.
    """
    if query.limit is not None and query.limit <= 0:
        return
    channels = await open_channels(target)
    yielded = 0
    try:
        layout.require(await channels.ask("HMGET", layout.meta, *layout.meta_fields), str(target.url))
        if target.options.stream == "jobs":
            reads = await _find_jobs(channels, layout, query)
        else:
            reads = {keys.events: _read_entry for keys in layout.all()}
        async with aclosing(_read(channels.ask, reads, layout.prefix)) as events:
            async for event in events:
                if not query.matches(event):
                    continue
                yield event
                yielded += 1
                if yielded == query.limit:
                    return
    finally:
        await channels.close()


def _read_entry(entry: Entry) -> Event:
    return from_text_fields(decode_fields(entry[1]))


async def _find_jobs(channels: Channels, layout: Layout, query: Query) -> Mapping[str, Read]:
    """Give the stream of each job asked for, and how its entries are read."""
    named = replace(query, since_ms=None, until_ms=None, kinds=(), runs=())
    reads: dict[str, Read] = {}
    for keys in layout.all():
        states = (await channels.ask("HGETALL", keys.state))[1::2]
        for event in read_snapshot(states, ())[0]:
            if isinstance(event, JobEvent) and named.matches(event):
                reads[keys.job(event.host, event.job)] = JobEntries(event.host, event.job).read
    return reads


@dataclass
class _Stream:
    """One stream: what was read of it and is not yielded yet."""

    key: str
    read: Read
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


async def _read(ask: Ask, reads: Mapping[str, Read], prefix: str) -> AsyncGenerator[Event]:
    """Yield the events of streams, merged."""
    skipped = 0
    try:
        async with aclosing(_merged(ask, [_Stream(key, read) for key, read in reads.items()])) as entries:
            async for read, entry in entries:
                try:
                    event = read(entry)
                except EventFormatError:
                    skipped += 1
                else:
                    yield event
    finally:
        if skipped:
            logger.warning("entries that are no events were skipped", extra={"prefix": prefix, "entries": skipped})


async def _merged(ask: Ask, streams: list[_Stream]) -> AsyncGenerator[tuple[Read, Entry]]:
    page_entries = max(20, PAGE_ENTRIES // max(1, len(streams)))
    heads = [
        (parse_entry_id(stream.page[0][0]), number)
        for number, stream in enumerate(streams)
        if await stream.fill(ask, page_entries)
    ]
    heapq.heapify(heads)
    while heads:
        _, number = heads[0]
        stream = streams[number]
        yield stream.read, stream.page.popleft()
        if await stream.fill(ask, page_entries):
            heapq.heapreplace(heads, (parse_entry_id(stream.page[0][0]), number))
        else:
            heapq.heappop(heads)
