"""What Home Assistant is told of a job and of a host: pure, the same names give the same text on every start.

Source: Home Assistant's MQTT integration, "Device discovery payload". `docs/homeassistant.md` says what is seen.

No name of a user's stands in a template: a job may be called `{{ 1/0 }}`. Each template takes an empty message,
too, which is what an entity gets when its topic is cleared before Home Assistant has let go of it.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any, Final

from pulse_bridge import __version__
from pulse_bridge.event import FINISHED_STATES, STATES
from pulse_bridge.printable import printable
from pulse_bridge_mqtt.topics import Topics, make_slug

Config = dict[str, Any]

ORIGIN: Final = "pulse-bridge"
MAX_ID_BYTES: Final = 40
MAX_NAME_CHARS: Final = 120
MAX_STATE_CHARS: Final = 255
"""Home Assistant shows `unknown`, with a warning, for a longer state."""
_END_OF_TIME_S: Final = 253_402_300_800
"""The year 10000, where its dates end; a PULSE timestamp may lie behind."""

_FIELDS: Final = "{% set v = value_json | default({}) %}"
_FINISHED: Final = "[" + ", ".join(f"'{state}'" for state in sorted(FINISHED_STATES)) + "]"
_STAYS: Final = _FIELDS + "{{ 'online' if v.get('state') in " + _FINISHED + " else 'offline' }}"
_PROBLEM: Final = _FIELDS + "{{ 'ON' if v.get('state') in ['error', 'stale'] or v.get('diverged') else 'OFF' }}"
_RUNNING: Final = _FIELDS + "{{ 'ON' if v.get('state') == 'running' else 'OFF' }}"
_MESSAGE: Final = (
    _FIELDS + "{% set text = v.get('message') %}{{ text[:" + str(MAX_STATE_CHARS) + "] if text else none }}"
)
_LONG_MESSAGE: Final = (
    _FIELDS
    + "{% set text = v.get('message') or '' %}"
    + "{{ ({'full_message': text} if text | length > "
    + str(MAX_STATE_CHARS)
    + " else {}) | tojson }}"
)
# A running job's is cut to the minute: else the database and the logbook get a line for every write.
_LAST_UPDATE: Final = (
    _FIELDS
    + "{% set at = v.get('timestamp') %}"
    + "{% if at is number and v.get('state') == 'running' %}{% set at = at - at % 60 %}{% endif %}"
    + "{{ at | timestamp_utc if at is number and 0 < at < "
    + str(_END_OF_TIME_S)
    + " else none }}"
)
_STARTED: Final = (
    _FIELDS
    + "{% set at = v.get('run') %}{{ at | timestamp_utc if at is number and 0 < at < "
    + str(_END_OF_TIME_S)
    + " else none }}"
)
# Rounded for the same reason: an estimate that wanders by a second is no news.
_ETA: Final = (
    _FIELDS
    + "{% set left = v.get('eta_s') %}"
    + "{% set at = as_timestamp(v.get('observed_at'), 0) + left if left is number else 0 %}"
    + "{% set step = 60 if left is number and left > 600 else 10 %}"
    + "{% set at = (at / step) | round | int * step if 0 < at < "
    + str(_END_OF_TIME_S)
    + " else 0 %}"
    + "{{ at | timestamp_utc if 0 < at < "
    + str(_END_OF_TIME_S)
    + " else none }}"
)


def _keep(names: str, prefix: str) -> str:
    """Give the template of attributes: some fields, and those whose name begins so."""
    return (
        "{% set kept = namespace(fields={}) %}"
        "{% for name, value in (value_json | default({})).items() %}"
        "{% if name in [" + names + "] or name.startswith('" + prefix + "') %}"
        "{% set kept.fields = dict(kept.fields, **{name: value}) %}"
        "{% endif %}{% endfor %}{{ kept.fields | tojson }}"
    )


# Only what seldom changes: attributes are stored with each change.
_JOB_ATTRIBUTES: Final = _keep("'host', 'job', 'run', 'total_epochs', 'total_steps', 'diverged'", "label_")
_HOST_ATTRIBUTES: Final = _keep("'host'", "jobs_")


def _field(name: str) -> str:
    """Give the template of one field; a field that is absent, such as a loss that diverged, shows as unknown."""
    return _FIELDS + "{{ v.get('" + name + "') }}"


def _sensor(name: str, template: str, **options: object) -> Config:
    return {"platform": "sensor", "name": name, "value_template": template, **options}


def _binary_sensor(name: str, **options: object) -> Config:
    return {"platform": "binary_sensor", "name": name, **options}


_MEASURED: Final = {"state_class": "measurement"}
_DIAGNOSTIC: Final = {"entity_category": "diagnostic"}
_ON_REQUEST: Final = {"enabled_by_default": False}


def _job_components(state_topic: str) -> dict[str, Config]:
    return {
        "status": _sensor(
            "Status",
            _field("state"),
            device_class="enum",
            options=list(STATES),
            icon="mdi:list-status",
            json_attributes_topic=state_topic,
            json_attributes_template=_JOB_ATTRIBUTES,
        ),
        "progress": _sensor(
            "Progress",
            _field("progress"),
            unit_of_measurement="%",
            suggested_display_precision=1,
            icon="mdi:progress-clock",
            **_MEASURED,
        ),
        "epoch": _sensor(
            "Epoch",
            _field("epoch"),
            unit_of_measurement="epochs",
            suggested_display_precision=2,
            icon="mdi:counter",
            **_MEASURED,
        ),
        "loss": _sensor(
            "Loss",
            _field("loss"),
            suggested_display_precision=4,
            icon="mdi:chart-line-variant",
            **_MEASURED,
        ),
        "eta": _sensor("ETA", _ETA, device_class="timestamp", icon="mdi:flag-checkered"),
        "time_left": _sensor(
            "Time left",
            _field("eta_s"),
            device_class="duration",
            unit_of_measurement="s",
            suggested_display_precision=0,
            **_MEASURED,
            **_ON_REQUEST,
        ),
        "message": _sensor(
            "Message",
            _MESSAGE,
            icon="mdi:message-text-outline",
            json_attributes_topic=state_topic,
            json_attributes_template=_LONG_MESSAGE,
        ),
        "run_start": _sensor("Run start", _STARTED, device_class="timestamp", icon="mdi:ray-start", **_DIAGNOSTIC),
        "last_update": _sensor(
            "Last update", _LAST_UPDATE, device_class="timestamp", icon="mdi:update", **_DIAGNOSTIC
        ),
        "step": _sensor(
            "Step",
            _field("step"),
            unit_of_measurement="steps",
            suggested_display_precision=0,
            icon="mdi:stairs",
            **_MEASURED,
            **_ON_REQUEST,
        ),
        "learning_rate": _sensor(
            "Learning rate",
            _field("learning_rate"),
            suggested_display_precision=8,
            icon="mdi:tune-variant",
            **_MEASURED,
            **_ON_REQUEST,
        ),
        "problem": _binary_sensor("Problem", value_template=_PROBLEM, device_class="problem"),
        "running": _binary_sensor("Running", value_template=_RUNNING, device_class="running"),
    }


def _host_components(topics: Topics, host: str) -> dict[str, Config]:
    bridge, host_topic = topics.bridge(host), topics.host(host)
    return {
        # Of no availability: that the sidecar is away is what it shows.
        "connectivity": _binary_sensor(
            "Connectivity",
            state_topic=bridge,
            payload_on="online",
            payload_off="offline",
            device_class="connectivity",
            **_DIAGNOSTIC,
        ),
        "jobs_running": _sensor(
            "Running jobs",
            _field("jobs_running"),
            availability_topic=bridge,
            unit_of_measurement="jobs",
            suggested_display_precision=0,
            icon="mdi:run-fast",
            json_attributes_topic=host_topic,
            json_attributes_template=_HOST_ATTRIBUTES,
            **_MEASURED,
        ),
    }


def host_id(topics: Topics, host: str) -> str:
    """Give the id of a host's device: `[a-z0-9_-]`, at most `MAX_ID_BYTES`, its own for each prefix and host."""
    return make_slug(f"{topics.prefix}/{host}", MAX_ID_BYTES)


