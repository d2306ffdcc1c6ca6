"""Reading ahead: in order, within bounds, and what is due waits for no reading."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from pulse_bridge.bus import Query
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event
from pulse_bridge.replay import Replay
from pulse_bridge.replay_ahead import read_ahead
from pulse_bridge.replay_pace import Pace
from pulse_bridge.replay_select import Selection, Survey
from pulse_bridge.testing import make_job_event
from tests.core.test_replay import Notes, Past, at
from tests.core.test_replay_pace import Clock
from tests.support.processes import wait_until


class Reading:
    """A past that counts how much of it was read."""

    def __init__(self, events: int, error: Exception | None = None) -> None:
        self.read = 0
        self.closed = False
        self._events = events
        self._error = error

    async def __call__(self) -> AsyncGenerator[Event]:
        try:
            for seq in range(1, self._events + 1):
                self.read = seq
                yield make_job_event(seq)
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


async def test_everything_comes_in_order() -> None:
    async with read_ahead(Reading(1000)(), 7) as ahead:
        assert [event.id.seq async for event in ahead] == list(range(1, 1001))


async def test_it_reads_so_far_and_no_further() -> None:
    reading = Reading(1000)
    async with read_ahead(reading(), 7) as ahead:
        await wait_until(lambda: reading.read == 7, "it has read ahead")
        assert ahead.has_next
        await anext(ahead)
        await wait_until(lambda: reading.read == 8, "it has read one more")
    assert reading.closed


async def test_an_error_comes_behind_what_was_read_before_it() -> None:
    async with read_ahead(Reading(3, BusUnavailableError("gone"))(), 7) as ahead:
        assert [(await anext(ahead)).id.seq for _ in range(3)] == [1, 2, 3]
        with pytest.raises(BusUnavailableError, match="gone"):
            await anext(ahead)


async def test_what_is_due_is_given_while_the_next_one_is_still_looked_for() -> None:
    class Slow(Past):
        async def history(self, query: Query) -> AsyncIterator[Event]:
            async for event in super().history(query):
                yield event
            await asyncio.get_running_loop().create_future()

    clock = Clock()
    notes = Notes(clock)
    replay = Replay(
        Slow(at(1, 0), at(2, 5)),
        Selection(Query()),
        Survey(),
        pace=Pace(1.0, clock=clock, sleep=clock.sleep),
        sinks=[notes],
        wall_ms=lambda: 0,
    )
    task = asyncio.create_task(replay.run())
    try:
        await wait_until(lambda: len(notes.told) == 3 or task.done(), "both are given")
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert notes.told[1:] == [("give", 0.0, [1]), ("give", 5.0, [2])]
