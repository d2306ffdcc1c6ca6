"""Names and pulses that were made to harm: a real Home Assistant shows them and complains of nothing."""

import math
from typing import Any

import pytest

from tests.homeassistant.house import House
from tests.support.processes import wait_until_blocking

TEMPLATE = "{{ 1/0 }}{% raise %}"
NAMES = [TEMPLATE, "a\"b'c", "<b>bold</b>"[:-4].replace("/", ""), "実験 №1", "x" * 200, "back\\slash", "new\nline"]


@pytest.mark.parametrize("job", NAMES)
def test_a_job_of_any_name_has_its_device(house: House, job: str) -> None:
    house.write(job, loss=0.5)

    def found() -> list[dict[str, Any]]:
        states = house.home.states().values()
        return [each for each in states if each["attributes"].get("job") == job]

    wait_until_blocking(lambda: [each["state"] for each in found()] == ["running"], f"{job!r} is shown", 30)


@pytest.mark.parametrize(
    ("pulse", "shown"),
    [
        ({"message": "é{{ 1/0 }}" * 600}, {"message": ("é{{ 1/0 }}" * 600)[:255]}),
        ({"message": "\U0001f600" * 1500}, {"message": "\U0001f600" * 255}),
        ({"message": ""}, {"message": "unknown"}),
        ({"message": "unavailable"}, {"message": "unavailable"}),
        ({"total_epochs": 0}, {"progress": "0.0"}),
        ({"loss": -math.inf}, {"loss": "unknown", "problem": "on"}),
        ({"loss": 1e308}, {"loss": "1e+308"}),
        ({"epoch": 1e300, "total_epochs": 1e301}, {"epoch": "1e+300"}),
        ({"timestamp": 2**53}, {"last_update": "unknown"}),
        ({"timestamp": 1}, {"status": "stale", "problem": "on"}),
        ({"v2": {"current_step": 10**18, "learning_rate": 5e-324}}, {"status": "running"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_any_pulse_is_shown(house: House, pulse: dict[str, Any], shown: dict[str, str]) -> None:
    house.write("strange", status="idle", message="none")
    house.await_states("node1_strange", status="idle", message="none")
    house.write("strange", **pulse)
    house.await_states("node1_strange", **shown)
