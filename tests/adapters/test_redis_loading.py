"""A Redis that is back and still loads its data: it is asked again soon, not as one that wants a person."""

from pathlib import Path

import pytest

from pulse_bridge.bus import Bus, Presence, Query, open_bus
from pulse_bridge.errors import BusUnavailableError
from tests.support.processes import Server, wait_until_async
from tests.support.redis_server import RedisServer


@pytest.fixture
def slow_to_load(tmp_path: Path) -> RedisServer:
    """Give a server that takes a second or two to load; it answers meanwhile."""
    server = RedisServer(
        tmp_path / "redis", config=[("key-load-delay", "500"), ("loading-process-events-interval-bytes", "1024")]
    )
    with server:
        with server.client() as client, client.pipeline() as pipe:
            for number in range(2000):
                pipe.set(f"k{number}", "x" * 2000)
            pipe.execute()
        server.save()
    return server


async def ask(verb: str, bus: Bus) -> None:
    if verb == "publisher":
        async with bus.publisher(Presence("node1", "owner1")):
            return
    if verb == "consumer":
        async with bus.consumer(None) as consumer:
            await anext(consumer.batches())
            return
    assert [event async for event in bus.history(Query())] == []


@pytest.mark.parametrize("verb", ["publisher", "consumer", "history"])
async def test_while_it_loads_it_is_unavailable_and_not_refusing(verb: str, slow_to_load: RedisServer) -> None:
    bus = open_bus(slow_to_load.url)
    errors: list[BusUnavailableError] = []

    async def answers() -> bool:
        try:
            await ask(verb, bus)
        except BusUnavailableError as error:
            errors.append(error)
            return False
        return True

    try:
        Server.start(slow_to_load)  # without the wait for its data
        await wait_until_async(answers, "it has loaded")
    finally:
        slow_to_load.end()
    assert [error for error in errors if "LOADING" in str(error)]
    assert not any(error.refused for error in errors)
