"""Progress and ETA: `pulse-v1.md`, "Runs, progress, ETA, exactly"."""

import math
import random
from collections.abc import Callable
from statistics import median

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pulse_bridge.eta import Pace, Point, compute_progress
from tests.support.tracking import START_S, Drive

T0 = int(START_S)
numbers = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, 1e308, -1e308, 1.7e308, 5e-324, 2**53]),
)


@pytest.mark.parametrize(
    ("epoch", "total_epochs", "percent"),
    [
        (1.5, 3.0, 50.0),
        (1, 3, 33.3),
        (0, 3, 0.0),
        (3, 3, 100.0),
        (4, 3, 100.0),
        (2.9999, 3, 99.9),
        (99.95, 100, 99.9),
        (-1, 3, 0.0),
        (0, 0, 0.0),
        (5, 0, 0.0),
        (5, -1, 0.0),
        (-5, -10, 0.0),
        (1e-12, 1, 0.0),
        (8e307, 1.6e308, 50.0),
        (-1e308, 5e-324, 0.0),
    ],
)
def test_progress(epoch: float, total_epochs: float, percent: float) -> None:
    assert repr(compute_progress(epoch, total_epochs)) == repr(percent)


@given(numbers, numbers)
@example(1e308, 1.7e308)
def test_progress_is_a_percentage_and_100_only_at_the_end(epoch: float, total_epochs: float) -> None:
    percent = compute_progress(epoch, total_epochs)
    assert 0 <= percent <= 100
    assert (percent == 100) == (total_epochs > 0 and epoch >= total_epochs)


def pace_of(*points: tuple[int, float]) -> Pace:
    pace = Pace.from_start(Point(T0 + points[0][0], points[0][1]))
    for t, epoch in points[1:]:
        pace = pace.after(Point(T0 + t, epoch))
    return pace


def test_a_steady_run_is_told_exactly() -> None:
    assert pace_of(*((t, t / 100) for t in range(0, 101, 10))).compute_eta_s(3, age_s=0) == 200.0


def test_the_time_since_the_last_write_is_taken_off_and_never_falls_below_zero() -> None:
    pace = pace_of((0, 0), (100, 1))
    assert pace.compute_eta_s(2, age_s=7.25) == 92.8
    assert pace.compute_eta_s(2, age_s=1000) == 0.0
    assert pace.compute_eta_s(0.5, age_s=0) == 0.0


