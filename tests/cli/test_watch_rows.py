"""Which jobs are shown, and in which order."""

import pytest

from pulse_bridge.cli.watch_rows import ORDERS, choose, group, sort, voices
from pulse_bridge.cli.watch_words import Link
from pulse_bridge.clock import Instant
from pulse_bridge.event import JobEvent
from pulse_bridge.fleet import Fleet
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event

AT = Instant(1.0, SAMPLE_MS / 1000 + 1)
EVENTS = [
    make_job_event(1, job="llm/a", loss=0.5, epoch=1, progress=33.3, eta_s=None, labels={"profile": "Wide Net"}),
    make_job_event(2, job="llm/b", loss=0.25, epoch=2, progress=66.6, eta_s=5, timestamp=1_790_000_100, labels={}),
    make_job_event(3, job="c", loss=None, diverged=True, epoch=1.5, progress=50.0, eta_s=9, labels={}),
    make_job_event(4, job="d", host="node2", state="stale", loss=0.75, progress=10, labels={}),
    make_job_event(5, job="e", host="node2", state="done", loss=0.1, progress=100, labels={}),
    make_job_event(6, job="f", host="node3", state="gone", loss=9, progress=90, labels={}),
]


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet()
    for event in EVENTS:
        fleet.apply(event, Instant(0.0, SAMPLE_MS / 1000))
    return fleet


def chosen(fleet: Fleet, words: str) -> str:
    return "".join(sorted(job.event.job[-1] for job in choose(fleet, voices(fleet, AT, Link()), words)))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "abcdef"),
        ("llm", "ab"),
        ("LLM/A", "a"),
        ("node2", "de"),
        ("node2/d", "d"),
        ("stale", "d"),
        ("wide net", "a"),
        ("profile=wide", "a"),
        ("running llm", "ab"),
        ("running !llm", "c"),
        ("diverged", "c"),
        ("!running", "def"),
        ("!", "abcdef"),
        ("nothing", ""),
    ],
)
def test_a_filter_asks_for_words_in_host_job_state_and_labels(fleet: Fleet, words: str, names: str) -> None:
    assert chosen(fleet, words) == names


def test_what_is_only_the_last_known_can_be_asked_for(fleet: Fleet) -> None:
    fleet.apply(make_host_event(9, host="node2", stopping=True), AT)
    assert chosen(fleet, "last known") == "d"


def ordered(fleet: Fleet, order: str, *, backwards: bool = False) -> str:
    jobs = choose(fleet, voices(fleet, AT, Link()), "")
    return "".join(job.event.job[-1] for job in sort(jobs, order, backwards=backwards))


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("", "cabdef"),
        ("job", "cdefab"),
        ("state", "dcabef"),
        ("progress", "efbcad"),
        ("loss", "ebadfc"),
        ("ETA", "bcadef"),
        ("updated", "bcadef"),
    ],
)
def test_jobs_stand_in_the_order_that_is_asked_for(fleet: Fleet, order: str, names: str) -> None:
    assert ordered(fleet, order) == names


def test_backwards_what_has_no_value_is_still_last(fleet: Fleet) -> None:
    assert ordered(fleet, "loss", backwards=True) == "fdabec"
    assert ordered(fleet, "ETA", backwards=True)[:2] == "cb"


@pytest.mark.parametrize("order", ["", *ORDERS])
def test_every_order_has_every_job_once(fleet: Fleet, order: str) -> None:
    assert sorted(ordered(fleet, order)) == list("abcdef")
    assert sorted(ordered(fleet, order, backwards=True)) == list("abcdef")


def test_hosts_whose_jobs_are_all_over_come_last(fleet: Fleet) -> None:
    fleet.apply(make_job_event(7, host="node0", job="over", state="done"), AT)
    fleet.apply(make_host_event(8, host="node9"), AT)
    jobs = sort(choose(fleet, voices(fleet, AT, Link()), ""), "")
    assert [item.host for item in group(jobs, fleet, filtered=False)] == [
        "node1",
        "node2",
        "node0",
        "node3",
        "node9",
    ]
    assert [item.host for item in group(jobs[:1], fleet, filtered=True)] == ["node1"]


def test_a_heading_counts_all_of_its_host_s_jobs(fleet: Fleet) -> None:
    events: list[JobEvent] = [job.event for job in choose(fleet, voices(fleet, AT, Link()), "llm/a")]
    assert len(events) == 1
    (item,) = group(choose(fleet, voices(fleet, AT, Link()), "llm/a"), fleet, filtered=True)
    assert item.states == {"running": 3}
