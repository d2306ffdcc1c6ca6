"""Gives the past again: in order, at its own pace or another, to whoever is asked to take it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pulse_bridge.bus import Bus
from pulse_bridge.event import Event
from pulse_bridge.replay_ahead import read_ahead
from pulse_bridge.replay_pace import Pace, Renumber
from pulse_bridge.replay_select import Selection, Survey, select

BATCH_EVENTS: Final = 500
AHEAD_EVENTS: Final = 2 * BATCH_EVENTS
TICK_S: Final = 1.0
"""Of the past: how often at most whoever watches the clock is told how late it is."""

MAX_TICKS: Final = 86_400
"""In one gap between two events: a recording that lay for a year is not gone through second by second."""


class Sink(Protocol):
    """Takes what a replay gives. Its verbs are called one after the other."""

    tick_s: float | None
    """Seconds of the past between two calls of `tick`; None for never."""

    async def begin(self, before: Sequence[Event], at_ms: int) -> None:
        """Begin (anew, in a loop) with what stood before the range.

        Args:
            at_ms: Unix milliseconds of the past at which this is.
        """

    async def give(self, events: Sequence[Event], at_ms: int) -> None:
        """Take events that are due, in order; at least one."""

    async def tick(self, at_ms: int) -> None:
        """Notice that it is so late in the past."""

    async def finish(self, at_ms: int) -> None:
        """Finish: nothing else comes."""


class Replay:
    """One replay of a bus.

    Args:
        known: From `survey`.
        pace: When each event is due.
        sinks: Each gets everything.
        renumber: Makes the events the replay's own; None gives them as they are.
        loop: Begin anew behind the end, for ever.
        batch_events: So many at once, at most; what is given is known to this.
        note: Told of each event of the range as the bus has it.
        wall_ms: Gives Unix milliseconds.
    """

    def __init__(
        self,
        bus: Bus,
        selection: Selection,
        known: Survey,
        *,
        pace: Pace,
        sinks: Sequence[Sink],
        wall_ms: Callable[[], int],
        renumber: Renumber | None = None,
        loop: bool = False,
        batch_events: int = BATCH_EVENTS,
        note: Callable[[Event], object] | None = None,
    ) -> None:
        self.given = 0
        """Events of the range that were given, over all passes."""
        self.position_ms: int | None = None
        """The instant of the past up to which everything was given: a replay from there on misses nothing."""
        self._bus = bus
        self._selection = selection
        self._known = known
        self._pace = pace
        self._sinks = sinks
        self._renumber = renumber
        self._loop = loop
        self._batch_events = batch_events
        self._note = note
        self._wall_ms = wall_ms
        self._ticking = [sink for sink in sinks if sink.tick_s is not None]
        self._tick_ms = max([TICK_S, *(sink.tick_s or 0.0 for sink in self._ticking)]) * 1000
        self._clock_ms = 0.0
        self._pending: list[Event] = []

    async def run(self) -> None:
        """Give everything, and return behind the end.

        Raises:
            BusUnavailableError: The past cannot be read any further.
        """
        while await self._pass() and self._loop:
            pass
        if self.position_ms is not None:
            for sink in self._sinks:
                await sink.finish(int(self._clock_ms))

    async def _pass(self) -> int:
        """Give everything once; gives the number of events."""
        given_before = self.given
        query = self._selection.query
        begun = query.since_ms is not None and bool(self._known.before or self._ticking)
        if begun:
            await self._begin(query.since_ms or 0)
        async with read_ahead(select(self._bus, self._selection, self._known), AHEAD_EVENTS) as ahead:
            async for event in ahead:
                if not begun:
                    begun = True
                    await self._begin(event.observed_ms)
                await self._give_in_time(event)
                if not ahead.has_next:
                    await self._flush()  # what is due does not wait for the next one to be found
        if begun and query.until_ms is not None and query.until_ms <= self._wall_ms():
            self._shorten(query.until_ms)
            await self._pass_time(query.until_ms)
        return self.given - given_before

    async def _begin(self, at_ms: int) -> None:
        self._pace.begin(at_ms)
        if self._renumber:
            self._renumber.begin(at_ms, self._wall_ms())
        self._clock_ms = at_ms
        self.position_ms = at_ms
        before = [self._own(event) for event in self._known.before]
        for sink in self._sinks:
            await sink.begin(before, at_ms)

    def _own(self, event: Event) -> Event:
        return self._renumber(event) if self._renumber else event

    async def _give_in_time(self, event: Event) -> None:
        at_ms = event.observed_ms
        self._shorten(at_ms)
        if self._ticking:
            await self._pass_time(at_ms)
        if len(self._pending) >= self._batch_events or (self._pending and self._pace.wait_s(at_ms)):
            await self._flush()
        if not self._pending:
            self.position_ms = at_ms
            await self._pace.wait(at_ms)
        self._clock_ms = max(self._clock_ms, at_ms)
        self._pending.append(event)
        if self._note:
            self._note(event)

    def _shorten(self, next_ms: int) -> None:
        left_out_ms = self._pace.shorten(self._clock_ms, next_ms)
        if self._renumber:
            self._renumber.shorten(left_out_ms)

    async def _flush(self) -> None:
        """Give what is due."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        events = [self._own(event) for event in pending]
        for sink in self._sinks:
            await sink.give(events, int(self._clock_ms))
        self.given += len(events)
        self.position_ms = pending[-1].observed_ms
        await asyncio.sleep(0)  # at the greatest speed nothing else lets a signal be heard

    async def _pass_time(self, until_ms: int) -> None:
        """Let the past's clock go on, ticking now and then; an earlier instant turns nothing back."""
        step_ms = max(self._tick_ms, (until_ms - self._clock_ms) / MAX_TICKS)
        while self._clock_ms + step_ms < until_ms:
            await self._flush()
            self._clock_ms += step_ms
            await self._pace.wait(self._clock_ms)
            for sink in self._ticking:
                await sink.tick(int(self._clock_ms))
