"""What is announced to Home Assistant, held against the strict model; no broker."""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import MAX_MESSAGE_BYTES, STATES, Event, JobEvent, cut_message, to_json
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus
from pulse_bridge_mqtt.homeassistant import Discovery, Retained
from pulse_bridge_mqtt.homeassistant_devices import host_id, job_config, job_id
from pulse_bridge_mqtt.options import MqttOptions
from pulse_bridge_mqtt.topics import Topics
from tests.support.homeassistant_model import HomeAssistantModel

TOPICS = Topics("pulse")
JOB = job_id(TOPICS, "node1", "llm/run a")
HOST = host_id(TOPICS, "node1")
NOW_MS = 1_790_000_060_000
STATE = TOPICS.state("node1", "llm/run a")


def feed(model: HomeAssistantModel, discovery: Discovery, events: Iterable[Event]) -> None:
    """Give the model what a publisher sends for some events."""
    model.receive("pulse/node1/bridge", "online")
    for event in events:
        topic = TOPICS.state(event.host, event.job) if isinstance(event, JobEvent) else TOPICS.host(event.host)
        model.receive(topic, to_json(event))
        give(model, discovery.announce(event))


def give(model: HomeAssistantModel, messages: Iterable[Retained]) -> None:
    for message in messages:
        model.receive(message.topic, message.payload)


def shown(**changes: Any) -> dict[str, str]:
    """Give what Home Assistant shows of one job event, nothing complained of."""
    model = HomeAssistantModel()
    feed(model, Discovery(TOPICS, "homeassistant"), [make_job_event(observed_ms=NOW_MS, **changes)])
    assert model.complaints == []
    return model.states(JOB)


def test_a_running_job_has_every_entity_with_its_state_and_unit() -> None:
    model = HomeAssistantModel()
    feed(model, Discovery(TOPICS, "homeassistant"), [make_job_event(8, eta_s=3600, observed_ms=NOW_MS)])
    assert model.states(JOB) == {
        "status": "running",
        "progress": "50.0",
        "epoch": "1.5",
        "loss": "1.0",
        "eta": "2026-09-21T15:14:00+00:00",
        "time_left": "3600",
        "message": "épique ✓ step 150/800",
        "run_start": "2026-09-21T14:13:20+00:00",
        "last_update": "2026-09-21T14:13:00+00:00",
        "step": "150",
        "learning_rate": "2e-05",
        "problem": "off",
        "running": "on",
    }
    units = {
        name.partition("/")[2]: entity.config.get("unit_of_measurement") for name, entity in model.entities.items()
    }
    assert {name: unit for name, unit in units.items() if unit is not None} == {
        "progress": "%",
        "epoch": "epochs",
        "time_left": "s",
        "step": "steps",
        "jobs_running": "jobs",
    }
    disabled = {
        name for name, entity in model.entities.items() if not entity.config.get("enabled_by_default", True)
    }
    assert disabled == {f"{JOB}/time_left", f"{JOB}/step", f"{JOB}/learning_rate"}
    assert model.complaints == []
    model.check_references()
    assert model.complaints == []


def test_a_host_shows_whether_it_is_connected_and_how_many_jobs_run() -> None:
    model = HomeAssistantModel()
    feed(model, Discovery(TOPICS, "homeassistant"), [make_host_event()])
    assert model.states(HOST) == {"connectivity": "on", "jobs_running": "2"}
    assert model.entities[f"{HOST}/jobs_running"].attributes["jobs_done"] == 1
    assert model.devices[HOST]["sw_version"] == "0.1.0"
    model.receive("pulse/node1/bridge", "offline")
    assert model.states(HOST) == {"connectivity": "off", "jobs_running": "unavailable"}
    assert model.complaints == []


@pytest.mark.parametrize(
    ("changes", "running", "problem"),
    [
        ({"state": "idle"}, "off", "off"),
        ({"state": "running"}, "on", "off"),
        ({"state": "running", "diverged": True, "loss": None}, "on", "on"),
        ({"state": "stale"}, "off", "on"),
        ({"state": "done"}, "off", "off"),
        ({"state": "error"}, "off", "on"),
        ({"state": "gone"}, "off", "off"),
    ],
)
def test_problem_and_running_follow_the_state(changes: dict[str, Any], running: str, problem: str) -> None:
    states = shown(**changes)
    assert (states["status"], states["running"], states["problem"]) == (changes["state"], running, problem)


