"""A group on Redis: one holder at a time, whose place and state are kept."""

import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import NoPermissionError

import pulse_bridge_redis
from pulse_bridge.bus import Batch, Bus, Consumer, Query
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event
from pulse_bridge.saved import read_saved
from pulse_bridge.testing import PRESENCE, make_job_event
from pulse_bridge_redis import RedisBus, lease
from tests.support.processes import wait_until
from tests.support.redis_server import Proxy, RawRedis, RedisServer

HASH, LOCK = "pulse:group:alerts", "pulse:lease:alerts"


def make_bus(url: str) -> RedisBus:
    return RedisBus(BusUrl.parse(url))


async def publish(bus: Bus, *events: Event) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish(events)


@asynccontextmanager
async def holding(bus: Bus) -> AsyncIterator[tuple[Consumer, AsyncIterator[Batch]]]:
    async with bus.consumer("alerts") as consumer:
        yield consumer, consumer.batches()


async def next_events(batches: AsyncIterator[Batch], count: int = 1) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(20):
        while len(events) < count:
            events += (await anext(batches)).events
    return events


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("pulse_bridge_redis")]


async def test_what_a_group_saved_is_shown_to_others_while_it_is_held(bus: RedisBus) -> None:
    await publish(bus, make_job_event(1))
    assert await read_saved(bus, "alerts") == {}
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        await consumer.commit({"told": "1"})
        assert await read_saved(bus, "alerts") == {"told": "1"}


async def test_a_group_is_one_hash_that_stays_and_one_lock_that_does_not(bus: RedisBus, redis: RawRedis) -> None:
    await publish(bus, make_job_event(1))
    (entry_id, _), *_ = redis.xrange("pulse:events")
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        assert redis.keys("pulse:[gl]*") == [LOCK], "nothing is stored before the first commit"
        assert 0 < redis.pttl(LOCK) <= 10_000
        await consumer.commit({"told": "1", "muted": "no"})
        await consumer.commit({"muted": None})
        assert dict(consumer.saved) == {"told": "1"}
        assert redis.hgetall(HASH) == {"cursor:0": f"{entry_id} 1", "saved:told": "1"}
        assert redis.ttl(HASH) == -1
    assert redis.keys("pulse:[gl]*") == [HASH]


async def test_with_partitions_there_is_one_lease_and_one_hash_with_a_cursor_for_each(
    server: RedisServer, redis: RawRedis
) -> None:
    bus = make_bus(f"{server.url}?partitions=3")
    hosts = [f"node{number}" for number in range(9)]
    await publish(bus, *(make_job_event(seq, host=host) for seq, host in enumerate(hosts, start=1)))
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        await consumer.commit()
        assert sorted(redis.keys("pulse:{?}:[gl]*")) == ["pulse:{0}:group:alerts", "pulse:{0}:lease:alerts"]
    assert set(redis.hgetall("pulse:{0}:group:alerts")) == {"cursor:0", "cursor:1", "cursor:2"}
    await publish(bus, *(make_job_event(seq, host=host) for seq, host in enumerate(hosts, start=10)))
    async with holding(bus) as (consumer, batches):
        got = await next_events(batches, 9)
        assert sorted(event.id.seq for event in got) == list(range(10, 19))
        await consumer.commit()
    async with holding(bus) as (_, batches):
        assert await anext(batches) == Batch([], snapshot=False)


async def test_a_commit_stores_the_place_behind_what_was_given_and_not_behind_what_was_read_ahead(
    bus: RedisBus, redis: RawRedis
) -> None:
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        async with bus.publisher(PRESENCE) as publisher:
            for seq in range(1, 31):
                await publisher.publish([make_job_event(seq)])
        last = (await next_events(batches))[-1].id.seq
        await consumer.commit({"last": str(last)})
        assert redis.hget(HASH, "cursor:0").endswith(f" {last}")
    async with holding(bus) as (consumer, batches):
        assert dict(consumer.saved) == {"last": str(last)}
        got = await next_events(batches, 30 - last) if last < 30 else []
        assert [event.id.seq for event in got] == list(range(last + 1, 31))


