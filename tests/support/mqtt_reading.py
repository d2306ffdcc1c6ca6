"""Reads a bus in a test, batch by batch, within a time limit."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import cast

from pulse_bridge.bus import Batch, Bus, Consumer
from pulse_bridge.event import Event
from tests.support.processes import WAIT_S


class Reading:
    """A consumer and its batches."""

    def __init__(self, consumer: Consumer, batches: AsyncIterator[Batch]) -> None:
        self.consumer = consumer
        self.batches = batches

    @property
    def saved(self) -> dict[str, str]:
        return dict(self.consumer.saved)

    async def next(self) -> Batch:
        async with asyncio.timeout(WAIT_S):
            return await anext(self.batches)

    async def snapshot(self) -> list[Event]:
        """Await the snapshot."""
        batch = await self.next()
        assert batch.snapshot
        return list(batch.events)

    async def news(self, count: int, *, commit: bool = False) -> list[Event]:
        """Await so many events that are no snapshot, and no more; in order."""
        events: list[Event] = []
        while len(events) < count:
            batch = await self.next()
            assert not batch.snapshot
            events += batch.events
            if commit:
                await self.commit()
        assert len(events) == count
        return events

    async def commit(self, changes: Mapping[str, str | None] = {}) -> None:
        await self.consumer.commit(changes)


@asynccontextmanager
async def reading(bus: Bus, group: str | None = None) -> AsyncIterator[Reading]:
    """Connect, and end the batches with the block."""
    async with bus.consumer(group) as consumer:
        batches = cast("AsyncGenerator[Batch, None]", consumer.batches())
        async with aclosing(batches):
            yield Reading(consumer, batches)