def job_id(topics: Topics, host: str, job: str) -> str:
    """Give the id of a job's device. Neither prefix nor host has a `/`, so two jobs never share the text."""
    return make_slug(f"{topics.prefix}/{host}/{job}", MAX_ID_BYTES)


def host_config(topics: Topics, host: str, version: str | None) -> Config:
    """Describe a host.

    Args:
        version: Of its sidecar; None while it is not known.
    """
    identifier = host_id(topics, host)
    device: Config = {"identifiers": [identifier], "name": _name(f"{ORIGIN} {host}"), "manufacturer": ORIGIN}
    device["model"] = "Training host"
    if version is not None:
        device["sw_version"] = version
    return {
        "device": device,
        "origin": _origin(),
        "state_topic": topics.host(host),
        "components": _identify(identifier, _host_components(topics, host)),
    }


def job_config(topics: Topics, host: str, job: str, labels: Mapping[str, str]) -> Config:
    """Describe a job. It is there while its host's sidecar is, and stays when it is finished."""
    identifier = job_id(topics, host, job)
    state_topic = topics.state(host, job)
    return {
        "device": {
            "identifiers": [identifier],
            # The host's in front, so that two hosts' jobs of one name have entity ids of their own.
            "name": _name(f"{host} {job}"),
            "manufacturer": ORIGIN,
            "model": _name(", ".join(f"{name} {value}" for name, value in labels.items()) or "Training job"),
            "via_device": host_id(topics, host),
        },
        "origin": _origin(),
        "state_topic": state_topic,
        "availability_mode": "any",
        "availability": [{"topic": topics.bridge(host)}, {"topic": state_topic, "value_template": _STAYS}],
        "components": _identify(identifier, _job_components(state_topic)),
    }


def _identify(identifier: str, components: dict[str, Config]) -> dict[str, Config]:
    return {name: {**config, "unique_id": f"{identifier}_{name}"} for name, config in components.items()}


def _name(text: str) -> str:
    """Make a text fit for a title: of one line, and no longer than a person reads."""
    shown = printable(text)
    return shown if len(shown) <= MAX_NAME_CHARS else f"{shown[: MAX_NAME_CHARS - 1]}…"


@lru_cache(maxsize=1)
def _origin() -> Config:
    origin = {"name": ORIGIN, "sw_version": __version__}
    url = _project_url()
    return origin if url is None else {**origin, "support_url": url}


def _project_url() -> str | None:
    """Find the project's address where the installed package names one."""
    try:
        found = metadata(ORIGIN).get_all("Project-URL") or []
    except PackageNotFoundError:  # run from a copy of the files
        return None
    urls = [line.partition(",")[2].strip() for line in found]
    return next((url for url in urls if url.startswith(("https://", "http://"))), None)
