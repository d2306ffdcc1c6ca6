"""Reading without a group, on a real mosquitto."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from paho.mqtt.publish import single

from pulse_bridge.bus import Bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event, to_json
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus, inbox, mark, opening
from tests.support.mosquitto import Mosquitto
from tests.support.mqtt_reading import reading


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, extra_lines=["max_queued_messages 0"]) as broker:
        yield broker


@pytest.fixture(params=["5", "3.1.1"])
def bus(request: pytest.FixtureRequest, broker: Mosquitto) -> MqttBus:
    return make_bus(broker, request.param)


def make_bus(broker: Mosquitto, version: str = "5", user: str = "") -> MqttBus:
    return MqttBus(BusUrl.parse(f"mqtt://{user}127.0.0.1:{broker.port}?version={version}"))


async def put(bus: Bus, events: Sequence[Event]) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        for first in range(0, len(events), 50):
            assert not await publisher.publish(events[first : first + 50])


async def test_a_snapshot_has_every_retained_event_of_jobs_and_hosts(bus: MqttBus) -> None:
    events: list[Event] = [make_job_event(seq, job=f"job {seq}") for seq in range(1, 601)]
    events += [make_host_event(601), make_host_event(602, host="node2")]
    await put(bus, events)
    async with reading(bus) as reader:
        assert await reader.snapshot() == events


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_snapshot_that_the_broker_cut_short_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    monkeypatch.setattr(opening, "RECEIVE_MAXIMUM", 20)
    monkeypatch.setattr(mark, "QUIET_S", 0.2)
    events: list[Event] = [make_job_event(seq, job=f"job {seq}") for seq in range(1, 101)]
    events.append(make_host_event(101, jobs={"running": 100, "done": 7}))
    for room, is_said in ((1000, False), (10, True)):
        with Mosquitto(tmp_path, extra_lines=[f"max_queued_messages {room}"]) as broker:
            await put(make_bus(broker), events)
            async with reading(make_bus(broker, version)) as reader:
                assert (len(await reader.snapshot()) < 101) == is_said
        assert ("has not given everything that is so" in caplog.text) == is_said


async def test_every_one_of_5000_events_published_at_once_comes_in_order(bus: MqttBus) -> None:
    events: list[Event] = [make_job_event(seq, job=f"job {seq % 7}") for seq in range(1, 5001)]
    async with reading(bus) as reader:
        assert await reader.snapshot() == []
        publishing = asyncio.create_task(put(bus, events))
        assert await reader.news(5000) == events
        await publishing


async def test_what_a_sidecar_repeats_comes_once(bus: MqttBus) -> None:
    events = [make_job_event(seq, job=f"job {seq % 2}") for seq in range(1, 8)]
    async with reading(bus) as reader:
        await reader.snapshot()
        await put(bus, events[:5])
        await put(bus, [*events[2:5], *events[5:]])
        assert await reader.news(7) == events


async def test_what_is_no_event_is_passed_over_counted_and_said_once(
    bus: MqttBus, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    for topic, payload in (("pulse/a/b/state", "on"), ("pulse/a/host", '{"kind": "host"}')):
        single(topic, payload, qos=1, retain=True, hostname="127.0.0.1", port=broker.port)
    await put(bus, [make_job_event(1)])
    async with reading(bus) as reader:
        assert await reader.snapshot() == [make_job_event(1)]
        for payload in ("", "null"):  # a cleared topic is nothing foreign
            single("pulse/a/b/state", payload, qos=1, retain=True, hostname="127.0.0.1", port=broker.port)
        await put(bus, [make_job_event(2)])
        assert await reader.news(1) == [make_job_event(2)]
    assert bus._habits.foreign_messages == 3
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "messages that are no events are passed over"
    ]


@pytest.mark.parametrize("acl", ["topic read pulse/#", "topic read pulse/+/+/state\ntopic read pulse/+/host"])
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_an_account_that_may_only_read_gets_the_snapshot_after_a_quiet_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, acl: str
) -> None:
    monkeypatch.setattr(mark, "QUIET_S", 0.2)
    file = tmp_path / "acl"
    file.write_text(f"{acl}\nuser sidecar\ntopic readwrite pulse/#\n")
    with Mosquitto(tmp_path, extra_lines=[f"acl_file {file}"]) as broker:
        sidecar = make_bus(broker, user="sidecar@")
        await put(sidecar, [make_job_event(seq, job=f"job {seq}") for seq in range(1, 101)])
        async with reading(make_bus(broker, version)) as reader:
            assert [event.id.seq for event in await reader.snapshot()] == list(range(1, 101))
            await put(sidecar, [make_job_event(101)])
            assert await reader.news(1) == [make_job_event(101)]


async def test_an_account_that_may_not_read_is_refused_with_the_topics() -> None:
    """Scripted, because mosquitto 2.0's acl_file grants every subscription and then delivers nothing."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00")  # CONNACK
        subscribe = await reader.read(1000)
        writer.write(
            b"\x90\x06" + subscribe[2:4] + b"\x00\x01\x87\x01"
        )  # SUBACK: granted, not authorized, granted
        await reader.read(1000)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with reading(MqttBus(BusUrl.parse(f"mqtt://127.0.0.1:{port}"))) as reader:
            with pytest.raises(
                BusUnavailableError, match=r"refused to give pulse/\+/\+/state: Not auth"
            ) as caught:
                await reader.next()
            assert caught.value.refused


