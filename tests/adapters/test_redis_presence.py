"""Who has a host's name, and who goes on using it."""

import pytest

from pulse_bridge.bus import Presence
from pulse_bridge.errors import BusUnavailableError, HostTakenError
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_redis import RedisBus, presence
from tests.support.processes import wait_until
from tests.support.redis_server import RawRedis

KEY = "pulse:host:node1"


@pytest.fixture
def quick_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "REFRESH_S", 0.01)


async def test_the_newest_sidecar_takes_the_name_whoever_had_it(bus: RedisBus, redis: RawRedis) -> None:
    redis.set(KEY, "older")
    async with bus.publisher(PRESENCE):
        assert redis.get(KEY) == "owner1"
        assert 20 < redis.ttl(KEY) <= 30


async def test_one_that_had_the_name_does_not_take_it_back(bus: RedisBus, redis: RawRedis) -> None:
    redis.set(KEY, "newer")
    with pytest.raises(HostTakenError, match="'node1' on redis://127"):
        async with bus.publisher(Presence("node1", "owner1", held=True)):
            pass
    assert redis.get(KEY) == "newer"


@pytest.mark.parametrize("found", [None, "owner1"])
async def test_one_that_had_the_name_goes_on_where_nobody_else_has_it(
    bus: RedisBus, redis: RawRedis, found: str | None
) -> None:
    if found:
        redis.set(KEY, found)
    async with bus.publisher(Presence("node1", "owner1", held=True)):
        assert redis.get(KEY) == "owner1"


@pytest.mark.usefixtures("quick_refresh")
async def test_the_key_is_refreshed_while_the_sidecar_lives(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(PRESENCE):
        redis.expire(KEY, 5)
        await wait_until(lambda: redis.ttl(KEY) > 20, "the key is refreshed")
        redis.delete(KEY)
        await wait_until(lambda: redis.get(KEY) == "owner1", "the key is back")


@pytest.mark.usefixtures("quick_refresh")
async def test_a_newer_sidecar_ends_the_older_ones_publishing(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(PRESENCE) as older, bus.publisher(Presence("node1", "owner2")):
        with pytest.raises(HostTakenError, match="a newer sidecar uses the host name 'node1'"):
            await older.wait_lost()
        with pytest.raises(HostTakenError):
            await older.publish([make_job_event(1)])
        assert redis.get(KEY) == "owner2"
    assert not redis.exists("pulse:events")


@pytest.mark.usefixtures("quick_refresh")
async def test_the_timer_does_not_disturb_the_order_of_replies(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        for seq in range(1, 301):
            assert not await publisher.publish([make_job_event(seq)])
    assert redis.xlen("pulse:events") == 300


async def test_a_clean_stop_deletes_the_key(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_host_event(1, stopping=True)])
        assert redis.exists(KEY)
    assert not redis.exists(KEY)


async def test_a_clean_stop_leaves_another_ones_key_alone(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_host_event(1, stopping=True)])
        redis.set(KEY, "newer")
    assert redis.get(KEY) == "newer"


async def test_a_reconnect_leaves_the_key_to_expire(bus: RedisBus, redis: RawRedis) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_host_event(1)])
    assert redis.get(KEY) == "owner1"


async def test_a_stop_by_an_error_leaves_the_key_to_expire(bus: RedisBus, redis: RawRedis) -> None:
    async def stop_badly() -> None:
        async with bus.publisher(PRESENCE) as publisher:
            await publisher.publish([make_host_event(1, stopping=True)])
            raise BusUnavailableError("lost")

    with pytest.raises(BusUnavailableError):
        await stop_badly()
    assert redis.get(KEY) == "owner1"
