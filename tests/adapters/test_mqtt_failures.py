"""Brokers that refuse, limit, freeze or are not there."""

import asyncio
import gc
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, HostTakenError
from pulse_bridge.event import Event, to_json
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus, opening, window
from tests.support.mosquitto import Authority, Mosquitto, MqttListener
from tests.support.processes import free_port, require_binary, wait_until

STATES = "pulse/node1/+/state"


def make_bus(port: int, query: str = "", scheme: str = "mqtt", user: str = "") -> MqttBus:
    return MqttBus(BusUrl.parse(f"{scheme}://{user}127.0.0.1:{port}{'?' if query else ''}{query}"))


async def refusal(bus: MqttBus) -> BusUnavailableError:
    with pytest.raises(BusUnavailableError) as caught:
        async with bus.publisher(PRESENCE):
            pytest.fail("it was let in")
    assert "secret" not in str(caught.value)
    return caught.value


@pytest.fixture
def passwords(tmp_path: Path) -> list[str]:
    """Give the lines of a configuration that knows the user `bob` with the password `right-secret`."""
    file = tmp_path / "passwords"
    program = require_binary("mosquitto_passwd")
    subprocess.run([program, "-b", "-c", str(file), "bob", "right-secret"], check=True, capture_output=True)
    return [f"password_file {file}"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_wrong_password_is_refused_and_a_changed_one_heals(
    tmp_path: Path, passwords: list[str], version: str
) -> None:
    file = tmp_path / "secret-file"
    file.write_text("wrong-secret\n")
    with Mosquitto(tmp_path, anonymous=False, extra_lines=passwords) as broker:
        bus = make_bus(
            broker.port,
            f"version={version}&password_file={file}".replace("secret-file", "secret-file"),
            user="bob@",
        )
        with pytest.raises(BusUnavailableError, match="refused the connection: Not authorized") as caught:
            async with bus.publisher(PRESENCE):
                pytest.fail("it was let in")
        assert caught.value.refused
        assert "wrong-secret" not in str(caught.value)
        file.unlink()  # as while it is being replaced
        with pytest.raises(BusUnavailableError, match="cannot be read") as caught:
            async with bus.publisher(PRESENCE):
                pytest.fail("it was let in")
        assert caught.value.refused
        file.write_text("right-secret\n")
        async with bus.publisher(PRESENCE) as publisher:
            assert not await publisher.publish([make_job_event(1)])


async def test_a_topic_that_an_acl_forbids_is_a_refusal_that_names_it(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite pulse/node1/bridge\ntopic readwrite pulse/node1/host\n")
    with Mosquitto(tmp_path, extra_lines=[f"acl_file {acl}"]) as broker:
        async with make_bus(broker.port).publisher(PRESENCE) as publisher:
            assert not await publisher.publish([make_host_event(1)])
            with pytest.raises(
                BusUnavailableError, match=r"refused to take pulse/node1/run/state: Not authorized"
            ) as caught:
                await publisher.publish([make_job_event(2, job="run")])
            assert caught.value.refused
            with pytest.raises(BusUnavailableError) as caught:
                await publisher.wait_lost()
            assert caught.value.refused


async def test_an_account_that_may_only_write_publishes_and_is_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write pulse/#\n")
    with Mosquitto(tmp_path, extra_lines=[f"acl_file {acl}"]) as broker:
        async with make_bus(broker.port).publisher(PRESENCE) as publisher:
            assert not await publisher.publish([make_job_event(1), make_host_event(2)])
    assert "a second sidecar under this host name would go unnoticed" in caplog.text


@pytest.mark.parametrize("receive_maximum", [1, 7])
async def test_never_more_is_in_flight_than_the_broker_takes(tmp_path: Path, receive_maximum: int) -> None:
    lines = [f"max_inflight_messages {receive_maximum}"]
    with Mosquitto(tmp_path, extra_lines=lines) as broker, MqttListener(broker.port, [STATES]) as listener:
        async with make_bus(broker.port).publisher(PRESENCE) as publisher:
            events = [make_job_event(seq, job=f"job{seq}") for seq in range(150)]
            calls = [asyncio.ensure_future(publisher.publish(events[at : at + 50])) for at in (0, 50, 100)]
            assert not any(await asyncio.gather(*calls))
            topics = [message.topic for message in await listener.wait_for(150)]
        assert topics == [f"pulse/node1/job{seq}/state" for seq in range(150)]


async def test_an_event_above_the_brokers_maximum_packet_size_is_rejected_alone(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, extra_lines=["max_packet_size 1000"]) as broker:
        async with make_bus(broker.port).publisher(PRESENCE) as publisher:
            small, large = make_job_event(1), make_job_event(2, message="x" * 1000)
            (rejection,) = await publisher.publish([small, large, make_job_event(3)])
            assert rejection.event is large
            assert rejection.reason == "Packet too large: the broker takes 1000 bytes at most"
            assert not await publisher.publish([small])


async def test_the_largest_event_that_a_broker_takes_is_sent_and_the_next_byte_is_not(tmp_path: Path) -> None:
    def of_size(payload_bytes: int) -> Event:
        return make_job_event(1, job="run", message="x" * payload_bytes)

    # 1 byte of type, 2 of length, 2 + topic, 2 of packet identifier, 1 of properties
    room_bytes = 1000 - (1 + 2 + 2 + len("pulse/node1/run/state") + 2 + 1) - len(to_json(of_size(0)).encode())
    with Mosquitto(tmp_path, extra_lines=["max_packet_size 1000"]) as broker:
        async with make_bus(broker.port).publisher(PRESENCE) as publisher:
            assert not await publisher.publish([of_size(room_bytes)])
            assert len(await publisher.publish([of_size(room_bytes + 1)])) == 1


async def test_a_puback_that_says_too_large_rejects_that_event_alone(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, extra_lines=["message_size_limit 1000"]) as broker:
        async with make_bus(broker.port).publisher(PRESENCE) as publisher:
            large = make_job_event(2, message="x" * 1000)
            (rejection,) = await publisher.publish([make_job_event(1), large, make_job_event(3)])
            assert rejection == (large, "Packet too large")


async def test_a_broker_that_retains_nothing_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, extra_lines=["retain_available false"]) as broker:
        error = await refusal(make_bus(broker.port))
        assert error.refused
        assert "Retain not supported" in str(error)
        async with make_bus(broker.port).publisher(None) as publisher:
            assert not await publisher.publish([make_job_event(1)])


async def test_no_broker_is_one_sentence_and_no_refusal() -> None:
    error = await refusal(make_bus(free_port()))
    assert str(error).endswith("cannot connect: Connection refused")
    assert not error.refused


async def test_a_name_that_does_not_exist_is_one_sentence() -> None:
    error = await refusal(MqttBus(BusUrl.parse("mqtt://no-such-host.invalid")))
    assert "mqtt://no-such-host.invalid: cannot connect: " in str(error)
    error = await refusal(MqttBus(BusUrl.parse(f"mqtt://{'x' * 70}.invalid")))
    assert "cannot connect: " in str(error)


async def test_a_frozen_broker_is_given_up_when_it_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "PUBACK_TIMEOUT_S", 0.1)
    with Mosquitto(tmp_path) as broker:
        async with make_bus(broker.port).publisher(PRESENCE) as publisher:
            broker._process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr] # it runs
            with pytest.raises(BusUnavailableError, match="has not acknowledged"):
                await publisher.publish([make_job_event(1)])