@pytest.mark.parametrize(
    ("why", "pace", "total_epochs"),
    [
        ("one point has no slope", pace_of((0, 0)), 3),
        ("9 s are too short a stretch", pace_of((0, 0), (9, 1)), 3),
        ("it stands still", pace_of((0, 1), (100, 1)), 3),
        ("the end is not known", pace_of((0, 0), (100, 1)), 0),
        ("the rate is too small for a float", pace_of((0, 0), (2**53 - T0, 5e-324)), 3),
        ("the remainder is too large for a float", pace_of((0, -1e308), (100, -0.9e308)), 1.7e308),
        ("the advance is too large for a float", pace_of((0, -1.7e308), (100, 1.7e308)), 1.75e308),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_eta_where(why: str, pace: Pace, total_epochs: float) -> None:
    assert pace.compute_eta_s(total_epochs, age_s=0) is None, why


def test_10_s_are_enough() -> None:
    assert pace_of((0, 0), (10, 1)).compute_eta_s(3, age_s=0) == 20.0


def test_the_anchors_move_when_the_newer_lies_further_back_than_the_two_are_apart() -> None:
    pace = pace_of((0, 0))
    anchors = []
    for t in range(10, 151, 10):
        pace = pace.after(Point(T0 + t, t / 10))
        anchors.append((pace.older.timestamp - T0, pace.newer.timestamp - T0))
    assert list(dict.fromkeys(anchors)) == [(0, 10), (10, 30), (30, 60), (60, 100), (100, 150)]
    assert anchors[5] == (30, 60), "at 60 s, the first moment at which 30 s lie further back than 20 s"


def test_time_that_goes_back_resets_the_anchors() -> None:
    pace = pace_of((0, 0), (100, 1), (200, 2), (150, 2.5))
    assert pace == Pace.from_start(Point(T0 + 150, 2.5))


def test_several_writes_within_one_second_count_as_the_latest() -> None:
    assert pace_of((0, 0), (100, 0.9), (100, 1)).compute_eta_s(2, age_s=0) == 100.0


@given(st.lists(st.tuples(st.integers(0, 2**53), numbers), min_size=1), numbers, st.floats(0, 1e9))
def test_no_number_makes_an_eta_that_is_none_of_ours(
    points: list[tuple[int, float]], total_epochs: float, age_s: float
) -> None:
    pace = Pace.from_start(Point(*points[0]))
    for point in points[1:]:
        pace = pace.after(Point(*point))
        eta_s = pace.compute_eta_s(total_epochs, age_s)
        assert eta_s is None or (math.isfinite(eta_s) and eta_s >= 0 and eta_s == round(eta_s, 1))


def median_error(speed_at: Callable[[float], float], total_s: int, judged_from_s: int) -> tuple[float, float]:
    """Play one run that writes about every 10 s; give the median error of our ETA and of the whole-run mean.

    Args:
        speed_at: Seconds into the run to the speed, in any unit; the end is where the run is after `total_s`.
    """
    noise = random.Random(1)
    position = [0.0]
    for second in range(total_s):
        position.append(position[-1] + speed_at(second) * noise.uniform(0.7, 1.3))
    scale = 3 / position[-1]
    pace = Pace.from_start(Point(T0, 0.0))
    ours, mean = [], []
    second = 0
    while (second := second + noise.randint(5, 15)) < total_s * 0.95:
        epoch = position[second] * scale
        pace = pace.after(Point(T0 + second, epoch))
        if second >= judged_from_s:
            left_s = total_s - second
            eta_s = pace.compute_eta_s(3, age_s=0)
            assert eta_s is not None
            ours.append(abs(eta_s - left_s) / left_s)
            mean.append(abs((3 - epoch) / (epoch / second) - left_s) / left_s)
    return median(ours), median(mean)


def test_a_ten_minute_start_up_is_forgotten() -> None:
    ours, mean = median_error(lambda t: 0.01 if t < 600 else 1.0, total_s=7200, judged_from_s=1200)
    assert ours < 0.03
    assert mean > 0.10


def test_a_run_that_gets_half_as_fast_is_followed() -> None:
    ours, mean = median_error(lambda t: 1.0 if t < 2400 else 0.5, total_s=7200, judged_from_s=2400)
    assert ours < 0.05
    assert mean > 0.20


class TestInEvents:
    def train(self, drive: Drive, seconds: int, *, start: float = 0.0) -> None:
        for step in range(0, seconds + 1, 10):
            drive.write(epoch=start + step / 100, total_epochs=3)
            if step < seconds:
                drive.pass_time(10)

    def test_an_eta_is_absent_until_known_and_then_in_every_event(self) -> None:
        drive = Drive()
        self.train(drive, 100)
        assert drive.events[0].eta_s is None
        assert drive.events[-1].eta_s == 200.0
        (heartbeat,) = drive.pass_time(10)
        assert heartbeat.eta_s == 190.0

    def test_only_a_running_job_has_one(self) -> None:
        drive = Drive()
        self.train(drive, 100)
        later = drive.pass_time(70) + drive.write("done", epoch=3)
        assert {(event.state, event.eta_s is None) for event in later} == {
            ("running", False),
            ("stale", True),
            ("done", True),
        }
        drive.remove()
        assert [event.eta_s for event in drive.pass_time(40)] == [None]

    def test_the_anchors_outlive_a_restart(self) -> None:
        drive = Drive()
        self.train(drive, 100)
        drive.restart()
        drive.pass_time(10)
        assert drive.write(epoch=1.1, total_epochs=3)[0].eta_s == 190.0

    def test_a_new_run_starts_without(self) -> None:
        drive = Drive()
        self.train(drive, 100)
        drive.skip(10)
        assert drive.write(epoch=0.1, total_epochs=3)[0].eta_s is None
        drive.skip(10)
        assert drive.write(epoch=0.2, total_epochs=3)[0].eta_s == 280.0

    def test_the_offset_of_the_writers_clock_makes_no_difference(self) -> None:
        etas = []
        for age_s in (0, 3600, -3600):
            drive = Drive()
            drive.write("idle", age_s=age_s)
            for step in range(11):
                drive.pass_time(10)
                drive.write(age_s=age_s, epoch=step / 10)
            etas.append((drive.events[-1].eta_s, drive.pass_time(10)[-1].eta_s))
        assert etas == [(200.0, 190.0)] * 3

    def test_zero_epochs_in_all_show_no_progress_and_no_eta(self) -> None:
        drive = Drive()
        for _ in range(5):
            drive.write(epoch=drive.now_s, total_epochs=0)
            drive.pass_time(10)
        assert {(event.progress, event.eta_s) for event in drive.events} == {(0.0, None)}
