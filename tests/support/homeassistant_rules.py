"""What Home Assistant demands of a device's discovery, as far as sensors and binary sensors go.

Stricter in one thing: it drops a key of a component that it does not know without a word, and a typing mistake is
hidden by that. Source: its MQTT integration's schemas, 2024.12 to 2026.2; confirmed by running 2025.4.4.
"""

import re
from collections.abc import Iterator
from typing import Any

from tests.support.homeassistant_templates import Templates

TOPIC = re.compile(r"device/(?P<id>[a-zA-Z0-9_-]+)/config")
ICON = re.compile(r"mdi:[a-z0-9-]+")
SHARED_KEYS = {
    "availability",
    "availability_mode",
    "availability_template",
    "availability_topic",
    "payload_available",
    "payload_not_available",
    "state_topic",
}
ROOT_KEYS = SHARED_KEYS | {"device", "components", "origin", "command_topic", "qos", "encoding"}
DEVICE_KEYS = {
    "configuration_url",
    "connections",
    "hw_version",
    "identifiers",
    "manufacturer",
    "model",
    "model_id",
    "name",
    "serial_number",
    "suggested_area",
    "sw_version",
    "via_device",
}
ORIGIN_KEYS = {"name", "sw_version", "support_url"}
ENTITY_KEYS = SHARED_KEYS | {
    "device_class",
    "enabled_by_default",
    "encoding",
    "entity_category",
    "expire_after",
    "force_update",
    "icon",
    "json_attributes_template",
    "json_attributes_topic",
    "name",
    "platform",
    "qos",
    "unique_id",
    "value_template",
}
KEYS = {
    "sensor": ENTITY_KEYS | {"options", "state_class", "suggested_display_precision", "unit_of_measurement"},
    "binary_sensor": ENTITY_KEYS | {"off_delay", "payload_off", "payload_on"},
}
UNITS: dict[str, set[str | None]] = {
    "duration": {"d", "h", "min", "s", "ms", "μs"},
    "timestamp": {None},
    "date": {None},
    "enum": {None},
    "data_size": {"B", "kB", "MB", "GB", "KiB", "MiB", "GiB"},
}
BINARY_CLASSES = {"connectivity", "problem", "running", "power", "update"}
STATE_CLASSES = {"measurement", "total", "total_increasing"}


def device_faults(config: Any, templates: Templates) -> Iterator[str]:
    """Yield why a whole device is refused."""
    if not isinstance(config, dict):
        yield "the configuration is no object"
        return
    for required in ("device", "components", "origin"):
        if not isinstance(config.get(required), dict):
            yield f"required key not provided: {required}"
            return
    yield from (f"extra keys not allowed: {key}" for key in sorted(config.keys() - ROOT_KEYS))
    device, origin = config["device"], config["origin"]
    yield from (f"extra keys not allowed: device.{key}" for key in sorted(device.keys() - DEVICE_KEYS))
    yield from (f"extra keys not allowed: origin.{key}" for key in sorted(origin.keys() - ORIGIN_KEYS))
    if not device.get("identifiers") and not device.get("connections"):
        yield "device must have at least one identifying value in identifiers and/or connections"
    texts = [
        *device.get("identifiers", []),
        *(device[key] for key in device.keys() - {"identifiers", "connections"}),
    ]
    yield from (f"device: not a text: {value!r}" for value in texts if not isinstance(value, str))
    if not isinstance(origin.get("name"), str):
        yield "required key not provided: origin.name"
    if "support_url" in origin and not re.match(r"https?://", origin["support_url"]):
        yield f"invalid url: {origin['support_url']}"
    yield from _shared_faults(config, templates)
    for name, part in config["components"].items():
        if not isinstance(part, dict) or part.get("platform") not in KEYS:
            yield f"components.{name}: no platform, or one that is not supported"


def component_faults(part: dict[str, Any], templates: Templates) -> Iterator[str]:
    """Yield why an entity is refused, or not what it was meant to be; `part` has the device's shared keys."""
    yield from (f"key is not known and dropped: {key}" for key in sorted(part.keys() - KEYS[part["platform"]]))
    if not part.get("unique_id") or not isinstance(part["unique_id"], str):
        yield "unique_id is missing"
    if not part.get("state_topic"):
        yield "required key not provided: state_topic"
    if part.get("entity_category") not in (None, "diagnostic"):
        yield f"entity_category {part['entity_category']!r} is not allowed for this platform"
    if "icon" in part and not ICON.fullmatch(part["icon"]):
        yield f"icons should be specified in the form 'prefix:name': {part['icon']}"
    if not isinstance(part.get("enabled_by_default", True), bool):
        yield "enabled_by_default is no boolean"
    if not isinstance(part.get("name"), str) or not part["name"]:
        yield "name is missing"
    if "json_attributes_template" in part and "json_attributes_topic" not in part:
        yield "json_attributes_template without json_attributes_topic"
    yield from _shared_faults(part, templates)
    if part["platform"] == "sensor":
        yield from _sensor_faults(part)
    elif part.get("device_class") not in BINARY_CLASSES | {None}:
        yield f"device_class {part['device_class']!r} is none of a binary sensor"


def _sensor_faults(part: dict[str, Any]) -> Iterator[str]:
    device_class, unit = part.get("device_class"), part.get("unit_of_measurement")
    state_class, options = part.get("state_class"), part.get("options")
    if device_class is not None and device_class not in UNITS:
        yield f"device_class {device_class!r} is none of a sensor"
    elif device_class is not None and unit not in UNITS[device_class]:
        yield f"unit {unit!r} is not valid together with device class {device_class!r}"
    if state_class is not None and state_class not in STATE_CLASSES:
        yield f"state_class {state_class!r} is not known"
    if device_class in ("timestamp", "date", "enum") and state_class is not None:
        yield f"device class {device_class!r} has no state class"
    if (options is None) != (device_class != "enum"):
        yield "options must be used together with device class enum"
    if options is not None and not options:
        yield "an empty options list is not allowed"
    precision = part.get("suggested_display_precision", 0)
    if isinstance(precision, bool) or not isinstance(precision, int) or precision < 0:
        yield f"suggested_display_precision {precision!r} is no whole number"
    if "suggested_display_precision" in part and unit is None and state_class is None and device_class is None:
        yield "a precision for what is no number"


def _shared_faults(config: dict[str, Any], templates: Templates) -> Iterator[str]:
    if "availability" in config and "availability_topic" in config:
        yield "two or more values in the same group of exclusion 'availability'"
    if config.get("availability_mode", "latest") not in ("all", "any", "latest"):
        yield f"availability_mode {config['availability_mode']!r} is not known"
    entries = config.get("availability", [])
    for entry in entries:
        if entry.keys() - {"topic", "payload_available", "payload_not_available", "value_template"}:
            yield f"extra keys not allowed: availability {sorted(entry)}"
        yield from _topic_faults("availability.topic", entry.get("topic"))
        yield from _template_faults(entry.get("value_template"), templates)
    for key, value in config.items():
        if key.endswith("topic"):
            yield from _topic_faults(key, value)
        elif key.endswith("template"):
            yield from _template_faults(value, templates)


def _topic_faults(key: str, topic: Any) -> Iterator[str]:
    if not isinstance(topic, str) or not topic or set(topic) & set("+#\0"):
        yield f"{key}: no valid topic: {topic!r}"


def _template_faults(source: Any, templates: Templates) -> Iterator[str]:
    if source is None:
        return
    if not isinstance(source, str):
        yield f"no template: {source!r}"
    elif wrong := templates.check(source):
        yield f"invalid template ({wrong}): {source}"
