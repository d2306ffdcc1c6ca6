"""One subscriber on one bus: connected, called in turn, and kept apart from everything beside it.

The bus is the queue: nothing is read beyond what its consumer reads ahead, so that a slow subscriber costs no
memory, and the cursor moves only with what the subscriber took.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

from pulse_bridge.bus import Batch, Bus, Consumer
from pulse_bridge.clock import Instant, read_clocks
from pulse_bridge.errors import BusUnavailableError, ConfigError, PulseBridgeError
from pulse_bridge.event import EventId
from pulse_bridge.guard import Guard, reason_of
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.patience import Patience
from pulse_bridge.reconnect import Backoff, Progress, keep_connected
from pulse_bridge.relay import first_of
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber

logger = logging.getLogger(__name__)

STOP_S: Final = 5.0
"""How long a verb at hand may go on after a stop."""

LEAVE_S: Final = 1.0
"""How long a subscriber may take to leave before it is cancelled (again)."""


class _LifespanError(Exception):
    """A lifespan could not be entered: its own error, so that nobody takes it for the word of the bus."""


class Subscription:
    """Runs one subscriber on one bus, once.

    Args:
        name: Its group on the bus; unique in this process.
        shown: The bus for a person, without a secret.
        letters: Takes the events that the subscriber cannot.
        stop_s: How long a verb at hand may go on after a stop.
        clock: Gives both clocks.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        bus: Bus,
        *,
        name: str,
        shown: str,
        letters: DeadLetters,
        patience: Patience | None = None,
        backoff: Backoff | None = None,
        stop_s: float = STOP_S,
        clock: Callable[[], Instant] = read_clocks,
    ) -> None:
        self.name = name
        self.letters = letters
        self.lost_events = 0
        self.progress = Progress(f"{shown} for {name}")
        self._subscriber = subscriber
        self._bus = bus
        self._patience = patience or Patience()
        self._backoff = backoff or Backoff()
        self._stop_s = stop_s
        self._clock = clock
        self._stop = asyncio.Event()
        self._guard = Guard(subscriber, name, letters=letters, patience=self._patience, stop=self._stop)
        self._begun = False
        self._in_session = False
        self._unstored: Changes = NOTHING
        self._was_of_use = False
        self._newest: EventId | None = None
        self._moved = asyncio.Event()
        self._ended = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until told to stop, or until the subscriber is lost, which the log then says.

        A verb that is at work when the stop comes is finished, within bounds, and what it gave back is stored.

        Raises:
            ConfigError: At its start: a person must act.
            BusError: At its start: this bus cannot be read.
        """
        life = asyncio.ensure_future(self._live())
        try:
            await first_of(stop.wait(), asyncio.wait({life}))
            self._stop.set()
            if self._in_session:
                await asyncio.wait({life}, timeout=self._stop_s)
        finally:
            while not life.done():
                life.cancel()
                await asyncio.wait({life}, timeout=LEAVE_S)
            self._ended = True
            self._moved.set()
        if not life.cancelled():
            life.result()

    async def catch_up(self, last: EventId) -> None:
        """Wait until an event has been taken in, or until nothing is any more."""
        while not (self._ended or self._has(last)):
            self._moved.clear()
            await self._moved.wait()

    def _has(self, last: EventId) -> bool:
        newest = self._newest
        return newest is not None and newest.producer == last.producer and newest.seq >= last.seq

    async def _live(self) -> None:
        """Keep it alive: a lifespan that fails is entered anew, with the same patience as any verb."""
        failures = 0
        while not self._stop.is_set():
            self._was_of_use = False
            try:
                await self._live_once()
            except PulseBridgeError as error:
                if not self._begun:
                    raise  # while whoever started it looks on
                self._say_lost(error)
                return
            except Exception as error:  # noqa: BLE001 - isolated here
                failures = 1 if self._was_of_use else failures + 1
                if failures >= self._patience.attempts:
                    self._say_lost(error)
                    return
                logger.warning(
                    "a subscriber fell over; it is started anew",
                    extra={"subscriber": self.name, "reason": reason_of(error)},
                )
                longest_s = min(self._patience.max_s, self._patience.first_s * 2 ** (failures - 1))
                await first_of(self._stop.wait(), self._patience.sleep(random.uniform(0, longest_s)))
            else:
                return

    def _say_lost(self, error: Exception) -> None:
        logger.error(
            "a subscriber is lost; it is left until the next start",
            exc_info=error,
            extra={"subscriber": self.name, "reason": reason_of(error)},
        )

    async def _live_once(self) -> None:
        async with AsyncExitStack() as stack:
            try:
                self._subscriber.attach(self._bus)
                await self._patience.call_once(lambda: stack.enter_async_context(self._subscriber.lifespan()))
            except ConfigError:
                raise
            except Exception as error:
                raise _LifespanError(reason_of(error)) from error
            await keep_connected(self._connect, self._session, self.progress, self._backoff)

    def _connect(self) -> AbstractAsyncContextManager[Consumer]:
        return self._bus.consumer(self.name if self._subscriber.durable else None)

    async def _session(self, consumer: Consumer) -> None:
        self._begun = self._in_session = True
        self._unstored = NOTHING
        try:
            await self._guard.connect(dict(consumer.saved), self._clock())
            await self._take_turns(consumer)
        except BusUnavailableError as error:
            await self._guard.disconnect(str(error))
            raise
        finally:
            self._in_session = False

    async def _take_turns(self, consumer: Consumer) -> None:
        """Take what comes, and tick while nothing does."""
        batches = consumer.batches()
        stopping = asyncio.ensure_future(self._stop.wait())
        # A task that outlives a tick, because a generator that is cancelled while it waits is at its end. The
        # next one is begun behind the commit, which stores the cursor behind the last that was yielded.
        coming = asyncio.ensure_future(_next(batches))
        tick_at_s = self._clock().now_s + self._subscriber.tick_s
        all_taken = True
        try:
            while True:
                rest_s = max(0.0, tick_at_s - self._clock().now_s)
                await asyncio.wait({coming, stopping}, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
                if self._stop.is_set():
                    if all_taken:
                        await self._tick(consumer, coming)  # what it has finished meanwhile need not be done again
                        await self._finish(consumer, coming)
                    return
                if coming.done():
                    batch = coming.result()
                    if batch is None:
                        return
                    self._note_use()
                    # A commit would store the cursor behind a batch that a stop kept from being taken.
                    all_taken = await self._take(batch, consumer)
                    coming = asyncio.ensure_future(_next(batches))
                if self._clock().now_s >= tick_at_s and not self._stop.is_set():
                    self._note_use()
                    await self._tick(consumer, coming)
                    tick_at_s = self._clock().now_s + self._subscriber.tick_s
        finally:
            coming.cancel()
            stopping.cancel()
            await asyncio.gather(coming, stopping, return_exceptions=True)
            close = getattr(batches, "aclose", None)
            if close is not None:
                await close()

    async def _tick(self, consumer: Consumer, coming: "asyncio.Future[Batch | None]") -> None:
        changes = await self._guard.tick(self._clock())
        if changes and coming.done():
            # A commit would store the cursor behind a batch that is not taken yet: it goes with that one's.
            self._unstored = {**self._unstored, **changes}
        elif changes:
            await self._commit(consumer, changes)

    async def _finish(self, consumer: Consumer, coming: "asyncio.Future[Batch | None]") -> None:
        """Let it finish what is under way."""
        is_last_taken = False
        while changes := await self._guard.stop(self._clock()):
            self._unstored = {**self._unstored, **changes}
            if coming.done() and not is_last_taken:  # on a busy bus there is always one
                batch = coming.result()
                is_last_taken = batch is not None and await self._take(batch, consumer)
                if not is_last_taken:
                    return
            if self._unstored:
                unstored, self._unstored = self._unstored, NOTHING
                await self._commit(consumer, unstored)

    def _note_use(self) -> None:
        """Note that the connection is of use. Not before it gave something or held for a tick."""
        self.progress.made()
        self._was_of_use = True

    async def _take(self, batch: Batch, consumer: Consumer) -> bool:
        """Have a batch taken in and committed; False where the stop came first."""
        if batch.lost:
            self.lost_events += batch.lost
            logger.error(
                "events are lost: the bus gave them up before they were read",
                extra={"subscriber": self.name, "events": batch.lost, "events_in_all": self.lost_events},
            )
        if not (batch.events or batch.snapshot or batch.lost):
            return True  # the bus answers, and has nothing
        changes = await self._guard.take(batch, self._clock())
        if changes is None:
            return False
        unstored, self._unstored = self._unstored, NOTHING
        await self._commit(consumer, {**unstored, **changes})
        if batch.events:
            self._newest = batch.events[-1].id
            self._moved.set()
        return True

    async def _commit(self, consumer: Consumer, changes: Changes) -> None:
        await consumer.commit(changes)
        await self._guard.note_commit()


async def _next(batches: AsyncIterator[Batch]) -> Batch | None:
    return await anext(batches, None)
