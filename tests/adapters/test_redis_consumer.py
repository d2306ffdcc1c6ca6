"""Reading Redis live, alone: what is so, then what comes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest

from pulse_bridge.bus import Batch, Bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event, to_text_fields
from pulse_bridge.testing import PRESENCE, ConsumerContract, make_host_event, make_job_event
from pulse_bridge_redis import RedisBus, reader
from pulse_bridge_redis.consumer import RedisConsumer
from tests.support.processes import wait_until
from tests.support.redis_server import Proxy, RawRedis, RedisServer


def make_bus(url: str) -> RedisBus:
    return RedisBus(BusUrl.parse(url))


async def publish(bus: Bus, *events: Event) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        for start in range(0, len(events), publisher.max_batch_events):
            assert not await publisher.publish(events[start : start + publisher.max_batch_events])


@asynccontextmanager
async def reading(bus: Bus, group: str | None = None) -> AsyncIterator[AsyncIterator[Batch]]:
    async with bus.consumer(group) as consumer:
        yield consumer.batches()


async def next_events(batches: AsyncIterator[Batch], count: int) -> list[Event]:
    """Await so many events of no snapshot."""
    events: list[Event] = []
    async with asyncio.timeout(20):
        while len(events) < count:
            batch = await anext(batches)
            assert not batch.snapshot
            assert not batch.lost
            events += batch.events
    return events


class TestContract(ConsumerContract):
    async def put(self, bus: Bus, events: Sequence[Event]) -> None:
        await publish(bus, *events)


class TestContractWithPartitions(TestContract):
    keeps_history = False  # it does, but what two hosts said within a millisecond may come in either order

    @pytest.fixture
    def bus(self, server: RedisServer, redis: RawRedis) -> RedisBus:  # noqa: ARG002 - an empty Redis first
        return make_bus(f"{server.url}?partitions=3")


async def test_a_snapshot_has_each_hosts_newest_sign_of_life_too(bus: RedisBus) -> None:
    await publish(
        bus,
        make_host_event(1, host="node1"),
        make_host_event(2, host="node2", stopping=True),
        make_job_event(3),
        make_host_event(4, host="node1"),
    )
    async with reading(bus) as batches:
        snapshot = await anext(batches)
    assert snapshot == Batch(
        [make_host_event(2, host="node2", stopping=True), make_job_event(3), make_host_event(4, host="node1")],
        snapshot=True,
    )


async def test_with_partitions_every_host_is_in_the_one_snapshot_and_in_what_follows(server: RedisServer) -> None:
    bus = make_bus(f"{server.url}?prefix=parts&partitions=7")
    hosts = [f"node{number}" for number in range(20)]
    await publish(bus, *(make_job_event(seq, host=host) for seq, host in enumerate(hosts, start=1)))
    async with reading(bus) as batches:
        snapshot = await anext(batches)
        assert [event.host for event in snapshot.events] == hosts
        await publish(bus, *(make_job_event(seq, host=host) for seq, host in enumerate(hosts * 2, start=21)))
        got = await next_events(batches, 40)
    for host in hosts:
        assert [event.id.seq - 21 for event in got if event.host == host] == [
            hosts.index(host),
            hosts.index(host) + 20,
        ]


async def test_what_is_published_while_the_snapshot_is_taken_comes_once(bus: RedisBus) -> None:
    """Each reader has all of it, in the snapshot or behind it, and nothing twice."""
    events = [make_job_event(seq, job=f"job {seq}") for seq in range(1, 301)]

    async def read() -> list[Event]:
        async with reading(bus) as batches:
            got = list((await anext(batches)).events)
            return got + await next_events(batches, len(events) - len(got))

    async with bus.publisher(PRESENCE) as publisher:
        readers = []
        for event in events:
            await publisher.publish([event])
            if event.id.seq % 50 == 0:
                readers.append(asyncio.ensure_future(read()))
        for got in await asyncio.gather(*readers):
            assert got == events


async def test_a_backlog_longer_than_a_page_comes_whole_and_in_order(bus: RedisBus) -> None:
    async with reading(bus) as batches:
        await anext(batches)
        events = [make_job_event(seq) for seq in range(1, 2 * reader.PAGE_ENTRIES + 300)]
        await publish(bus, *events)
        assert await next_events(batches, len(events)) == events


async def test_a_quiet_bus_says_now_and_then_that_it_answers(
    bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_MS", 10)
    async with reading(bus) as batches:
        assert (await anext(batches)).snapshot
        assert [await anext(batches) for _ in range(4)] == [Batch([], snapshot=False)] * 4
        await publish(bus, make_job_event(1))
        assert await next_events(batches, 1) == [make_job_event(1)]


async def test_a_reader_that_connects_anew_begins_with_what_is_so_then(bus: RedisBus, redis: RawRedis) -> None:
    await publish(bus, make_job_event(1, job="a"))
    async with reading(bus) as batches:
        assert (await anext(batches)).events == [make_job_event(1, job="a")]
        redis.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(BusUnavailableError, match="cannot be reached") as caught:
            await next_events(batches, 1)
        assert not caught.value.refused
    await publish(bus, make_job_event(2, job="b"), make_job_event(3, job="a"))
    async with reading(bus) as batches:
        assert await anext(batches) == Batch(
            [make_job_event(2, job="b"), make_job_event(3, job="a")], snapshot=True
        )
        await publish(bus, make_job_event(4))
        assert await next_events(batches, 1) == [make_job_event(4)]


async def test_a_server_that_says_nothing_is_unavailable(
    server: RedisServer, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_MS", 10)
    monkeypatch.setattr(reader, "_REPLY_TIMEOUT_S", 0.1)
    async with reading(bus) as batches:
        await anext(batches)
        server.pause()
        try:
            with pytest.raises(BusUnavailableError, match="cannot be reached"):
                await next_events(batches, 1)
        finally:
            server.resume()


async def test_entries_that_are_no_events_are_skipped_and_said_once(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.hset("pulse:state", "strange/thing", "no event")
    async with bus.consumer(None) as consumer:
        batches = consumer.batches()
        assert await anext(batches) == Batch([], snapshot=True)
        redis.xadd("pulse:events", {"of": "somebody else"})
        redis.xadd("pulse:events", {b"\xff\xfe": b"\xff", "kind": "change"})
        await publish(bus, make_job_event(1))
        redis.xadd("pulse:events", to_text_fields(make_job_event(2)))
        assert await next_events(batches, 2) == [make_job_event(1), make_job_event(2)]
        assert cast("RedisConsumer", consumer).skipped == 3
    said = [record for record in caplog.records if record.message == "entries that are no events are skipped"]
    assert [record.levelno for record in said] == [logging.WARNING]


async def test_a_slow_subscriber_makes_nobody_read_on(bus: RedisBus, redis: RawRedis) -> None:
    """What is not handled yet stays in Redis, two pages apart, which are read ahead."""
    async with reading(bus) as batches:
        await anext(batches)
        pages = 12
        redis.config_resetstat()
        await publish(bus, *(make_job_event(seq) for seq in range(1, pages * reader.PAGE_ENTRIES + 1)))
        first = await next_events(batches, 1)

        def reads() -> int:
            return int(redis.info("commandstats")["cmdstat_xread"]["calls"])

        # The page that came, one that waits, one that the reader holds; each is looked for twice at the most.
        await wait_until(lambda: reads() >= 3, "it reads ahead")
        for _ in range(20):  # by the time that others have had their turn
            await publish(bus)
        assert reads() <= 6
        rest = await next_events(batches, pages * reader.PAGE_ENTRIES - len(first))
        assert [event.id.seq for event in first + rest] == list(range(1, pages * reader.PAGE_ENTRIES + 1))


async def test_another_layout_is_a_persons_matter(server: RedisServer, bus: RedisBus) -> None:
    await publish(bus, make_job_event(1))
    for group in (None, "alerts"):
        with pytest.raises(ConfigError, match="pulse:meta in Redis says partitions = 0, and this URL means 2"):
            async with make_bus(f"{server.url}?partitions=2").consumer(group):
                pass


async def test_a_key_of_the_wrong_type_is_a_persons_matter(bus: RedisBus, redis: RawRedis) -> None:
    for key in ("pulse:state", "pulse:events"):
        redis.flushall()
        redis.set(key, "of somebody else")
        async with reading(bus) as batches:
            with pytest.raises(BusUnavailableError, match="WRONGTYPE") as caught:
                await anext(batches)
            assert caught.value.refused


async def test_a_server_that_wants_a_password_now_is_a_refusal(bus: RedisBus, redis: RawRedis) -> None:
    redis.config_set("requirepass", "secret")
    try:
        with pytest.raises(BusUnavailableError, match="refused the login") as caught:
            async with reading(bus):
                pass
        assert caught.value.refused
    finally:
        redis.config_set("requirepass", "")


@pytest.mark.parametrize("group", [None, "alerts"])
async def test_who_stops_waiting_leaves_no_connection_behind(
    server: RedisServer, bus: RedisBus, group: str | None
) -> None:
    waiting = asyncio.Event()

    async def read() -> None:
        async with reading(bus, group) as batches:
            await anext(batches)
            waiting.set()
            await next_events(batches, 1)

    task = asyncio.ensure_future(read())
    await asyncio.wait_for(waiting.wait(), 20)
    await wait_until(lambda: any(one["cmd"] == "xread" for one in server.clients()), "it waits in the server")
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await wait_until(lambda: len(server.clients()) == 1, "all are closed but the test's own")


async def test_a_reply_that_never_comes_is_left_with_its_connection(server: RedisServer, bus: RedisBus) -> None:
    """A cancelled snapshot is not taken for the answer to what is asked next."""
    await publish(bus, make_job_event(1))
    async with Proxy(server) as proxy:
        slow = make_bus(proxy.url)
        async with reading(slow) as batches:
            proxy.swallowing = True
            task = asyncio.ensure_future(anext(batches))
            await wait_until(lambda: proxy.swallowed_bytes > 0, "the reply is lost")
            task.cancel()
            await asyncio.wait({task})
        proxy.swallowing = False
        async with reading(slow) as batches:
            assert (await anext(batches)).events == [make_job_event(1)]
