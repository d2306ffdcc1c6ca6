"""What is shown under which names: pure, and as promtool and a parser read it."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from pulse_bridge.clock import Instant
from pulse_bridge.event import KINDS, STATES, Event, HostEvent, JobEvent
from pulse_bridge.fleet import SILENT_AFTER_S, Fleet
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from pulse_bridge_prometheus.health import judge
from pulse_bridge_prometheus.label_names import legal_labels
from pulse_bridge_prometheus.metrics import families
from pulse_bridge_prometheus.rules import RULES_FILE
from pulse_bridge_prometheus.view import View, view_hosts
from tests.support.prometheus import check_metrics, promtool

RULES_TEST = Path(__file__).with_name("prometheus_rules.test.yml")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "prometheus.md"
NOW = Instant(1000.0, SAMPLE_MS / 1000 + 1)
HOUR_S = 3600.0
DAY_S = 86_400.0

Labels = frozenset[tuple[str, str]]


def later(seconds: float) -> Instant:
    return Instant(NOW.now_s + seconds, NOW.wall_s + seconds)


def make_view(
    *events: Event, at: Instant = NOW, snapshot: bool = False, unready: str | None = None, missed: int = 0
) -> View:
    """Show events that came at NOW, as they are shown at `at`."""
    fleet = Fleet()
    for event in events:
        fleet.apply(event, NOW, snapshot=snapshot)
    return View(
        at=at,
        unready=unready,
        received=dict.fromkeys(KINDS, 0),
        missed=missed,
        hosts=view_hosts(fleet, at.now_s),
        jobs=tuple(fleet.jobs.values()),
        keep_finished_s=HOUR_S,
        keep_silent_s=DAY_S,
    )


class Collected:
    """What a scrape of a moment gives."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.text = generate_latest(self.registry).decode()
        self.samples: dict[str, dict[Labels, float]] = {}
        for family in read_text(self.text):
            for sample in family.samples:
                self.samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def collect(self) -> Iterable[Metric]:
        return families(self._view)

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get(name, {}).get(frozenset(labels.items()))

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for labels in self.samples.get(name, {})]

    def names_with(self, label: str) -> set[str]:
        return {name for name, found in self.samples.items() if any(label in dict(labels) for labels in found)}


JOB = {"host": "node1", "training_job": "llm/run a"}
HOST = {"host": "node1"}


# Names and values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pulse_loss", 0.125),
        ("pulse_learning_rate", 2e-05),
        ("pulse_epoch", 1.5),
        ("pulse_epochs_configured", 3),
        ("pulse_progress_ratio", 0.5),
        ("pulse_eta_seconds", 12.5),
        ("pulse_last_update_timestamp_seconds", 1_790_000_000),
        ("pulse_step", 150),
        ("pulse_steps_configured", 800),
        ("pulse_diverged", 0),
    ],
)
def test_each_number_of_a_job_is_shown_in_its_base_unit(name: str, value: float) -> None:
    assert Collected(make_view(make_job_event())).samples[name] == {frozenset(JOB.items()): value}


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_shown_and_exactly_one_is_true(state: str) -> None:
    found = Collected(make_view(make_job_event(state=state)))
    assert {name: found.value("pulse_state", **JOB, state=name) for name in STATES} == {
        name: int(name == state) for name in STATES
    }


def test_an_absent_number_has_no_sample() -> None:
    absent: dict[str, Any] = {"eta_s": None, "step": None, "total_steps": None, "learning_rate": None}
    found = Collected(make_view(make_job_event(loss=None, diverged=True, **absent)))
    gone = {"pulse_loss", "pulse_eta_seconds", "pulse_step", "pulse_steps_configured", "pulse_learning_rate"}
    assert not gone & found.samples.keys()
    assert found.value("pulse_diverged", **JOB) == 1
    assert found.value("pulse_epoch", **JOB) == 1.5


def test_run_and_labels_of_a_job_are_labels_of_its_info_alone() -> None:
    found = Collected(make_view(make_job_event(labels={"profile": "TRIZ", "data set": "c4"}), make_host_event(2)))
    assert found.value("pulse_job_info", **JOB, run="1790000000", label_profile="TRIZ", label_data_set="c4") == 1
    assert found.names_with("label_profile") == found.names_with("run") == {"pulse_job_info"}
    assert found.names_with("state") == {"pulse_state"}


def test_what_a_sidecar_tells_of_itself_is_shown_with_its_host() -> None:
    event = make_host_event(dropped=3, dropped_by={"journal_full": 3, "too_old": 0}, lag={"redis": 3, "mqtt": 0})
    found = Collected(make_view(event))
    assert found.value("pulse_host_up", **HOST) == 1
    assert found.value("pulse_host_info", **HOST, version="0.1.0") == 1
    assert found.value("pulse_host_last_seen_timestamp_seconds", **HOST) == event.observed_ms / 1000
    assert found.value("pulse_bridge_events_published_total", **HOST) == 40
    assert found.value("pulse_bridge_reconnects_total", **HOST) == 2
    assert found.value("pulse_bridge_dropped_events_total", **HOST, reason="journal_full") == 3
    assert found.value("pulse_bridge_dropped_events_total", **HOST, reason="too_old") == 0
    assert found.value("pulse_bridge_journal_lag_events", **HOST, destination="redis") == 3
    assert found.value("pulse_bridge_journal_lag_events", **HOST, destination="mqtt") == 0
    assert found.value("pulse_bridge_malformed_files", **HOST) == 1


