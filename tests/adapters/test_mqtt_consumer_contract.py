"""The reading half of the contract, on a real mosquitto."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Bus, open_bus
from pulse_bridge.event import Event
from pulse_bridge.testing import PRESENCE, ConsumerContract
from tests.support.mosquitto import Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, extra_lines=["max_queued_messages 0"]) as broker:
        yield broker


class TestMqttConsumer(ConsumerContract):
    keeps_history = False

    @pytest.fixture(params=["5", "3.1.1"])
    def bus(self, request: pytest.FixtureRequest, broker: Mosquitto, tmp_path: Path) -> Bus:
        return open_bus(f"mqtt://127.0.0.1:{broker.port}?version={request.param}&group_store={tmp_path}/groups")

    async def put(self, bus: Bus, events: Sequence[Event]) -> None:
        async with bus.publisher(PRESENCE) as publisher:
            assert not await publisher.publish(events)
