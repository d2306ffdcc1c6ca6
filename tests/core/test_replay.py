"""The order, the pace, the ticks and the loops of a replay, on a clock that passes only while it waits."""

from collections.abc import AsyncIterator, Sequence

import pytest

from pulse_bridge.bus import Query
from pulse_bridge.event import Event, EventId, JobEvent
from pulse_bridge.replay import MAX_TICKS, Replay
from pulse_bridge.replay_pace import Pace, Renumber
from pulse_bridge.replay_select import Selection, Survey, survey
from pulse_bridge.testing import make_host_event, make_job_event
from tests.core.test_replay_pace import Clock
from tests.support.scripted_bus import ScriptedBus

T0 = 1_790_000_000_000


class Past(ScriptedBus):
    """A bus with a past."""

    def __init__(self, *events: Event) -> None:
        super().__init__()
        self.events = events

    async def history(self, query: Query) -> AsyncIterator[Event]:
        given = 0
        for event in self.events:
            if given != query.limit and query.matches(event):
                given += 1
                yield event


class Notes:
    """A sink that notes what it is told, and when."""

    def __init__(self, clock: Clock, tick_s: float | None = None) -> None:
        self.tick_s = tick_s
        self.told: list[tuple[str, float, object]] = []
        self._clock = clock

    def _note(self, verb: str, what: object) -> None:
        self.told.append((verb, round(self._clock.now_s - 100, 3), what))

    async def begin(self, before: Sequence[Event], at_ms: int) -> None:
        self._note("begin", ([event.id.seq for event in before], at_ms - T0))

    async def give(self, events: Sequence[Event], at_ms: int) -> None:  # noqa: ARG002 - the port's signature
        self._note("give", [event.id.seq for event in events])

    async def tick(self, at_ms: int) -> None:
        self._note("tick", at_ms - T0)

    async def finish(self, at_ms: int) -> None:
        self._note("finish", at_ms - T0)


def at(seq: int, second: float, **changes: object) -> JobEvent:
    return make_job_event(seq, observed_ms=T0 + int(second * 1000), **changes)


async def replayed(
    *events: Event,
    query: Query | None = None,
    last_run: bool = False,
    speed: float | None = 1.0,
    tick_s: float | None = None,
    max_gap_s: float | None = None,
    **options: object,
) -> list[tuple[str, float, object]]:
    clock, bus = Clock(), Past(*events)
    notes = Notes(clock, tick_s)
    selection = Selection(query or Query(), last_run=last_run)
    known = await survey(bus, selection, count=False)
    replay = Replay(
        bus,
        selection,
        known,
        pace=Pace(speed, max_gap_s=max_gap_s, clock=clock, sleep=clock.sleep),
        sinks=[notes],
        wall_ms=lambda: T0 + 10**9,
        **options,  # type: ignore[arg-type]  # as the test says
    )
    await replay.run()
    return notes.told


async def test_events_come_in_order_each_at_its_time() -> None:
    assert await replayed(at(1, 0), at(2, 3), at(3, 3), at(4, 10)) == [
        ("begin", 0, ([], 0)),
        ("give", 0, [1]),
        ("give", 3, [2, 3]),
        ("give", 10, [4]),
        ("finish", 10, 10_000),
    ]


async def test_at_the_greatest_speed_they_come_together() -> None:
    told = await replayed(at(1, 0), at(2, 3), at(3, 100), speed=None)
    assert told[1] == ("give", 0, [1, 2, 3])


async def test_an_event_of_an_earlier_instant_is_given_in_its_turn() -> None:
    told = await replayed(at(1, 5), at(2, 2), at(3, 7))
    assert told[1:-1] == [("give", 0, [1, 2]), ("give", 2, [3])]


async def test_the_state_before_the_range_comes_first_and_the_range_s_own_begin_is_kept() -> None:
    events = [at(1, 0, job="a"), at(2, 1, job="b"), at(3, 2, job="a", kind="heartbeat"), at(4, 15, job="a")]
    query = Query(since_ms=T0 + 10_000, kinds=["change"])
    assert await replayed(*events, query=query) == [
        ("begin", 0, ([2, 3], 10_000)),
        ("give", 5, [4]),
        ("finish", 5, 15_000),
    ]


@pytest.mark.parametrize(
    ("query", "last_run", "expected"),
    [
        (Query(), False, []),
        (Query(since_ms=T0 + 10), False, [3, 4]),
        (Query(since_ms=T0 + 10, jobs=["a"]), False, [3]),
        (Query(since_ms=T0 + 10, hosts=["node2"]), False, []),
        (Query(since_ms=T0 + 10, runs=[1]), False, []),
        (Query(since_ms=T0 + 10, runs=[2]), False, [3]),
        (Query(since_ms=T0 + 10), True, [4]),
        (Query(since_ms=T0 + 10, runs=[2]), True, [3, 4]),
        (Query(since_ms=T0), False, []),
    ],
)
async def test_the_state_before_is_that_of_the_jobs_and_runs_that_are_meant(
    query: Query,
    last_run: bool,  # noqa: FBT001 - pytest's
    expected: list[int],
) -> None:
    events: list[Event] = [
        make_host_event(1, observed_ms=T0),
        at(2, 0, job="a", run=1),
        at(3, 0.005, job="a", run=2),
        at(4, 0.006, job="b", run=7),
        at(5, 1, job="a", run=3),
    ]
    known = await survey(Past(*events), Selection(query, last_run=last_run), count=False)
    assert [event.id.seq for event in known.before] == expected


