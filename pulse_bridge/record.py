"""Everything that a bus tells from some instant on, each event once, over losses of the connection.

What `pulse-bridge record` writes down, and `replay --follow` goes on with.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from pulse_bridge.bus import Batch, Bus, Consumer, Query
from pulse_bridge.errors import HistoryUnsupportedError
from pulse_bridge.event import Event, EventId
from pulse_bridge.reconnect import Backoff, Progress, keep_connected
from pulse_bridge.replay_select import reading

OVERLAP_MS: Final = 60_000
"""So far back the past is read again after a loss: hosts' clocks differ, and what is known is dropped."""

PAGE_EVENTS: Final = 500

Take = Callable[[Sequence[Event]], Awaitable[None]]


class Seen:
    """Knows which events came already: each producer's come in order."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}

    def note(self, event_id: EventId) -> bool:
        """Note an event; gives whether it was new."""
        if event_id.seq <= self._seqs.get(event_id.producer, -1):
            return False
        self._seqs[event_id.producer] = event_id.seq
        return True


class Tail:
    """Follows a bus.

    Args:
        query: Which events are meant; its `since_ms` is where to begin in the past, None for now.
        take: Gets what is new, in order; at most `PAGE_EVENTS` at once from the past.
        past: Reads the past up to now, in place of `query`; what it gives goes to `take`, too.
        on_lost: Told how many events the bus gave up before they were read.
    """

    def __init__(
        self,
        bus: Bus,
        query: Query,
        take: Take,
        *,
        past: Callable[[Seen], Awaitable[None]] | None = None,
        on_lost: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._bus = bus
        self._query = query
        self._take = take
        self._past = past
        self._on_lost = on_lost
        self._seen = Seen()
        self._newest_ms: int | None = None
        self._begun = False
        self._is_live = False

    async def run(self, progress: Progress, backoff: Backoff) -> None:
        """Follow until cancelled.

        Raises:
            BusError: This bus cannot be followed.
            Exception: What `take` raises.
        """

        async def session(consumer: Consumer) -> None:
            batches = consumer.batches()
            # First, because it fixes the place behind which the live ones follow; then what was before it.
            first = await anext(batches)
            progress.made()
            await self._give_past()
            self._begun = True
            await self._give_live(first)
            async for batch in batches:
                await self._give_live(batch)

        await keep_connected(lambda: self._bus.consumer(None), session, progress, backoff)

    async def _give_past(self) -> None:
        """Give what lies between where this is and the first live event."""
        if not self._begun and self._past is not None:
            await self._past(self._seen)
        elif not self._begun and self._query.since_ms is not None:
            await self._give_history(self._query.since_ms)
        elif self._begun and self._newest_ms is not None:
            with suppress(HistoryUnsupportedError):  # then the newest of each at least come with the snapshot
                await self._give_history(self._newest_ms - OVERLAP_MS)
            self._is_live = True

    async def _give_history(self, since_ms: int) -> None:
        if self._query.since_ms is not None:
            since_ms = max(since_ms, self._query.since_ms)
        page: list[Event] = []
        async with reading(self._bus, replace(self._query, since_ms=since_ms)) as events:
            async for event in events:
                page.append(event)
                if len(page) >= PAGE_EVENTS:
                    await self._give(page)
                    page = []
        await self._give(page)

    async def _give_live(self, batch: Batch) -> None:
        if batch.lost:
            self._on_lost(batch.lost)
        if batch.snapshot and not (self._is_live or batch.lost):
            for event in batch.events:
                self._note(event)  # what was told before this began is not told now
            return
        self._is_live = self._is_live or bool(batch.events)
        await self._give(batch.events)

    async def _give(self, events: Sequence[Event]) -> None:
        new = [event for event in events if self._note(event) and self._query.matches(event)]
        if new:
            await self._take(new)

    def _note(self, event: Event) -> bool:
        self._newest_ms = max(self._newest_ms or 0, event.observed_ms)
        return self._seen.note(event.id)
