"""A bus in memory that takes, refuses, delays and forgets as a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn

from pulse_bridge.bus import Consumer, Presence, Publisher, Query, Rejection
from pulse_bridge.errors import BusError
from pulse_bridge.event import Event, EventId


class ScriptedBus:
    """Keeps what it is given.

    Args:
        vouches: It can tell what it has; otherwise `resume` repeats what it was told.
        holds: Calls are answered only by `ScriptedPublisher.answer`.
    """

    name = "scripted"

    def __init__(self, *, vouches: bool = True, holds: bool = False) -> None:
        self.vouches = vouches
        self.holds = holds
        self.max_batch_events = 1000
        self.stored: list[Event] = []
        self.has: dict[str, int] = {}
        self.asked: list[EventId | None] = []
        self.presences: list[Presence | None] = []
        self.publishers: list[ScriptedPublisher] = []
        self.connect_errors: list[BaseException] = []
        self.on_publish: Callable[[Sequence[Event]], None] | None = None
        self.goodbyes = 0

    @property
    def latest(self) -> "ScriptedPublisher":
        return self.publishers[-1]

    @asynccontextmanager
    async def publisher(self, presence: Presence | None) -> AsyncIterator[Publisher]:
        self.presences.append(presence)
        if self.connect_errors:
            raise self.connect_errors.pop(0)
        publisher = ScriptedPublisher(self)
        self.publishers.append(publisher)
        yield publisher
        self.goodbyes += 1

    def consumer(self, group: str | None) -> AbstractAsyncContextManager[Consumer]:
        raise NotImplementedError

    def history(self, query: Query) -> AsyncIterator[Event]:
        raise NotImplementedError

    def forget(self) -> None:
        """Come back without anything that was acknowledged."""
        self.has.clear()
        self.stored.clear()

    def store(self, events: Sequence[Event]) -> None:
        for event in events:
            if not self.vouches or event.id.seq > self.has.get(event.id.producer, 0):
                self.has[event.id.producer] = max(event.id.seq, self.has.get(event.id.producer, 0))
                self.stored.append(event)


class ScriptedPublisher:
    """One connection.

    `calls` has each batch that was sent, answered or not.
    """

    def __init__(self, bus: ScriptedBus) -> None:
        self.max_batch_events = bus.max_batch_events
        self.calls: list[Sequence[Event]] = []
        self.unanswered: list[tuple[Sequence[Event], asyncio.Future[Sequence[Rejection]]]] = []
        self._bus = bus
        self._lost: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()

    async def resume(self, acked: EventId | None) -> EventId | None:
        self._bus.asked.append(acked)
        if acked is None or not self._bus.vouches:
            return acked
        seq = self._bus.has.get(acked.producer)
        return None if seq is None else min(acked, EventId(acked.producer, seq))

    def publish(self, events: Sequence[Event]) -> "asyncio.Future[Sequence[Rejection]]":
        self.calls.append(events)
        if self._bus.on_publish:
            self._bus.on_publish(events)
        result: asyncio.Future[Sequence[Rejection]] = asyncio.get_running_loop().create_future()
        self.unanswered.append((events, result))
        if not self._bus.holds:
            self.answer()
        return result

    def answer(self, rejected: Sequence[Rejection] = ()) -> None:
        """Take the oldest unanswered batch, save what is `rejected`."""
        events, result = self.unanswered.pop(0)
        refused = {event.id for event, _ in rejected}
        self._bus.store([event for event in events if event.id not in refused])
        if not result.done():
            result.set_result(rejected)

    def fail(self, error: BusError) -> None:
        """Refuse the oldest unanswered batch."""
        _, result = self.unanswered.pop(0)
        result.set_exception(error)

    def lose(self, error: BusError) -> None:
        """Lose the connection."""
        self._lost.set_exception(error)
        for _, result in self.unanswered:
            if not result.done():
                result.set_exception(error)

    async def wait_lost(self) -> NoReturn:
        await asyncio.shield(self._lost)
        raise AssertionError
