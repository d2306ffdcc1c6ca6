"""A broker that retains more than it will queue for one client drops the rest: no event may suffer by that."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.publish import multiple

from pulse_bridge.bus_url import BusUrl
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus, announcer
from pulse_bridge_mqtt.homeassistant import Discovery
from tests.support.mosquitto import Mosquitto, retained

LARGE = b"x" * 12_500
COUNT = 2_000  # 25 MB, more than the kernel takes on the way, in more packets than are read at once


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, extra_lines=["max_queued_messages 500"]) as broker:
        yield broker


async def retain_much(broker: Mosquitto, topic: str) -> None:
    """Retain more than the broker delivers to one client at once; `{}` in the topic stands for a number."""
    messages: list[Any] = [
        {"topic": topic.format(number), "payload": LARGE, "qos": 1, "retain": True} for number in range(COUNT)
    ]
    await asyncio.to_thread(multiple, messages, hostname="127.0.0.1", port=broker.port)


def make_bus(broker: Mosquitto, query: str) -> MqttBus:
    return MqttBus(BusUrl.parse(f"mqtt://127.0.0.1:{broker.port}?{query}"))


def dropped(broker: Mosquitto) -> bool:
    return b"Outgoing messages are being dropped" in broker.log.read_bytes()


@pytest.mark.parametrize("query", ["version=5", "version=3.1.1"])
async def test_a_host_with_more_retained_jobs_than_the_broker_delivers_is_published(
    broker: Mosquitto, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    await retain_much(broker, "pulse/node1/job{}/state")
    async with make_bus(broker, query).publisher(PRESENCE) as sidecar:
        assert not await sidecar.publish([make_job_event(1, job="a"), make_host_event(2)])
        assert retained(broker.port, ["pulse/node1/bridge"]) == {"pulse/node1/bridge": b"online"}
    assert dropped(broker)
    ours = [record for record in caplog.records if record.name.startswith("pulse_bridge")]
    assert ours == [], "that a second sidecar would go unnoticed is not so"


async def test_more_devices_of_whomever_than_the_broker_delivers_hinder_no_event(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "MAX_BIRTH_DELAY_S", 0.0)
    reads: list[Discovery] = []
    end_reading = Discovery.end_reading

    def note_end(discovery: Discovery) -> None:
        reads.append(discovery)
        end_reading(discovery)

    monkeypatch.setattr(Discovery, "end_reading", note_end)
    await retain_much(broker, "homeassistant/device/foreign{}/config")
    async with make_bus(broker, "homeassistant=true").publisher(PRESENCE) as sidecar:
        assert not await sidecar.publish([make_job_event(1, job="a")])
        birth: list[Any] = [{"topic": "homeassistant/status", "payload": "online", "qos": 1}]
        await asyncio.to_thread(multiple, birth, hostname="127.0.0.1", port=broker.port)
        seq = 2
        while len(reads) < 2:  # events come while it reads
            assert not await sidecar.publish([make_host_event(seq)])
            seq += 1
        assert not await sidecar.publish([make_job_event(seq, job="a")])
    assert dropped(broker)
