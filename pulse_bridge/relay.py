"""From the sidecar's journal to one destination, in order, with two batches in flight.

An event is sent in the same callback in which the journal took it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from pulse_bridge.bus import Bus, Presence, Publisher, Rejection
from pulse_bridge.errors import BusUnavailableError, ConfigError, HostTakenError, PulseBridgeError
from pulse_bridge.event import Event, EventId
from pulse_bridge.journal import Journal
from pulse_bridge.reconnect import Backoff, Progress, keep_connected

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT: Final = 2
MAX_BATCH_EVENTS: Final = 64
"""Small, because packing a batch holds the loop, and a state overwritten meanwhile is gone for good."""

RejectionSink = Callable[[str, Sequence[Rejection]], None]
"""Takes the name of a destination and what it can never take."""


class _Flight(NamedTuple):
    """A batch that was sent and is not answered yet."""

    result: "asyncio.Future[Sequence[Rejection]]"
    last: EventId
    events: int


class JournalRelay:
    """Relays the sidecar's journal to one destination.

    Args:
        name: Of the destination: stands in `lag_<name>`.
        identity: Of the destination, over restarts: its cursor is stored under it.
        shown: The destination for a person, without a secret.
        coalesce_s: Wait so long after an event for further ones to send with it.
        wall_s: Gives Unix seconds.
    """

    def __init__(
        self,
        journal: Journal,
        bus: Bus,
        presence: Presence,
        *,
        name: str,
        identity: str,
        shown: str,
        on_rejected: RejectionSink,
        backoff: Backoff,
        coalesce_s: float = 0.0,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.identity = identity
        self.progress = Progress(shown)
        self.published = 0
        """Events that the destination took in their turn."""
        self._journal = journal
        self._bus = bus
        self._presence = presence
        self._shown = shown
        self._on_rejected = on_rejected
        self._backoff = backoff
        self._coalesce_s = coalesce_s
        self._wall_s = wall_s
        self._publisher: Publisher | None = None
        self._sent_row = 0
        self._in_flight: deque[_Flight] = deque()
        self._coalescing: asyncio.TimerHandle | None = None
        self._failure: asyncio.Future[None] | None = None
        self._finish = asyncio.Event()
        self._drained = asyncio.Event()
        self.left = False
        journal.activate(identity)

    @property
    def connected(self) -> bool:
        """The destination can be published to now."""
        return self._publisher is not None

    @property
    def lag(self) -> int:
        """The number of events that the destination does not have yet."""
        return 0 if self.left else self._journal.lag(self.identity)

    async def run(self) -> None:
        """Relay until `finish`, or until a newer sidecar has the host's name.

        Raises:
            ConfigError: The destination needs a person, as its first attempt shows. Found later, when nobody looks
                on and other destinations are at work, it ends only this relay.
        """
        try:
            await keep_connected(self._connect, self._session, self.progress, self._backoff)
        except HostTakenError as error:
            self._leave("a newer sidecar has this host's name; this destination is left to it", error)
        except ConfigError as error:
            if not self._presence.held and not self.progress.reconnects:
                raise  # at the first attempt, while whoever started it looks on
            self._leave("this destination needs a person; it is left until the next start", error)

    def _leave(self, sentence: str, error: PulseBridgeError) -> None:
        self.left = True
        self._journal.deactivate(self.identity)
        self._drained.set()
        logger.error(sentence, extra={"destination": self._shown, "reason": str(error)})

    async def drain(self) -> None:
        """Wait until the destination has everything that the journal has."""
        while self._sent_row < self._journal.last_row or self._in_flight:
            if self.left:
                return
            self._drained.clear()
            await self._drained.wait()

    def finish(self) -> None:
        """End the session cleanly, so that the publisher can say its goodbye."""
        self._finish.set()

    def _connect(self) -> AbstractAsyncContextManager[Publisher]:
        return self._bus.publisher(self._presence)

    async def _session(self, publisher: Publisher) -> None:
        self._presence = replace(self._presence, held=True)
        self._sent_row = await self._resume(publisher)
        self.progress.made()
        self._publisher = publisher
        self._in_flight.clear()
        self._failure = asyncio.get_running_loop().create_future()
        stop_listening = self._journal.listen(self._wake)
        try:
            self._pump()
            await first_of(publisher.wait_lost(), self._failure, self._finish.wait())
        finally:
            stop_listening()
            self._publisher = None
            self._failure.cancel()
            for flight in self._in_flight:
                flight.result.cancel()

    async def _resume(self, publisher: Publisher) -> int:
        """Find the row to go on behind, and give the bus what it may lack of what it has acknowledged."""
        acked = self._journal.activate(self.identity)
        vouched: EventId | None = acked
        if acked.producer and not self._journal.is_recent(acked.seq, self._wall_s()):
            return acked.seq  # so long ago that a bus may have let go of it rightly, and nobody misses it
        if acked.producer:
            vouched = await publisher.resume(acked)
            for last in self._journal.earlier_starts(acked.producer) if vouched is None else ():
                vouched = await publisher.resume(last)
                if vouched is not None:
                    break
        if vouched == acked:
            # A bus that has them drops them; a new one, or one that keeps no past, has them from now on.
            await self._give(publisher, self._journal.newest(acked.seq))
            return acked.seq
        resumed = vouched or EventId(acked.producer, 0)
        logger.warning(
            "the destination lost what it had acknowledged; it is given it again",
            extra={"destination": self._shown, "from_row": resumed.seq, "acknowledged_row": acked.seq},
        )
        self._journal.ack(self.identity, resumed)
        return resumed.seq

    async def _give(self, publisher: Publisher, events: Sequence[Event]) -> None:
        for batch in batches(events, publisher):
            self._reject(await publisher.publish(batch))

    def _wake(self) -> None:
        if not self._coalesce_s:
            self._pump()
        elif self._coalescing is None:
            self._coalescing = asyncio.get_running_loop().call_later(self._coalesce_s, self._pump)

    def _pump(self) -> None:
        self._coalescing = None
        publisher, failure = self._publisher, self._failure
        if publisher is None or failure is None or failure.done():
            return
        try:
            self._send_what_is_new(publisher)
        except Exception as error:  # noqa: BLE001 - its callers are not concerned: run() raises it
            failure.set_exception(error)

    def _send_what_is_new(self, publisher: Publisher) -> None:
        limit = min(MAX_BATCH_EVENTS, publisher.max_batch_events)
        while len(self._in_flight) < MAX_IN_FLIGHT and self._sent_row < self._journal.last_row:
            events, self._sent_row = self._journal.read(self._sent_row, limit)
            if events:
                self._send(publisher, events)
        if not self._in_flight:
            self._drained.set()

    def _send(self, publisher: Publisher, events: Sequence[Event]) -> None:
        result = asyncio.ensure_future(publisher.publish(events))
        self._in_flight.append(_Flight(result, events[-1].id, len(events)))
        result.add_done_callback(partial(self._landed, self._failure))

    def _landed(
        self, failure: "asyncio.Future[None] | None", result: "asyncio.Future[Sequence[Rejection]]"
    ) -> None:
        error = None if result.cancelled() else result.exception()
        if failure is None or failure.done():
            return  # of a connection that is no more: its events are sent again
        if error or result.cancelled():
            failure.set_exception(error or BusUnavailableError("the sending was cancelled"))
            return
        while self._in_flight and self._in_flight[0].result.done():
            flight = self._in_flight.popleft()
            if flight.result.cancelled() or flight.result.exception():
                return
            rejections = flight.result.result()
            self._reject(rejections)
            self.published += flight.events - len(rejections)
            self._journal.ack(self.identity, flight.last)
        self._pump()

    def _reject(self, rejections: Sequence[Rejection]) -> None:
        if rejections:
            self._on_rejected(self.name, rejections)


def batches(events: Sequence[Event], publisher: Publisher) -> Iterator[Sequence[Event]]:
    """Cut events into batches that a publisher takes."""
    size = min(MAX_BATCH_EVENTS, publisher.max_batch_events)
    for start in range(0, len(events), size):
        yield events[start : start + size]


async def first_of(*waits: Awaitable[object]) -> None:
    """Wait until one of them ends and raise what it raised; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
