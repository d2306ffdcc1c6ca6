"""Groups: sessions that outlive their reader, on a real mosquitto."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from paho.mqtt.publish import single

from pulse_bridge.bus import Bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event
from pulse_bridge.testing import PRESENCE, make_job_event
from pulse_bridge_mqtt import MqttBus, mark, opening
from pulse_bridge_mqtt.endpoint import Endpoint
from pulse_bridge_mqtt.group import store_path
from pulse_bridge_mqtt.options import read_options
from tests.support.mosquitto import Mosquitto, retained
from tests.support.mqtt_reading import reading

ROOT = Path(__file__).resolve().parents[2]
LINES = ["max_queued_messages 0"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, extra_lines=LINES) as broker:
        yield broker


@pytest.fixture(params=["5", "3.1.1"])
def version(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def bus(broker: Mosquitto, tmp_path: Path, version: str) -> MqttBus:
    return make_bus(broker, tmp_path / "here", version)


def make_bus(broker: Mosquitto, store: Path, version: str = "5", user: str = "") -> MqttBus:
    url = f"mqtt://{user}127.0.0.1:{broker.port}?version={version}&group_store={store}"
    return MqttBus(BusUrl.parse(url))


async def put(bus: Bus, events: Sequence[Event]) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        for first in range(0, len(events), 50):
            assert not await publisher.publish(events[first : first + 50])


def make_events(first: int, last: int) -> list[Event]:
    return [make_job_event(seq, job=f"job {seq % 7}") for seq in range(first, last + 1)]


async def test_a_group_gets_every_one_of_5000_events_in_order(bus: MqttBus) -> None:
    events = make_events(1, 5000)
    async with reading(bus, "alerts") as reader:
        assert await reader.snapshot() == []
        await reader.commit()
        publishing = asyncio.create_task(put(bus, events))
        assert await reader.news(5000, commit=True) == events
        await publishing


async def test_a_group_gets_everything_that_came_in_its_absence(bus: MqttBus) -> None:
    async with reading(bus, "alerts") as reader:
        await reader.snapshot()
        await reader.commit({"told": "1"})
    for first in (1, 1501):
        events = make_events(first, first + 1499)
        await put(bus, events)
        async with reading(bus, "alerts") as reader:
            assert reader.saved == {"told": "1"} == await bus.saved("alerts")
            assert await reader.news(1500, commit=True) == events


async def test_what_a_killed_reader_had_not_committed_comes_again(
    bus: MqttBus, broker: Mosquitto, tmp_path: Path, version: str
) -> None:
    async with reading(bus, "alerts") as reader:
        await reader.snapshot()
        await reader.commit()
    await put(bus, make_events(1, 10))
    url = f"mqtt://127.0.0.1:{broker.port}?version={version}&group_store={tmp_path / 'here'}"
    code = f"""
import asyncio
from pulse_bridge.bus_url import BusUrl
from pulse_bridge_mqtt import MqttBus

async def main():
    async with MqttBus(BusUrl.parse({url!r})).consumer("alerts") as consumer:
        async for batch in consumer.batches():
            for event in batch.events:
                print(event.id.seq, flush=True)

asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    read = [int(await process.stdout.readline()) for _ in range(10)]
    process.kill()
    await process.wait()
    assert read == list(range(1, 11))
    async with reading(bus, "alerts") as reader:
        assert await reader.news(10) == make_events(1, 10)


async def test_what_was_committed_does_not_come_again_though_the_broker_was_not_told(bus: MqttBus) -> None:
    async with reading(bus, "alerts") as reader:
        await reader.snapshot()
        await reader.commit()
        await put(bus, make_events(1, 3))
        await reader.news(3)
        reader.consumer._connection.close()  # type: ignore[attr-defined] # of the adapter's own class
        await reader.commit()
    await put(bus, make_events(4, 4))
    async with reading(bus, "alerts") as reader:
        assert await reader.news(1) == make_events(4, 4)


async def test_a_snapshot_that_was_not_committed_is_given_again(bus: MqttBus) -> None:
    await put(bus, make_events(1, 2))
    for _ in range(2):
        async with reading(bus, "alerts") as reader:
            await reader.commit({"muted": "yes"})  # a subscriber may store something before there is a cursor
            assert await reader.snapshot() == make_events(1, 2)
            assert reader.saved == {"muted": "yes"}
    await put(bus, make_events(3, 3))
    async with reading(bus, "alerts") as reader:
        assert await reader.snapshot() == make_events(1, 3)


async def test_repeats_alone_do_not_fill_the_in_flight_window(
    bus: MqttBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "RECEIVE_MAXIMUM", 20)
    async with reading(bus, "alerts") as reader:
        await reader.snapshot()
        await put(bus, make_events(1, 5))
        await reader.news(5, commit=True)
        async with bus.publisher(None) as publisher:
            for _ in range(5):  # past every window
                await publisher.publish(make_events(1, 5) * 10)
            await publisher.publish(make_events(6, 6))
        assert await reader.news(1) == make_events(6, 6)


