"""What an independent client sees of a publisher: topics, retain flags, QoS, payloads, will and goodbye."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from paho.mqtt.publish import single

from pulse_bridge.bus import Presence
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event, to_json
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus
from pulse_bridge_mqtt.publisher import MqttPublisher
from tests.support.mosquitto import Mosquitto, MqttListener, Received, retained
from tests.support.processes import wait_until, wait_until_blocking

BRIDGE, HOST = "pulse/node1/bridge", "pulse/node1/host"
STATE = "pulse/node1/llm-run-a-d144c839/state"
DAY_MS = 86_400_000


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


def make_bus(broker: Mosquitto, query: str = "") -> MqttBus:
    return MqttBus(
        BusUrl.parse(f"mqtt://127.0.0.1:{broker.port}?{query}" if query else f"mqtt://127.0.0.1:{broker.port}")
    )


def say(broker: Mosquitto, topic: str, payload: str) -> None:
    single(topic, payload, qos=1, retain=True, hostname="127.0.0.1", port=broker.port)


def strict_json(payload: bytes) -> dict[str, object]:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    fields = json.loads(payload, parse_constant=refuse)
    assert isinstance(fields, dict)
    return fields


async def test_every_topic_is_retained_at_qos_1_with_the_events_json(bus: MqttBus, listener: MqttListener) -> None:
    job, heartbeat, host = make_job_event(1), make_job_event(2, kind="heartbeat"), make_host_event(3)
    async with bus.publisher(PRESENCE) as publisher:
        assert not await publisher.publish([job, heartbeat, host])
        received = await listener.wait_for(4)
    assert received[:4] == [
        Received(BRIDGE, b"online", retain=True, qos=1),
        Received(STATE, to_json(job).encode(), retain=True, qos=1),
        Received(STATE, to_json(heartbeat).encode(), retain=True, qos=1),
        Received(HOST, to_json(host).encode(), retain=True, qos=1),
    ]


async def test_an_absent_number_is_omitted_from_strict_json(bus: MqttBus, listener: MqttListener) -> None:
    absent = {"loss": None, "eta_s": None, "step": None, "total_steps": None, "learning_rate": None}
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_job_event(1, diverged=True, **absent)])
        (message,) = await listener.wait_for(1, STATE)
    fields = strict_json(message.payload)
    assert not set(absent) & set(fields)
    assert None not in fields.values()
    assert fields["diverged"] is True


async def test_the_prefix_is_the_first_level_of_every_topic(broker: Mosquitto, listener: MqttListener) -> None:
    async with make_bus(broker, "prefix=lab_2").publisher(PRESENCE) as publisher:
        await publisher.publish([make_job_event(1), make_host_event(2)])
        received = await listener.wait_for(3)
    assert {message.topic.split("/")[0] for message in received} == {"lab_2"}


async def test_a_clean_stop_says_offline_and_no_will_follows(bus: MqttBus, listener: MqttListener) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_host_event(1, stopping=True)])
    async with bus.publisher(None) as publisher:  # what comes after it is behind any will
        await publisher.publish([make_job_event(2)])
    await listener.wait_for(1, STATE)
    assert [(message.payload, message.retain) for message in listener.on(BRIDGE)] == [
        (b"online", True),
        (b"offline", True),
    ]


async def test_a_clean_stop_says_offline_even_when_it_is_cancelled(bus: MqttBus, listener: MqttListener) -> None:
    stopped = asyncio.Event()

    async def sidecar() -> None:
        async with bus.publisher(PRESENCE) as publisher:
            await publisher.publish([make_host_event(1, stopping=True)])
            stopped.set()
            await publisher.wait_lost()

    task = asyncio.create_task(sidecar())
    await stopped.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await listener.wait_for(2, BRIDGE)
    assert listener.payloads(BRIDGE) == [b"online", b"offline"]


async def test_a_publisher_that_just_ends_is_announced_offline_by_its_will(
    bus: MqttBus, broker: Mosquitto, listener: MqttListener
) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish([make_host_event(1)])
    assert [message.payload for message in await listener.wait_for(2, BRIDGE)] == [b"online", b"offline"]
    assert retained(broker.port)[BRIDGE] == b"offline"


VICTIM = """
import asyncio, sys
from pulse_bridge.bus import open_bus
from pulse_bridge.testing import PRESENCE, make_host_event