async def test_a_mark_that_costs_the_connection_is_not_sent_on_the_next(
    bus: MqttBus, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mark, "QUIET_S", 0.2)
    await put(bus, [make_job_event(1)])
    async with reading(bus) as reader:
        monkeypatch.setattr(mark.Mark, "reach", lambda _: broker.restart())
        with pytest.raises(BusUnavailableError):
            await reader.next()
        monkeypatch.undo()
        monkeypatch.setattr(mark, "QUIET_S", 0.2)
    await put(bus, [make_job_event(2)])
    async with reading(bus) as reader:
        monkeypatch.setattr(mark.Mark, "reach", lambda _: pytest.fail("a mark came"))
        assert await reader.snapshot() == [make_job_event(2)]


@pytest.mark.parametrize("persistence", [False, True])
async def test_a_reader_that_connects_again_after_a_restart_of_the_broker_begins_with_what_is_so(
    tmp_path: Path, *, persistence: bool
) -> None:
    with Mosquitto(tmp_path, persistence=persistence) as broker:
        bus = make_bus(broker)
        await put(bus, [make_job_event(1)])
        async with reading(bus) as reader:
            await reader.snapshot()
            broker.restart()
            with pytest.raises(BusUnavailableError, match="connection was lost"):
                await reader.next()
        async with reading(bus) as reader:
            assert await reader.snapshot() == ([make_job_event(1)] if persistence else [])
            await put(bus, [make_job_event(2)])
            assert await reader.news(1) == [make_job_event(2)]


async def test_what_came_before_the_connection_was_lost_is_still_given(bus: MqttBus, broker: Mosquitto) -> None:
    events = [make_job_event(seq) for seq in range(1, 101)]
    async with reading(bus) as reader:
        await reader.snapshot()
        await put(bus, events)
        broker.kill()
        assert await reader.news(100) == events
        with pytest.raises(BusUnavailableError):
            await reader.next()


async def test_a_reader_far_behind_leaves_the_rest_with_the_broker(
    bus: MqttBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAX_WAITING", 50)
    monkeypatch.setattr(opening, "RECEIVE_MAXIMUM", 20)
    events = [make_job_event(seq) for seq in range(1, 1001)]
    async with reading(bus) as reader:
        await reader.snapshot()
        await put(bus, events)
        waiting = reader.consumer._inbox._waiting  # type: ignore[attr-defined] # of the adapter's own class
        # 70 with MQTT 5. With 3.1.1 mosquitto 2.0.11 has more in flight than its own 20.
        assert 0 < len(waiting) < 500
        assert await reader.news(1000) == events


async def test_a_retained_event_that_a_broker_finds_late_is_given_though_its_number_is_lower(
    bus: MqttBus,
) -> None:
    async with reading(bus) as reader:
        await put(bus, [make_job_event(7, job="a")])
        assert await reader.snapshot() == [make_job_event(7, job="a")]
        for event in (make_job_event(3, job="b"), make_job_event(2, job="b")):
            message = FoundLate("pulse/node1/b/state", to_json(event).encode())
            reader.consumer.on_message(message)  # type: ignore[attr-defined] # of the adapter's own class
        assert await reader.news(1) == [make_job_event(3, job="b")]


class FoundLate:
    """A message as brokers deliver it that read what they retain a while after they took a subscription."""

    qos = 0
    retain = True

    def __init__(self, topic: str, payload: bytes) -> None:
        self.topic = topic
        self.payload = payload