async def test_a_server_that_never_answers_connect_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulse_bridge_mqtt.connection.CONNACK_TIMEOUT_S", 0.05)
    async with silent_server() as (port, _received):
        assert "does not answer CONNECT" in str(await refusal(make_bus(port)))


async def test_a_server_that_speaks_no_mqtt_is_given_up_at_once() -> None:
    async with silent_server(answer=b"\xff" * 6) as (port, _received):
        assert not (await refusal(make_bus(port))).refused


@pytest.mark.parametrize("codes", [b"\x00\x01", b"\x00\x84\x00"])
async def test_a_broker_of_another_version_names_the_option(codes: bytes) -> None:
    async with silent_server(answer=bytes([0x20, len(codes)]) + codes) as (port, _received):
        error = await refusal(make_bus(port))
        assert error.refused
        assert str(error).endswith("Unsupported protocol version; try ?version=3.1.1")


async def test_a_session_that_the_broker_says_is_taken_over_is_left_for_good() -> None:
    connack, disconnect = b"\x20\x03\x00\x00\x00", b"\xe0\x02\x8e\x00"
    async with silent_server(answer=connack + disconnect) as (port, _received):
        with pytest.raises(HostTakenError, match="another client has connected with this one's client id"):
            async with make_bus(port).publisher(PRESENCE):
                pytest.fail("it was let in")


async def test_a_handler_that_fails_ends_the_connection_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with Mosquitto(tmp_path) as broker:
        async with make_bus(broker.port).publisher(PRESENCE) as publisher:
            monkeypatch.setattr(publisher, "on_ack", fail)
            with pytest.raises(BusUnavailableError, match="ZeroDivisionError") as caught:
                await publisher.publish([make_job_event(1)])
            assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_an_attempt_given_up_is_closed_without_a_word_to_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, connect = threading.Event(), socket.create_connection

    def slow(*args: Any, **options: Any) -> socket.socket:
        answer.wait()
        return connect(*args, **options)

    monkeypatch.setattr(socket, "create_connection", slow)
    monkeypatch.setattr(opening, "OPEN_TIMEOUT_S", 0.05)
    async with silent_server() as (port, received):
        assert "no answer to the attempt to connect" in str(await refusal(make_bus(port)))
        answer.set()
        assert await received.get() == b""