async def test_a_survey_counts_what_is_there() -> None:
    events: list[Event] = [make_host_event(1, observed_ms=T0), at(2, 1, job="a"), at(3, 9, job="b", kind="stale")]
    known = await survey(Past(*events), Selection(Query()), count=True)
    assert (known.events, dict(known.kinds)) == (3, {"host": 1, "change": 1, "stale": 1})
    assert (known.first_ms, known.last_ms) == (T0, T0 + 9000)
    assert (known.jobs, known.hosts) == ({("node1", "a"), ("node1", "b")}, {"node1"})


async def test_ticks_come_between_events_by_the_past_s_clock_at_any_speed() -> None:
    for speed, pace in ((1.0, 1.0), (10.0, 0.1), (None, 0.0)):
        told = await replayed(at(1, 0), at(2, 3.5), speed=speed, tick_s=0.2)
        assert told == [
            ("begin", 0, ([], 0)),
            ("give", 0, [1]),
            *(("tick", round(second * pace, 3), second * 1000) for second in (1, 2, 3)),
            ("give", round(3.5 * pace, 3), [2]),
            ("finish", round(3.5 * pace, 3), 3500),
        ]


async def test_a_subscriber_s_own_longer_tick_is_kept() -> None:
    told = await replayed(at(1, 0), at(2, 11), tick_s=5)
    assert [what for verb, _, what in told if verb == "tick"] == [5000, 10_000]


async def test_in_a_gap_that_is_shortened_every_tick_comes_and_the_last_ones_at_their_pace() -> None:
    told = await replayed(at(1, 0), at(2, 6), query=Query(until_ms=T0 + 10_000), tick_s=1, max_gap_s=2)
    assert told == [
        ("begin", 0, ([], 0)),
        ("give", 0, [1]),
        *(("tick", max(0, second - 4), second * 1000) for second in (1, 2, 3, 4, 5)),
        ("give", 2, [2]),
        *(("tick", max(2, second - 6), second * 1000) for second in (7, 8, 9)),
        ("finish", 3, 9000),
    ]


async def test_time_goes_on_to_the_end_of_the_range() -> None:
    told = await replayed(at(1, 0), query=Query(until_ms=T0 + 4000), tick_s=1)
    assert [what for verb, _, what in told if verb == "tick"] == [1000, 2000, 3000]


async def test_years_without_an_event_are_not_gone_through_second_by_second() -> None:
    told = await replayed(at(1, 0), at(2, 10 * 365 * 86_400), tick_s=1, speed=None)
    assert len(told) <= MAX_TICKS + 4


async def test_a_limit_ends_it() -> None:
    told = await replayed(at(1, 0), at(2, 0), at(3, 0), query=Query(limit=2))
    assert told[1] == ("give", 0, [1, 2])


async def test_nothing_asked_for_is_nothing_given_and_no_endless_loop() -> None:
    assert await replayed(at(1, 0), query=Query(jobs=["none"]), loop=True) == []


async def test_a_loop_begins_anew_with_higher_numbers_and_new_times() -> None:
    clock, bus = Clock(), Past(at(1, 0), at(2, 4))
    given: list[Event] = []

    class Enough(Exception):  # noqa: N818 - ends the loop
        pass

    class Collect(Notes):
        async def give(self, events: Sequence[Event], at_ms: int) -> None:  # noqa: ARG002 - the port's signature
            given.extend(events)
            if len(given) >= 5:
                raise Enough

    replay = Replay(
        bus,
        Selection(Query()),
        Survey(),
        pace=Pace(1.0, clock=clock, sleep=clock.sleep),
        sinks=[Collect(clock)],
        wall_ms=lambda: T0 + int((clock.now_s - 100) * 1000) + 10**6,
        renumber=Renumber("r", speed=1.0),
        loop=True,
    )
    with pytest.raises(Enough):
        await replay.run()
    assert [event.id for event in given] == [EventId("r", seq) for seq in range(1, 6)]
    assert [event.observed_ms - T0 - 10**6 for event in given] == [0, 4000, 4000, 8000, 8000]


async def test_the_position_is_where_to_go_on() -> None:
    clock, bus = Clock(), Past(at(1, 0), at(2, 4), at(3, 9))

    class Enough(Exception):  # noqa: N818 - stands for Ctrl-C
        pass

    async def sleep(seconds: float) -> None:
        await Clock.sleep(clock, seconds)
        if clock.now_s >= 109:
            raise Enough

    notes = Notes(clock)
    replay = Replay(
        bus,
        Selection(Query()),
        Survey(),
        pace=Pace(1.0, clock=clock, sleep=sleep),
        sinks=[notes],
        wall_ms=lambda: T0,
    )
    with pytest.raises(Enough):
        await replay.run()
    assert (replay.given, replay.position_ms) == (2, T0 + 9000)
