"""What a bus tells from some instant on, each event once, over losses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from pulse_bridge.bus import Query
from pulse_bridge.errors import HistoryUnsupportedError, PulseBridgeError
from pulse_bridge.event import Event, EventId
from pulse_bridge.reconnect import Backoff, Progress
from pulse_bridge.record import Seen, Tail
from pulse_bridge.testing import SAMPLE_MS, make_job_event
from tests.support.processes import wait_until
from tests.support.scripted_source import ScriptedSource


class Source(ScriptedSource):
    """A bus whose past is what was put, and more; or that has none."""

    def __init__(self, *, has_past: bool = True) -> None:
        super().__init__()
        self.has_past = has_past
        self.past: list[Event] = []

    def put(self, *events: Event, lost: int = 0) -> None:
        self.past += events
        super().put(*events, lost=lost)

    async def history(self, query: Query) -> AsyncIterator[Event]:
        if not self.has_past:
            raise HistoryUnsupportedError("none is kept")
        for event in self.past:
            if query.matches(event):
                yield event


async def no_wait(seconds: float) -> None:  # noqa: ARG001 - as sleep
    await asyncio.sleep(0)


@asynccontextmanager
async def following(source: Source, query: Query | None = None) -> AsyncIterator[list[int]]:
    """Follow; gives the seqs of what came."""
    found: list[int] = []

    async def note(events: Sequence[Event]) -> None:
        found.extend(event.id.seq for event in events)

    tail = Tail(source, query or Query(), note, on_lost=lambda count: found.append(-count))
    task = asyncio.create_task(tail.run(Progress("source"), Backoff(sleep=no_wait)))
    try:
        before = source.given
        await wait_until(lambda: source.given > before or task.done(), "the snapshot is given")
        yield found
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


def job(seq: int, **changes: object) -> Event:
    return make_job_event(seq, **changes)


async def test_from_now_on_means_not_what_was_told_before() -> None:
    source = Source()
    source.put(job(1), job(2))
    async with following(source) as found:
        source.put(job(3))
        await wait_until(lambda: found == [3], "what is new has come")


async def test_from_an_instant_on_means_the_past_too_and_nothing_twice() -> None:
    source = Source()
    source.put(job(1), job(2), job(3))
    async with following(source, Query(since_ms=SAMPLE_MS + 2)) as found:
        source.put(job(3), job(4))
        await wait_until(lambda: found == [2, 3, 4], "past and present have come")


async def test_only_what_is_asked_for_comes() -> None:
    source = Source()
    async with following(source, Query(jobs=["a"])) as found:
        source.put(job(1, job="a"), job(2, job="b"), job(3, job="a"))
        await wait_until(lambda: found == [1, 3], "two have come")


@pytest.mark.parametrize("has_past", [True, False])
async def test_what_came_while_the_connection_was_away_is_given_and_nothing_twice(has_past: bool) -> None:  # noqa: FBT001 - pytest's
    source = Source(has_past=has_past)
    async with following(source) as found:
        source.put(job(1, job="a"), job(2, job="b"))
        await wait_until(lambda: found == [1, 2], "two have come")
        source.put(job(3, job="a"))
        source.lose("restarted")
        source.put(job(4, job="b"))
        await wait_until(lambda: len(found) == 4, "all have come")
        source.put(job(5))
        await wait_until(lambda: found == [1, 2, 3, 4, 5], "each has come once")


async def test_what_the_bus_gave_up_is_told() -> None:
    source = Source()
    async with following(source) as found:
        source.put(job(9), lost=7)
        await wait_until(lambda: found == [-7, 9], "the loss and the event have come")


async def test_producers_are_told_apart() -> None:
    seen = Seen()
    assert [seen.note(EventId(*text)) for text in (("a", 2), ("b", 1), ("a", 1), ("a", 2), ("b", 2))] == [
        True,
        True,
        False,
        False,
        True,
    ]


async def test_a_taker_that_fails_ends_it_and_is_not_the_bus_s_fault() -> None:
    async def full(events: Sequence[Event]) -> None:  # noqa: ARG001 - it takes none
        raise PulseBridgeError("no space left")

    source = Source()
    source.put(job(1))
    with pytest.raises(PulseBridgeError, match="no space left"):
        await Tail(source, Query(since_ms=0), full).run(Progress("source"), Backoff(sleep=no_wait))


async def test_a_past_that_is_asked_for_where_there_is_none_is_said() -> None:
    tail = Tail(Source(has_past=False), Query(since_ms=0), no_wait)  # type: ignore[arg-type]  # never called
    with pytest.raises(HistoryUnsupportedError):
        await tail.run(Progress("source"), Backoff(sleep=no_wait))