@pytest.mark.parametrize("state", STATES)
def test_only_a_finished_job_is_there_without_its_sidecar(state: str) -> None:
    model = HomeAssistantModel()
    feed(model, Discovery(TOPICS, "homeassistant"), [make_job_event(state=state)])
    model.receive("pulse/node1/bridge", "offline")
    expected = state if state in ("done", "error", "gone") else "unavailable"
    assert model.states(JOB)["status"] == expected
    model.restart()
    assert model.states(JOB)["status"] == expected
    assert model.complaints == []


def test_numbers_that_are_absent_show_as_unknown() -> None:
    states = shown(loss=None, eta_s=None, step=None, total_steps=None, learning_rate=None, diverged=True)
    for name in ("loss", "eta", "time_left", "step", "learning_rate"):
        assert states[name] == "unknown"


@pytest.mark.parametrize(
    ("eta_s", "expected"),
    [(0, "14:14:20"), (7, "14:14:30"), (599, "14:24:20"), (3601, "15:14:00"), (3629, "15:15:00"), (1e300, None)],
)
def test_the_eta_is_an_instant_rounded_so_that_it_does_not_wander(eta_s: float, expected: str | None) -> None:
    assert shown(eta_s=eta_s)["eta"] == ("unknown" if expected is None else f"2026-09-21T{expected}+00:00")


def test_the_last_update_is_cut_to_the_minute_only_while_the_job_runs() -> None:
    assert shown(state="running")["last_update"] == "2026-09-21T14:13:00+00:00"
    assert shown(state="stale")["last_update"] == "2026-09-21T14:13:20+00:00"


@pytest.mark.parametrize("timestamp", [0, 253_402_300_800, 2**53])
def test_a_timestamp_that_is_no_date_shows_as_unknown(timestamp: int) -> None:
    states = shown(timestamp=timestamp, run=timestamp, state="done")
    assert (states["last_update"], states["run_start"]) == ("unknown", "unknown")


def test_a_long_message_is_cut_and_whole_in_an_attribute() -> None:
    model, text = HomeAssistantModel(), cut_message("ü{{ 1/0 }}<b>" * 500)
    assert len(text.encode()) > MAX_MESSAGE_BYTES - 4
    feed(model, Discovery(TOPICS, "homeassistant"), [make_job_event(message=text)])
    assert model.states(JOB)["message"] == text[:255].strip()
    assert model.entities[f"{JOB}/message"].attributes == {"full_message": text}
    feed(model, Discovery(TOPICS, "homeassistant"), [make_job_event(2, message="short")])
    assert model.entities[f"{JOB}/message"].attributes == {}
    assert model.complaints == []


def test_labels_are_the_model_and_attributes() -> None:
    model, discovery = HomeAssistantModel(), Discovery(TOPICS, "homeassistant")
    feed(model, discovery, [make_job_event(labels={"profile": "base", "dataset": "wiki"})])
    assert model.devices[JOB]["model"] == "profile base, dataset wiki"
    attributes = model.entities[f"{JOB}/status"].attributes
    assert attributes["label_profile"] == "base"
    assert (attributes["host"], attributes["job"]) == ("node1", "llm/run a")
    assert not attributes.keys() & {"timestamp", "observed_at", "epoch", "id", "message"}
    feed(model, discovery, [make_job_event(2, labels={})])
    assert model.devices[JOB]["model"] == "Training job"
    assert model.complaints == []


def test_a_job_is_announced_once_and_again_when_its_labels_change() -> None:
    discovery = Discovery(TOPICS, "homeassistant")
    assert [message.topic for message in discovery.announce(make_job_event())] == [
        f"homeassistant/device/{HOST}/config",
        f"homeassistant/device/{JOB}/config",
    ]
    assert discovery.announce(make_job_event(2, state="done")) == []
    assert len(discovery.announce(make_job_event(3, labels={"profile": "other"}))) == 1


def test_what_the_broker_has_already_is_not_sent() -> None:
    sent = Discovery(TOPICS, "homeassistant").announce(make_job_event())
    again = Discovery(TOPICS, "homeassistant")
    for message in sent:
        again.read(message.topic, message.payload)
    assert again.announce(make_job_event()) == []
    again.begin_reading()
    again.end_reading()
    assert again.restore() == sent, "the broker has lost it"
    assert again.restore() == []


def test_what_is_removed_while_the_broker_is_read_stays_removed() -> None:
    discovery = Discovery(TOPICS, "homeassistant")
    host, job = discovery.announce(make_job_event())
    discovery.begin_reading()
    (cleared,) = discovery.forget(STATE)
    assert (cleared.topic, cleared.payload) == (job.topic, b"")
    discovery.read(host.topic, host.payload)
    discovery.read(job.topic, job.payload)  # the broker sent it before it took the removal
    discovery.end_reading()
    assert discovery.restore() == []
    assert discovery.announce(make_job_event(2)) == [job], "it came back, and the broker has it no more"


