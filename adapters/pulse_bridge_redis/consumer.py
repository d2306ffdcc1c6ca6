"""Reading live: what is so, then what comes; for one reader alone, or for a group that keeps its place."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from pulse_bridge.bus import Batch
from pulse_bridge.event import Event
from pulse_bridge_redis.channels import open_channels
from pulse_bridge_redis.cursor import Cursor
from pulse_bridge_redis.group import Group, open_group
from pulse_bridge_redis.keys import Layout
from pulse_bridge_redis.options import Target
from pulse_bridge_redis.reader import PAGE_ENTRIES, Page, PartitionReader, open_reader
from pulse_bridge_redis.topology import find_topology

logger = logging.getLogger(__name__)

_MIN_PAGE_ENTRIES: Final = 20


class RedisConsumer:
    """The `Consumer` of one connection.

    With partitions each is read on its own: a host's events come in order, those of two hosts as they arrive. A
    snapshot that comes after a loss is of the partition that lost something.

    Args:
        readers: Of each partition, in order.
        group: None for a private reader.
        shown: The bus, without a secret.
    """

    def __init__(self, readers: Sequence[PartitionReader], group: Group | None, shown: str) -> None:
        self.saved: Mapping[str, str] = group.saved if group else {}
        self.skipped = 0
        self._readers = readers
        self._group = group
        self._shown = shown
        self._cursors: dict[int, Cursor] = {}
        # One page waits here and one more with each reader: as much as is read ahead of a slow subscriber.
        self._pages: asyncio.Queue[Page | Exception] = asyncio.Queue(maxsize=1)
        self._tasks: list[asyncio.Task[None]] = []
        self._said: set[str] = set()

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield a snapshot where there is no cursor, then what comes; see the port."""
        begin = {
            number: self._group.cursor(number) if self._group else None for number in range(len(self._readers))
        }
        if None in begin.values():
            new = [self._readers[number].snapshot() for number, cursor in begin.items() if cursor is None]
            pages = await asyncio.gather(*new)
            self._cursors.update((page.partition, page.cursor) for page in pages)
            events = [event for page in pages for event in self._decode(page)]
            # A relay's events are of many hosts, and so of many partitions.
            yield Batch(sorted(events, key=lambda event: event.id), snapshot=True)
        for number, cursor in begin.items():
            self.start(partial(self._follow, self._readers[number], cursor or self._cursors[number]))
        while True:
            page = await self._pages.get()
            if isinstance(page, Exception):
                raise page
            self._say_loss(page)
            events = self._decode(page)
            self._cursors[page.partition] = page.cursor
            yield Batch(events, snapshot=page.is_snapshot, lost=page.lost)

    async def commit(self, changes: Mapping[str, str | None] = {}) -> None:
        """Store the cursors behind the last yielded batch and the changed state; nothing for a private reader.

        Raises:
            BusUnavailableError: Not stored, as far as is known; enter anew and go on from the last commit.
        """
        if self._group is not None:
            await self._group.commit(self._cursors, changes)
            self.saved = self._group.saved

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run something for as long as the consumer lives; an error in it is raised by `batches`."""
        self._tasks.append(asyncio.create_task(self._run(work)))

    async def close(self) -> None:
        """End everything that runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised where the batches are read
            await self._pages.put(error)

    async def _follow(self, reader: PartitionReader, cursor: Cursor) -> None:
        async for page in reader.pages(cursor):
            await self._pages.put(page)

    def _decode(self, page: Page) -> list[Event]:
        events, skipped = page.decode()
        if skipped:
            self.skipped += skipped
            self._say_once("entries that are no events are skipped", page.partition, entries=skipped)
        return events

    def _say_loss(self, page: Page) -> None:
        if page.began_anew:
            self._say_once("the stream is another one than before; going on from what is so now", page.partition)
        if page.lost:
            self._say_once(
                "entries were trimmed before they were read; going on from what is so now",
                page.partition,
                entries=page.lost,
            )

    def _say_once(self, message: str, partition: int, **facts: int) -> None:
        if message not in self._said:
            self._said.add(message)
            logger.warning(message, extra={"bus": self._shown, "partition": partition, **facts})


@asynccontextmanager
async def open_consumer(
    target: Target, layout: Layout, group: str | None, abandoned: dict[str, str]
) -> AsyncIterator[RedisConsumer]:
    """Connect, check the layout, wait for the group's lease, and read.

    Args:
        abandoned: Leases of this bus whose connection was lost; outlives the connection.

    Raises:
        BusUnavailableError: Not possible now, or refused; try again.
        ConfigError: The prefix is in use with another layout.
    """
    shown = str(target.url)
    async with AsyncExitStack() as stack:
        channels = await open_channels(target)
        stack.push_async_callback(channels.close)
        layout.require(await channels.ask("HMGET", layout.meta, *layout.meta_fields), shown)
        topology = await find_topology(target)
        store: Group | None = None
        if group is not None:
            store = await stack.enter_async_context(
                open_group(target, layout, topology, channels, group, abandoned=abandoned)
            )
        partitions = layout.all()
        page_entries = max(_MIN_PAGE_ENTRIES, PAGE_ENTRIES // len(partitions))
        readers = [
            await stack.enter_async_context(
                open_reader(target, topology.address_of(keys.events), keys, number, page_entries)
            )
            for number, keys in enumerate(partitions)
        ]
        consumer = RedisConsumer(readers, store, shown)
        stack.push_async_callback(consumer.close)
        consumer.start(channels.wait_lost)
        if store is not None:
            consumer.start(store.wait_lost)
        yield consumer
