"""One Redis for a file of tests, empty at the start of each."""

from collections.abc import Iterator

import pytest

from pulse_bridge.bus_url import BusUrl
from pulse_bridge_redis import RedisBus
from tests.support.redis_server import RawRedis, RedisServer, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[RawRedis]:
    with server.client() as client:
        client.flushall()
        client.script_flush()
        yield client


@pytest.fixture
def bus(server: RedisServer, redis: RawRedis) -> RedisBus:  # noqa: ARG001 - an empty Redis first
    return RedisBus(BusUrl.parse(server.url))
