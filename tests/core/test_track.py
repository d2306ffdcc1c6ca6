"""What is news about a job: `design.md`, "Which kind when", and `pulse-v1.md`, "Runs"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulse_bridge.event import MAX_MESSAGE_BYTES, STALE_MESSAGE, UNNUMBERED
from pulse_bridge.track import Instant, JobTracker
from tests.support.tracking import START_S, Drive, kinds, make_pulse

RUN = int(START_S)


def test_an_event_says_all_that_the_file_says() -> None:
    drive = Drive(wall_s=START_S + 1.25)
    drive.tracker.labels = {"profile": "TRIZ Engineer"}
    drive.file = make_pulse(timestamp=START_S, step=150, total_steps=800, learning_rate=2e-05)
    (event,) = drive.look()
    assert event._asdict() == {
        "id": UNNUMBERED,
        "kind": "change",
        "host": "node1",
        "job": "job",
        "run": RUN + 1,
        "state": "running",
        "status": "running",
        "epoch": 1.5,
        "total_epochs": 3.0,
        "loss": 0.342,
        "message": "test epoch 1.5/3",
        "timestamp": RUN,
        "progress": 50.0,
        "eta_s": None,
        "diverged": False,
        "step": 150,
        "total_steps": 800,
        "learning_rate": 2e-05,
        "labels": {"profile": "TRIZ Engineer"},
        "observed_ms": 1000 * RUN + 1250,
        "replay_of": None,
        "replay_observed_ms": None,
    }


class TestFirstSight:
    @pytest.mark.parametrize("status", ["idle", "running", "done", "error"])
    def test_is_a_change(self, status: str) -> None:
        (event,) = Drive().write(status)
        assert (event.kind, event.state, event.status) == ("change", status, status)

    def test_is_only_stale_if_it_is_stale_at_once(self) -> None:
        drive = Drive()
        assert kinds(drive.write(age_s=70)) == ["stale"]
        assert drive.tick() == []

    def test_of_no_file_is_nothing(self) -> None:
        drive = Drive()
        assert drive.remove() == []
        assert drive.tracker.deadline_s() is None
        assert drive.tracker.state is None
        assert drive.pass_time(3600) == drive.tick() == []


class TestChange:
    @pytest.mark.parametrize(
        "change",
        [
            {"epoch": 1.6},
            {"total_epochs": 4},
            {"loss": 0.3},
            {"loss": None, "diverged": True},
            {"message": "another"},
            {"timestamp": RUN + 1},
            {"step": 1},
            {"total_steps": 10},
            {"learning_rate": 1e-4},
            {"status": "done"},
        ],
        ids=str,
    )
    def test_is_told_of_each_field(self, change: dict[str, object]) -> None:
        drive = Drive()
        drive.write()
        assert drive.file is not None
        drive.file = drive.file._replace(**change)  # type: ignore[arg-type]  # a table of fields
        assert kinds(drive.look()) == ["change"]

    def test_a_write_that_changes_nothing_is_nothing(self) -> None:
        drive = Drive()
        drive.write()
        assert drive.write() == []

    def test_two_writes_within_one_second_are_two_changes(self) -> None:
        drive = Drive()
        drive.write(epoch=1.5)
        assert kinds(drive.write(epoch=1.6)) == ["change"]

    def test_labels_travel_with_the_next_event_and_are_no_news(self) -> None:
        drive = Drive()
        drive.write()
        drive.tracker.labels = {"dataset": "b"}
        assert drive.look() == []
        assert drive.pass_time(10)[0].labels == {"dataset": "b"}

    def test_a_long_message_is_cut_and_what_is_cut_off_makes_no_difference(self) -> None:
        drive = Drive()
        (event,) = drive.write(message="ж" * 5000 + "a")
        assert event.message == "ж" * (MAX_MESSAGE_BYTES // 2)
        assert drive.write(message="ж" * 5000 + "b") == []
        assert drive.restart() == []
        assert len(drive.tracker.dump(drive.at)) < MAX_MESSAGE_BYTES + 1000


class TestHeartbeat:
    @pytest.mark.parametrize("status", ["idle", "running"])
    def test_goes_on_every_10_s_in_silence(self, status: str) -> None:
        drive = Drive()
        drive.write(status)
        assert kinds(drive.pass_time(55)) == ["heartbeat"] * 5

    def test_goes_on_for_a_stale_job_as_stale(self) -> None:
        drive = Drive()
        drive.write()
        drive.pass_time(61)
        beats = drive.pass_time(55)
        assert kinds(beats) == ["heartbeat"] * 5
        assert {(beat.state, beat.status, beat.message) for beat in beats} == {("stale", "error", STALE_MESSAGE)}

    @pytest.mark.parametrize("status", ["done", "error"])
    def test_a_finished_job_sends_none(self, status: str) -> None:
        drive = Drive()
        drive.write(status)
        assert drive.tracker.deadline_s() is None
        drive.skip(3600)
        assert drive.tick() == []

    def test_24_s_of_silence_of_a_running_job_are_two_or_three_and_no_change(self) -> None:
        for late_s in (0.0, 0.5, 1.9):
            drive = Drive()
            drive.write()
            events = []
            end_s = drive.now_s + 24
            while drive.now_s < end_s:
                drive.skip(2 + late_s / 10)
                events += drive.tick()
            assert kinds(events) in (["heartbeat"] * 2, ["heartbeat"] * 3)

    def test_each_event_restarts_the_10_s(self) -> None:
        drive = Drive()
        drive.write()
        drive.skip(7)
        drive.write()
        assert drive.tracker.deadline_s() == drive.now_s + 10
        drive.skip(9.75)
        assert drive.tick() == []
        drive.skip(0.25)
        assert kinds(drive.tick()) == ["heartbeat"]
        assert drive.tracker.deadline_s() == drive.now_s + 10

    def test_a_long_sleep_is_made_good_by_one(self) -> None:
        drive = Drive()
        drive.write("idle")
        drive.skip(3600)
        assert kinds(drive.tick() + drive.tick()) == ["heartbeat"]

    def test_repeats_what_is_so_with_the_time_of_now(self) -> None:
        drive = Drive()
        (first,) = drive.write("idle")
        (beat,) = drive.pass_time(10)
        assert beat == first._replace(kind="heartbeat", observed_ms=first.observed_ms + 10_000)


class TestStale:
    def make_stale(self) -> Drive:
        drive = Drive()
        drive.write()
        drive.pass_time(70)
        assert drive.tracker.state == "stale"
        return drive

    def test_shows_a_v1_viewer_an_error_and_keeps_the_numbers(self) -> None:
        drive = Drive()
        (running,) = drive.write()
        event = next(event for event in drive.pass_time(61) if event.kind == "stale")
        assert event == running._replace(
            kind="stale",
            state="stale",
            status="error",
            message=STALE_MESSAGE,
            observed_ms=event.observed_ms,
        )

    def test_is_told_once_however_long_it_lasts(self) -> None:
        drive = self.make_stale()
        assert {event.kind for event in drive.pass_time(3600)} == {"heartbeat"}

    def test_that_writes_with_advancing_time_recovers(self) -> None:
        (event,) = self.make_stale().write(epoch=1.6)
        assert (event.kind, event.state, event.status, event.message) == (
            "recovered",
            "running",
            "running",
            "test epoch 1.5/3",
        )

    def test_that_starts_a_new_run_recovers(self) -> None:
        drive = self.make_stale()
        (event,) = drive.write(epoch=0.1)
        assert event.kind == "recovered"
        assert event.run > drive.events[0].run

    @pytest.mark.parametrize("status", ["done", "error", "idle"])
    def test_that_ends_is_a_change(self, status: str) -> None:
        (event,) = self.make_stale().write(status)
        assert (event.kind, event.state, event.message) == ("change", status, "test epoch 1.5/3")

    @pytest.mark.parametrize("timestamp", [START_S, START_S - 5], ids=["the same", "an old"])
    def test_that_writes_another_object_with_this_timestamp_changes_and_stays_stale(
        self, timestamp: float
    ) -> None:
        (event,) = self.make_stale().write(timestamp=timestamp, epoch=1.6)
        assert (event.kind, event.state, event.status, event.epoch) == ("change", "stale", "error", 1.6)

    def test_that_changes_only_its_hidden_message_is_nothing(self) -> None:
        drive = self.make_stale()
        assert drive.write(timestamp=START_S, message="hidden") == []
        assert drive.write("running", message="shown")[0].message == "shown"

    def test_that_begins_a_new_run_as_stale_names_it(self) -> None:
        drive = self.make_stale()
        (event,) = drive.write(timestamp=START_S, epoch=0.5)
        assert (event.kind, event.state) == ("change", "stale")
        assert event.run > drive.events[0].run

    @pytest.mark.parametrize("status", ["idle", "done", "error"])
    def test_a_run_that_is_stale_from_its_first_write_is_stale_at_once(self, status: str) -> None:
        drive = Drive()
        drive.write(status)
        drive.skip(5)
        (event,) = drive.write(age_s=70)
        assert (event.kind, event.run) == ("stale", RUN + 5)

    def test_a_late_tick_does_not_tell_what_is_over(self) -> None:
        drive = Drive()
        drive.write()
        drive.skip(70)
        assert kinds(drive.write() + drive.tick()) == ["change"]


class TestGone:
    @pytest.mark.parametrize("status", ["idle", "running", "done", "error"])
    def test_is_told_once_after_30_s(self, status: str) -> None:
        drive = Drive()
        (first,) = drive.write(status)
        assert drive.remove() == []
        assert "gone" not in kinds(drive.pass_time(29.75))
        (event,) = [event for event in drive.pass_time(0.25) if event.kind != "heartbeat"]
        assert event == first._replace(kind="gone", state="gone", observed_ms=first.observed_ms + 30_000), (
            "it shows what it showed last"
        )
        assert drive.tracker.deadline_s() is None
        assert drive.pass_time(3600) == drive.remove() == drive.tick() == []

    def test_a_stale_job_that_goes_still_shows_as_unresponsive(self) -> None:
        drive = Drive()
        drive.write(age_s=70)
        drive.remove()
        event = drive.pass_time(30)[-1]
        assert (event.kind, event.state, event.status, event.message) == ("gone", "gone", "error", STALE_MESSAGE)

    def test_a_file_that_is_back_within_the_grace_was_never_away(self) -> None:
        drive = Drive()
        drive.write("done")
        pulse = drive.file
        drive.remove()
        drive.skip(29)
        drive.file = pulse
        assert drive.tick() == []
        drive.remove()
        drive.skip(29)
        assert drive.tick() == [], "the grace starts anew"

    def test_a_file_that_is_back_within_the_grace_with_news_tells_them(self) -> None:
        drive = Drive()
        drive.write("done")
        drive.remove()
        drive.skip(29)
        assert kinds(drive.write()) == ["change"]

    def test_a_file_that_cannot_be_read_is_not_gone(self) -> None:
        drive = Drive()
        drive.write("done")
        drive.remove()
        drive.skip(29)
        drive.tracker.note_unreadable()
        drive.skip(29)
        assert drive.tracker.tick(drive.at) == []

    def test_heartbeats_go_on_within_the_grace(self) -> None:
        drive = Drive()
        drive.write("idle")
        drive.remove()
        assert kinds(drive.pass_time(30)) == ["heartbeat", "heartbeat", "gone"]

    def test_a_running_job_can_become_stale_within_the_grace(self) -> None:
        drive = Drive()
        drive.write()
        drive.pass_time(50)
        drive.remove()
        told = [kind for kind in kinds(drive.pass_time(40)) if kind != "heartbeat"]
        assert told == ["stale", "gone"]

    @pytest.mark.parametrize("status", ["idle", "running", "done", "error"])
    def test_a_job_that_is_back_is_a_change_also_if_it_is_as_before(self, status: str) -> None:
        drive = Drive()
        drive.write(status)
        pulse = drive.file
        drive.remove()
        drive.pass_time(30)
        drive.file = pulse
        (event,) = drive.look()
        assert (event.kind, event.state, event.run) == ("change", status, RUN)

    def test_a_job_that_is_back_stale_is_a_change_to_stale(self) -> None:
        drive = Drive()
        drive.write()
        pulse = drive.file
        drive.remove()
        drive.pass_time(90)
        drive.file = pulse
        (event,) = drive.look()
        assert (event.kind, event.state, event.message) == ("change", "stale", STALE_MESSAGE)
        assert kinds(drive.write()) == ["recovered"]


class TestRun:
    def test_before_the_first_it_is_the_second_of_the_first_sight(self) -> None:
        drive = Drive(wall_s=START_S + 0.75)
        assert drive.write("idle")[0].run == RUN
        drive.skip(100)
        assert drive.write("idle")[0].run == RUN

    @pytest.mark.parametrize("status", ["idle", "done", "error"])
    def test_starts_with_a_running_that_follows(self, status: str) -> None:
        drive = Drive()
        drive.write()
        drive.skip(100)
        assert drive.write(status)[0].run == RUN, "and goes on through what ends it"
        drive.skip(100)
        assert drive.write()[0].run == RUN + 200

    def test_starts_with_an_epoch_lower_than_the_one_before(self) -> None:
        drive = Drive()
        drive.write(epoch=2)
        drive.skip(10)
        assert drive.write(epoch=2)[0].run == RUN
        assert drive.write(epoch=1.9)[0].run == RUN + 10

    def test_goes_on_through_stale_recovered_and_gone(self) -> None:
        drive = Drive()
        drive.write()
        drive.pass_time(70)
        drive.write()
        drive.remove()
        drive.pass_time(40)
        drive.write(epoch=2)
        assert {event.run for event in drive.events} == {RUN}
        assert {event.kind for event in drive.events} >= {"stale", "recovered", "gone"}

    def test_grows_though_two_start_within_one_second_or_the_clock_goes_back(self) -> None:
        drive = Drive()
        runs = []
        for step_s in (0.0, 0.0, -3600.0, 0.0, 86_400.0):
            drive.wall_s += step_s
            drive.write("done")
            runs.append(drive.write()[0].run)
        assert runs == [RUN + 1, RUN + 2, RUN + 3, RUN + 4, RUN + 82_800]

    def test_is_kept_over_a_restart(self) -> None:
        drive = Drive()
        drive.write()
        drive.restart(down_s=10)
        assert drive.write()[0].run == RUN
        drive.write("done")
        drive.restart(down_s=10)
        drive.wall_s -= 3600
        assert drive.write()[0].run == RUN + 1


class TestRestart:
    @pytest.mark.parametrize("status", ["idle", "running", "done", "error"])
    def test_with_an_unchanged_file_tells_nothing(self, status: str) -> None:
        drive = Drive()
        drive.write(status)
        assert drive.restart(down_s=5) == []
        assert drive.tick() == []
        assert drive.tracker.state == status

    def test_goes_on_with_the_timers(self) -> None:
        drive = Drive()
        drive.write()
        drive.restart(down_s=7)
        assert drive.tracker.deadline_s() == drive.now_s + 3

    def test_makes_good_a_long_absence_with_one_heartbeat(self) -> None:
        drive = Drive()
        drive.write("idle")
        drive.restart(down_s=86_400)
        assert kinds(drive.tick() + drive.tick()) == ["heartbeat"]

    def test_keeps_the_grace_of_a_missing_file(self) -> None:
        drive = Drive()
        drive.write("done")
        drive.remove()
        drive.skip(20)
        drive.restart(down_s=5)
        assert drive.tick() == []
        assert kinds(drive.pass_time(5)) == ["gone"]
        drive.restart(down_s=50)
        assert drive.tick() == []

    def test_finds_a_file_that_went_meanwhile(self) -> None:
        drive = Drive()
        drive.write("done")
        drive.file = None
        drive.restart(down_s=500)
        assert drive.tick() == []
        assert kinds(drive.pass_time(30)) == ["gone"]

    def test_tells_a_change_that_happened_meanwhile(self) -> None:
        drive = Drive()
        drive.write()
        drive.file = make_pulse("done", drive.wall_s + 30)
        assert kinds(drive.restart(down_s=60)) == ["change"]

    def test_of_a_job_never_seen_is_a_job_never_seen(self) -> None:
        drive = Drive()
        drive.restart()
        assert drive.tracker.state is None
        assert kinds(drive.write()) == ["change"]

    @pytest.mark.parametrize(
        "text",
        ["", "{}", "[]", "null", "[1]", "nonsense", '{"version":1}', "[2,0,null,null,null,0,0,0,null]"],
    )
    def test_from_what_is_no_dump_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            JobTracker.restore("node1", "job", text, Instant(5, START_S))

    def test_from_a_damaged_dump_is_refused(self) -> None:
        drive = Drive()
        drive.write()
        saved = drive.tracker.dump(drive.at)
        damages = [
            saved[:-1],
            saved + "]",
            saved.replace('"running",[', '"napping",['),
            saved.replace('"running",[', "null,["),
            saved.replace(f"{RUN}.0", "NaN"),
            saved.replace(f"{RUN}.0", "1e999"),
            saved.replace(f"[1,{RUN}", f'[1,"{RUN}"'),
        ]
        for damaged in damages:
            assert damaged != saved
            with pytest.raises(ValueError, match=r"."):
                JobTracker.restore("node1", "job", damaged, drive.at)

    @given(st.text() | st.binary().map(lambda content: content.decode("latin-1")))
    def test_from_any_text_is_refused_as_a_value_error(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            JobTracker.restore("node1", "job", text, Instant(5, START_S))

    @pytest.mark.parametrize("by_s", [3600, -3600, 86_400, -86_400])
    def test_clocks_that_cannot_be_are_clamped(self, by_s: float) -> None:
        drive = Drive()
        drive.write("idle")
        saved = drive.tracker.dump(drive.at)
        drive.wall_s += by_s
        drive.start(saved)
        assert len(drive.tick()) <= 1
        deadline_s = drive.tracker.deadline_s()
        assert deadline_s is not None
        assert drive.now_s < deadline_s <= drive.now_s + 10