def test_drops_that_an_older_sidecar_counts_have_an_unknown_reason() -> None:
    found = Collected(make_view(make_host_event(dropped=3, dropped_by={})))
    assert found.samples["pulse_bridge_dropped_events_total"] == {
        frozenset({("host", "node1"), ("reason", "unknown")}): 3
    }


# What is current


def test_nothing_of_hosts_and_jobs_is_shown_while_nothing_is_known_of_the_present() -> None:
    found = Collected(make_view(make_job_event(), make_host_event(2), unready="the broker is away", missed=4))
    assert found.value("pulse_bridge_up") == 0
    assert found.names_with("host") == set()
    assert found.value("pulse_bridge_events_received_total", kind="change") == 0
    assert found.value("pulse_bridge_events_missed_total") == 4


def test_a_host_whose_word_is_old_and_that_was_not_heard_since_the_connect_is_neither_up_nor_down() -> None:
    old_ms = SAMPLE_MS - int(SILENT_AFTER_S * 1000)
    events = (make_job_event(observed_ms=old_ms), make_host_event(2, observed_ms=old_ms))
    found = Collected(make_view(*events, snapshot=True))
    assert found.value("pulse_bridge_up") == 1
    assert found.names_with("host") == set()


def test_a_host_whose_word_the_bus_kept_a_moment_ago_is_up_at_once() -> None:
    found = Collected(make_view(make_job_event(), make_host_event(2), snapshot=True))
    assert found.value("pulse_host_up", **HOST) == 1
    assert found.labels("pulse_loss") == [JOB]


def test_a_silent_host_is_down_and_nothing_is_said_of_what_its_jobs_do_now() -> None:
    events = (make_job_event(), make_job_event(2, job="over", state="done"), make_host_event(3))
    found = Collected(make_view(*events, at=later(SILENT_AFTER_S + 1)))
    assert found.value("pulse_host_up", **HOST) == 0
    assert found.value("pulse_host_last_seen_timestamp_seconds", **HOST) is not None
    assert found.labels("pulse_loss") == [{"host": "node1", "training_job": "over"}], "a result stays one"
    assert not any(name.startswith("pulse_bridge_journal") for name in found.samples)


def test_a_host_that_is_silent_for_a_day_is_shown_no_more() -> None:
    events = (make_job_event(), make_host_event(2))
    assert Collected(make_view(*events, at=later(DAY_S - 60))).value("pulse_host_up", **HOST) == 0
    assert Collected(make_view(*events, at=later(DAY_S + 60))).names_with("host") == set()


def test_a_host_that_ended_cleanly_with_nothing_unfinished_is_not_down() -> None:
    events = (make_job_event(state="done"), make_host_event(2, stopping=True))
    found = Collected(make_view(*events, at=later(SILENT_AFTER_S + 1)))
    assert "pulse_host_up" not in found.samples
    assert found.labels("pulse_loss") == [JOB]


def test_a_host_that_ended_cleanly_with_jobs_unfinished_is_down_unless_it_comes_back_soon() -> None:
    events = (make_job_event(), make_host_event(2, stopping=True))
    soon = Collected(make_view(*events, at=later(SILENT_AFTER_S - 1)))
    assert soon.names_with("host") == set()
    assert Collected(make_view(*events, at=later(SILENT_AFTER_S + 1))).value("pulse_host_up", **HOST) == 0


@pytest.mark.parametrize("state", ["done", "error", "gone"])
def test_a_finished_job_leaves_after_the_time_set(state: str) -> None:
    job = make_job_event(state=state)
    assert Collected(make_view(job, at=later(HOUR_S - 60))).labels("pulse_loss") == [JOB]
    assert Collected(make_view(job, at=later(HOUR_S + 60))).labels("pulse_loss") == []


def test_a_result_is_shown_at_once_from_what_the_bus_kept_unless_it_is_old() -> None:
    fresh = make_job_event(state="error")
    old = make_job_event(2, job="old", state="error", observed_ms=SAMPLE_MS - int(HOUR_S * 1000) - 5000)
    found = Collected(make_view(fresh, old, snapshot=True))
    assert found.labels("pulse_loss") == [JOB]


# Health


def test_health_says_in_words_why_not() -> None:
    assert judge(make_view(unready="not connected to the bus: it is away")) == (
        False,
        {"status": "unavailable", "reason": "not connected to the bus: it is away"},
    )
    one = make_view(make_host_event(), at=later(SILENT_AFTER_S + 1))
    assert judge(one) == (False, {"status": "unavailable", "reason": "connected, but the one host fell silent"})
    two = make_view(make_host_event(), make_host_event(host="node2"), at=later(SILENT_AFTER_S + 1))
    assert judge(two).body["reason"] == "connected, but all 2 hosts fell silent"