async def test_a_second_replica_stands_by_and_takes_over_at_once_after_a_clean_end(
    server: RedisServer, bus: RedisBus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await publish(bus, make_job_event(1))
    standing_by, took_over = "standing by: another replica has the group", "took over the group"

    async def second() -> tuple[dict[str, str], list[Event]]:
        async with holding(make_bus(server.url)) as (consumer, batches):
            return dict(consumer.saved), await next_events(batches)

    async with holding(bus) as (consumer, batches):
        await anext(batches)
        task = asyncio.ensure_future(second())
        await wait_until(lambda: standing_by in messages(caplog), "it stands by")
        await publish(bus, make_job_event(2))
        await next_events(batches)
        await consumer.commit({"told": "2"})
        await publish(bus, make_job_event(3))
        assert not task.done()
    assert await asyncio.wait_for(task, 20) == ({"told": "2"}, [make_job_event(3)])
    assert messages(caplog) == [standing_by, took_over]
    assert {record.group for record in caplog.records if hasattr(record, "group")} == {
        f"the group 'alerts' on {server.url}"
    }


REPLICA = """
import asyncio, sys
from pulse_bridge.bus import open_bus
from pulse_bridge_redis import lease

lease.LEASE_S, lease.EXTEND_S = 1.0, 0.3

async def main():
    async with open_bus(sys.argv[1]).consumer("alerts") as consumer:
        async for batch in consumer.batches():
            for event in batch.events:
                print(event.id.seq, flush=True)
            if batch.events or batch.snapshot:
                await consumer.commit({"last": str(max([0, *(event.id.seq for event in batch.events)]))})

asyncio.run(main())
"""


@pytest.fixture
def replica(server: RedisServer, bus: RedisBus) -> Iterator[subprocess.Popen[str]]:  # noqa: ARG001 - an empty Redis first
    with subprocess.Popen(
        [sys.executable, "-c", REPLICA, server.url], stdout=subprocess.PIPE, text=True
    ) as replica:
        try:
            yield replica
        finally:
            replica.kill()


async def test_after_a_kill_the_other_replica_goes_on_behind_the_last_commit(
    replica: subprocess.Popen[str], server: RedisServer, bus: RedisBus, redis: RawRedis
) -> None:
    async def second() -> tuple[str, list[Event]]:
        async with holding(make_bus(server.url)) as (consumer, batches):
            last = consumer.saved["last"]
            return last, await next_events(batches, 200 - int(last))

    await wait_until(lambda: redis.hexists(HASH, "saved:last"), "the first has its snapshot")
    task = asyncio.ensure_future(second())
    async with bus.publisher(PRESENCE) as publisher:
        for seq in range(1, 201):
            await publisher.publish([make_job_event(seq)])
            if seq == 100:
                await wait_until(lambda: int(redis.hget(HASH, "saved:last")) > 50, "the first is at work")
                replica.kill()
    assert replica.stdout
    taken = {int(line) for line in replica.stdout.read().split()}
    last = int(redis.hget(HASH, "saved:last"))
    assert 50 < last < 200
    assert taken >= set(range(1, last + 1)), "what was committed was taken"
    assert not task.done()
    saved_last, events = await asyncio.wait_for(task, 20)
    assert saved_last == str(last)
    assert [event.id.seq for event in events] == list(range(last + 1, 201))


async def test_a_holder_whose_lease_was_taken_can_store_nothing(bus: RedisBus, redis: RawRedis) -> None:
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        await consumer.commit({"told": "1"})
        before = redis.hgetall(HASH)
        for taken in ("of another", None):
            redis.set(LOCK, taken) if taken else redis.delete(LOCK)
            with pytest.raises(BusUnavailableError, match=r"group 'alerts' on redis.*the lease ran out") as caught:
                await consumer.commit({"told": "2"})
            assert not caught.value.refused
        assert redis.hgetall(HASH) == before
        assert dict(consumer.saved) == {"told": "1"}
        redis.set(LOCK, "of another")
    assert redis.get(LOCK) == "of another", "what is another's is not released"


async def test_a_holder_whose_lease_was_taken_is_told_where_it_waits(
    bus: RedisBus, redis: RawRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXTEND_S", 0.01)
    async with holding(bus) as (_, batches):
        await anext(batches)
        redis.set(LOCK, "of another")
        with pytest.raises(BusUnavailableError, match="the lease ran out"):
            await next_events(batches)


async def test_one_that_was_frozen_too_long_finds_another_in_its_place(
    server: RedisServer, bus: RedisBus, redis: RawRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 0.2)
    monkeypatch.setattr(lease, "EXTEND_S", 60.0)  # as if it were frozen
    async with holding(bus) as (frozen, frozen_batches):
        await anext(frozen_batches)
        monkeypatch.setattr(lease, "LEASE_S", 10.0)
        async with holding(make_bus(server.url)) as (other, batches):
            await anext(batches)
            await other.commit({"by": "the other"})
            with pytest.raises(BusUnavailableError, match="the lease ran out"):
                await frozen.commit({"by": "the frozen one"})
            assert redis.hget(HASH, "saved:by") == "the other"
            await other.commit({"by": "the other again"})


async def test_the_lease_is_extended_while_it_is_held(
    bus: RedisBus, redis: RawRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXTEND_S", 0.01)
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        redis.pexpire(LOCK, 5_000)
        await wait_until(lambda: redis.pttl(LOCK) > 8_000, "it is extended")
        await consumer.commit({"told": "1"})


async def test_a_holder_that_lost_its_connection_need_not_wait_for_its_own_lease(
    bus: RedisBus, redis: RawRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        await consumer.commit({"told": "1"})
        token = redis.get(LOCK)
        redis.config_set("requirepass", "so that nothing can be given up")
        redis.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(BusUnavailableError):
            await next_events(batches)
        with pytest.raises(BusUnavailableError):
            await consumer.commit({"told": "2"})
    assert redis.get(LOCK) == token
    redis.config_set("requirepass", "")
    async with holding(bus) as (consumer, _):
        assert dict(consumer.saved) == {"told": "1"}
        assert redis.get(LOCK) != token, "the fence is a new one"
    assert not redis.exists(LOCK)
    assert not messages(caplog), "it did not stand by"


async def test_a_script_cache_that_was_flushed_is_no_matter(
    bus: RedisBus, redis: RawRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXTEND_S", 0.01)
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        redis.script_flush()
        redis.pexpire(LOCK, 5_000)
        await wait_until(lambda: redis.pttl(LOCK) > 8_000, "it is extended")
        await consumer.commit({"told": "1"})
        redis.script_flush()
    assert not redis.exists(LOCK)


async def test_a_hash_with_a_strange_cursor_is_a_persons_matter(bus: RedisBus, redis: RawRedis) -> None:
    redis.hset(HASH, "cursor:0", "strange")
    with pytest.raises(
        BusUnavailableError, match=f"{HASH} holds no cursor of ours .*; delete it to begin anew"
    ) as e:
        async with holding(bus):
            pass
    assert e.value.refused
    assert not redis.exists(LOCK)


async def test_a_server_that_goes_while_one_stands_by_is_unavailable(server: RedisServer, redis: RawRedis) -> None:
    redis.set(LOCK, "of another")
    redis.config_resetstat()
    async with Proxy(server) as proxy:
        entering = asyncio.ensure_future(make_bus(proxy.url).consumer("alerts").__aenter__())
        await wait_until(lambda: redis.info("commandstats").get("cmdstat_set", {}).get("calls", 0) > 2, "it tries")
        proxy.cut()
        with pytest.raises(BusUnavailableError, match="cannot be reached"):
            await asyncio.wait_for(entering, 20)


def documented_acl() -> list[str]:
    found = re.search(r"ACL SETUSER (pulse-reader .*?)\n\n", str(pulse_bridge_redis.__doc__), re.DOTALL)
    assert found
    return found[1].split()


async def test_the_documented_acl_reader_may_do_all_that_is_needed_and_nothing_else(
    server: RedisServer, redis: RawRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXTEND_S", 0.01)
    redis.execute_command("ACL", "SETUSER", *documented_acl())
    redis.execute_command("ACL", "LOG", "RESET")
    writing = make_bus(f"{server.url}/2?partitions=2")
    bus = make_bus(f"redis://pulse-reader:SECRET@127.0.0.1:{server.port}/2?partitions=2")
    await publish(writing, make_job_event(1))
    for group in (None, "alerts"):
        async with bus.consumer(group) as consumer:
            batches = consumer.batches()
            assert (await anext(batches)).snapshot
            await consumer.commit({"told": "1", "muted": None})
            await publish(writing, make_job_event(2 if group is None else 3))
            await next_events(batches)
            if group:
                redis.select(2)
                redis.pexpire("pulse:{0}:lease:alerts", 5_000)
                await wait_until(lambda: redis.pttl("pulse:{0}:lease:alerts") > 8_000, "it is extended")
    assert len([event async for event in bus.history(Query())]) == 3
    with server.client(db=2, username="pulse-reader", password="SECRET") as limited:
        for command in (["GET", "other"], ["XADD", "pulse:events", "*", "a", "b"], ["FLUSHALL"], ["KEYS", "*"]):
            with pytest.raises(NoPermissionError):
                limited.execute_command(*command)
    refused = {entry["object"] for entry in redis.acl_log()}
    assert refused <= {"other", "xadd", "flushall", "keys", "client|setinfo"}


@pytest.mark.parametrize("right", ["+xread", "+xinfo|stream", "+set", "+eval"])
async def test_a_reader_with_too_few_rights_is_a_refusal(server: RedisServer, redis: RawRedis, right: str) -> None:
    user, *rights = documented_acl()
    redis.execute_command("ACL", "SETUSER", user, "reset", *(word for word in rights if word != right))
    with pytest.raises(BusUnavailableError, match="too few rights") as caught:
        await read_and_commit(make_bus(f"redis://pulse-reader:SECRET@127.0.0.1:{server.port}"))
    assert caught.value.refused


async def read_and_commit(bus: Bus) -> None:
    async with holding(bus) as (consumer, batches):
        await anext(batches)
        await consumer.commit({"told": "1"})
        await next_events(batches)
