"""A strict model of Home Assistant's MQTT discovery: messages in, entities out, and what it would log.

It is fed what a client of the broker sees. Where a version of Home Assistant is forgiving, the model complains.
`tests/homeassistant` runs the real one; this one is in every run of the tests and takes any message in no time.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.support.homeassistant_rules import SHARED_KEYS, TOPIC, component_faults, device_faults
from tests.support.homeassistant_templates import Templates, parse_time
from tests.support.mosquitto import Received

MAX_STATE_CHARS = 255
UNKNOWN, UNAVAILABLE = "unknown", "unavailable"
BLOCKED_ATTRIBUTES = {
    "assumed_state",
    "available",
    "device_class",
    "device_info",
    "entity_category",
    "entity_picture",
    "force_update",
    "friendly_name",
    "icon",
    "last_reset",
    "name",
    "state",
    "state_class",
    "supported_features",
    "unique_id",
    "unit_of_measurement",
}


@dataclass
class Entity:
    """One entity as Home Assistant keeps it.

    Attributes:
        value: What was last understood; None for unknown.
    """

    config: dict[str, Any]
    device: str
    value: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    availability: dict[str, bool] = field(default_factory=dict)
    latest: bool = False

    @property
    def checks(self) -> list[dict[str, Any]]:
        """What its availability hangs on."""
        if "availability_topic" in self.config:
            return [{"topic": self.config["availability_topic"]}]
        return list(self.config.get("availability", []))

    @property
    def topics(self) -> set[str]:
        """What it subscribes to."""
        found = {self.config["state_topic"], *(check["topic"] for check in self.checks)}
        return found | {self.config["json_attributes_topic"]} if "json_attributes_topic" in self.config else found

    @property
    def available(self) -> bool:
        states = [self.availability.get(check["topic"], False) for check in self.checks]
        if not states:
            return True
        mode = self.config.get("availability_mode", "latest")
        return {"any": any(states), "all": all(states), "latest": self.latest}[mode]

    @property
    def state(self) -> str:
        if not self.available:
            return UNAVAILABLE
        return UNKNOWN if self.value is None else self.value


class HomeAssistantModel:
    """Devices by the id in their topic, entities by `<device id>/<component>`.

    Attributes:
        complaints: Everything that Home Assistant would log as a warning or an error, and more.
        configurations: Number of device configurations that came, removals included.
    """

    def __init__(self, prefix: str = "homeassistant") -> None:
        self.complaints: list[str] = []
        self.devices: dict[str, dict[str, Any]] = {}
        self.entities: dict[str, Entity] = {}
        self.configurations = 0
        self._prefix = f"{prefix}/"
        self._retained: dict[str, str] = {}
        self._templates = Templates(self._complain)

    def receive_all(self, messages: Iterable[Received]) -> None:
        """Take messages in their order; `retain` as published."""
        for message in messages:
            self.receive(message.topic, message.payload, retain=message.retain)

    def receive(self, topic: str, payload: bytes | str, *, retain: bool = True) -> None:
        """Take a message."""
        text = payload if isinstance(payload, str) else payload.decode()
        if retain:
            self._retained[topic] = text
        if not text and retain:
            del self._retained[topic]
        if topic.startswith(self._prefix) and topic.endswith("/config"):
            self._discover(topic.removeprefix(self._prefix), text)
            return
        for entity in self.entities.values():
            if topic in entity.topics:
                self._update(entity, topic, text)

    def restart(self) -> None:
        """Begin anew, with what the broker retains; what was discovered is known no more."""
        retained = dict(self._retained)
        self.devices.clear()
        self.entities.clear()
        for topic, text in sorted(retained.items(), key=lambda item: not item[0].startswith(self._prefix)):
            self.receive(topic, text)

    def states(self, device: str) -> dict[str, str]:
        """Give component to state of one device."""
        start = f"{device}/"
        return {
            name.removeprefix(start): entity.state
            for name, entity in self.entities.items()
            if name.startswith(start)
        }

    def device_named(self, name: str) -> str:
        """Find a device by the name that a user sees."""
        (found,) = (identifier for identifier, device in self.devices.items() if device["name"] == name)
        return found

    def check_references(self) -> None:
        """Complain of devices that are reached through one that nobody described; to be called at rest."""
        known = {identifier for device in self.devices.values() for identifier in device["identifiers"]}
        for name, device in self.devices.items():
            if "via_device" in device and device["via_device"] not in known:
                self._complain(f"{name}: via_device {device['via_device']!r} is a device without a name")

    # Discovery

    def _discover(self, topic: str, text: str) -> None:
        self.configurations += 1
        match = TOPIC.fullmatch(topic)
        if match is None:
            self._complain(f"message on illegal discovery topic {topic!r}")
            return
        identifier = match["id"]
        if not text:
            self._remove_device(identifier)
            return
        try:
            config = json.loads(text, parse_constant=_refuse)
        except ValueError as error:
            self._complain(f"unable to parse JSON of {identifier}: {error}")
            return
        if faults := list(device_faults(config, self._templates)):
            self._complain(f"invalid MQTT device discovery payload for {identifier}: {'; '.join(faults)}")
            return
        self.devices[identifier] = config["device"]
        for key in [key for key, entity in self.entities.items() if entity.device == identifier]:
            if key.removeprefix(f"{identifier}/") not in config["components"]:
                self._complain(f"{key}: left out of an update, so it stays as it is")
        shared = {key: config[key] for key in SHARED_KEYS & config.keys()}
        for name, part in config["components"].items():
            if part.keys() == {"platform"}:
                self.entities.pop(f"{identifier}/{name}", None)
            else:
                self._add(identifier, name, {**shared, **part})

    def _remove_device(self, identifier: str) -> None:
        if self.devices.pop(identifier, None) is None:
            self._complain(f"no device components to cleanup for {identifier}")
        for name in [name for name, entity in self.entities.items() if entity.device == identifier]:
            del self.entities[name]

    def _add(self, device: str, name: str, config: dict[str, Any]) -> None:
        key = f"{device}/{name}"
        if faults := list(component_faults(config, self._templates)):
            self._complain(f"error processing {key}: {'; '.join(faults)}")
            return
        before = self.entities.get(key)
        if before is not None and before.config == config:
            return
        for other, entity in self.entities.items():
            if other != key and entity.config["unique_id"] == config["unique_id"]:
                self._complain(
                    f"{key} does not generate unique ids: {config['unique_id']} is already used by {other}"
                )
                return
        entity = self.entities[key] = Entity(config, device)
        for topic in sorted(entity.topics & self._retained.keys()):
            self._update(entity, topic, self._retained[topic])

    # States

    def _update(self, entity: Entity, topic: str, text: str) -> None:
        for check in entity.checks:
            if check["topic"] == topic:
                self._update_availability(entity, check, text)
        if entity.config["state_topic"] == topic:
            rendered = self._templates.render(entity.config.get("value_template"), text)
            if rendered is not None:
                entity.value = self._understand(entity, rendered)
        if entity.config.get("json_attributes_topic") == topic:
            self._update_attributes(entity, text)

    def _update_availability(self, entity: Entity, check: dict[str, Any], text: str) -> None:
        rendered = self._templates.render(check.get("value_template"), text)
        meanings = {
            check.get("payload_available", "online"): True,
            check.get("payload_not_available", "offline"): False,
        }
        if rendered not in meanings:
            self._complain(f"{entity.config['unique_id']}: availability {rendered!r} means nothing")
            return
        entity.availability[check["topic"]] = entity.latest = meanings[rendered]

    def _update_attributes(self, entity: Entity, text: str) -> None:
        rendered = self._templates.render(entity.config.get("json_attributes_template"), text)
        try:
            attributes = json.loads(rendered or "", parse_constant=_refuse)
        except ValueError:
            self._complain(f"{entity.config['unique_id']}: erroneous JSON: {rendered!r:.200}")
            return
        if not isinstance(attributes, dict):
            self._complain(f"{entity.config['unique_id']}: JSON result was not a dictionary: {rendered!r:.200}")
            return
        if blocked := attributes.keys() & BLOCKED_ATTRIBUTES:
            self._complain(f"{entity.config['unique_id']}: attributes are dropped: {sorted(blocked)}")
        entity.attributes = attributes

    def _understand(self, entity: Entity, text: str) -> str | None:
        config = entity.config
        if text == "None":
            return None
        if config["platform"] == "binary_sensor":
            meanings = {config.get("payload_on", "ON"): "on", config.get("payload_off", "OFF"): "off"}
            return self._choose(entity, text, meanings)
        if "options" in config:
            return self._choose(entity, text, {option: option for option in config["options"]})
        if config.get("device_class") == "timestamp":
            return self._understand_time(config, text)
        if "state_class" in config or "unit_of_measurement" in config:
            return self._understand_number(config, text)
        return self._understand_text(config, text)

    def _choose(self, entity: Entity, text: str, meanings: dict[str, str]) -> str | None:
        if text not in meanings:
            self._complain(f"{entity.config['unique_id']}: ignoring invalid option {text!r}")
            return entity.value
        return meanings[text]

    def _understand_text(self, config: dict[str, Any], text: str) -> str | None:
        if len(text) > MAX_STATE_CHARS:
            self._complain(f"{config['unique_id']}: the state ({len(text)}) exceeds the maximum allowed length")
            return None
        return text

    def _understand_time(self, config: dict[str, Any], text: str) -> str | None:
        found: datetime | None = parse_time(text)
        if found is None:
            self._complain(f"{config['unique_id']}: invalid state message {text!r}")
            return None
        if found.tzinfo is None:
            self._complain(f"{config['unique_id']}: {text!r} is missing timezone information")
            return None
        return found.isoformat()

    def _understand_number(self, config: dict[str, Any], text: str) -> str | None:
        try:
            number = float(text)
        except ValueError:
            self._complain(f"{config['unique_id']}: has the non-numeric value {text!r}")
            return None
        if not math.isfinite(number):
            self._complain(f"{config['unique_id']}: has a non-finite value {text!r}")
            return None
        return text

    def _complain(self, sentence: str) -> None:
        self.complaints.append(sentence)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no JSON")