async def test_a_cancelled_entry_leaves_no_connection_behind() -> None:
    async with silent_server() as (port, received):

        async def enter() -> None:
            async with make_bus(port).publisher(PRESENCE):
                pytest.fail("it was let in")

        task = asyncio.create_task(enter())
        connect = await received.get()
        assert connect[0] == 0x10
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await received.get() == b""


class silent_server:  # noqa: N801 - reads as a function
    """A TCP server that answers once, or never, and tells what it reads; empty bytes for the end."""

    def __init__(self, answer: bytes = b"") -> None:
        self._answer = answer
        self._received: asyncio.Queue[bytes] = asyncio.Queue()

    async def __aenter__(self) -> tuple[int, asyncio.Queue[bytes]]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1], self._received

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._answer)
        data = b"anything"
        while data:
            try:
                data = await reader.read(4096)
            except ConnectionResetError:
                data = b""
            self._received.put_nowait(data)
        writer.close()


async def test_descriptors_beyond_1023_work(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("the limit of open files cannot be raised here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    gc.collect()  # what earlier tests left would free low descriptors later
    many = [socket.socket() for _ in range(1100)]
    try:
        with Mosquitto(tmp_path) as broker:
            async with make_bus(broker.port).publisher(PRESENCE) as publisher:
                opened = publisher._connection._client.socket()
                assert opened is not None
                assert opened.fileno() > 1023
                assert not await publisher.publish([make_job_event(1)])
    finally:
        for one in many:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls_broker(tmp_path: Path, authority: Authority) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, extra_lines=authority.server_lines("127.0.0.1")) as broker:
        yield broker


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_tls_with_a_known_authority_carries_full_batches(
    tls_broker: Mosquitto, authority: Authority, version: str
) -> None:
    bus = make_bus(tls_broker.port, f"version={version}&tls_ca={authority.ca}", "mqtts")
    async with bus.publisher(PRESENCE) as publisher:
        for first in (0, 50):
            events = [make_job_event(first + seq, message="x" * 4096) for seq in range(50)]
            assert not await publisher.publish(events)


async def test_tls_with_an_unknown_authority_says_what_to_do(tls_broker: Mosquitto) -> None:
    error = await refusal(make_bus(tls_broker.port, scheme="mqtts"))
    assert error.refused
    assert "name the authority that signed it with tls_ca=FILE" in str(error)


async def test_tls_with_a_certificate_for_another_name_says_what_to_do(
    tmp_path: Path, authority: Authority
) -> None:
    with Mosquitto(tmp_path, extra_lines=authority.server_lines("broker.example")) as broker:
        error = await refusal(make_bus(broker.port, f"tls_ca={authority.ca}", "mqtts"))
        assert error.refused
        assert "certificate is not valid for '127.0.0.1'" in str(error)
        async with make_bus(broker.port, "tls_insecure=true", "mqtts").publisher(PRESENCE) as publisher:
            assert not await publisher.publish([make_job_event(1)])


async def test_a_broker_that_wants_a_certificate_of_ours_gets_it(tmp_path: Path, authority: Authority) -> None:
    lines = [*authority.server_lines("127.0.0.1"), "require_certificate true"]
    with Mosquitto(tmp_path, extra_lines=lines) as broker:
        query = f"tls_ca={authority.ca}"
        assert "it may want TLS, a client certificate" in str(await refusal(make_bus(broker.port, query, "mqtts")))
        query += f"&tls_cert={authority.client}"
        async with make_bus(broker.port, query, "mqtts").publisher(PRESENCE) as publisher:
            assert not await publisher.publish([make_job_event(1)])


async def test_tls_and_no_tls_do_not_mix_and_each_says_so(tmp_path: Path, tls_broker: Mosquitto) -> None:
    assert "it may want TLS" in str(await refusal(make_bus(tls_broker.port)))
    with Mosquitto(tmp_path) as plain:
        assert "no TLS connection" in str(await refusal(make_bus(plain.port, scheme="mqtts")))


async def test_connections_leave_no_descriptor_and_no_thread_behind(tmp_path: Path) -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()
    gc.disable()  # closing must not be left to the collector
    try:
        with Mosquitto(tmp_path) as broker:
            bus, nobody = make_bus(broker.port), make_bus(free_port())
            before = open_descriptors()
            for _ in range(5):
                async with bus.publisher(PRESENCE) as publisher:
                    await publisher.publish([make_host_event(1, stopping=True)])
                async with bus.publisher(PRESENCE), bus.publisher(None):
                    pass
                await refusal(nobody)
            assert open_descriptors() == before
            await wait_until(
                lambda: not any(thread.name == "mqtt-connect" for thread in threading.enumerate()), "threads end"
            )
    finally:
        gc.enable()
