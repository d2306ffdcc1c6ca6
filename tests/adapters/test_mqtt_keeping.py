"""What a publisher knows to be retained, and when it is to be forgotten; no broker."""

import pytest

from pulse_bridge.event import FINISHED_STATES, JobEvent
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_mqtt.keeping import Keeping

TOPIC = "pulse/node1/a/state"
AFTER_S = 60.0
NOW_MS = 1_790_000_060_000
OLD_MS = NOW_MS - 60_000


def job(seq: int = 1, state: str = "done", observed_ms: int = NOW_MS) -> JobEvent:
    return make_job_event(seq, job="a", state=state, observed_ms=observed_ms)


@pytest.mark.parametrize("state", sorted(FINISHED_STATES))
def test_a_finished_job_is_due_when_its_time_is_over_and_once_only(state: str) -> None:
    keeping = Keeping("node1", AFTER_S)
    assert keeping.keep(TOPIC, job(state=state), NOW_MS)
    assert keeping.due(NOW_MS + 59_999) == []
    assert keeping.due(NOW_MS + 60_000) == [TOPIC]
    assert keeping.forget(TOPIC)
    assert not keeping.forget(TOPIC)
    assert keeping.due(NOW_MS + 60_000) == []


def test_a_job_that_runs_again_is_never_due() -> None:
    keeping = Keeping("node1", AFTER_S)
    keeping.find(TOPIC, job(), recall=True)
    assert keeping.keep(TOPIC, job(2, state="running"), NOW_MS)
    assert keeping.due(NOW_MS * 2) == []
    assert keeping.recall("node1", NOW_MS) == [], "it is spoken of"


def test_an_old_end_is_retained_only_where_it_was_before() -> None:
    assert not Keeping("node1", AFTER_S).keep(TOPIC, job(observed_ms=OLD_MS), NOW_MS)
    known = Keeping("node1", AFTER_S)
    known.find(TOPIC, job(observed_ms=OLD_MS), recall=False)
    assert known.keep(TOPIC, job(2, observed_ms=OLD_MS), NOW_MS)


def test_what_the_broker_has_is_known_until_something_newer_is_there() -> None:
    keeping = Keeping("node1", AFTER_S)
    host = make_host_event(3)
    keeping.find("pulse/node1/host", host, recall=False)
    keeping.find(TOPIC, job(), recall=False)
    assert keeping.has(TOPIC, job())
    assert keeping.has("pulse/node1/host", host)
    keeping.keep(TOPIC, job(2), NOW_MS)
    assert not keeping.has(TOPIC, job())


def test_a_relay_sees_to_a_finished_job_only_once_its_host_is_heard() -> None:
    keeping = Keeping(None, AFTER_S)
    keeping.find(TOPIC, job(), recall=True)
    assert keeping.due(NOW_MS + 60_000) == []
    assert keeping.recall("node2", NOW_MS) == []
    assert keeping.recall("node1", NOW_MS) == [job()]
    assert keeping.recall("node1", NOW_MS) == []
    assert keeping.due(NOW_MS + 60_000) == [TOPIC]


def test_a_finished_job_found_past_its_time_is_not_announced_but_forgotten() -> None:
    keeping = Keeping("node1", AFTER_S)
    keeping.find(TOPIC, job(observed_ms=OLD_MS), recall=True)
    assert keeping.recall("node1", NOW_MS) == []
    assert keeping.due(NOW_MS) == [TOPIC]
