"""What was trimmed, deleted or forgotten before a reader came to it is noticed, counted and said."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from pulse_bridge.bus import Batch, Bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.event import Event
from pulse_bridge.testing import PRESENCE, make_job_event
from pulse_bridge_redis import RedisBus, consumer, reader
from pulse_bridge_redis.consumer import RedisConsumer
from tests.support.processes import wait_until
from tests.support.redis_server import RawRedis, RedisServer, running

EVENTS, HASH = "pulse:events", "pulse:group:alerts"
TRIMMED = "entries were trimmed before they were read; going on from what is so now"
ANEW = "the stream is another one than before; going on from what is so now"


@pytest.fixture(autouse=True)
def _look_round_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK_MS", 20)


async def publish(bus: Bus, *seqs: int) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(seq) for seq in seqs])


async def next_batch(batches: AsyncIterator[Batch]) -> Batch:
    """Await a batch that says something."""
    async with asyncio.timeout(20):
        while True:
            batch = await anext(batches)
            if batch.events or batch.snapshot:
                return batch


def job_events(*seqs: int) -> list[Event]:
    return [make_job_event(seq) for seq in seqs]


async def commit_all(bus: RedisBus, *seqs: int) -> None:
    """Have the group read and commit so far."""
    await publish(bus, *seqs)
    async with bus.consumer("alerts") as reading:
        await next_batch(reading.batches())
        await reading.commit({"told": str(seqs[-1])})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_was_trimmed_behind_a_cursor_is_counted_and_what_is_so_comes_in_its_place(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture
) -> None:
    await commit_all(bus, 1, 2, 3)
    await publish(bus, *range(4, 14))
    redis.xtrim(EVENTS, maxlen=4, approximate=False)
    async with bus.consumer("alerts") as reading:
        assert dict(reading.saved) == {"told": "3"}
        batches = reading.batches()
        assert await next_batch(batches) == Batch(job_events(13), snapshot=True, lost=6)
        await reading.commit()
        await publish(bus, 14)
        assert await next_batch(batches) == Batch(job_events(14), snapshot=False)
    async with bus.consumer("alerts") as reading:
        assert await next_batch(reading.batches()) == Batch(job_events(14), snapshot=False), "told once"
    assert warnings(caplog) == [TRIMMED]
    assert vars(caplog.records[0])["entries"] == 6


async def test_a_stream_that_was_trimmed_to_nothing_is_a_loss_too(bus: RedisBus, redis: RawRedis) -> None:
    await commit_all(bus, 1, 2, 3)
    await publish(bus, 4, 5)
    redis.xtrim(EVENTS, maxlen=0, approximate=False)
    async with bus.consumer("alerts") as reading:
        assert await next_batch(reading.batches()) == Batch(job_events(5), snapshot=True, lost=2)


async def test_what_was_trimmed_up_to_the_cursor_is_no_loss(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture
) -> None:
    await commit_all(bus, 1, 2, 3)
    await publish(bus, 4, 5)
    redis.xtrim(EVENTS, maxlen=2, approximate=False)
    async with bus.consumer("alerts") as reading:
        assert await next_batch(reading.batches()) == Batch(job_events(4, 5), snapshot=False)
    assert not warnings(caplog)


@pytest.mark.parametrize("group", [None, "alerts"])
async def test_trimming_past_a_reader_at_work_is_noticed(
    bus: RedisBus, redis: RawRedis, monkeypatch: pytest.MonkeyPatch, group: str | None
) -> None:
    monkeypatch.setattr(consumer, "PAGE_ENTRIES", 20)
    async with bus.consumer(group) as reading:
        batches = reading.batches()
        await next_batch(batches)
        await publish(bus, *range(1, 201))
        got = list((await next_batch(batches)).events)
        await wait_until(cast("RedisConsumer", reading)._pages.full, "it reads ahead")
        redis.xtrim(EVENTS, maxlen=10, approximate=False)
        while not (batch := await next_batch(batches)).snapshot:
            got += batch.events
        assert got == job_events(*range(1, len(got) + 1))
        assert batch == Batch(job_events(200), snapshot=True, lost=190 - len(got))
        await publish(bus, 201)
        assert await next_batch(batches) == Batch(job_events(201), snapshot=False)


async def test_an_entry_that_was_deleted_behind_a_cursor_is_found_by_the_count(
    bus: RedisBus, redis: RawRedis
) -> None:
    await commit_all(bus, 1)
    await publish(bus, *range(2, 8))
    third = redis.xrange(EVENTS)[2][0]
    redis.xdel(EVENTS, third)  # those before and behind it still stand, so that no gap shows
    async with bus.consumer("alerts") as reading:
        assert await next_batch(reading.batches()) == Batch(job_events(7), snapshot=True, lost=1)


@pytest.mark.parametrize("group", [None, "alerts"])
async def test_a_stream_that_is_deleted_under_a_reader_that_waits_begins_with_what_is_so(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture, group: str | None
) -> None:
    await publish(bus, 1, 2)
    async with bus.consumer(group) as reading:
        batches = reading.batches()
        await next_batch(batches)
        redis.delete(EVENTS, "pulse:seq:contract")
        assert await next_batch(batches) == Batch(job_events(2), snapshot=True)
        await publish(bus, 3)
        assert await next_batch(batches) == Batch(job_events(3), snapshot=False)
    assert warnings(caplog) == [ANEW]


async def test_a_redis_that_came_back_empty_gives_what_is_published_anew(bus: RedisBus, redis: RawRedis) -> None:
    await publish(bus, *range(1, 8))
    async with bus.consumer(None) as reading:
        batches = reading.batches()
        await next_batch(batches)
        redis.flushall()
        await publish(bus, 8, 9)
        seen: list[Event] = []
        while make_job_event(9) not in seen:
            seen += (await next_batch(batches)).events
        await publish(bus, 10)
        while make_job_event(10) not in seen:
            seen += (await next_batch(batches)).events


async def test_an_older_dump_does_not_leave_a_group_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(RedisServer(tmp_path)) as server:
        bus = RedisBus(BusUrl.parse(server.url))
        await commit_all(bus, 1, 2)
        await publish(bus, 3)
        older = server.save()
        await commit_all(bus, 4, 5)
        with server.client() as redis:
            newer_cursor = redis.hget(HASH, "cursor:0")
        server.kill()
        server.dump.write_bytes(older)
        server.start()
        async with bus.consumer("alerts") as reading:
            assert dict(reading.saved) == {"told": "2"}, "its place is as old as the stream"
            assert await next_batch(reading.batches()) == Batch(job_events(3), snapshot=False)
        with server.client() as redis:
            redis.hset(HASH, "cursor:0", newer_cursor)  # its place was kept, on another node, say
        async with bus.consumer("alerts") as reading:
            batches = reading.batches()
            assert await next_batch(batches) == Batch(job_events(3), snapshot=True)
            await publish(bus, 4, 5)
            assert await next_batch(batches) == Batch(job_events(4, 5), snapshot=False)
    assert warnings(caplog) == [ANEW]
