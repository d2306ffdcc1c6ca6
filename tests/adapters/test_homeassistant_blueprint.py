"""The blueprint as a file: what it asks for, it uses; what it reads, discovery has.

`tests/homeassistant/` runs it in a real Home Assistant.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from pulse_bridge.event import STATES, State, to_json
from pulse_bridge.testing import make_job_event
from pulse_bridge_mqtt.homeassistant_devices import job_config
from pulse_bridge_mqtt.topics import Topics
from tests.support.homeassistant_model import HomeAssistantModel

FOLDER: Final = Path(__file__).parents[2] / "adapters" / "homeassistant"
FILE: Final = FOLDER / "notify_about_trainings.yaml"


class Input(str):
    """An `!input NAME`."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """Reads YAML as Home Assistant does: with `!input`, and without two keys of one name."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the base's
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(set(names)) == len(names), f"a name twice: {names}"
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def _read_input(_loader: yaml.SafeLoader, node: yaml.Node) -> Input:
    return Input(node.value)


_Loader.add_constructor("!input", _read_input)


@pytest.fixture(scope="module")
def blueprint() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(FILE.read_text(encoding="utf-8"), _Loader)
    return found


@pytest.fixture(scope="module")
def device() -> dict[str, Any]:
    return job_config(Topics("pulse"), "node1", "job", {})


def leaves(part: Any) -> Iterator[Any]:
    """Give every value in a tree."""
    if isinstance(part, dict):
        for value in part.values():
            yield from leaves(value)
    elif isinstance(part, list):
        for value in part:
            yield from leaves(value)
    else:
        yield part


def test_it_is_an_automation_that_says_the_oldest_home_assistant(blueprint: dict[str, Any]) -> None:
    head = blueprint["blueprint"]
    assert head["domain"] == "automation"
    assert re.fullmatch(r"20\d\d\.\d{1,2}\.\d+", head["homeassistant"]["min_version"])
    assert {"triggers", "conditions", "actions"} <= blueprint.keys()
    # The names of before 2024.10.
    assert not {"trigger", "condition", "action"} & blueprint.keys()
    assert all("platform" not in trigger and "trigger" in trigger for trigger in blueprint["triggers"])


def test_every_input_is_used_and_every_used_one_is_an_input(blueprint: dict[str, Any]) -> None:
    used = {str(leaf) for leaf in leaves(blueprint) if isinstance(leaf, Input)}
    assert used == set(blueprint["blueprint"]["input"])
    assert all("selector" in each and "name" in each for each in blueprint["blueprint"]["input"].values())


def test_what_may_be_chosen_is_what_triggers(blueprint: dict[str, Any]) -> None:
    happenings = blueprint["blueprint"]["input"]["happenings"]
    values = [option["value"] for option in happenings["selector"]["select"]["options"]]
    triggers = [trigger["id"] for trigger in blueprint["triggers"]]
    assert values == happenings["default"]
    assert sorted(values) == sorted(triggers)
    (said,) = (action for action in blueprint["actions"] if "variables" in action)
    assert all(f"'{value}'" in said["variables"]["title"] for value in values)


def test_the_jobs_to_choose_from_are_status_sensors(blueprint: dict[str, Any], device: dict[str, Any]) -> None:
    (kind,) = blueprint["blueprint"]["input"]["jobs"]["selector"]["entity"]["filter"]
    chosen = [
        name
        for name, part in device["components"].items()
        if (part["platform"], part.get("device_class")) == (kind["domain"], kind["device_class"])
    ]
    assert chosen == ["status"]
    assert kind["integration"] == "mqtt"


def test_every_state_that_it_knows_is_one_and_it_never_starts_from_no_state(blueprint: dict[str, Any]) -> None:
    for trigger in blueprint["triggers"]:
        if "attribute" in trigger:
            assert (trigger["from"], trigger["to"]) == (False, True)
            continue
        assert trigger["to"] in STATES
        assert trigger["from"]
        assert set(trigger["from"]) <= set(STATES) - {trigger["to"]}


@pytest.mark.parametrize("state", ["running", "done"])
@pytest.mark.parametrize("diverged", [True, False])
def test_what_it_reads_of_the_status_sensor_is_there(
    blueprint: dict[str, Any], device: dict[str, Any], state: State, *, diverged: bool
) -> None:
    text = FILE.read_text(encoding="utf-8")
    read = set(re.findall(r"state_attr\(entity, '(\w+)'\)", text))
    read |= {trigger["attribute"] for trigger in blueprint["triggers"] if "attribute" in trigger}
    assert read == {"host", "job", "diverged"}
    model = HomeAssistantModel()
    model.receive("homeassistant/device/x/config", json.dumps(device))
    model.receive("pulse/node1/bridge", "online")
    model.receive("pulse/node1/job/state", to_json(make_job_event(state=state, diverged=diverged)))
    (status,) = (entity for name, entity in model.entities.items() if name.endswith("/status"))
    assert status.attributes["diverged"] is diverged
    assert read <= status.attributes.keys()
    assert model.complaints == []


def test_the_sensor_whose_text_it_tells_is_there(device: dict[str, Any]) -> None:
    (pattern,) = re.findall(r"select\('search', '([^']+)'\)", FILE.read_text(encoding="utf-8"))
    # Home Assistant makes the entity id of the device's name and the component's.
    ids = [f"{part['platform']}.node1_job_{part['name'].lower()}" for part in device["components"].values()]
    assert [each for each in ids if re.search(pattern, each)] == ["sensor.node1_job_message"]