def test_health_is_good_when_a_host_is_heard_and_when_there_is_none_to_hear() -> None:
    assert judge(make_view(make_job_event())) == (True, {"status": "ok", "hosts_heard": 1, "jobs": 1})
    assert judge(make_view()).ok
    assert judge(make_view(make_host_event(stopping=True), at=later(DAY_S))).ok


# Hostile names


HOSTILE_LABELS = {
    "a-b": "1",
    "a.b": "2",
    "a_b_conflict1": "3",
    "": "empty",
    "été": "4",
    "профиль": 'back\\slash "quote"\nnewline',
    "обучен": "NUL \0",
    "__name__": "5",
    "0": "{},=|",
}
HOSTILE: tuple[JobEvent, ...] = (
    make_job_event(1, job='a"b\\c\nd\re{x="y"} 1|\0', labels=HOSTILE_LABELS),
    make_job_event(2, job="ж" * 300, host="node 🖥", labels={"host": "not the host", "run": "x", "state": "y"}),
    make_job_event(3, job="", epoch=1e308, total_epochs=-0.0, loss=5e-324, run=2**62, step=2**63 - 1),
    make_job_event(4, job="# HELP x\n# TYPE", loss=None, diverged=True, eta_s=None),
    make_job_event(5, job="\u2028\x85 \ufeff"),
)
HOSTILE_HOST: HostEvent = make_host_event(6, version="\0\n", lag={'"': 1, "": 2}, dropped_by={"\\": 1, "\n": 0})


def test_promtool_accepts_what_hostile_names_give() -> None:
    found = Collected(make_view(*HOSTILE, HOSTILE_HOST, missed=1))
    assert check_metrics(found.text) == ""
    assert len(found.labels("pulse_epoch")) == len(HOSTILE)


def test_promtool_would_complain() -> None:
    assert "counter" in check_metrics("# HELP pulse_x x\n# TYPE pulse_x counter\npulse_x 1\n")


def test_both_formats_say_the_same_of_hostile_names() -> None:
    found = Collected(make_view(*HOSTILE, HOSTILE_HOST))
    text = generate_openmetrics(found.registry, version="1.0.0").decode()  # type: ignore[no-untyped-call] # no hints
    openmetrics: dict[str, dict[Labels, float]] = {}
    for family in read_openmetrics(text):  # type: ignore[no-untyped-call] # no hints
        for sample in family.samples:
            openmetrics.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    assert openmetrics == found.samples


def test_labels_that_become_one_are_told_apart() -> None:
    assert legal_labels({"b": "0", "a-b": "1", "a.b": "2"}) == {
        "label_b": "0",
        "label_a_b_conflict1": "1",
        "label_a_b_conflict2": "2",
    }
    assert legal_labels({"a-b": "1", "a.b": "2", "a_b_conflict1": "3"}) == {
        "label_a_b_conflict1": "3",
        "label_a_b_conflict2": "1",
        "label_a_b_conflict3": "2",
    }


@given(st.dictionaries(st.text() | st.text("ab-._", max_size=3), st.text()))
def test_every_label_has_a_legal_name_of_its_own(labels: dict[str, str]) -> None:
    legal = legal_labels(labels)
    assert sorted(legal.values()) == sorted(labels.values())
    assert all(name.isascii() and name.isidentifier() and name.startswith("label_") for name in legal)


# Documents and rules


def test_the_documents_list_every_metric_with_its_type_and_labels_and_no_other() -> None:
    view = make_view(make_job_event(labels={"profile": "x"}), make_host_event(2), missed=1)
    shown: dict[str, tuple[str, set[str]]] = {}
    for family in families(view):
        for sample in family.samples:
            labels = {"label_…" if name.startswith("label_") else name for name in sample.labels}
            kind = "counter" if family.type == "counter" else "gauge"
            shown[sample.name] = (kind, shown.get(sample.name, (kind, set()))[1] | labels)
    documented: dict[str, tuple[str, set[str]]] = {}
    for line in DOCS.read_text().splitlines():
        if line.startswith("| `pulse_"):
            name, kind, labels_text = (cell.strip() for cell in line.split("|")[1:4])
            documented[name.strip("`")] = (kind, {word.strip("`") for word in labels_text.split()})
    assert documented == shown


def test_the_documents_list_every_alert() -> None:
    alerts = [line.split(":")[1].strip() for line in RULES_FILE.read_text().splitlines() if "- alert:" in line]
    assert len(alerts) > 5
    listed = [line.split("`")[1] for line in DOCS.read_text().splitlines() if line.startswith("| `Pulse")]
    assert listed == alerts


def run_promtool(*arguments: Any) -> str:
    done = subprocess.run(
        [promtool(), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules_and_they_fire_when_they_should() -> None:
    assert "SUCCESS" in run_promtool("check", "rules", RULES_FILE)
    assert "SUCCESS" in run_promtool("test", "rules", RULES_TEST)


def test_every_alert_is_held_to_its_word() -> None:
    tests = RULES_TEST.read_text()
    alerts = [line.split(":")[1].strip() for line in RULES_FILE.read_text().splitlines() if "- alert:" in line]
    assert [name for name in alerts if name not in tests] == []
