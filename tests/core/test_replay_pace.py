"""When a replay gives what, and as what: on a clock that the test sets."""

from pulse_bridge.event import EventId, JobEvent
from pulse_bridge.replay_pace import Pace, Renumber
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event


class Clock:
    """Monotonic seconds that pass only while somebody sleeps; each sleep is late by a little."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s = 100.0
        self.late_s = late_s

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds + self.late_s


def paced(speed: float | None, clock: Clock) -> Pace:
    pace = Pace(speed, clock=clock, sleep=clock.sleep)
    pace.begin(SAMPLE_MS)
    return pace


async def test_an_instant_is_due_so_long_after_the_begin_as_the_speed_says() -> None:
    for speed, wait_s in ((0.5, 20.0), (1.0, 10.0), (60.0, 10 / 60)):
        clock = Clock()
        await paced(speed, clock).wait(SAMPLE_MS + 10_000)
        assert abs(clock.now_s - 100.0 - wait_s) < 1e-6


async def test_at_the_greatest_speed_nothing_waits() -> None:
    clock = Clock()
    await paced(None, clock).wait(SAMPLE_MS + 10**9)
    assert clock.now_s == 100.0


async def test_what_is_late_makes_nothing_behind_it_late() -> None:
    clock = Clock(late_s=0.05)
    pace = paced(1.0, clock)
    for step in range(1, 1001):
        await pace.wait(SAMPLE_MS + 100 * step)
        assert abs(clock.now_s - 100.0 - step / 10) < 0.051


async def test_a_gap_is_shortened_to_the_longest_wait_that_is_wanted() -> None:
    clock = Clock()
    pace = Pace(2.0, max_gap_s=5, clock=clock, sleep=clock.sleep)
    pace.begin(SAMPLE_MS)
    waits = []
    before_ms = SAMPLE_MS
    for second in (4, 100, 101, 10_000):
        begun_s = clock.now_s
        pace.shorten(before_ms, SAMPLE_MS + second * 1000)
        before_ms = SAMPLE_MS + second * 1000
        await pace.wait(before_ms)
        waits.append(round(clock.now_s - begun_s, 6))
    assert waits == [2, 5, 0.5, 5]


def test_told_times_pass_as_the_shortened_waits_do_and_never_go_back() -> None:
    renumber = Renumber("r", speed=1.0)
    renumber.begin(1_790_000_000_000, 1_800_000_000_000)
    assert moved(renumber, observed_ms=1_790_000_001_000).observed_ms == 1_800_000_001_000
    assert renumber.told_ms(1_790_000_001_000) == 1_800_000_001_000
    renumber.shorten(3_595_000)
    assert renumber.told_ms(1_790_000_002_000) == 1_800_000_001_000, "within what is left out"
    assert moved(renumber, observed_ms=1_790_003_601_000).observed_ms == 1_800_000_006_000


async def test_an_instant_before_the_begin_is_due_at_once() -> None:
    assert paced(1.0, Clock()).wait_s(SAMPLE_MS - 5000) == 0


def test_a_replay_s_events_are_its_own_and_say_of_which_they_are_one() -> None:
    renumber = Renumber("replay")
    first, second = renumber(make_job_event(7)), renumber(make_host_event(9))
    assert first == make_job_event(7, id=EventId("replay", 1), replay_of=EventId("contract", 7))
    assert second == make_host_event(9, id=EventId("replay", 2), replay_of=EventId("contract", 9))


def test_a_replay_of_a_replay_says_of_which_event_the_first_was_one() -> None:
    once = Renumber("one")(make_job_event(7))
    assert Renumber("two")(once).replay_of == EventId("contract", 7)


def moved(renumber: Renumber, **changes: int) -> JobEvent:
    event = renumber(make_job_event(1, **changes))
    assert isinstance(event, JobEvent)
    return event


def test_moved_times_begin_now_and_pass_as_fast_as_the_replay() -> None:
    renumber = Renumber("r", speed=10.0)
    begin_ms, now_ms = 1_790_000_000_000, 1_800_000_000_000
    renumber.begin(begin_ms, now_ms)
    event = moved(renumber, observed_ms=begin_ms + 50_000, timestamp=1_790_000_040, run=1_790_000_000)
    assert (event.observed_ms, event.timestamp, event.run) == (now_ms + 5000, 1_800_000_004, 1_800_000_000)
    assert event.replay_observed_ms == begin_ms + 50_000
    host = renumber(make_host_event(2, observed_ms=begin_ms + 1000))
    assert (host.observed_ms, host.replay_observed_ms) == (now_ms + 100, begin_ms + 1000)


def test_a_run_keeps_one_moved_number_and_the_next_has_a_higher_one_however_fast_they_pass() -> None:
    renumber = Renumber("r", speed=1000.0)
    renumber.begin(1_790_000_000_000, 1_800_000_000_000)
    runs = [moved(renumber, run=run).run for run in (1_790_000_000, 1_790_000_001, 1_790_000_002, 1_790_000_000)]
    assert runs == [1_800_000_000, 1_800_000_001, 1_800_000_002, 1_800_000_000]
    renumber.begin(1_790_000_000_000, 1_800_000_000_500)
    assert moved(renumber, run=1_790_000_000).run == 1_800_000_003, "a loop tells of new runs"


def test_times_that_would_lie_before_1970_are_1970() -> None:
    renumber = Renumber("r", speed=1e-3)
    renumber.begin(1_790_000_000_000, 1_800_000_000_000)
    assert moved(renumber, timestamp=0).timestamp == 0
