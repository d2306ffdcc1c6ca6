"""The state of jobs and hosts, folded from events."""

from pulse_bridge.event import EventId
from pulse_bridge.fleet import SILENT_AFTER_MS, Fleet
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event


def test_the_newest_event_of_each_job_counts() -> None:
    fleet = Fleet()
    for seq, job in enumerate(["a", "b", "a"], start=1):
        assert fleet.apply(make_job_event(seq, job=job), SAMPLE_MS)
    assert {key: event.id.seq for key, event in fleet.jobs.items()} == {("node1", "a"): 3, ("node1", "b"): 2}


def test_an_event_that_comes_again_is_no_news() -> None:
    fleet = Fleet()
    assert fleet.apply(make_job_event(2), SAMPLE_MS)
    assert not fleet.apply(make_job_event(2), SAMPLE_MS)
    assert not fleet.apply(make_job_event(1), SAMPLE_MS)
    assert fleet.apply(make_host_event(1), SAMPLE_MS)
    assert not fleet.apply(make_host_event(1), SAMPLE_MS)


def test_another_start_of_the_sidecar_numbers_anew() -> None:
    fleet = Fleet()
    fleet.apply(make_job_event(9), SAMPLE_MS)
    assert fleet.apply(make_job_event(1, id=EventId("another", 1)), SAMPLE_MS)


def test_a_sidecar_that_says_nothing_becomes_silent_and_is_heard_again() -> None:
    fleet = Fleet()
    fleet.apply(make_host_event(1), SAMPLE_MS)
    host = fleet.hosts["node1"]
    assert host.hearing(SAMPLE_MS + SILENT_AFTER_MS) == "heard"
    assert host.hearing(SAMPLE_MS + SILENT_AFTER_MS + 1) == "silent"
    fleet.apply(make_job_event(2), SAMPLE_MS + 40_000)
    assert host.hearing(SAMPLE_MS + 40_001) == "heard"


def test_a_sidecar_that_said_goodbye_is_stopped_and_not_silent() -> None:
    fleet = Fleet()
    fleet.apply(make_host_event(1, stopping=True), SAMPLE_MS)
    assert fleet.hosts["node1"].hearing(SAMPLE_MS + 10**9) == "stopped"
    fleet.apply(make_host_event(2), SAMPLE_MS)
    assert fleet.hosts["node1"].hearing(SAMPLE_MS) == "heard"
