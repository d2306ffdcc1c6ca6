from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Bus, open_bus
from pulse_bridge.event import Event, from_json
from pulse_bridge.testing import PublisherContract
from tests.support.mosquitto import Mosquitto, MqttListener


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[MqttListener]:
    with Mosquitto(tmp_path) as broker, MqttListener(broker.port, ["pulse/+/host", "pulse/+/+/state"]) as listener:
        yield listener


class TestMqttPublisher(PublisherContract):
    drops_repeats = False
    vouches = False

    @pytest.fixture(params=["5", "3.1.1"])
    def bus(self, request: pytest.FixtureRequest, listener: MqttListener) -> Bus:
        return open_bus(f"mqtt://127.0.0.1:{listener.port}?version={request.param}")

    @pytest.fixture(autouse=True)
    def _remember(self, listener: MqttListener) -> None:
        self.listener = listener

    async def received(self, bus: Bus, count: int) -> Sequence[Event]:  # noqa: ARG002 - the contract's signature
        return [from_json(message.payload) for message in await self.listener.wait_for(count)]
