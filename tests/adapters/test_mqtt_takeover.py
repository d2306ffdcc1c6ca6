"""Two sidecars under one host name, and a broker that comes back."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from paho.mqtt.publish import single

from pulse_bridge.bus import Presence
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusUnavailableError, HostTakenError
from pulse_bridge.event import Event, to_json
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus
from pulse_bridge_mqtt.publisher import MqttPublisher
from tests.support.mosquitto import Mosquitto, MqttListener, retained

BRIDGE, HOST = "pulse/node1/bridge", "pulse/node1/host"
STATE = "pulse/node1/llm-run-a-d144c839/state"
OLD, NEW = Presence(host="node1", owner="old"), Presence(host="node1", owner="new")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture(params=["5", "3.1.1"])
def url(request: pytest.FixtureRequest, broker: Mosquitto) -> BusUrl:
    return BusUrl.parse(f"mqtt://127.0.0.1:{broker.port}?version={request.param}")


async def is_alive(publisher: MqttPublisher) -> bool:
    """Say whether an event still gets through, everything sent to the publisher before it handled."""
    try:
        await publisher.publish([make_job_event(1000)])
    except (HostTakenError, BusUnavailableError):
        return False
    return True


async def test_the_newest_sidecar_keeps_a_name_and_the_older_one_leaves(url: BusUrl, broker: Mosquitto) -> None:
    older_left, newer_bus = asyncio.Event(), MqttBus(url)

    async def run_older() -> None:
        try:
            async with MqttBus(url).publisher(OLD) as older:
                await older.publish([make_host_event(1, owner="old")])
                started.set()
                await older.wait_lost()
        finally:
            older_left.set()

    started = asyncio.Event()
    older_run = asyncio.create_task(run_older())
    await started.wait()
    with MqttListener(broker.port, [BRIDGE]) as listener:
        async with newer_bus.publisher(NEW) as newer:
            assert not older_left.is_set()
            await newer.publish([make_host_event(2, owner="new")])
            with pytest.raises(HostTakenError, match=r"127\.0\.0\.1.*host 'node1'.*--host"):
                await older_run
            assert await is_alive(newer)
            assert retained(broker.port)[BRIDGE] == b"online"
            assert b"offline" not in listener.payloads(BRIDGE)


async def test_what_is_under_way_when_the_name_is_taken_says_so(url: BusUrl, broker: Mosquitto) -> None:
    async with MqttBus(url).publisher(OLD) as older:
        await older.publish([make_host_event(1, owner="old")])
        say_host(broker, "new")
        with pytest.raises(HostTakenError):
            await older.wait_lost()
        with pytest.raises(HostTakenError):
            await older.publish([make_job_event(2)])


async def test_an_older_sidecar_that_comes_back_does_not_end_the_newer_one(url: BusUrl, broker: Mosquitto) -> None:
    old_bus, new_bus = MqttBus(url), MqttBus(url)
    async with old_bus.publisher(OLD) as older:
        await older.publish([make_host_event(1, owner="old")])
    async with new_bus.publisher(NEW) as newer:
        await newer.publish([make_host_event(2, owner="new")])
        for _ in range(3):
            with pytest.raises(HostTakenError):
                async with old_bus.publisher(replace(OLD, held=True)):
                    pytest.fail("it was let in")
        assert await is_alive(newer)
        assert retained(broker.port)[BRIDGE] == b"online"


async def test_the_last_word_of_an_older_sidecar_is_not_taken_for_a_newer_one(
    url: BusUrl, broker: Mosquitto
) -> None:
    say_host(broker, "old")
    bus = MqttBus(url)
    async with bus.publisher(NEW) as newer:
        await newer.publish([make_host_event(2, owner="new")])
        say_host(broker, "old")
        assert await is_alive(newer)
    async with bus.publisher(replace(NEW, held=True)) as newer:  # and it is still retained
        assert await is_alive(newer)


async def test_a_sidecar_may_come_back_under_its_own_owner(url: BusUrl) -> None:
    bus = MqttBus(url)
    async with bus.publisher(NEW) as publisher:
        await publisher.publish([make_host_event(1, owner="new")])
    async with bus.publisher(replace(NEW, held=True)) as publisher:
        await publisher.publish([make_host_event(2, owner="new")])
        assert await is_alive(publisher)


def say_host(broker: Mosquitto, owner: str) -> None:
    payload = to_json(make_host_event(7, owner=owner))
    single(HOST, payload, qos=1, retain=True, hostname="127.0.0.1", port=broker.port)


MARK = make_job_event(3, job="mark")
MARK_STATE = "pulse/node1/mark/state"
SNAPSHOT: list[Event] = [make_job_event(1), make_host_event(2, owner="new")]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("persistence", [False, True])
async def test_after_a_restart_of_the_broker_everything_is_there_again_and_nothing_twice(
    tmp_path: Path, version: str, *, persistence: bool
) -> None:
    with Mosquitto(tmp_path, persistence=persistence) as broker:
        bus = MqttBus(BusUrl.parse(f"mqtt://127.0.0.1:{broker.port}?version={version}"))
        async with bus.publisher(NEW) as publisher:
            await publisher.publish(SNAPSHOT)
            broker.restart()
            with pytest.raises(BusUnavailableError):
                await publisher.wait_lost()
        assert (STATE in retained(broker.port)) == persistence
        with MqttListener(broker.port, [STATE, HOST, MARK_STATE]) as listener:
            async with bus.publisher(replace(NEW, held=True)) as publisher:
                await publisher.publish(SNAPSHOT)
                await publisher.publish([MARK])
                assert retained(broker.port) == {
                    BRIDGE: b"online",
                    STATE: to_json(SNAPSHOT[0]).encode(),
                    HOST: to_json(SNAPSHOT[1]).encode(),
                    MARK_STATE: to_json(MARK).encode(),
                }
            await listener.wait_for(1, MARK_STATE)
            sent = [message.topic for message in listener.received if not message.retain]
            assert sent == ([MARK_STATE] if persistence else [STATE, HOST, MARK_STATE])


async def test_a_broker_killed_while_publishing_fails_what_is_under_way(broker: Mosquitto, url: BusUrl) -> None:
    async with MqttBus(url).publisher(NEW) as publisher:
        lost = asyncio.ensure_future(publisher.wait_lost())
        calls = [
            asyncio.ensure_future(publisher.publish([make_job_event(first + seq) for seq in range(50)]))
            for first in (0, 50, 100)
        ]
        broker.kill()
        outcomes = await asyncio.gather(lost, *calls, return_exceptions=True)
        assert isinstance(outcomes[0], BusUnavailableError)
        assert isinstance(outcomes[-1], BusUnavailableError)
        assert all(isinstance(outcome, BusUnavailableError) or outcome == [] for outcome in outcomes)
        with pytest.raises(BusUnavailableError):
            await publisher.publish([make_job_event(200)])
