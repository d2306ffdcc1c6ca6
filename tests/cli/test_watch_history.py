"""The past of one job is read aside, for so long and no longer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pulse_bridge.bus import Bus, Query
from pulse_bridge.cli import watch_history
from pulse_bridge.cli.watch_history import read_job
from pulse_bridge.event import Event
from pulse_bridge.testing import make_job_event
from tests.support.processes import wait_until
from tests.support.scripted_source import ScriptedSource

KEY = ("node1", "a")


class Endless(ScriptedSource):
    """A bus whose past never ends, and has nothing more of the job after its first events."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = False
        self.is_left = False

    async def history(self, query: Query) -> AsyncIterator[Event]:
        assert query.matches(make_job_event(1, job="a"))
        try:
            for n in (1, 2):
                yield make_job_event(n, job="a", epoch=n, loss=1 / n)
            while True:
                self.is_read = True
                await asyncio.sleep(0)
        finally:
            self.is_left = True


async def test_a_past_without_end_is_read_for_a_while_and_what_was_found_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch_history, "READ_S", 0.2)
    bus: Bus = Endless()
    past = await read_job(bus, KEY)
    assert past.curve.points == [(1, 1), (2, 0.5)]
    assert past.why == "the past is long and was not read to its end"


async def test_a_reading_that_nobody_waits_for_ends_though_nothing_is_found() -> None:
    bus = Endless()
    task = asyncio.ensure_future(read_job(bus, KEY))
    await wait_until(lambda: bus.is_read, "it is read")
    task.cancel()
    await wait_until(lambda: bus.is_left, "the bus is left")
