"""What happens when Redis goes, forgets, refuses or says nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pulse_bridge.bus import Query
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import EventId
from pulse_bridge.testing import PRESENCE, make_job_event
from pulse_bridge_redis import RedisBus
from pulse_bridge_redis.channel import Channel
from pulse_bridge_redis.connection import connect
from pulse_bridge_redis.options import Target
from tests.support.processes import free_port, wait_until
from tests.support.redis_server import Proxy, RawRedis, RedisServer, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path)) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[RawRedis]:
    with server.client() as client:
        yield client


@pytest.fixture
def bus(server: RedisServer) -> RedisBus:
    return RedisBus(BusUrl.parse(server.url))


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server) as proxy:
        yield proxy


async def test_a_killed_server_is_told_to_whoever_waits(server: RedisServer, bus: RedisBus) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        lost = asyncio.ensure_future(publisher.wait_lost())
        server.pause()
        answers = [publisher.publish([make_job_event(seq)]) for seq in (1, 2)]
        server.kill()
        for answer in (*answers, lost):
            with pytest.raises(BusUnavailableError, match="cannot be reached") as caught:
                await answer
            assert not caught.value.refused
        with pytest.raises(BusUnavailableError):
            await publisher.publish([make_job_event(3)])
        with pytest.raises(BusUnavailableError):
            await publisher.resume(EventId("contract", 1))
    with pytest.raises(BusUnavailableError, match="cannot be reached"):
        async with bus.publisher(PRESENCE):
            pass
    server.start()
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(seq) for seq in (1, 2)])


async def test_nobody_listening_is_a_matter_of_time() -> None:
    bus = RedisBus(BusUrl.parse(f"redis://:secret@127.0.0.1:{free_port()}"))
    for use in (bus.publisher(PRESENCE).__aenter__(), anext(bus.history(Query()))):
        with pytest.raises(BusUnavailableError, match="cannot be reached") as caught:
            await use
        assert "secret" not in str(caught.value)


async def test_a_server_that_says_nothing_counts_as_lost(proxy: Proxy) -> None:
    target = Target.of(BusUrl.parse(proxy.url))
    proxy.swallowing = True
    channel = Channel(await connect(target), target, reply_timeout_s=0.05)
    for wait in (channel.ask("EXISTS", "x"), channel.wait_lost()):
        with pytest.raises(BusUnavailableError, match="has not answered for"):
            await wait
    await channel.close()


async def test_no_memory_is_a_refusal_and_heals(redis: RawRedis, bus: RedisBus) -> None:
    redis.config_set("maxmemory-policy", "noeviction")
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(1)])
        redis.config_set("maxmemory", "1mb")
        with pytest.raises(BusUnavailableError, match="no memory left") as caught:
            await publisher.publish([make_job_event(2)])
        assert caught.value.refused
    redis.config_set("maxmemory", "0")
    async with bus.publisher(PRESENCE) as publisher:
        assert await publisher.resume(EventId("contract", 2)) == EventId("contract", 1)
        assert not await publisher.publish([make_job_event(2)])
    assert redis.xlen("pulse:events") == 2


async def test_a_batch_behind_a_refused_one_is_not_taken_even_if_there_is_room_again(
    redis: RawRedis, proxy: Proxy
) -> None:
    """Else the refused one would count as already there when it is sent again."""
    bus = RedisBus(BusUrl.parse(proxy.url))
    async with bus.publisher(PRESENCE) as publisher:
        proxy.swallowing = True  # our side does not learn of the refusal before it sends the second
        redis.config_set("maxmemory", "1mb")
        refused = publisher.publish([make_job_event(1)])
        await wait_until(lambda: proxy.swallowed_bytes > 0, "the refusal is said")
        said_bytes = proxy.swallowed_bytes
        redis.config_set("maxmemory", "0")
        behind = publisher.publish([make_job_event(2)])
        await wait_until(lambda: proxy.swallowed_bytes > said_bytes, "the second answer is said")
        proxy.cut()
        for answer in (refused, behind):
            with pytest.raises(BusUnavailableError):
                await answer
    assert not redis.exists("pulse:events")
    proxy.swallowing = False
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_job_event(1), make_job_event(2)])
    assert [fields["id"] for _, fields in redis.xrange("pulse:events")] == ["contract-1", "contract-2"]


async def test_a_server_that_forgot_everything_while_connected_is_found_out(
    redis: RawRedis, bus: RedisBus
) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_job_event(1)])
        redis.flushall()
        with pytest.raises(BusUnavailableError, match="forgot what it had acknowledged") as caught:
            await publisher.publish([make_job_event(2)])
        assert not caught.value.refused
    async with bus.publisher(PRESENCE) as publisher:
        assert await publisher.resume(EventId("contract", 1)) is None
        assert not await publisher.publish([make_job_event(1), make_job_event(2)])


async def test_a_script_that_was_flushed_is_loaded_again_by_connecting(redis: RawRedis, bus: RedisBus) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        redis.script_flush()
        with pytest.raises(BusUnavailableError, match="forgot our script") as caught:
            await publisher.publish([make_job_event(1)])
        assert not caught.value.refused
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(1)])


async def test_a_stream_of_the_wrong_type_is_a_persons_matter(redis: RawRedis, bus: RedisBus) -> None:
    redis.set("pulse:events", "of somebody else")
    async with bus.publisher(PRESENCE) as publisher:
        with pytest.raises(BusUnavailableError, match="WRONGTYPE") as caught:
            await publisher.publish([make_job_event(1)])
        assert caught.value.refused
    with pytest.raises(BusUnavailableError, match="WRONGTYPE"):
        await anext(bus.history(Query()))
    assert not redis.exists("pulse:seq:contract")


async def test_a_replica_refuses(redis: RawRedis, bus: RedisBus) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        redis.replicaof("127.0.0.1", free_port())
        with pytest.raises(BusUnavailableError, match="READONLY") as caught:
            await publisher.publish([make_job_event(1)])
        assert caught.value.refused


async def test_no_room_for_another_client_is_a_refusal(redis: RawRedis, bus: RedisBus) -> None:
    redis.config_set("maxclients", "1")
    with pytest.raises(BusUnavailableError, match="no room for another client") as caught:
        async with bus.publisher(PRESENCE):
            pass
    assert caught.value.refused


async def test_what_the_disk_had_before_a_crash_is_what_redis_vouches_for(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path / "kept", appendonly=True)) as server:
        bus = RedisBus(BusUrl.parse(server.url))
        async with bus.publisher(PRESENCE) as publisher:
            await publisher.publish([make_job_event(seq) for seq in range(1, 6)])
        older = server.save()
        server.restart()
        async with bus.publisher(PRESENCE) as publisher:
            assert await publisher.resume(EventId("contract", 9)) == EventId("contract", 5)
    with running(RedisServer(tmp_path / "restored")) as server:
        server.end()
        server.dump.write_bytes(older)
        server.start()
        with server.client() as redis:
            assert redis.xlen("pulse:events") == 5