def test_what_is_sent_while_the_broker_is_read_counts_for_there() -> None:
    discovery = Discovery(TOPICS, "homeassistant")
    discovery.announce(make_job_event(labels={}))
    discovery.begin_reading()
    (changed,) = discovery.announce(make_job_event(2, labels={"profile": "large"}))
    discovery.end_reading()
    assert changed.topic == f"homeassistant/device/{JOB}/config"
    assert [message.topic for message in discovery.restore()] == [f"homeassistant/device/{HOST}/config"]


def test_a_component_of_an_earlier_version_is_removed_for_good() -> None:
    discovery, model = Discovery(TOPICS, "homeassistant"), HomeAssistantModel()
    config = job_config(TOPICS, "node1", "llm/run a", {})
    config["components"]["heat"] = {"platform": "sensor", "name": "Heat", "unique_id": "x", "state_topic": "x"}
    topic = f"homeassistant/device/{JOB}/config"
    model.receive(topic, json.dumps(config))
    assert "heat" in model.states(JOB)
    discovery.read(topic, json.dumps(config).encode())
    messages = discovery.announce(make_job_event(labels={}))
    give(model, messages)
    assert "heat" not in model.states(JOB)
    assert model.complaints == []
    later = Discovery(TOPICS, "homeassistant")
    for message in messages:
        later.read(message.topic, message.payload)
    assert later.announce(make_job_event(labels={})) == []


def test_what_an_earlier_version_left_under_another_id_goes_before_the_new_one_comes() -> None:
    discovery, model = Discovery(TOPICS, "homeassistant"), HomeAssistantModel()
    old = "homeassistant/device/old_id/config"
    payload = json.dumps(job_config(TOPICS, "node1", "llm/run a", {}))
    model.receive(old, payload)
    discovery.read(old, payload.encode())
    messages = discovery.announce(make_job_event())
    assert messages[1] == Retained(old, b"")
    give(model, messages)
    assert list(model.devices) == [HOST, JOB]
    assert model.complaints == []


FOREIGN = [
    b"",
    b"no json",
    b"[]",
    b"{}",
    b'{"origin": null}',
    b'{"origin": {"name": "zigbee2mqtt"}, "state_topic": "pulse/node1/a/state", "components": {}}',
    b'{"origin": {"name": "pulse-bridge"}, "state_topic": "lab/node1/a/state", "components": {}}',
    b'{"origin": {"name": "pulse-bridge"}, "state_topic": 5, "components": {}}',
    b'{"origin": {"name": "pulse-bridge"}, "state_topic": "pulse/node1/a/state", "components": []}',
    b'{"origin": {"name": "pulse-bridge"}, "state_topic": "pulse/node1/a/state", "components": {"a": 1}}',
]


@pytest.mark.parametrize("payload", FOREIGN)
def test_what_is_not_ours_is_no_leftover(payload: bytes) -> None:
    discovery = Discovery(TOPICS, "homeassistant")
    discovery.read("homeassistant/device/x/config", payload)
    assert discovery.leftovers("node1", []) == []
    assert discovery.forget("pulse/node1/a/state") == []


def test_a_leftover_is_of_this_host_unknown_to_its_sidecar_and_not_finished() -> None:
    discovery = Discovery(TOPICS, "homeassistant")
    for host, job in (("node1", "known"), ("node1", "unknown"), ("node1", "finished"), ("node2", "other")):
        payload = json.dumps(job_config(TOPICS, host, job, {})).encode()
        discovery.read(f"homeassistant/device/{job_id(TOPICS, host, job)}/config", payload)
    discovery.announce(make_job_event(job="known"))
    assert discovery.leftovers("node1", [TOPICS.state("node1", "finished")]) == [TOPICS.state("node1", "unknown")]


def test_a_job_that_is_forgotten_can_come_back() -> None:
    discovery, model = Discovery(TOPICS, "homeassistant"), HomeAssistantModel()
    feed(model, discovery, [make_job_event(state="gone")])
    give(model, discovery.forget(STATE))
    model.receive(STATE, b"")
    assert list(model.devices) == [HOST]
    assert discovery.forget(STATE) == []
    feed(model, discovery, [make_job_event(2)])
    assert model.states(JOB)["status"] == "running"
    assert model.complaints == []


def test_a_state_that_is_cleared_before_its_device_has_gone_is_no_error() -> None:
    model = HomeAssistantModel()
    feed(model, Discovery(TOPICS, "homeassistant"), [make_job_event()])
    model.receive(STATE, b"")
    assert model.states(JOB)["status"] == "unknown"
    assert model.complaints == []


