"""The page on a socket that somebody else opened, as a service manager does."""

import os
import socket

import httpx
import pytest

from pulse_bridge.errors import ConfigError
from pulse_bridge.subscriber import SubscriberUrl
from pulse_bridge_web import WebSubscriber

pytestmark = pytest.mark.anyio


@pytest.fixture
def door() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def on(fd: int) -> WebSubscriber:
    return WebSubscriber(SubscriberUrl.parse(f"web?fd={fd}"))


async def test_the_page_is_served_on_a_socket_that_was_passed_on(door: socket.socket) -> None:
    subscriber = on(door.fileno())
    async with subscriber.lifespan(), httpx.AsyncClient(base_url=subscriber.address) as client:
        assert subscriber.address == f"http://127.0.0.1:{door.getsockname()[1]}/"
        assert (await client.get("/healthz")).status_code == 503
    door.getsockname()  # still its owner's, who may serve on it again
    async with subscriber.lifespan(), httpx.AsyncClient(base_url=subscriber.address) as client:
        assert (await client.get("/healthz")).status_code == 503
    door.close()


async def refusal(fd: int) -> str:
    with pytest.raises(ConfigError) as error:
        async with on(fd).lifespan():
            raise AssertionError("it served")
    return str(error.value)


async def test_what_is_no_listening_socket_is_refused() -> None:
    with socket.socket() as silent, socket.socket(socket.AF_UNIX) as local:
        for other in (silent, local):
            fd = other.fileno()
            assert await refusal(fd) == (
                f"web?fd={fd}: fd={fd} is no TCP socket that listens; pass one on, or leave fd out"
            )
    reading, writing = os.pipe()
    try:
        assert "is no socket that was passed on" in await refusal(reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert "is no socket that was passed on" in await refusal(reading)


async def test_a_socket_that_others_reach_asks_for_a_token_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as door:
        assert "lets other machines read every job" in await refusal(door.fileno())
