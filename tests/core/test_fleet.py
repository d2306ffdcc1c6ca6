from pulse_bridge.clock import Instant
from pulse_bridge.event import EventId
from pulse_bridge.fleet import SILENT_AFTER_S, Fleet, Silence
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event


def at(now_s: float) -> Instant:
    return Instant(now_s, 1_790_000_000 + now_s)


def silent_hosts(fleet: Fleet, now_s: float) -> list[str]:
    return [silence.host for silence in fleet.silences(now_s)]


def test_the_newest_event_of_each_job_and_host_is_kept() -> None:
    fleet = Fleet()
    for event in (make_job_event(1, job="a"), make_job_event(2, job="b"), make_job_event(3, job="a")):
        assert fleet.apply(event, at(0))
    fleet.apply(make_host_event(4), at(0))
    assert [event.id.seq for event in fleet.jobs.values()] == [3, 2]
    assert fleet.hosts["node1"].newest == make_host_event(4)
    assert fleet.hosts["node1"].last_ms == SAMPLE_MS + 4


def test_an_event_given_twice_is_no_news_and_an_older_one_neither() -> None:
    fleet = Fleet()
    fleet.apply(make_job_event(2), at(0))
    assert not fleet.apply(make_job_event(2), at(1))
    assert not fleet.apply(make_job_event(1), at(1))


def test_another_producer_counts_anew() -> None:
    fleet = Fleet()
    fleet.apply(make_job_event(9), at(0))
    assert fleet.apply(make_job_event(id=EventId("later", 1)), at(1))


def test_a_sidecar_that_says_nothing_becomes_silent_and_is_heard_again() -> None:
    fleet = Fleet()
    fleet.apply(make_job_event(1), at(100))
    host = fleet.hosts["node1"]
    assert host.hearing(100 + SILENT_AFTER_S) == "heard"
    assert silent_hosts(fleet, 100 + SILENT_AFTER_S) == []
    assert host.hearing(100.001 + SILENT_AFTER_S) == "silent"
    assert silent_hosts(fleet, 100.001 + SILENT_AFTER_S) == ["node1"]
    fleet.apply(make_host_event(2), at(140))
    assert host.hearing(141) == "heard"


def test_silence_counts_from_each_connect_because_nobody_listened_before() -> None:
    fleet = Fleet()
    fleet.apply(make_job_event(1), at(0))
    fleet.connect(1000)
    assert fleet.hosts["node1"].hearing(1000 + SILENT_AFTER_S) == "unheard"
    assert silent_hosts(fleet, 1000 + SILENT_AFTER_S) == []
    assert silent_hosts(fleet, 1001 + SILENT_AFTER_S) == ["node1"]


def test_what_a_bus_kept_is_no_word_of_the_host() -> None:
    fleet = Fleet()
    fleet.apply(make_host_event(1), at(0), snapshot=True)
    assert fleet.hosts["node1"].hearing(1) == "unheard"
    fleet.apply(make_host_event(2), at(20), snapshot=True)
    assert silent_hosts(fleet, 31) == ["node1"]


def test_a_repeated_event_is_no_word_of_the_host() -> None:
    fleet = Fleet()
    fleet.apply(make_host_event(1), at(0))
    fleet.apply(make_host_event(1), at(29))
    assert silent_hosts(fleet, 31) == ["node1"]


def test_a_clean_stop_is_no_silence_where_every_job_is_finished() -> None:
    fleet = Fleet()
    fleet.apply(make_job_event(1, state="done"), at(0))
    fleet.apply(make_host_event(2, stopping=True), at(0))
    assert fleet.hosts["node1"].hearing(10**6) == "stopped"
    assert silent_hosts(fleet, 10**6) == []


def test_a_clean_stop_that_left_unfinished_jobs_is_a_silence_and_says_so() -> None:
    fleet = Fleet()
    for seq, (job, state) in enumerate([("b", "running"), ("a", "stale"), ("c", "gone")], start=1):
        fleet.apply(make_job_event(seq, job=job, state=state), at(0))
    fleet.apply(make_host_event(4, stopping=True), at(0))
    assert list(fleet.silences(31)) == [Silence("node1", SAMPLE_MS + 4, stopped=True, unfinished=("a", "b"))]
