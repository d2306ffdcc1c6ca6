"""All jobs of a sidecar together; what one job's tracker says is specified elsewhere."""

import pytest

from pulse_bridge.config import SidecarSettings
from pulse_bridge.event import JobEvent
from pulse_bridge.jobs import Jobs, News
from pulse_bridge.pulse import Pulse
from pulse_bridge.track import Instant
from pulse_bridge.watch import Sighting
from tests.support.tracking import START_S, make_pulse


class Fleet:
    """Files by job, two clocks, and the jobs that are made of them."""

    def __init__(self, saved: dict[str, str] | None = None, **fields: object) -> None:
        self.now_s = 1000.0
        self.files: dict[str, Pulse | None] = {}
        self.unreadable: set[str] = set()
        self.looked: list[str] = []
        self.tracks: dict[str, str] = dict(saved or {})
        settings = SidecarSettings.model_validate({"paths": ("x",), "host": "node1", **fields})
        self.jobs = Jobs(settings, saved or {}, self._look)

    @property
    def at(self) -> Instant:
        return Instant(self.now_s, START_S + self.now_s - 1000.0)

    def write(self, job: str, status: str = "running", **changes: object) -> None:
        self.files[job] = make_pulse(status, self.at.wall_s, **changes)

    def observe(self, *jobs: str) -> list[JobEvent]:
        return self._keep(self.jobs.observe([self._sighting(job) for job in jobs], self.at))

    def tick(self) -> list[JobEvent]:
        return self._keep(self.jobs.tick(self.at))

    def pass_time(self, seconds: float) -> list[JobEvent]:
        end_s, events = self.now_s + seconds, []
        while (due_s := self.jobs.next_deadline_s) is not None and due_s <= end_s:
            self.now_s = max(self.now_s, due_s)
            events += self.tick()
        self.now_s = end_s
        return events

    def _sighting(self, job: str) -> Sighting:
        return Sighting(job=job, path=f"./{job}.json", pulse=self.files.get(job), labels={"profile": job})

    def _look(self, job: str) -> Sighting | None:
        self.looked.append(job)
        return None if job in self.unreadable else self._sighting(job)

    def _keep(self, news: News) -> list[JobEvent]:
        assert {job for _, job in news.tracks} == {event.job for event in news.events}
        self.tracks |= {job: track for (_, job), track in news.tracks.items()}
        self.jobs.settle()
        return list(news.events)


def told(events: list[JobEvent]) -> list[tuple[str, str]]:
    return [(event.job, event.kind) for event in events]


def test_each_job_is_news_once_and_carries_its_labels() -> None:
    fleet = Fleet(labels={"team": "x", "profile": "flag"})
    fleet.write("a")
    fleet.write("b")
    events = fleet.observe("a", "b", "a")
    assert told(events) == [("a", "change"), ("b", "change")]
    assert events[0].labels == {"profile": "flag", "team": "x"}
    assert fleet.observe("a", "b") == []


def test_each_job_has_its_own_timer_and_threshold() -> None:
    fleet = Fleet(stale_after_s=60, heartbeat_s=1000, jobs={"slow": {"stale_after_s": 300}})
    for job in ("slow", "fast"):
        fleet.write(job)
    fleet.observe("slow", "fast")
    assert told(fleet.pass_time(100)) == [("fast", "stale")]
    assert told(fleet.pass_time(250)) == [("slow", "stale")]
    assert fleet.jobs.count_states() == {"stale": 2}


def test_silence_gives_heartbeats_of_what_is_unfinished_alone() -> None:
    fleet = Fleet()
    fleet.write("a")
    fleet.write("b", "done")
    fleet.observe("a", "b")
    assert told(fleet.pass_time(24)) == [("a", "heartbeat")] * 2


def test_a_file_is_read_once_more_before_its_job_is_called_stale() -> None:
    fleet = Fleet(heartbeat_s=1000)
    fleet.write("a")
    fleet.observe("a")
    fleet.now_s += 61
    fleet.write("a", epoch=2.0)  # and no hint came
    events = fleet.tick()
    assert fleet.looked == ["a"]
    assert told(events) == [("a", "change")]


def test_a_file_that_cannot_be_read_then_does_not_keep_its_job_alive() -> None:
    fleet = Fleet(heartbeat_s=1000)
    fleet.write("a")
    fleet.observe("a")
    fleet.unreadable.add("a")
    assert told(fleet.pass_time(100)) == [("a", "stale")]


def test_a_file_that_is_missing_is_gone_after_its_grace_and_once() -> None:
    fleet = Fleet(heartbeat_s=1000)
    fleet.write("a", "done")
    fleet.observe("a")
    fleet.files["a"] = None
    assert fleet.observe("a") == []
    assert told(fleet.pass_time(500)) == [("a", "gone")]
    assert fleet.jobs.count_states() == {"gone": 1}


def test_a_restart_announces_nothing_again_and_knows_the_run() -> None:
    first = Fleet()
    first.write("a")
    first.write("b", "done")
    runs = [event.run for event in first.observe("a", "b")]
    second = Fleet(first.tracks)
    second.files = first.files
    second.now_s += 5
    assert second.observe("a", "b") == []
    second.write("a", epoch=1.6)
    (event,) = second.observe("a")
    assert (event.kind, event.run) == ("change", runs[0])


def test_a_job_that_is_missing_after_a_restart_is_gone_after_its_grace() -> None:
    first = Fleet()
    first.write("a")
    first.write("b", "done")
    first.observe("a", "b")
    second = Fleet(first.tracks)
    second.now_s += 5
    second.jobs.miss_unseen(second.at)
    events = second.pass_time(29)
    assert "gone" not in {event.kind for event in events}
    assert told(second.pass_time(2))[-1] == ("a", "gone")


@pytest.mark.parametrize("saved", ["", "{", "null", '{"run": "x"}'])
def test_what_cannot_be_read_of_a_job_is_said_and_it_begins_anew(
    saved: str, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet({"a": saved})
    fleet.write("a")
    assert told(fleet.observe("a")) == [("a", "change")]
    assert [record.message for record in caplog.records] == ["what the journal remembers of a job cannot be read"]


def test_a_job_that_flaps_is_given_advice_once(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet(heartbeat_s=1000)
    for number in range(6):
        fleet.write("a", epoch=1.0 + number / 10)
        fleet.observe("a")
        fleet.pass_time(90)
    assert [record.message for record in caplog.records] == ["a job keeps becoming stale and recovering"]
    assert "stale_after_s" in vars(caplog.records[0])["advice"]


def test_the_end_is_reached_when_every_job_has_its_result() -> None:
    fleet = Fleet()
    for job in ("a", "b"):
        fleet.write(job)
    fleet.observe("a", "b")
    fleet.write("a", "done")
    fleet.observe("a")
    assert not fleet.jobs.all_finished
    fleet.write("b", "error")
    fleet.observe("b")
    assert fleet.jobs.all_finished


def test_a_result_that_the_journal_knew_before_counts_at_once_and_a_foreign_old_one_does_not() -> None:
    first = Fleet()
    first.write("a", "done")
    first.observe("a")
    second = Fleet(first.tracks)
    second.files = first.files
    second.now_s += 5000
    second.observe("a")
    assert second.jobs.all_finished
    third = Fleet()
    third.files = first.files
    third.now_s += 5000
    third.observe("a")
    assert not third.jobs.all_finished
