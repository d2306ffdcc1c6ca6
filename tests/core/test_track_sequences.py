"""Any sequence of writes, silences, clock jumps and restarts keeps the tracker's promises."""

import json
import math
from typing import Any, NoReturn

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from pulse_bridge.event import EventId, JobEvent, from_fields, from_json, to_json, to_text_fields
from tests.support.tracking import START_S, Drive

# Quarters of a second are exact as floats, here and around START_S, so that times can be compared for equality.
seconds = st.integers(0, 400).map(lambda quarters: quarters / 4)
statuses = st.sampled_from(["running", "running", "running", "idle", "done", "error"])
numbers = st.one_of(
    st.integers(0, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -1, 1e308, -1e308, 5e-324, 2**53]),
)
ages_s = st.sampled_from([0, 0, 0, 0, 1, 59, 60, 61, 70, 3600, -3600, 86_400])
clock_steps_s = st.sampled_from([3600, -3600, 86_400, -86_400])
fields = st.fixed_dictionaries(
    {},
    optional={
        "epoch": numbers,
        "total_epochs": numbers,
        "loss": st.none() | numbers,
        "message": st.text(max_size=20),
        "timestamp": st.sampled_from([0, 2**53, START_S]),
        "step": st.integers(0, 10),
        "learning_rate": numbers,
    },
)


def shown(event: JobEvent) -> dict[str, Any]:
    """Give what a viewer sees of the job itself, without what the clock alone changes."""
    without = {"id", "kind", "observed_ms", "eta_s", "labels"}
    return {name: value for name, value in event._asdict().items() if name not in without}


def refuse_constant(word: str) -> NoReturn:
    raise AssertionError(f"{word} is no strict JSON")


def check_one(event: JobEvent) -> None:
    """Check what holds for each event by itself."""
    assert all(math.isfinite(value) for value in event if isinstance(value, float))
    assert 0 <= event.progress <= 100
    assert (event.progress == 100) == (event.total_epochs > 0 and event.epoch >= event.total_epochs)
    assert event.eta_s is None or (event.state == "running" and event.eta_s >= 0)
    assert (event.state == "gone") == (event.kind == "gone")
    numbered = event._replace(id=EventId("p", 1))
    line = to_json(numbered)
    json.loads(line, parse_constant=refuse_constant)
    assert from_json(line) == numbered
    assert from_fields(to_text_fields(numbered)) == numbered


def check_two(before: JobEvent, event: JobEvent) -> None:
    """Check what holds for an event after another of the same job."""
    assert (before.kind, event.kind) != ("stale", "stale")
    assert event.run >= before.run
    if event.kind == "stale":
        assert event.state == "stale"
        assert before.state != "stale"
    if event.kind == "recovered":
        assert (before.state, event.state) == ("stale", "running")
    if event.kind == "heartbeat":
        assert event.state in {"idle", "running", "stale"}
        assert shown(event) == shown(before), "a heartbeat changes nothing"
    else:
        assert shown(event) != shown(before), "no event without a cause"
    if before.state == "gone":
        assert event.kind == "change"
    if (before.state, event.state) == ("stale", "running"):
        assert event.kind == "recovered"
    if before.state == event.state and event.run == before.run:
        assert event.kind in {"heartbeat", "change"}


class TrackerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.drive = Drive()
        self.missing_since_s: float | None = None

    def check(self, events: list[JobEvent], at_most: int = 1) -> None:
        assert len(events) <= at_most
        told = self.drive.events[: len(self.drive.events) - len(events)]
        for event in events:
            check_one(event)
            if told:
                check_two(told[-1], event)
            if event.kind == "gone":
                assert self.drive.file is None
            told.append(event)
        assert self.drive.tracker.state == (told[-1].state if told else None)

    @rule(status=statuses, age_s=ages_s, changes=fields)
    def write(self, status: str, age_s: float, changes: dict[str, Any]) -> None:
        self.check(self.drive.write(status, age_s=age_s, **changes))
        assert self.drive.look() == [], "what was read before is no news"

    @rule(elapsed_s=seconds)
    def write_on(self, elapsed_s: float) -> None:
        """Let a healthy training write once more."""
        self.drive.skip(elapsed_s)
        position = self.drive.file.epoch if self.drive.file is not None else 0
        self.check(self.drive.write(epoch=position + 0.1, total_epochs=3))

    @rule()
    def remove(self) -> None:
        assert self.drive.remove() == []

    @rule(elapsed_s=seconds)
    def pass_time(self, elapsed_s: float) -> None:
        before = len(self.drive.events)
        events = self.drive.pass_time(elapsed_s)
        self.check(events, at_most=2 + int(elapsed_s / 10) + 1)
        assert "change" not in {event.kind for event in self.drive.events[before:]}

    @rule()
    def wake_exactly_at_the_deadline(self) -> None:
        deadline_s = self.drive.tracker.deadline_s()
        if deadline_s is None:
            return
        self.drive.skip(max(0.0, deadline_s - self.drive.now_s))
        self.drive.now_s = max(self.drive.now_s, deadline_s)
        events = self.drive.tick()
        assert events, "a deadline is the instant of an event"
        self.check(events)
        moved_to_s = self.drive.tracker.deadline_s()
        assert moved_to_s is None or moved_to_s > self.drive.now_s

    @rule(elapsed_s=seconds)
    def oversleep(self, elapsed_s: float) -> None:
        self.drive.skip(elapsed_s)
        self.check(self.drive.tick())

    @rule(down_s=seconds, boot_s=seconds)
    def restart(self, down_s: float, boot_s: float) -> None:
        state = self.drive.tracker.state
        assert self.drive.restart(down_s, boot_s) == [], "an unchanged file is no news"
        assert self.drive.tracker.state == state

    @rule(step_s=clock_steps_s)
    def step_our_clock(self, step_s: float) -> None:
        self.drive.wall_s += step_s

    @rule(step_s=clock_steps_s)
    def step_our_clock_while_down(self, step_s: float) -> None:
        saved = self.drive.tracker.dump(self.drive.at)
        self.drive.wall_s += step_s
        self.drive.start(saved)
        self.check(self.drive.look())

    @rule(value=st.sampled_from(["a", "b"]))
    def label(self, value: str) -> None:
        self.drive.tracker.labels = {"profile": value}


TestTrackerMachine = TrackerMachine.TestCase
TestTrackerMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), statuses, ages_s, fields),
        st.tuples(st.just("remove")),
        st.tuples(st.just("wait"), seconds),
    ),
    max_size=25,
)


def play(story: list[tuple[Any, ...]], *, waking_s: float | None = None, restarting: bool = False) -> Drive:
    """Play a story.

    Args:
        waking_s: Wake so often besides the deadlines.
        restarting: Restart before each step.
    """
    drive = Drive()
    for number, (verb, *arguments) in enumerate(story):
        if restarting:
            drive.restart(now_s=7.0 * number)
        if verb == "write":
            status, age_s, changes = arguments
            drive.write(status, age_s=age_s, **changes)
        elif verb == "remove":
            drive.remove()
        elif waking_s is None:
            drive.pass_time(arguments[0])
        else:
            end_s = drive.now_s + arguments[0]
            while drive.now_s < end_s:
                drive.pass_time(min(waking_s, end_s - drive.now_s))
                drive.tick()
    return drive


@given(steps)
@settings(max_examples=40, deadline=None)
def test_waking_more_often_than_at_the_deadlines_changes_nothing(story: list[tuple[Any, ...]]) -> None:
    assert play(story, waking_s=0.25).events == play(story).events


@given(steps)
@settings(max_examples=40, deadline=None)
def test_restarts_change_nothing(story: list[tuple[Any, ...]]) -> None:
    assert play(story, restarting=True).events == play(story).events


@given(steps, st.sampled_from([0.25, 1.0, 2.0, 9.0, 50.0]))
@settings(max_examples=40, deadline=None)
def test_ticking_late_comes_to_the_same_end(story: list[tuple[Any, ...]], late_s: float) -> None:
    prompt = Drive()
    late = Drive()
    for verb, *arguments in story:
        if verb == "write":
            status, age_s, changes = arguments
            prompt.write(status, age_s=age_s, **changes)
            late.write(status, age_s=age_s, **changes)
        elif verb == "remove":
            prompt.remove()
            late.remove()
        else:
            prompt.pass_time(arguments[0])
            slept_s = 0.0
            while slept_s < arguments[0]:
                late.skip(min(late_s, arguments[0] - slept_s))
                slept_s += late_s
                late.look()
            late.tick()
    prompt.pass_time(200)
    for _ in range(4):
        late.skip(50)
        late.tick()
    assert late.tracker.state == prompt.tracker.state
    if prompt.tracker.state not in {None, "gone"}:  # a gone job shows what was told before it went
        assert shown(late.events[-1]) | {"run": 0} == shown(prompt.events[-1]) | {"run": 0}
