"""Runs a subscriber on the past, by the past's clock: would this have woken me?

Nothing of it is real: it has no group, its cursor and state end with the replay, and one that acts on the world
only says what it would have done.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from pulse_bridge.bus import Batch, Bus, Consumer, Presence, Publisher, Query, Rejection
from pulse_bridge.clock import Instant
from pulse_bridge.errors import ConfigError, HistoryUnsupportedError
from pulse_bridge.event import Event
from pulse_bridge.guard import Guard
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.patience import Patience
from pulse_bridge.replay_life import SignsOfLife
from pulse_bridge.replay_pace import Renumber
from pulse_bridge.subscriber import Changes, Subscriber, SubscriberUrl, open_subscriber

logger = logging.getLogger(__name__)


@runtime_checkable
class Rehearsing(Protocol):
    """A subscriber that acts on the world, and can instead say what it would do."""

    def rehearse(self, say: Callable[[str], None]) -> None:
        """Act no more: say what would be done, a line or more at once. Called before each `lifespan`."""


def open_rehearsal(text: str, *, really_send: bool, say: Callable[[str], None]) -> tuple[str, Subscriber]:
    """Make the subscriber that a text names, harmless unless it is meant to act.

    Args:
        really_send: Let it act.
        say: Takes what it would have done.

    Returns:
        Its name, and it.

    Raises:
        ConfigError: A text is wrong, or it would act for want of a rehearsal.
    """
    url = SubscriberUrl.parse(text)
    subscriber = open_subscriber(url)
    if not really_send:
        if isinstance(subscriber, Rehearsing):
            subscriber.rehearse(say)
        elif subscriber.durable:
            raise ConfigError(
                f"{url}: this subscriber cannot rehearse, so a replay would make it act on what is long over; add"
                " --really-send if that is meant"
            )
    return url.group, subscriber


class PastBus:
    """The source as a subscriber under replay may ask it: nothing behind the replay's own instant is known yet.

    Args:
        moved: The replay tells other times than the source has, so that the source answers no question.
    """

    def __init__(self, source: Bus, *, moved: bool) -> None:
        self.name = source.name
        self.at_ms = 0
        self._source = source
        self._moved = moved

    def __str__(self) -> str:
        return f"replay of {self._source}"

    def history(self, query: Query) -> AsyncIterator[Event]:
        """Yield what was before this instant.

        Raises:
            HistoryUnsupportedError: The times are moved.
        """
        if self._moved:
            raise HistoryUnsupportedError("a replay with its times moved cannot be asked for its past")
        until_ms = self.at_ms + 1 if query.until_ms is None else min(query.until_ms, self.at_ms + 1)
        return self._source.history(replace(query, until_ms=until_ms))

    def publisher(self, presence: Presence | None) -> AbstractAsyncContextManager[Publisher]:  # noqa: ARG002 - the port's
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self}: nothing is published on it")

    def consumer(self, group: str | None) -> AbstractAsyncContextManager[Consumer]:  # noqa: ARG002 - the port's
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self}: it is not followed")


class _Letters(DeadLetters):
    """Counts what a subscriber could not take, and keeps nothing: it stands in the source."""

    def __init__(self) -> None:
        super().__init__(Path())

    def add(self, destination: str, rejections: Sequence[Rejection]) -> None:
        if not self.count:
            logger.error(
                "a subscriber cannot take an event",
                extra={"subscriber": destination, "reason": rejections[0].reason},
            )
        self.count += len(rejections)


class SubscriberSink:
    """Gives a subscriber what a replay gives. To be entered: the subscriber's lifespan.

    Args:
        past: What the subscriber may ask; follows the replay's clock.
        renumber: The replay's own, for signs of life.
        fills_silence: The source keeps no signs of life: give what each host would have said.
    """

    def __init__(
        self,
        name: str,
        subscriber: Subscriber,
        past: PastBus,
        *,
        renumber: Renumber,
        stop: asyncio.Event,
        fills_silence: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.name = name
        self.tick_s: float | None = subscriber.tick_s
        self.is_view = not subscriber.durable
        """It shows what is so, and is worth looking at behind the end."""
        self._subscriber = subscriber
        self._past = past
        self._renumber = renumber
        self._life = SignsOfLife() if fills_silence else None
        self._guard = Guard(subscriber, name, letters=_Letters(), patience=patience or Patience(), stop=stop)
        self._stack = AsyncExitStack()
        self._begun_ms: int | None = None
        self._passed_s = 0.0

    async def __aenter__(self) -> Self:
        """Enter the lifespan.

        Raises:
            ConfigError: A person must act.
        """
        self._subscriber.attach(self._past)
        await self._stack.enter_async_context(self._subscriber.lifespan())
        return self

    async def __aexit__(self, *error: object) -> None:
        """Leave it."""
        await self._stack.aclose()

    async def begin(self, before: Sequence[Event], at_ms: int) -> None:
        """Connect, with what stood before as the snapshot."""
        if self._begun_ms is not None:
            await self._guard.disconnect("the replay begins anew")
            self._passed_s = self._at(self._past.at_ms).now_s
        self._begun_ms = self._past.at_ms = at_ms
        if self._life:
            self._life.note(before)
        await self._guard.connect({}, self._at(at_ms))
        await self._take(Batch(before, snapshot=True), at_ms)

    async def give(self, events: Sequence[Event], at_ms: int) -> None:
        """Have events taken in."""
        if self._life:
            self._life.note(events)
        await self._take(Batch(events, snapshot=False), at_ms)

    async def tick(self, at_ms: int) -> None:
        """Let the subscriber notice what only the clock tells."""
        signs = self._life.due(at_ms) if self._life else []
        if signs:
            await self._take(Batch([self._renumber(sign) for sign in signs], snapshot=False), at_ms)
        self._past.at_ms = at_ms
        await self._note(await self._guard.tick(self._at(at_ms)))

    async def finish(self, at_ms: int) -> None:
        """Let the subscriber notice the last, and finish what is under way."""
        if self._begun_ms is None:
            return
        await self.tick(at_ms)
        while await self._note(await self._guard.stop(self._at(at_ms))):
            pass

    async def _take(self, batch: Batch, at_ms: int) -> None:
        self._past.at_ms = at_ms
        await self._note(await self._guard.take(batch, self._at(at_ms)), always=True)

    async def _note(self, changes: Changes | None, *, always: bool = False) -> bool:
        """Say that it is stored, which it is nowhere; gives whether there was something."""
        if changes or (always and changes is not None):
            await self._guard.note_commit()
        return bool(changes)

    def _at(self, at_ms: int) -> Instant:
        """Give both clocks of the replay: the first goes on over passes, and at the past's own speed."""
        return Instant(
            self._passed_s + (at_ms - (self._begun_ms or 0)) / 1000, self._renumber.told_ms(at_ms) / 1000
        )
