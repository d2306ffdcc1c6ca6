"""Discovery on a real broker: what is sent and when, what is cleaned up, and what is left alone."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.publish import multiple, single

from pulse_bridge.bus import Presence
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event, JobEvent, to_json
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus, announcer
from pulse_bridge_mqtt.homeassistant_devices import Config, host_id, job_config, job_id
from pulse_bridge_mqtt.publisher import MqttPublisher
from pulse_bridge_mqtt.topics import Topics
from tests.support.homeassistant_model import HomeAssistantModel
from tests.support.mosquitto import Mosquitto, MqttListener, retained
from tests.support.processes import wait_until, wait_until_async

TOPICS = Topics("pulse")
HOST_CONFIG = f"homeassistant/device/{host_id(TOPICS, 'node1')}/config"
RELAY = Presence(host=None, owner="relay")
DAY_MS = 86_400_000


def config_topic(job: str, host: str = "node1") -> str:
    return f"homeassistant/device/{job_id(TOPICS, host, job)}/config"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[MqttListener]:
    with MqttListener(broker.port, retain_as_published=True) as listener:
        yield listener


@pytest.fixture(params=["5", "3.1.1"])
def bus(request: pytest.FixtureRequest, broker: Mosquitto) -> MqttBus:
    return make_bus(broker, f"version={request.param}")


def make_bus(broker: Mosquitto, query: str = "version=5") -> MqttBus:
    return MqttBus(BusUrl.parse(f"mqtt://127.0.0.1:{broker.port}?homeassistant=true&{query}"))


def say(broker: Mosquitto, topic: str, payload: str, *, retain: bool = True) -> None:
    single(topic, payload, qos=1, retain=retain, hostname="127.0.0.1", port=broker.port)


def configs(broker: Mosquitto) -> dict[str, bytes]:
    return retained(broker.port, ["homeassistant/#"])


def sent_configs(listener: MqttListener) -> list[str]:
    return [message.topic for message in list(listener.received) if message.topic.endswith("/config")]


def shown(listener: MqttListener) -> HomeAssistantModel:
    """Give Home Assistant as it is after all that the listener has heard, nothing complained of."""
    model = HomeAssistantModel()
    model.receive_all(list(listener.received))
    model.check_references()
    assert model.complaints == []
    return model


@asynccontextmanager
async def published(bus: MqttBus, *events: Event, presence: Presence = PRESENCE) -> AsyncIterator[MqttPublisher]:
    async with bus.publisher(presence) as publisher:
        assert not await publisher.publish(events)
        await flush(publisher)
        yield publisher


async def flush(publisher: MqttPublisher) -> None:
    """Wait until the broker has all that was sent before, discovery too."""
    await publisher.publish([make_host_event(900)])


async def test_discovery_is_retained_at_qos_1_the_host_first_and_its_messages_suffice(
    bus: MqttBus, listener: MqttListener
) -> None:
    async with published(bus, make_host_event(1), make_job_event(2, job="a")):
        found = await listener.wait_for(1, config_topic("a"))
        assert [(message.retain, message.qos) for message in found] == [(True, 1)]
        assert sent_configs(listener) == [HOST_CONFIG, config_topic("a")]
        model = shown(listener)
    assert model.states(job_id(TOPICS, "node1", "a"))["loss"] == "0.25"
    assert model.states(host_id(TOPICS, "node1")) == {"connectivity": "on", "jobs_running": "2"}


async def test_without_the_option_and_in_a_replay_nothing_is_announced(
    broker: Mosquitto, listener: MqttListener
) -> None:
    plain = MqttBus(BusUrl.parse(f"mqtt://127.0.0.1:{broker.port}"))
    async with published(plain, make_job_event(1)), make_bus(broker).publisher(None) as replay:
        await replay.publish([make_job_event(2), make_host_event(3)])
        await listener.wait_for(5)
        assert not configs(broker)
        assert not sent_configs(listener)


async def test_prefix_and_birth_topic_can_be_chosen(broker: Mosquitto, listener: MqttListener) -> None:
    query = "homeassistant_prefix=ha%2Flab&homeassistant_status=ha%2Fstatus"
    async with published(make_bus(broker, query), make_job_event(1, job="a")):
        await listener.wait_for(1, config_topic("a").replace("homeassistant/", "ha/lab/"))
        assert not configs(broker)


async def test_an_unchanged_configuration_is_not_sent_again(bus: MqttBus, listener: MqttListener) -> None:
    events = [
        make_job_event(seq, job="a", state=state) for seq, state in enumerate(["idle", "running", "done"], 1)
    ]
    async with published(bus, *events):
        pass
    async with published(bus, *events, make_job_event(4, job="a"), presence=replace(PRESENCE, held=True)):
        await listener.wait_for(4, "pulse/node1/a/state")
    assert sorted(sent_configs(listener)) == sorted([HOST_CONFIG, config_topic("a")])


async def test_a_finished_job_that_nobody_speaks_of_again_is_announced_from_what_the_broker_has(
    broker: Mosquitto, listener: MqttListener
) -> None:
    plain = MqttBus(BusUrl.parse(f"mqtt://127.0.0.1:{broker.port}"))
    done = make_job_event(1, job="done", state="done", observed_ms=now_ms())
    async with published(plain, done, make_job_event(2, job="running")):
        pass
    async with published(make_bus(broker)):
        await listener.wait_for(1, config_topic("done"))
        assert set(configs(broker)) == {HOST_CONFIG, config_topic("done")}
    model = shown(listener)
    assert model.states(job_id(TOPICS, "node1", "done"))["status"] == "done"


async def test_a_job_over_for_long_leaves_its_configuration_first_and_then_its_state(
    bus: MqttBus, listener: MqttListener, broker: Mosquitto
) -> None:
    old = make_job_event(1, job="old", state="gone", observed_ms=now_ms())
    async with published(bus, old, make_job_event(2, job="new")) as publisher:
        publisher.forget_finished(now_ms() + 8 * DAY_MS)
        await flush(publisher)
        assert set(configs(broker)) == {HOST_CONFIG, config_topic("new")}
        await listener.wait_for(2, "pulse/node1/old/state")
        received = [message.topic for message in listener.received if message.retain and not message.payload]
    assert received == [config_topic("old"), "pulse/node1/old/state"]
    shown(listener)


def leave_behind(
    broker: Mosquitto, job: str, event: JobEvent | None = None, **changes: object
) -> tuple[str, Config]:
    """Put discovery on the broker as an earlier start would have left it."""
    host = str(changes.pop("host", "node1"))
    topic, config = config_topic(job, host), job_config(TOPICS, host, job, {}) | changes
    say(broker, topic, json.dumps(config))
    if event is not None:
        say(broker, TOPICS.state(host, job), to_json(event))
    return topic, config


async def test_what_a_renamed_job_left_is_cleared_and_nobody_elses_is_touched(
    bus: MqttBus, broker: Mosquitto
) -> None:
    done = make_job_event(1, job="done", state="done", observed_ms=now_ms(), labels={})
    await asyncio.to_thread(leave_behind, broker, "unheard", make_job_event(1, job="unheard"))
    await asyncio.to_thread(leave_behind, broker, "bare")
    await asyncio.to_thread(leave_behind, broker, "done", done)
    theirs = {
        (await asyncio.to_thread(leave_behind, broker, "other", host="node2"))[0],
        (await asyncio.to_thread(leave_behind, broker, "foreign", origin={"name": "zigbee2mqtt"}))[0],
        (await asyncio.to_thread(leave_behind, broker, "lab", state_topic="lab/node1/lab/state"))[0],
    }
    async with published(bus, make_job_event(2, job="a")) as publisher:
        await publisher.publish([make_host_event(3, observed_ms=now_ms() + 119_000)])
        await flush(publisher)
        assert {config_topic("unheard"), config_topic("bare")} < set(configs(broker)), "it may still be spoken of"
        await publisher.publish([make_host_event(4, observed_ms=now_ms() + 121_000)])
        mine = {HOST_CONFIG, config_topic("a"), config_topic("done")}
        await wait_until(lambda: set(configs(broker)) == mine | theirs, "what nobody speaks of is cleared")
        await flush(publisher)
        states = retained(broker.port, ["pulse/+/+/state"])
        assert set(states) == {"pulse/node1/a/state", "pulse/node1/done/state"}


async def test_a_finished_job_whose_state_was_not_to_be_had_at_the_start_is_not_taken_for_a_leftover(
    bus: MqttBus, broker: Mosquitto
) -> None:
    """A broker whose queue is full drops some of what it retains; here it simply had it not yet."""
    await asyncio.to_thread(leave_behind, broker, "done")
    await asyncio.to_thread(leave_behind, broker, "left")
    async with published(bus, make_job_event(2, job="a")) as publisher:
        done = make_job_event(1, job="done", state="done", observed_ms=now_ms(), labels={})
        await asyncio.to_thread(say, broker, TOPICS.state("node1", "done"), to_json(done))
        await publisher.publish([make_host_event(4, observed_ms=now_ms() + 121_000)])
        mine = {HOST_CONFIG, config_topic("a"), config_topic("done")}
        await wait_until(lambda: config_topic("left") not in configs(broker), "the leftover is cleared")
        await flush(publisher)
        assert set(configs(broker)) == mine
        publisher.forget_finished(now_ms() + 8 * DAY_MS)
        await flush(publisher)
        assert set(configs(broker)) == mine - {config_topic("done")}, "and from now on its end is known"


async def test_what_an_earlier_version_left_under_another_id_is_cleared(bus: MqttBus, broker: Mosquitto) -> None:
    config = job_config(TOPICS, "node1", "a", {})
    await asyncio.to_thread(say, broker, "homeassistant/device/earlier/config", json.dumps(config))
    async with published(bus, make_job_event(1, job="a")):
        assert set(configs(broker)) == {HOST_CONFIG, config_topic("a")}


async def test_after_a_birth_only_what_the_broker_has_lost_is_sent(
    bus: MqttBus, broker: Mosquitto, listener: MqttListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "MAX_BIRTH_DELAY_S", 0.1)
    async with published(bus, make_job_event(1, job="a"), make_job_event(2, job="b")):
        await listener.wait_for(1, config_topic("b"))
        await asyncio.to_thread(say, broker, config_topic("a"), "")
        await asyncio.to_thread(say, broker, "homeassistant/status", "online", retain=False)
        await listener.wait_for(3, config_topic("a"))
        assert set(configs(broker)) == {HOST_CONFIG, config_topic("a"), config_topic("b")}
    assert [message.payload for message in listener.on(config_topic("a"))][1] == b""
    assert len(listener.on(config_topic("b"))) == 1
    assert len(listener.on(HOST_CONFIG)) == 1


async def test_a_birth_that_was_retained_and_a_death_are_passed_over(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def ask(_low_s: float, high_s: float) -> float:
        asked.append(high_s)
        return 0.0

    monkeypatch.setattr("random.uniform", ask)
    await asyncio.to_thread(say, broker, "homeassistant/status", "online")
    async with published(make_bus(broker), make_job_event(1)) as publisher:
        await asyncio.to_thread(say, broker, "homeassistant/status", "offline")
        await flush(publisher)
        assert asked == []
        births: list[Any] = [{"topic": "homeassistant/status", "payload": "online", "qos": 1}] * 100
        await asyncio.to_thread(multiple, births, hostname="127.0.0.1", port=broker.port)
        await wait_until(lambda: bool(asked), "the birth is heard")
        await flush(publisher)
        assert asked == [announcer.MAX_BIRTH_DELAY_S], "one look answers for all"


async def test_a_relay_says_which_hosts_it_hears_until_they_stop_or_it_does(
    bus: MqttBus, broker: Mosquitto, listener: MqttListener
) -> None:
    one, two = TOPICS.bridge("node1"), TOPICS.bridge("node2")
    job_a = job_id(TOPICS, "node1", "a")
    events: list[Event] = [
        make_job_event(1, job="a"),
        make_job_event(2, job="b", host="node2"),
        make_host_event(3, host="node2"),
    ]
    async with published(bus, *events, presence=RELAY) as relay:
        await listener.wait_for(1, one)
        await listener.wait_for(1, two)
        model = shown(listener)
        assert model.states(job_a)["status"] == "running"
        assert model.device_named("pulse-bridge node2")
        await relay.publish([make_host_event(4, host="node2", stopping=True)])
        await listener.wait_for(2, two)
        assert shown(listener).states(job_a)["status"] == "running"
    await listener.wait_for(2, one)
    assert [listener.payloads(topic) for topic in (one, two)] == [[b"online", b"offline"]] * 2
    model = shown(listener)
    assert model.states(job_a)["status"] == "unavailable"
    assert retained(broker.port)[one] == b"offline"


async def test_a_host_that_falls_silent_behind_a_relay_is_offline(
    broker: Mosquitto, listener: MqttListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulse_bridge_mqtt.host_lines.SILENT_AFTER_S", 0.5)
    bridge = TOPICS.bridge("node1")
    async with published(make_bus(broker), make_job_event(1, job="a"), presence=RELAY) as relay:
        await listener.wait_for(2, bridge)
        assert listener.payloads(bridge) == [b"online", b"offline"]
        await relay.publish([make_job_event(2, job="a")])
        await listener.wait_for(3, bridge)
        assert listener.payloads(bridge)[2] == b"online"


async def test_a_relay_contradicts_a_late_will_and_announces_what_was_retained(
    broker: Mosquitto, listener: MqttListener
) -> None:
    done = make_job_event(1, job="done", state="done", observed_ms=now_ms())
    foreign = done._replace(host="node2")
    for event in (done, foreign):
        await asyncio.to_thread(say, broker, TOPICS.state(event.host, "done"), to_json(event))
    bridge = TOPICS.bridge("node1")
    async with published(make_bus(broker), make_job_event(2, job="a"), presence=RELAY) as relay:
        await listener.wait_for(1, bridge)
        await asyncio.to_thread(say, broker, bridge, "offline")
        await listener.wait_for(3, bridge)
        assert listener.payloads(bridge) == [b"online", b"offline", b"online"]
        assert config_topic("done") in configs(broker)
        relay.forget_finished(now_ms() + 8 * DAY_MS)
        await flush(relay)
        assert set(configs(broker)) == {HOST_CONFIG, config_topic("a")}
        assert TOPICS.state("node2", "done") in retained(broker.port), "it has not heard that host"
    shown(listener)


ACL = """user bridge
topic readwrite pulse/#
user listener
topic readwrite #
"""


async def test_a_broker_that_refuses_discovery_still_gets_every_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(ACL)
    with Mosquitto(tmp_path, extra_lines=[f"acl_file {acl}"]) as broker:
        bus = MqttBus(BusUrl.parse(f"mqtt://bridge@127.0.0.1:{broker.port}?homeassistant=true"))
        async with published(bus, make_job_event(1, job="a"), make_job_event(2, job="b")):
            with MqttListener(broker.port, ["pulse/+/+/state"], username="listener") as listener:
                await listener.wait_for(2)
    told = [record.getMessage() for record in caplog.records]
    assert told.count("the broker refuses what is meant for Home Assistant; events are not concerned") == 1


async def test_a_configuration_too_large_for_the_broker_stops_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path, extra_lines=["max_packet_size 2000"]) as broker:
        async with published(make_bus(broker), make_job_event(1, job="a")):
            assert "pulse/node1/a/state" in retained(broker.port)
            assert config_topic("a") not in configs(broker)
    assert "Packet too large" in caplog.records[0].__dict__["reason"]


async def test_a_broker_that_forgot_gets_everything_with_the_next_connection(
    bus: MqttBus, broker: Mosquitto
) -> None:
    events: list[Event] = [make_host_event(1), make_job_event(2, job="a"), make_job_event(3, job="b")]
    async with published(bus, *events) as publisher:
        before = retained(broker.port)
        broker.restart()
        with pytest.raises(BusUnavailableError):
            await publisher.wait_lost()
    assert not retained(broker.port)

    async def all_there() -> bool:
        return await asyncio.to_thread(retained, broker.port) == before

    async with published(bus, *events, presence=replace(PRESENCE, held=True)):
        await wait_until_async(all_there, "everything is there again")