@pytest.mark.parametrize("persistence", [False, True])
async def test_a_broker_that_forgot_the_session_is_said_once_and_gives_a_snapshot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str, *, persistence: bool
) -> None:
    sentence = "the broker has no session of this group any more"
    with Mosquitto(tmp_path, persistence=persistence, extra_lines=LINES) as broker:
        bus = make_bus(broker, tmp_path / "here", version)
        async with reading(bus, "alerts") as reader:
            await reader.snapshot()
            await put(bus, make_events(1, 1))
            await reader.news(1)
            await reader.commit({"told": "1"})
            broker.restart()
            with pytest.raises(BusUnavailableError):
                await reader.next()
        await put(bus, make_events(1, 2))
        for _ in range(2):  # the second after one that died before its commit
            async with reading(bus, "alerts") as reader:
                assert reader.saved == {"told": "1"}
                if persistence:
                    assert await reader.news(1) == make_events(2, 2)
                else:
                    assert await reader.snapshot() == make_events(1, 2)
        assert caplog.text.count(sentence) == (0 if persistence else 1)


async def test_a_second_reader_on_this_machine_is_refused_with_the_first_ones_pid(bus: MqttBus) -> None:
    async with reading(bus, "alerts") as reader:
        await reader.snapshot()
        assert await bus.saved("alerts") == {}
        with pytest.raises(ConfigError, match=rf"'alerts' .* in use by pid {os.getpid()}"):
            async with bus.consumer("alerts"):
                pytest.fail("it was let in")
        await put(bus, make_events(1, 1))
        assert await reader.news(1) == make_events(1, 1)


async def test_a_reader_elsewhere_that_begins_anew_takes_the_group_and_the_first_leaves_for_good(
    broker: Mosquitto, tmp_path: Path, version: str
) -> None:
    first, second = (make_bus(broker, tmp_path / place, version) for place in ("here", "there"))
    async with AsyncExitStack() as stack:
        async with reading(first, "alerts") as reader:
            await reader.snapshot()
            await reader.commit()
            taker = await stack.enter_async_context(reading(second, "alerts"))
            await taker.snapshot()
            with pytest.raises(BusUnavailableError):
                await reader.next()
        for _ in range(3):
            with pytest.raises(ConfigError, match=rf"'alerts' was taken by another .*{tmp_path}/here\.group-\*"):
                await stack.enter_async_context(reading(first, "alerts"))
        await put(second, make_events(1, 1))
        assert await taker.news(1) == make_events(1, 1)


async def test_a_group_whose_holder_the_broker_forgot_is_held_again(bus: MqttBus, broker: Mosquitto) -> None:
    async with reading(bus, "alerts") as reader:
        await reader.snapshot()
        await reader.commit()
    held = retained(broker.port)["pulse/alerts/holder"]
    single("pulse/alerts/holder", b"", qos=1, retain=True, hostname="127.0.0.1", port=broker.port)
    async with reading(bus, "alerts"):
        assert retained(broker.port)["pulse/alerts/holder"] == held


@pytest.mark.parametrize("acl", ["topic read pulse/#", "topic read pulse/+/+/state\ntopic read pulse/+/host"])
async def test_an_account_that_may_only_read_has_groups_and_is_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str, acl: str
) -> None:
    monkeypatch.setattr(mark, "QUIET_S", 0.1)
    file = tmp_path / "acl"
    file.write_text(f"{acl}\nuser sidecar\ntopic readwrite pulse/#\n")
    with Mosquitto(tmp_path, extra_lines=[*LINES, f"acl_file {file}"]) as broker:
        sidecar = make_bus(broker, tmp_path / "here", user="sidecar@")
        bus = make_bus(broker, tmp_path / "here", version)
        await put(sidecar, make_events(1, 3))
        async with reading(bus, "alerts") as reader:
            # Set so that it drops nothing, mosquitto 2.0.11 ends a connection whose publishing it denies.
            with pytest.raises(BusUnavailableError):
                await reader.next()
        async with reading(bus, "alerts") as reader:
            assert await reader.snapshot() == make_events(1, 3)
            await reader.commit()
        await put(sidecar, make_events(4, 4))
        async with reading(bus, "alerts") as reader:
            assert await reader.news(1) == make_events(4, 4)
    assert "a second one elsewhere would go unnoticed" in caplog.text


async def test_no_broker_is_said_before_anything_else_and_the_store_is_free_again(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        bus = make_bus(broker, tmp_path / "here")
    for _ in range(2):
        with pytest.raises(BusUnavailableError, match="Connection refused"):
            async with bus.consumer("alerts"):
                pytest.fail("it was let in")


def test_a_store_is_named_after_the_broker_and_the_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    texts = ["mqtt://a", "mqtt://b", "mqtt://a?prefix=lab", "mqtt://a:1884", "mqtts://a"]
    urls = [BusUrl.parse(text) for text in texts]
    paths = [store_path(Endpoint(url, read_options(url))) for url in urls]
    assert len(set(paths)) == len(texts)
    assert {path.parent for path in paths} == {tmp_path / "pulse-bridge"}
    same = BusUrl.parse("mqtt://user:secret@a?keepalive_s=30")
    assert store_path(Endpoint(same, read_options(same))) == paths[0]


def test_a_folder_for_stores_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    url = BusUrl.parse(f"mqtt://a?group_store={tmp_path}/file/groups")
    with pytest.raises(ConfigError, match=r"file for the group's cursor cannot be made: .*group_store=PATH"):
        store_path(Endpoint(url, read_options(url)))


async def test_a_session_that_the_broker_says_is_taken_over_is_opened_again() -> None:
    """For a group that is no end, as it is for a host: who holds it is asked first at the next connection."""

    async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00\xe0\x02\x8e\x00")  # CONNACK, DISCONNECT
        await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(take_over, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BusUnavailableError, match="another client has connected with this one's client id"):
            async with reading(MqttBus(BusUrl.parse(f"mqtt://127.0.0.1:{port}"))) as reader:
                await reader.next()