async def main():
    async with open_bus(sys.argv[1]).publisher(PRESENCE) as publisher:
        await publisher.publish([make_host_event(1)])
        await publisher.wait_lost()

asyncio.run(main())
"""


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_killed_process_is_announced_offline_by_its_will(
    broker: Mosquitto, listener: MqttListener, version: str
) -> None:
    url = f"mqtt://127.0.0.1:{broker.port}?version={version}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    victim = subprocess.Popen([sys.executable, "-c", VICTIM, url], env=environment)
    try:
        wait_until_blocking(lambda: bool(listener.on(HOST)), "the process has published")
        assert listener.payloads(BRIDGE) == [b"online"]
        victim.send_signal(signal.SIGKILL)
        wait_until_blocking(lambda: len(listener.on(BRIDGE)) == 2, "the will arrives")
    finally:
        victim.kill()
        victim.wait()
    assert listener.on(BRIDGE)[1] == Received(BRIDGE, b"offline", retain=True, qos=1)


async def test_an_old_will_that_comes_late_is_answered_with_online(
    bus: MqttBus, broker: Mosquitto, listener: MqttListener
) -> None:
    async with bus.publisher(PRESENCE):
        await asyncio.to_thread(say, broker, BRIDGE, "offline")
        await listener.wait_for(3, BRIDGE)
        assert listener.payloads(BRIDGE) == [b"online", b"offline", b"online"]
        assert retained(broker.port)[BRIDGE] == b"online"


async def test_a_replay_retains_nothing_and_announces_nobody(
    bus: MqttBus, broker: Mosquitto, listener: MqttListener
) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(1), make_host_event(2, stopping=True)])
    received = await listener.wait_for(2)
    assert [(message.topic, message.retain, message.qos) for message in received] == [
        (STATE, False, 1),
        (HOST, False, 1),
    ]
    assert retained(broker.port) == {}


async def test_a_relay_retains_state_and_announces_nobody(
    bus: MqttBus, broker: Mosquitto, listener: MqttListener
) -> None:
    async with bus.publisher(Presence(host=None, owner="relay")) as publisher:
        await publisher.publish([make_job_event(1), make_host_event(2)])
        await publisher.publish([make_job_event(3, host="node2"), make_host_event(4, host="node2", stopping=True)])
    await listener.wait_for(4)
    assert sorted(retained(broker.port)) == [HOST, STATE, "pulse/node2/host", STATE.replace("node1", "node2")]


async def test_two_relays_and_two_replays_can_run_at_once(broker: Mosquitto) -> None:
    bus, relay = make_bus(broker), Presence(host=None, owner="relay")
    async with bus.publisher(relay) as one, bus.publisher(relay) as two, bus.publisher(None) as three:
        for publisher in (one, two, three):
            assert not await publisher.publish([make_job_event(1)])


async def test_what_the_broker_still_has_is_not_sent_again(bus: MqttBus, listener: MqttListener) -> None:
    now_ms = time.time_ns() // 1_000_000
    done = make_job_event(2, job="other", state="done", observed_ms=now_ms)
    snapshot: list[Event] = [make_job_event(1), done, make_host_event(3)]
    async with bus.publisher(PRESENCE) as publisher:
        await publisher.publish(snapshot)
        await listener.wait_for(4)
    async with bus.publisher(replace(PRESENCE, held=True)) as publisher:
        before = len(listener.received)
        assert not await publisher.publish(snapshot)
        assert not await publisher.publish([make_job_event(4), make_job_event(1), make_job_event(4)])
        await listener.wait_for(4, STATE)
    # The repeats of 1 and 4 are behind a newer event on their topic, so they are no snapshot any more.
    sent = [
        strict_json(message.payload)["id"] for message in listener.received[before:] if message.topic != BRIDGE
    ]
    assert sent == ["contract-4", "contract-1", "contract-4"]


async def test_an_event_that_no_json_can_carry_is_rejected_and_the_rest_is_sent(
    bus: MqttBus, listener: MqttListener
) -> None:
    undecodable = make_job_event(1, message="\udcff")
    infinite = make_job_event(2, learning_rate=float("inf"))
    async with bus.publisher(PRESENCE) as publisher:
        rejections = await publisher.publish([undecodable, infinite, make_job_event(3)])
        assert [rejection.event for rejection in rejections] == [undecodable, infinite]
        assert all("cannot be written as JSON" in rejection.reason for rejection in rejections)
        (message,) = await listener.wait_for(1, STATE)
    assert strict_json(message.payload)["id"] == "contract-3"


async def forget(publisher: MqttPublisher, broker: Mosquitto, now_ms: float) -> list[str]:
    publisher.forget_finished(now_ms)
    await publisher.publish([make_host_event(99)])  # behind it, everything before has been acknowledged
    return sorted(topic.split("/")[2] for topic in retained(broker.port) if topic.endswith("/state"))


async def test_a_finished_jobs_state_is_forgotten_after_a_week(broker: Mosquitto) -> None:
    now_ms = time.time_ns() // 1_000_000
    jobs = {"running": "running", "done": "done", "error": "error", "gone": "gone", "stale": "stale"}
    events = [
        make_job_event(seq, job=job, state=state, observed_ms=now_ms)
        for seq, (job, state) in enumerate(jobs.items())
    ]
    later = make_job_event(9, job="later", state="done", observed_ms=now_ms + DAY_MS)
    async with make_bus(broker).publisher(PRESENCE) as publisher:
        await publisher.publish([*events, later])
        everything = sorted([*jobs, "later"])
        assert await forget(publisher, broker, now_ms + 7 * DAY_MS - 1) == everything
        assert await forget(publisher, broker, now_ms + 7 * DAY_MS) == ["later", "running", "stale"]
    async with make_bus(broker).publisher(PRESENCE) as publisher:  # knows them from the broker now
        assert await forget(publisher, broker, now_ms + 8 * DAY_MS) == ["running", "stale"]


async def test_a_job_that_runs_again_is_not_forgotten(broker: Mosquitto) -> None:
    now_ms = time.time_ns() // 1_000_000
    async with make_bus(broker).publisher(PRESENCE) as publisher:
        await publisher.publish([make_job_event(1, job="a", state="done", observed_ms=now_ms)])
        await publisher.publish([make_job_event(2, job="a", observed_ms=now_ms)])
        assert await forget(publisher, broker, now_ms + 30 * DAY_MS) == ["a"]


async def test_a_forgotten_job_in_a_snapshot_is_told_but_not_retained_again(
    broker: Mosquitto, listener: MqttListener
) -> None:
    old_ms = time.time_ns() // 1_000_000 - 8 * DAY_MS
    async with make_bus(broker).publisher(PRESENCE) as publisher:
        await publisher.publish([make_job_event(1, state="done", observed_ms=old_ms)])
        (message,) = await listener.wait_for(1, STATE)
    assert not message.retain
    assert STATE not in retained(broker.port)


async def test_a_cancelled_call_leaves_the_connection_in_order(bus: MqttBus, listener: MqttListener) -> None:
    async with bus.publisher(PRESENCE) as publisher:
        given_up = asyncio.ensure_future(publisher.publish([make_job_event(1)]))
        given_up.cancel()
        assert not await publisher.publish([make_job_event(2)])
        assert len(await listener.wait_for(2, STATE)) == 2


async def test_a_publisher_that_was_left_publishes_no_more(broker: Mosquitto) -> None:
    async with make_bus(broker).publisher(PRESENCE) as publisher:
        pass
    with pytest.raises(BusUnavailableError):
        await publisher.publish([make_job_event(1)])
    with pytest.raises(BusUnavailableError):
        await publisher.wait_lost()


async def test_messages_of_others_on_our_topics_do_no_harm(bus: MqttBus, broker: Mosquitto) -> None:
    for topic in (HOST, BRIDGE, STATE):
        await asyncio.to_thread(say, broker, topic, "\0no event")
    async with bus.publisher(replace(PRESENCE, held=True)) as publisher:
        await asyncio.to_thread(say, broker, HOST, "{}")
        assert not await publisher.publish([make_job_event(1)])
        await wait_until(lambda: retained(broker.port)[BRIDGE] == b"online", "online is retained")
