"""When a job is stale: `pulse-v1.md`, "When a job is stale, exactly", as a table of stories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pulse_bridge.event import STALE_MESSAGE, JobEvent
from pulse_bridge.pulse import Pulse
from pulse_bridge.track import Instant, JobTracker
from pulse_bridge.track_liveness import Liveness
from tests.support.tracking import START_S, Drive, kinds, make_pulse

HOUR_S = 3600
DAY_S = 86_400
Clock = Callable[[float], float]


def exact(t: float) -> float:
    return t


def offset(seconds: float) -> Clock:
    return lambda t: t + seconds


def steps(at: float, by: float) -> Clock:
    return lambda t: t + (by if t >= at else 0)


def drifts(seconds_per_minute: float) -> Clock:
    return lambda t: t * (1 + seconds_per_minute / 60)


def stuck(value: float) -> Clock:
    return lambda _t: value - START_S


def every(period_s: int, until: int) -> Sequence[int]:
    return range(0, until + 1, period_s)


@dataclass(frozen=True)
class Story:
    """What happens, in true seconds from the start, and what may be said of it.

    Args:
        writes: When the training writes; idle the first time, unless `joined_late`.
        writer_clock: True seconds to what the training's clock shows.
        our_clock: The same for the sidecar's wall clock.
        seen_every: A cache lets a write be seen only at multiples of this.
        delay: A write is seen so much later.
        restarts: (second of the stop, second of the start).
        told: What must be said besides changes and heartbeats: (second, kind).
    """

    name: str
    writes: Sequence[int]
    told: Sequence[tuple[int, str]] = ()
    writer_clock: Clock = exact
    our_clock: Clock = exact
    seen_every: int = 1
    delay: int = 0
    restarts: Sequence[tuple[int, int]] = field(default=())
    joined_late: bool = False
    until: int = 400


STORIES = [
    Story("a steady writer is never stale", every(10, 400)),
    Story("a death is found 60 s after the last write", every(10, 100), [(161, "stale")]),
    Story("a writer may pause for 60 s", every(60, 360)),
    Story("a writer's clock 1 h behind is no death", every(10, 400), writer_clock=offset(-HOUR_S)),
    Story("a writer's clock 1 h ahead is no death", every(10, 400), writer_clock=offset(HOUR_S)),
    Story(
        "a death is found with the writer's clock 1 h behind",
        every(10, 100),
        [(161, "stale")],
        writer_clock=offset(-HOUR_S),
    ),
    Story(
        "a death is found with the writer's clock 1 h ahead",
        every(10, 100),
        [(161, "stale")],
        writer_clock=offset(HOUR_S),
    ),
    Story(
        "a run met half-way, its clock 1 h behind, is believed from its second write on",
        every(10, 400),
        [(0, "stale"), (10, "recovered")],
        writer_clock=offset(-HOUR_S),
        joined_late=True,
    ),
    Story(
        "a run met dead, its clock 1 h ahead, is found 60 s after it was met",
        [0],
        [(61, "stale")],
        writer_clock=offset(HOUR_S),
        joined_late=True,
    ),
    Story("a slow writer's clock is no death", every(10, 400), writer_clock=drifts(-5)),
    Story("a fast writer's clock is no death", every(10, 400), writer_clock=drifts(5)),
    Story("a death is found with a drifting clock", every(10, 100), [(161, "stale")], writer_clock=drifts(-5)),
    Story("a writer's clock that steps 1 h ahead is no death", every(10, 400), writer_clock=steps(95, HOUR_S)),
    Story(
        "a death is found after the writer's clock stepped 1 h ahead",
        every(10, 100),
        [(161, "stale")],
        writer_clock=steps(55, HOUR_S),
    ),
    Story(
        "a writer's clock that alone steps 1 h back is judged by itself until its next write",
        every(10, 400),
        [(100, "stale"), (110, "recovered")],
        writer_clock=steps(95, -HOUR_S),
    ),
    Story(
        "one clock of both that steps 1 h back is no death",
        every(10, 400),
        writer_clock=steps(95, -HOUR_S),
        our_clock=steps(95, -HOUR_S),
    ),
    *(
        Story(f"our own clock that steps by {by} s is no death", every(10, 400), our_clock=steps(95, by))
        for by in (HOUR_S, -HOUR_S, DAY_S, -DAY_S)
    ),
    *(
        Story(
            f"a death is found on time though our own clock stepped by {by} s",
            every(10, 100),
            [(161, "stale")],
            our_clock=steps(130, by),
        )
        for by in (HOUR_S, -HOUR_S, DAY_S, -DAY_S)
    ),
    Story("a cache that shows writes 30 s late is no death", every(10, 400), delay=30),
    Story("a cache that shows writes once in 50 s is no death", every(10, 400), seen_every=50),
    Story("a death behind a late cache is found", every(10, 100), [(191, "stale")], delay=30),
    Story(
        "restarts of the sidecar are no death",
        every(10, 400),
        restarts=[(second, second + 3) for second in range(5, 390, 15)],
    ),
    Story(
        "restarts are no death with the writer's clock 1 h behind",
        every(10, 400),
        writer_clock=offset(-HOUR_S),
        restarts=[(second, second + 3) for second in range(5, 390, 15)],
    ),
    Story("a sidecar that was away for 5 min finds the job alive", every(10, 400), restarts=[(50, 350)]),
    Story(
        "a sidecar that was away for 5 min finds the job alive, its clock 1 h behind",
        every(10, 400),
        restarts=[(50, 350)],
        writer_clock=offset(-HOUR_S),
    ),
    Story(
        "a death while the sidecar was away is told once", every(10, 50), [(300, "stale")], restarts=[(55, 300)]
    ),
    Story(
        "a death told before a restart is not told again",
        every(10, 50),
        [(111, "stale")],
        restarts=[(150, 200), (250, 251)],
    ),
    Story(
        "restarts do not put off a death",
        every(10, 100),
        [(161, "stale")],
        restarts=[(second, second + 1) for second in range(5, 390, 7)],
    ),
    Story(
        "a writer that pauses longer than the threshold flaps",
        every(90, 270),
        [(151, "stale"), (180, "recovered"), (241, "stale"), (270, "recovered"), (331, "stale")],
    ),
    Story(
        "a timestamp that never advances is no life, whatever else is written",
        every(10, 400),
        [(61, "stale")],
        writer_clock=stuck(START_S),
    ),
    Story("a timestamp of 0 is stale at once, and once", every(10, 400), [(10, "stale")], writer_clock=stuck(0)),
    Story("a timestamp of 2^53 lasts 60 s", every(10, 400), [(61, "stale")], writer_clock=stuck(2**53)),
    Story(
        "one timestamp of 2^53 among good ones does no harm",
        every(10, 400),
        writer_clock=lambda t: 2**53 - START_S if t == 100 else t,
    ),
    Story(
        "one timestamp of 0 among good ones is judged by itself",
        every(10, 400),
        [(100, "stale"), (110, "recovered")],
        writer_clock=lambda t: -START_S if t == 100 else t,
    ),
]


def file_at(story: Story, t: int) -> Pulse | None:
    visible_until = (t - story.delay) // story.seen_every * story.seen_every
    writes = [write for write in story.writes if write <= visible_until]
    if not writes:
        return None
    status = "running" if len(writes) > 1 or story.joined_late else "idle"
    timestamp = START_S + story.writer_clock(writes[-1])
    return make_pulse(status, timestamp, epoch=1 + len(writes) / 1000)


def play(story: Story) -> list[JobEvent]:
    """Poll every second, as long as the sidecar is up."""
    drive = Drive()
    stops = {stop for stop, _ in story.restarts}
    starts = {start for _, start in story.restarts}
    boot_at = -1000
    saved: str | None = None
    for t in range(story.until + 1):
        drive.file = file_at(story, t)
        if saved is not None and t in starts:
            boot_at = t
        drive.now_s, drive.wall_s = float(t - boot_at), START_S + story.our_clock(t)
        if saved is not None and t in starts:
            drive.start(saved)
            saved = None
        if saved is None:
            drive.tick()
        if t in stops:
            saved = drive.tracker.dump(drive.at)
    return drive.events


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_what_is_told_of(story: Story) -> None:
    events = play(story)
    told = [(event.observed_ms / 1000, event.kind) for event in events if event.kind in {"stale", "recovered"}]
    assert told == [(START_S + story.our_clock(t), kind) for t, kind in story.told]


def test_a_file_written_as_running_70_s_in_the_past_shows_an_unresponsive_process() -> None:
    drive = Drive()
    (event,) = drive.write(age_s=70)
    assert (event.kind, event.state, event.status, event.message) == ("stale", "stale", "error", STALE_MESSAGE)


@pytest.mark.parametrize("age_s", [0, 59, 60])
def test_an_age_of_up_to_60_s_is_not_stale(age_s: int) -> None:
    drive = Drive()
    (event,) = drive.write(age_s=age_s)
    assert event.state == "running"


@pytest.mark.parametrize("status", ["idle", "done", "error"])
def test_only_running_can_be_stale(status: str) -> None:
    drive = Drive()
    (event,) = drive.write(status, age_s=DAY_S)
    assert (event.kind, event.state, event.status) == ("change", status, status)
    assert all(later.state == status for later in drive.pass_time(HOUR_S))


def test_the_threshold_is_the_jobs_own() -> None:
    drive = Drive()
    drive.tracker = JobTracker("node1", "job", stale_after_s=300)
    drive.write()
    assert "stale" not in kinds(drive.pass_time(300))
    assert kinds(drive.pass_time(0.25)) == ["stale"]


def test_the_file_is_read_again_from_the_instant_that_stale_at_names() -> None:
    drive = Drive()
    drive.write()
    stale_at_s = drive.tracker.stale_at_s
    assert stale_at_s is not None
    assert drive.now_s + 60 < stale_at_s < drive.now_s + 60.001
    drive.skip(60.5)
    drive.file = make_pulse(timestamp=drive.wall_s)  # no hint came: the second look finds it
    assert kinds(drive.tick()) == ["change"]
    drive.write("done")
    assert not drive.tracker.stale_at_s, "a finished job never becomes stale"


def test_a_threshold_raised_over_a_restart_does_not_recover_a_job_that_wrote_nothing() -> None:
    drive = Drive()
    drive.write()
    drive.pass_time(70)
    assert drive.restart(down_s=5, stale_after_s=300) == []
    assert {event.state for event in drive.pass_time(60)} == {"stale"}
    assert kinds(drive.write(timestamp=START_S, message="same second")) == []
    assert kinds(drive.write()) == ["recovered"]


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S, DAY_S, -DAY_S])
def test_our_clock_that_steps_during_a_restart_leaves_a_living_job_alive(by_s: float) -> None:
    drive = Drive()
    drive.write()
    drive.skip(10)
    saved = drive.tracker.dump(drive.at)
    drive.wall_s += by_s
    drive.now_s = 5.0
    drive.start(saved)
    assert kinds(drive.write()) == ["change"]  # the writer's clock stepped with ours: it is one machine


@pytest.mark.parametrize("by_s", [-HOUR_S, -DAY_S])
def test_our_clock_set_back_during_a_restart_leaves_a_stale_job_stale(by_s: float) -> None:
    drive = Drive()
    drive.write()
    drive.pass_time(70)
    saved = drive.tracker.dump(drive.at)
    drive.wall_s += by_s
    drive.start(saved)
    assert {event.kind for event in drive.pass_time(600)} == {"heartbeat"}
    assert drive.tracker.state == "stale"


class TestAdvice:
    @staticmethod
    def recover(drive: Drive, pause_s: float, epoch: float = 2) -> None:
        drive.pass_time(pause_s)
        assert kinds(drive.write(epoch=epoch)) == ["recovered"]

    def test_a_writer_that_pauses_too_long_is_told_once_after_its_second_recovery(self) -> None:
        drive = Drive()
        drive.write()
        self.recover(drive, 88)
        assert drive.tracker.take_advice() is None
        self.recover(drive, 90)
        assert drive.tracker.take_advice() == "writes every ~90 s: set stale_after_s above it"
        assert drive.tracker.take_advice() is None
        self.recover(drive, 95)
        assert drive.tracker.take_advice() is None

    def test_a_new_run_after_a_death_is_no_slow_writer(self) -> None:
        drive = Drive()
        drive.write(epoch=2)
        self.recover(drive, 90, epoch=1)
        self.recover(drive, 90, epoch=0.5)
        self.recover(drive, 90, epoch=0.5)
        assert drive.tracker.take_advice() is None

    def test_a_false_alarm_of_a_clock_is_no_slow_writer(self) -> None:
        drive = Drive()
        for _ in range(3):
            drive.write(age_s=0)
            drive.skip(5)
            drive.write(age_s=HOUR_S)
            drive.skip(5)
        assert kinds(drive.events).count("recovered") == 2
        assert drive.tracker.take_advice() is None


timestamps = st.one_of(
    st.integers(0, 2**53), st.integers(int(START_S) - 10_000, int(START_S) + 10_000), st.sampled_from([0, 2**53])
)


@given(timestamps, st.floats(0, 1e7), st.floats(0, 4e9), st.floats(0.1, 1e5))
def test_the_first_timestamp_is_judged_by_itself(ts: int, now_s: float, wall_s: float, threshold_s: float) -> None:
    life = Liveness.at_first_sight(ts, Instant(now_s, wall_s))
    assert life.seen_at_s == now_s
    assert life.alive_at_s == now_s - max(0, wall_s - ts)
    assert life.after(ts, Instant(now_s + 1, wall_s + 1), threshold_s) is life


@example(int(START_S), int(START_S) + 1, 61, 60, 0)  # a lag of the threshold itself is still in step
@given(timestamps, timestamps, st.integers(0, 10_000), st.integers(1, 1000), st.integers(-DAY_S, DAY_S))
def test_a_timestamp_is_judged_as_the_protocol_says(
    before: int, ts: int, elapsed_s: int, threshold_s: int, step_s: int
) -> None:
    life = Liveness.at_first_sight(before, Instant(1000, START_S))
    at = Instant(1000 + elapsed_s, START_S + elapsed_s + step_s)
    after = life.after(ts, at, threshold_s)
    if ts == before:
        assert after is life
        return
    lag_s = (at.now_s - life.seen_at_s) - (ts - before)
    expected_s = at.now_s if ts > before and lag_s <= threshold_s else at.now_s - max(0, at.wall_s - ts)
    assert after == Liveness(ts, at.now_s, expected_s)


@given(st.integers(-10 * DAY_S, 10 * DAY_S), st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_no_constant_offset_of_the_writers_clock_hides_a_life_or_a_death(
    offset_s: int, pauses_s: list[int]
) -> None:
    drive = Drive()
    drive.write("idle", age_s=offset_s)
    for pause_s in pauses_s:
        drive.pass_time(pause_s)
        (event,) = drive.write(age_s=offset_s, epoch=drive.now_s)
        assert event.state == "running"
    assert kinds(drive.pass_time(60)).count("stale") == 0
    assert kinds(drive.pass_time(1))[0] == "stale"
