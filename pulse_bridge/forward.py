"""From any bus to another under a durable cursor: what `pulse-bridge relay` runs.

One batch is in flight at a time, because the cursor moves with each.
"""

import logging
from collections.abc import Iterable
from typing import Final

from pulse_bridge.bus import Bus, Consumer, Presence, Publisher, Query
from pulse_bridge.errors import HistoryUnsupportedError
from pulse_bridge.event import Event, EventId, JobEvent
from pulse_bridge.reconnect import Backoff, Progress, keep_connected
from pulse_bridge.relay import RejectionSink, batches, first_of

logger = logging.getLogger(__name__)

_LAST: Final = "last"
"""Under this name the id of the last event that was passed on is saved with the cursor."""
_PAGE_EVENTS: Final = 500


class Forwarder:
    """Passes events on, and gives a destination again what it has lost.

    Args:
        presence: For whom the destination is told to keep state; None keeps none.
        on_rejected: Takes what the destination can never take.
    """

    def __init__(
        self, source: Bus, destination: Bus, *, presence: Presence | None, on_rejected: RejectionSink
    ) -> None:
        self._source = source
        self._destination = destination
        self._presence = presence
        self._on_rejected = on_rejected
        self._newest: dict[tuple[str, str], Event] = {}

    async def run(self, group: str, progress: Progress, backoff: Backoff) -> None:
        """Pass on until the source ends or the task is cancelled.

        Args:
            group: Names the cursor on the source.
        """

        async def session(publisher: Publisher) -> None:
            async with self._source.consumer(group) as consumer:
                await self._catch_up(consumer, publisher)
                progress.made()
                await first_of(publisher.wait_lost(), self._pass_on(consumer, publisher))

        await keep_connected(lambda: self._destination.publisher(self._presence), session, progress, backoff)

    async def _catch_up(self, consumer: Consumer, publisher: Publisher) -> None:
        """Give the destination what it may lack of what it has acknowledged; what it has, it drops."""
        if _LAST not in consumer.saved:
            return
        last = EventId.parse(consumer.saved[_LAST])
        if await publisher.resume(last) == last:
            await self._publish(publisher, sorted(self._newest.values(), key=lambda event: event.observed_ms))
            return
        logger.warning(
            "the destination lost what it had acknowledged; it is given it again", extra={"last": str(last)}
        )
        page: list[Event] = []
        try:
            async for event in self._source.history(Query()):
                page.append(event)
                if len(page) >= _PAGE_EVENTS or event.id == last:
                    await self._publish(publisher, page)
                    page.clear()
                if event.id == last:
                    return
        except HistoryUnsupportedError:
            page = list(self._newest.values())
        await self._publish(publisher, page)

    async def _pass_on(self, consumer: Consumer, publisher: Publisher) -> None:
        async for batch in consumer.batches():
            await self._publish(publisher, batch.events)
            for event in batch.events:
                self._newest[event.host, event.job if isinstance(event, JobEvent) else ""] = event
            await consumer.commit({_LAST: str(batch.events[-1].id)} if batch.events else {})

    async def _publish(self, publisher: Publisher, events: Iterable[Event]) -> None:
        for part in batches(list(events), publisher):
            if rejections := await publisher.publish(part):
                self._on_rejected(self._destination.name, rejections)
