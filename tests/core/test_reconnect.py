"""The one loop that reconnects, on a clock that only counts."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.reconnect import Backoff, Progress, keep_connected

DOWN = BusUnavailableError("nobody listens")
REFUSED = BusUnavailableError("wrong password", refused=True)
USEFUL_THEN_DOWN = "useful, then down"
USEFUL_THEN_REFUSED = "useful, then refused"
END = "end"


class Line:
    """Plays one outcome after another and notes how long the loop slept before each."""

    def __init__(self, *outcomes: BusUnavailableError | ConfigError | str) -> None:
        self.outcomes = list(outcomes)
        self.slept_s: list[float] = []
        self.progress = Progress("redis://x")

    async def run(self, first_s: float = 0.2, max_s: float = 30.0) -> None:
        async def sleep(seconds: float) -> None:
            self.slept_s.append(seconds)

        backoff = Backoff(first_s=first_s, max_s=max_s, sleep=sleep)
        await keep_connected(self._connect, self._session, self.progress, backoff)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[str]:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome

    async def _session(self, outcome: str) -> None:
        self.progress.made()
        if outcome == USEFUL_THEN_DOWN:
            raise DOWN
        if outcome == USEFUL_THEN_REFUSED:
            raise REFUSED


async def test_it_goes_on_until_a_session_returns() -> None:
    line = Line(DOWN, DOWN, USEFUL_THEN_DOWN, DOWN, END)
    await line.run()
    assert line.outcomes == []
    assert line.progress.reconnects == 4


async def test_the_waits_are_full_jitter_that_doubles_up_to_the_longest() -> None:
    bounds_s = [min(30.0, 0.2 * 2**attempt) for attempt in range(12)]
    longest_s = [0.0] * 12
    shortest_s = [30.0] * 12
    for _ in range(150):
        line = Line(*[DOWN] * 12, END)
        await line.run()
        assert all(0 <= slept <= bound for slept, bound in zip(line.slept_s, bounds_s, strict=True))
        longest_s = [max(pair) for pair in zip(longest_s, line.slept_s, strict=True)]
        shortest_s = [min(pair) for pair in zip(shortest_s, line.slept_s, strict=True)]
    # With 150 draws each, missing these is as good as impossible for the whole range and certain for less.
    assert all(longest > 0.8 * bound for longest, bound in zip(longest_s, bounds_s, strict=True))
    assert all(shortest < 0.2 * bound for shortest, bound in zip(shortest_s, bounds_s, strict=True))


async def test_thousands_of_attempts_wait_no_longer_than_the_longest() -> None:
    line = Line(*[DOWN] * 3000, END)
    await line.run(max_s=5.0)
    assert max(line.slept_s) <= 5.0


async def test_a_refusal_is_tried_again_at_the_slow_end() -> None:
    line = Line(*[REFUSED] * 50, END)
    await line.run()
    assert all(15 <= slept <= 30 for slept in line.slept_s)


@pytest.mark.parametrize("outage", [USEFUL_THEN_DOWN, USEFUL_THEN_REFUSED])
async def test_a_connection_that_was_of_use_starts_the_waits_anew(outage: str) -> None:
    for _ in range(20):
        line = Line(*[DOWN] * 10, outage, DOWN, END)
        await line.run()
        after_loss_s, after_first_failure_s = line.slept_s[-2:]
        if outage == USEFUL_THEN_DOWN:
            assert after_loss_s <= 0.2
        else:
            assert 15 <= after_loss_s <= 30
        assert after_first_failure_s <= 0.2


async def test_an_outage_is_said_once_and_once_more_when_it_becomes_a_refusal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    line = Line(DOWN, DOWN, REFUSED, DOWN, REFUSED, USEFUL_THEN_DOWN, DOWN, END)
    await line.run()
    said = [(record.levelname, record.message) for record in caplog.records if "pulse_bridge" in record.name]
    assert said == [
        ("WARNING", "unavailable; trying again"),
        ("WARNING", "refused; trying again now and then"),
        ("INFO", "connected"),
        ("WARNING", "unavailable; trying again"),
        ("INFO", "connected"),
    ]


async def test_what_only_a_person_can_mend_is_not_tried_again() -> None:
    line = Line(DOWN, ConfigError("no such file"), END)
    with pytest.raises(ConfigError, match="no such file"):
        await line.run()
    assert line.outcomes == [END]
