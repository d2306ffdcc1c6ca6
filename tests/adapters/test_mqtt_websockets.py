"""Websockets, plain and in TLS, and client certificates: both directions, on a real mosquitto."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event, from_json
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus
from pulse_bridge_mqtt.websocket import tcp_socket
from tests.support.mosquitto import Authority, Mosquitto, MqttListener, retained
from tests.support.mqtt_reading import reading
from tests.support.processes import free_port

QUEUE = "max_queued_messages 0"


def make_bus(scheme: str, port: int | None, query: str = "", path: str = "") -> MqttBus:
    return MqttBus(BusUrl.parse(f"{scheme}://127.0.0.1:{port}{path}{'?' if query else ''}{query}"))


async def put(bus: Bus, events: Sequence[Event]) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        for first in range(0, len(events), 50):
            assert not await publisher.publish(events[first : first + 50])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, extra_lines=[QUEUE], websocket_lines=[]) as broker:
        yield broker


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_websocket_carries_both_directions(broker: Mosquitto, tmp_path: Path, version: str) -> None:
    query = f"version={version}&group_store={tmp_path}/groups"
    bus = make_bus("mqtt+ws", broker.websocket_port, query)
    events: list[Event] = [make_job_event(seq, job=f"job {seq % 3}") for seq in range(1, 301)]
    for group in (None, "alerts"):
        async with reading(bus, group) as reader:
            await reader.snapshot()
            await reader.commit()
    async with reading(bus) as reader, reading(bus, "alerts") as group_reader:
        assert await reader.snapshot() == []
        await put(bus, events)
        assert await reader.news(300) == events
        assert await group_reader.news(300, commit=True) == events


async def test_frames_longer_than_a_read_come_whole(broker: Mosquitto) -> None:
    bus = make_bus("mqtt+ws", broker.websocket_port)
    events = [make_job_event(seq, job=f"job {seq}", message="x" * 4096) for seq in range(1, 6)]
    async with reading(bus) as reader:
        await reader.snapshot()
        await put(bus, events)
        assert await reader.news(5) == events


async def test_a_socket_that_takes_half_a_frame_gets_the_rest_later(broker: Mosquitto) -> None:
    events = [make_job_event(seq, message="x" * 40_000) for seq in range(1, 51)]
    with MqttListener(broker.port, ["pulse/+/+/state"]) as listener:
        async with make_bus("mqtt+ws", broker.websocket_port).publisher(PRESENCE) as publisher:
            tcp = tcp_socket(publisher._connection._client.socket())
            assert tcp is not None
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
            os.kill(broker.pid, signal.SIGSTOP)
            calls = [publisher.publish(events[:25]), publisher.publish(events[25:])]
            assert publisher._connection._client.want_write(), "the socket took everything at once"
            os.kill(broker.pid, signal.SIGCONT)
            assert not any(await asyncio.gather(*calls))
        got = [from_json(message.payload) for message in await listener.wait_for(50)]
        assert got == events


async def test_the_will_is_said_and_dropped_over_a_websocket_too(broker: Mosquitto) -> None:
    bus = make_bus("mqtt+ws", broker.websocket_port)
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_host_event(1, stopping=True)])
    assert retained(broker.port)["pulse/node1/bridge"] == b"offline"


async def test_the_path_is_the_url_s(broker: Mosquitto) -> None:
    """Mosquitto takes any path; what is asked for is seen by a server of our own."""
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(await reader.readline())
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for path, line in (
            ("", b"GET /mqtt HTTP/1.1"),
            ("/", b"GET / HTTP/1.1"),
            ("/some%20where/ws", b"GET /some%20where/ws HTTP/1.1"),
        ):
            with pytest.raises(BusUnavailableError, match=r"no websocket at /.*the path, for them") as caught:
                async with make_bus("mqtt+ws", port, path=path).publisher(PRESENCE):
                    pytest.fail("it was let in")
            assert not caught.value.refused
            assert (await asked.get()).strip() == line
    async with make_bus("mqtt+ws", broker.websocket_port, path="/any").publisher(PRESENCE) as publisher:
        assert not await publisher.publish([make_job_event(1)])


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_port_without_websockets_is_one_sentence_and_leaves_no_socket(broker: Mosquitto) -> None:
    gc.collect()
    gc.disable()  # closing must not be left to the collector
    try:
        before = open_descriptors()
        with pytest.raises(BusUnavailableError, match="no websocket at /mqtt; is this the port"):
            async with make_bus("mqtt+ws", broker.port).publisher(PRESENCE):
                pytest.fail("it was let in")
        with pytest.raises(BusUnavailableError, match="Connection refused"):
            async with make_bus("mqtt+ws", free_port()).consumer(None):
                pytest.fail("it was let in")
        assert open_descriptors() == before
    finally:
        gc.enable()


async def test_a_lost_websocket_ends_the_batches(broker: Mosquitto) -> None:
    async with reading(make_bus("mqtt+ws", broker.websocket_port)) as reader:
        await reader.snapshot()
        broker.kill()
        with pytest.raises(BusUnavailableError):
            await reader.next()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("scheme", ["mqtts", "mqtt+wss"])
async def test_a_broker_that_wants_a_certificate_gets_ours_in_both_directions(
    tmp_path: Path, authority: Authority, scheme: str, version: str
) -> None:
    lines = [*authority.server_lines("127.0.0.1"), "require_certificate true"]
    with Mosquitto(tmp_path, extra_lines=[QUEUE, *lines], websocket_lines=lines) as broker:
        port = broker.port if scheme == "mqtts" else broker.websocket_port
        query = f"version={version}&tls_ca={authority.ca}&group_store={tmp_path}/groups"
        with pytest.raises(BusUnavailableError):
            async with make_bus(scheme, port, query).consumer(None):
                pytest.fail("it was let in")
        bus = make_bus(scheme, port, f"{query}&tls_cert={authority.client}")
        events = [make_job_event(seq, message="x" * 1000) for seq in range(1, 201)]
        async with reading(bus) as reader, reading(bus, "alerts") as group_reader:
            await reader.snapshot()
            await group_reader.snapshot()
            await put(bus, events)
            assert await reader.news(200) == events
            assert await group_reader.news(200, commit=True) == events
