"""The model of Home Assistant that other tests trust: fed with what is wrong, it says so."""

import copy
import json
from typing import Any

import pytest

from tests.support.homeassistant_model import HomeAssistantModel

TOPIC = "homeassistant/device/box/config"
GOOD: dict[str, Any] = {
    "device": {"identifiers": ["box"], "name": "Box"},
    "origin": {"name": "tests"},
    "state_topic": "box/state",
    "components": {
        "kind": {
            "platform": "sensor",
            "name": "Kind",
            "unique_id": "box_kind",
            "device_class": "enum",
            "options": ["a", "b"],
            "value_template": "{{ value_json.get('kind') }}",
        },
        "at": {
            "platform": "sensor",
            "name": "At",
            "unique_id": "box_at",
            "device_class": "timestamp",
            "value_template": "{{ value_json.get('at') }}",
        },
        "size": {
            "platform": "sensor",
            "name": "Size",
            "unique_id": "box_size",
            "state_class": "measurement",
            "value_template": "{{ value_json.get('size') }}",
        },
        "text": {
            "platform": "sensor",
            "name": "Text",
            "unique_id": "box_text",
            "value_template": "{{ value_json.get('text') }}",
            "json_attributes_topic": "box/state",
            "json_attributes_template": "{{ {'more': value_json.get('more')} | tojson }}",
        },
        "open": {
            "platform": "binary_sensor",
            "name": "Open",
            "unique_id": "box_open",
            "value_template": "{{ 'ON' if value_json.get('open') else 'OFF' }}",
        },
    },
}
STATE = {"kind": "a", "at": "2026-01-02T03:04:05Z", "size": 1.5, "text": "hello", "open": True, "more": 1}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Give the good configuration with one place changed; None takes it away."""
    config = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    place = config
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return config


def model_of(config: Any, *states: Any) -> HomeAssistantModel:
    model = HomeAssistantModel()
    model.receive(TOPIC, json.dumps(config))
    for state in states:
        model.receive("box/state", state if isinstance(state, str) else json.dumps(state))
    return model


def test_what_is_right_is_taken_without_a_word() -> None:
    model = model_of(GOOD, STATE, {})
    model.check_references()
    assert model.complaints == []
    assert set(model.states("box").values()) == {"unknown", "off"}
    model.receive("box/state", json.dumps(STATE))
    assert model.states("box") == {
        "kind": "a",
        "at": "2026-01-02T03:04:05+00:00",
        "size": "1.5",
        "text": "hello",
        "open": "on",
    }
    assert model.entities["box/text"].attributes == {"more": 1}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([], "no object"),
        (changed("origin", None), "required key not provided: origin"),
        (changed("origin/name", None), "required key not provided: origin.name"),
        (changed("origin", {"name": "x", "support_url": "example"}), "invalid url"),
        (changed("device/identifiers", []), "at least one identifying value"),
        (changed("device/model", 5), "not a text: 5"),
        (changed("device/colour", "red"), "extra keys not allowed: device.colour"),
        (changed("colour", "red"), "extra keys not allowed: colour"),
        (changed("components/kind/platform", "sensors"), "no platform"),
        (changed("components/kind", {}), "no platform"),
        (changed("availability_mode", "some"), "availability_mode 'some'"),
        (changed("availability", [{"topic": "a/#"}]), "no valid topic: 'a/#'"),
        (changed("availability", [{"topic": "a", "template": "x"}]), "extra keys not allowed: availability"),
        (changed("state_topic", ""), "no valid topic"),
    ],
)
def test_a_device_that_is_described_wrongly_is_refused_as_a_whole(config: Any, words: str) -> None:
    model = model_of(config, STATE)
    assert len(model.complaints) == 1
    assert words in model.complaints[0]
    assert not model.devices
    assert not model.entities


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("kind/unique_id", None, "unique_id is missing"),
        ("kind/options", None, "options must be used together"),
        ("kind/options", [], "empty options list"),
        ("kind/state_class", "measurement", "has no state class"),
        ("kind/unit_of_measurement", "s", "unit 's' is not valid together with device class 'enum'"),
        ("kind/object_id", "x", "dropped: object_id"),
        ("size/device_class", "duration", "unit None is not valid"),
        ("size/device_class", "length", "device_class 'length' is none"),
        ("size/state_class", "measured", "state_class 'measured'"),
        ("size/suggested_display_precision", "2", "no whole number"),
        ("size/icon", "star", "icons should be"),
        ("size/entity_category", "config", "entity_category"),
        ("size/enabled_by_default", "no", "enabled_by_default is no boolean"),
        ("size/value_template", "{{ value_json.size", "invalid template"),
        ("text/json_attributes_topic", None, "json_attributes_template without"),
        ("open/device_class", "fire alarm", "is none of a binary sensor"),
        ("open/name", None, "name is missing"),
        ("open/availability_topic", "", "no valid topic"),
        ("open/unique_id", "box_text", "does not generate unique ids"),
    ],
)
def test_an_entity_that_is_described_wrongly_is_refused_alone(path: str, value: Any, words: str) -> None:
    model = model_of(changed(f"components/{path}", value))
    assert len(model.complaints) == 1
    assert words in model.complaints[0]
    assert len(model.entities) == len(GOOD["components"]) - 1


def test_a_duration_has_the_unit_s_and_not_sec() -> None:
    config = changed("components/size/device_class", "duration")
    config["components"]["size"]["unit_of_measurement"] = "sec"
    assert "unit 'sec' is not valid together with device class 'duration'" in model_of(config).complaints[0]
    config["components"]["size"]["unit_of_measurement"] = "s"
    assert not model_of(config).complaints


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (STATE | {"kind": "c"}, "ignoring invalid option 'c'"),
        (STATE | {"at": "2026-01-02T03:04:05"}, "is missing timezone information"),
        (STATE | {"at": "yesterday"}, "invalid state message 'yesterday'"),
        (STATE | {"size": "large"}, "non-numeric value 'large'"),
        (STATE | {"size": "inf"}, "non-finite value 'inf'"),
        (STATE | {"text": "x" * 256}, "the state (256) exceeds the maximum allowed length"),
        ('{"size": NaN}', "payload is no JSON (NaN is no JSON)"),
        ("no json", "payload is no JSON"),
        ("[1]", "has no attribute 'get'"),
        ("", "'value_json' is undefined"),
    ],
)
def test_a_state_that_does_not_fit_is_complained_of(state: Any, words: str) -> None:
    model = model_of(GOOD, state)
    assert any(words in complaint for complaint in model.complaints), model.complaints


def test_a_missing_key_read_as_an_attribute_warns_and_one_read_with_get_does_not() -> None:
    config = changed("components/size/value_template", "{{ value_json.size }}")
    model = model_of(config, STATE, {"kind": "a"})
    assert "template variable warning: 'dict object' has no attribute 'size'" in model.complaints
    assert not model_of(GOOD, STATE, {"kind": "a"}).complaints


def test_a_boolean_shown_as_it_is_matches_neither_on_nor_off() -> None:
    model = model_of(changed("components/open/value_template", "{{ value_json.open }}"), STATE)
    assert model.complaints == ["box_open: ignoring invalid option 'True'"]


@pytest.mark.parametrize(
    ("template", "words"),
    [("{{ [1] | tojson }}", "not a dictionary"), ("{{ value_json }}", "erroneous JSON"), ("{}", "")],
)
def test_attributes_must_be_a_json_object(template: str, words: str) -> None:
    model = model_of(changed("components/text/json_attributes_template", template), STATE)
    assert [words in complaint for complaint in model.complaints] == ([True] if words else [])


def test_an_attribute_that_home_assistant_keeps_for_itself_is_complained_of() -> None:
    template = "{{ {'icon': 1, 'more': 2} | tojson }}"
    model = model_of(changed("components/text/json_attributes_template", template), STATE)
    assert model.complaints == ["box_text: attributes are dropped: ['icon']"]


def test_a_component_left_out_of_an_update_stays_and_one_named_empty_goes() -> None:
    model = model_of(GOOD, STATE)
    model.receive(TOPIC, json.dumps(changed("components/size", None)))
    assert "size" in model.states("box")
    assert model.complaints == ["box/size: left out of an update, so it stays as it is"]
    model.receive(TOPIC, json.dumps(changed("components/size", {"platform": "sensor"})))
    assert "size" not in model.states("box")
    assert len(model.complaints) == 1


def test_a_removal_of_what_was_never_there_is_complained_of() -> None:
    model = model_of(GOOD, STATE)
    model.receive(TOPIC, b"")
    assert not model.devices
    assert not model.entities
    assert not model.complaints
    model.receive(TOPIC, b"")
    assert model.complaints == ["no device components to cleanup for box"]


@pytest.mark.parametrize("topic", ["homeassistant/device/a b/config", "homeassistant/device/é/config"])
def test_an_id_with_other_characters_is_illegal(topic: str) -> None:
    model = HomeAssistantModel()
    model.receive(topic, json.dumps(GOOD))
    short = topic.removeprefix("homeassistant/")
    assert model.complaints == [f"message on illegal discovery topic {short!r}"]


def test_a_device_reached_through_one_without_a_description_has_a_parent_without_a_name() -> None:
    model = model_of(changed("device/via_device", "elsewhere"))
    model.check_references()
    assert model.complaints == ["box: via_device 'elsewhere' is a device without a name"]


@pytest.mark.parametrize(
    ("mode", "messages", "available"),
    [
        ("any", [], False),
        ("any", [("one", "online")], True),
        ("any", [("one", "online"), ("one", "offline")], False),
        ("any", [("one", "offline"), ("two", "yes")], True),
        ("all", [("one", "online")], False),
        ("all", [("one", "online"), ("two", "yes")], True),
        ("latest", [("one", "online"), ("two", "no")], False),
    ],
)
def test_availability_follows_its_mode(mode: str, messages: list[tuple[str, str]], *, available: bool) -> None:
    template = "{{ 'online' if value == 'yes' else 'offline' }}"
    config = GOOD | {
        "availability_mode": mode,
        "availability": [{"topic": "one"}, {"topic": "two", "value_template": template}],
    }
    model = model_of(config, STATE)
    for topic, payload in messages:
        model.receive(topic, payload)
    assert (model.states("box")["text"] == "hello") == available
    assert [complaint for complaint in model.complaints if "no JSON" not in complaint] == []


def test_an_availability_that_says_neither_is_complained_of() -> None:
    model = model_of(GOOD | {"availability": [{"topic": "one"}]}, STATE)
    model.receive("one", "perhaps")
    assert len(model.complaints) == len(GOOD["components"])
    assert "availability 'perhaps' means nothing" in model.complaints[0]


def test_an_entity_that_comes_late_has_what_the_broker_retained() -> None:
    model = HomeAssistantModel()
    model.receive("box/state", json.dumps(STATE))
    model.receive(TOPIC, json.dumps(GOOD))
    assert model.states("box")["text"] == "hello"
    model.restart()
    assert model.states("box")["text"] == "hello"
    assert not model.complaints
