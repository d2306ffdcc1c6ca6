"""One real Home Assistant, one broker that keeps nothing, and one sidecar for all tests here.

They run where `PULSE_BRIDGE_HOMEASSISTANT` names a Python that has the package `homeassistant` and what its MQTT
integration and its default integrations need; see `adapters/homeassistant/README.md`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homeassistant.home import HomeAssistant
from tests.homeassistant.house import House
from tests.support.mosquitto import Mosquitto

VARIABLE = "PULSE_BRIDGE_HOMEASSISTANT"
HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "homeassistant: runs a real Home Assistant")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("homeassistant")
            if VARIABLE not in os.environ:
                item.add_marker(pytest.mark.skip(reason=f"{VARIABLE} names no Python that has homeassistant"))


@pytest.fixture(scope="session")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with (
        Mosquitto(folder) as broker,
        HomeAssistant(os.environ[VARIABLE], folder / "homeassistant") as home,
        House(folder, broker, home) as house,
    ):
        home.connect_to_broker(broker.port)
        yield house


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    """Give the house; at the end of a test Home Assistant must have had nothing to complain about."""
    before = len(shared_house.home.complaints())
    yield shared_house
    assert shared_house.home.complaints()[before:] == []
