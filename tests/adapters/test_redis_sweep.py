"""Jobs that ended long ago leave the state hash."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pulse_bridge.bus_url import BusUrl
from pulse_bridge.event import to_json
from pulse_bridge.testing import PRESENCE, make_job_event
from pulse_bridge_redis import RedisBus, presence
from pulse_bridge_redis.channel import Channel
from pulse_bridge_redis.connection import connect
from pulse_bridge_redis.keys import Layout
from pulse_bridge_redis.options import Target
from pulse_bridge_redis.sweep import sweep
from tests.support.processes import wait_until
from tests.support.redis_server import RawRedis, RedisServer, running

DAY_S = 86_400
NOW_S = 1_790_000_000
KEYS = Layout("pulse").of_host("node1")


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


@asynccontextmanager
async def opened(server: RedisServer) -> AsyncIterator[Channel]:
    target = Target.of(BusUrl.parse(server.url))
    channel = Channel(await connect(target), target)
    try:
        yield channel
    finally:
        await channel.close()


async def test_forgetting_removes_what_ended_long_ago_and_what_dead_hosts_left(
    server: RedisServer, bus: RedisBus, redis: RawRedis
) -> None:
    old_ms, young_ms = (NOW_S - 8 * DAY_S) * 1000, (NOW_S - 6 * DAY_S) * 1000
    events = [
        make_job_event(1, job="done", state="done", observed_ms=old_ms),
        make_job_event(2, job="gone", state="gone", observed_ms=old_ms),
        make_job_event(3, job="done lately", state="done", observed_ms=young_ms),
        make_job_event(4, job="silent", observed_ms=old_ms),
        make_job_event(5, host="dead", job="running", observed_ms=old_ms),
        make_job_event(6, host="dead", job="lately", observed_ms=young_ms),
        *(make_job_event(seq, host="dead", job=f"many {seq}", observed_ms=old_ms) for seq in range(7, 207)),
    ]
    async with bus.publisher(PRESENCE) as publisher, opened(server) as channel:
        await publisher.publish(events)
        redis.hset("pulse:state", "strange/thing", "no event")
        arguments = {"now_s": NOW_S, "forget_after_s": 7 * DAY_S}
        assert await sweep(channel.ask, "pulse:meta", KEYS, **arguments) == 203
        assert set(redis.hkeys("pulse:state")) == {
            "node1/done lately",
            "node1/silent",
            "dead/lately",
            "strange/thing",
        }
        redis.hset("pulse:state", "x/again", redis.hget("pulse:state", "node1/done lately"))
        later = {"now_s": NOW_S + 3599, "forget_after_s": 1}
        assert await sweep(channel.ask, "pulse:meta", KEYS, **later) == 0, "one scan an hour"
        assert await sweep(channel.ask, "pulse:meta", KEYS, **(later | {"now_s": NOW_S + 3600})) == 3


async def test_forgetting_leaves_a_job_that_spoke_meanwhile(server: RedisServer, redis: RawRedis) -> None:
    event_json = to_json(make_job_event(1, state="done", observed_ms=1_000)).encode()
    redis.hset("pulse:state", "node1/llm/run a", "{}")

    async def ask(*command: str | int | bytes) -> object:
        reply = await channel.ask(*command)
        if command[0] == "HSCAN":  # what the sweep read is old news by now
            return [reply[0], [b"node1/llm/run a", event_json]]
        return reply

    async with opened(server) as channel:
        assert await sweep(ask, "pulse:meta", KEYS, now_s=NOW_S, forget_after_s=1) == 0
    assert redis.hget("pulse:state", "node1/llm/run a") == "{}"


async def test_a_stamp_from_the_future_binds_nobody(server: RedisServer, bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(None):
        redis.hset("pulse:meta", "swept_at", NOW_S + 7 * DAY_S)
        redis.hset("pulse:state", "a/b", to_json(make_job_event(1, state="done", observed_ms=1_000)))
    async with opened(server) as channel:
        assert await sweep(channel.ask, "pulse:meta", KEYS, now_s=NOW_S, forget_after_s=1) == 1


async def test_a_sweep_that_cannot_be_done_leaves_publishing_alone(
    bus: RedisBus, redis: RawRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(presence, "REFRESH_S", 0.01)
    redis.set("pulse:state", "of somebody else")
    async with bus.publisher(PRESENCE) as publisher:
        with caplog.at_level(logging.WARNING):
            await wait_until(lambda: bool(caplog.records), "it is said")
        assert caplog.records[0].message == "old jobs were not swept"
        assert not await publisher.publish([make_job_event(1)])