def test_two_prefixes_announce_devices_of_their_own() -> None:
    assert job_id(Topics("lab"), "node1", "a") != job_id(TOPICS, "node1", "a")
    assert host_id(Topics("lab"), "node1") != HOST


@settings(deadline=None)
@given(st.text(max_size=80), st.text(st.characters(exclude_characters="/"), max_size=80))
def test_an_id_has_at_most_40_characters_that_home_assistant_takes(job: str, host: str) -> None:
    for identifier in (job_id(TOPICS, host, job), host_id(TOPICS, host)):
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", identifier)


AWKWARD = st.sampled_from(
    [
        "{{ 1/0 }}",
        "{% raw %}",
        "'\"",
        "<script>",
        "a/b/c",
        "../..",
        "\n",
        "#",
        "+",
        "None",
        "unknown",
        "null",
        "\x00",
        "训练",
    ]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
NAME = st.lists(AWKWARD | TEXT, min_size=1, max_size=3).map("".join).filter(bool)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
COUNT = st.integers(0, 2**53)


@st.composite
def job_events(draw: st.DrawFn) -> JobEvent:
    return make_job_event(
        draw(st.integers(1, 9)),
        job=draw(NAME),
        run=draw(COUNT),
        state=draw(st.sampled_from(STATES)),
        status=draw(st.sampled_from(["idle", "running", "done", "error"])),
        epoch=draw(NUMBER),
        total_epochs=draw(NUMBER),
        loss=draw(st.none() | NUMBER),
        message=draw(NAME | st.just("") | NAME.map(lambda text: cut_message(text * 500))),
        timestamp=draw(COUNT),
        progress=draw(st.floats(0, 100)),
        eta_s=draw(st.none() | st.floats(0, allow_infinity=False)),
        diverged=draw(st.booleans()),
        step=draw(st.none() | COUNT),
        total_steps=draw(st.none() | COUNT),
        learning_rate=draw(st.none() | NUMBER),
        labels=draw(st.dictionaries(NAME, TEXT, max_size=3)),
        observed_ms=draw(st.integers(0, 4_000_000_000_000)),
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(job_events(), max_size=4), NAME.map(lambda text: text.replace("/", "-")))
def test_no_name_and_no_pulse_makes_home_assistant_complain(events: list[JobEvent], host: str) -> None:
    model, discovery = HomeAssistantModel(), Discovery(TOPICS, "homeassistant")
    model.receive(TOPICS.bridge(host), "online")
    for event in [event._replace(host=host) for event in events]:
        model.receive(TOPICS.state(host, event.job), to_json(event))
        give(model, discovery.announce(event))
        identifier = job_id(TOPICS, host, event.job)
        assert model.states(identifier)["status"] == event.state
        assert len(model.states(identifier)) == 13
    model.restart()
    for event in events:
        give(model, discovery.forget(TOPICS.state(host, event.job)))
        model.receive(TOPICS.state(host, event.job), b"")
    model.check_references()
    assert model.complaints == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("homeassistant=perhaps", "option 'homeassistant': Input should be a valid boolean"),
        ("homeassistant=true&homeassistant_prefix=a%2F%23", "option 'homeassistant_prefix': must be a topic"),
        ("homeassistant=true&homeassistant_prefix=", "option 'homeassistant_prefix': must be a topic"),
        ("homeassistant=true&homeassistant_status=a%2F%2B", "option 'homeassistant_status': must be a topic"),
        ("homeassistant_prefix=ha", "homeassistant_prefix and homeassistant_status need homeassistant=true"),
    ],
)
def test_a_mistake_in_the_options_is_one_sentence(query: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MqttBus(BusUrl.parse(f"mqtt://broker?{query}"))
    assert words in str(caught.value)


def test_the_document_names_every_option_with_its_default_and_every_entity() -> None:
    document = (Path(__file__).parents[2] / "docs" / "homeassistant.md").read_text(encoding="utf-8")
    for name, field in MqttOptions.model_fields.items():
        if name.startswith("homeassistant") or name == "forget_after_s":
            (row,) = [line for line in document.splitlines() if line.startswith(f"| `{name}` |")]
            assert str(field.default).lower() in row
    discovery, model = Discovery(TOPICS, "homeassistant"), HomeAssistantModel()
    feed(model, discovery, [make_host_event(), make_job_event(2)])
    rows = [line.split("|")[1] for line in document.splitlines() if line.startswith("| ")]
    shown_names = {name.strip() for row in rows for name in row.split(",")}
    assert {entity.config["name"] for entity in model.entities.values()} <= shown_names


def test_the_instants_of_these_tests_are_what_they_look_like() -> None:
    assert datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat() == "2026-09-21T14:14:20+00:00"
