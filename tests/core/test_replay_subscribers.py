"""Subscribers on the past: by its clock, and without a trace."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Batch, Query
from pulse_bridge.clock import Instant
from pulse_bridge.errors import ConfigError, HistoryUnsupportedError
from pulse_bridge.event import Event, HostEvent
from pulse_bridge.fleet import Fleet
from pulse_bridge.replay_life import SignsOfLife
from pulse_bridge.replay_pace import Renumber
from pulse_bridge.replay_subscribers import PastBus, SubscriberSink, open_rehearsal
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber
from pulse_bridge.testing import make_host_event, make_job_event
from tests.core.test_replay import T0, Past, at
from tests.support.recorder import Recorder


def sink_of(subscriber: Subscriber, *, bus: Past | None = None, fills_silence: bool = False) -> SubscriberSink:
    return SubscriberSink(
        "it",
        subscriber,
        PastBus(bus or Past(), moved=False),
        renumber=Renumber("replay"),
        stop=asyncio.Event(),
        fills_silence=fills_silence,
    )


class Watcher(Subscriber):
    """Notes the clocks, and which hosts it takes for silent."""

    def __init__(self) -> None:
        self.clocks: list[Instant] = []
        self.silent: list[str] = []
        self.fleet = Fleet()

    async def on_connect(self, saved: Mapping[str, str], at: Instant) -> None:
        assert saved == {}
        self.clocks.append(at)
        self.fleet.connect(at.now_s)

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        for event in batch.events:
            self.fleet.apply(event, at, snapshot=batch.snapshot)
        return NOTHING

    async def on_tick(self, at: Instant) -> Changes:
        self.clocks.append(at)
        self.silent += [silence.host for silence in self.fleet.silences(at.now_s)]
        return NOTHING


async def test_both_clocks_are_the_past_s() -> None:
    watcher = Watcher()
    async with sink_of(watcher) as sink:
        await sink.begin([], T0)
        await sink.tick(T0 + 5000)
        await sink.begin([], T0)
        await sink.tick(T0 + 1000)
    assert [round(clock.now_s, 3) for clock in watcher.clocks] == [0, 5, 5, 6], "it never goes back"
    assert [clock.wall_s for clock in watcher.clocks] == [T0 / 1000 + second for second in (0, 5, 0, 1)]


async def test_what_stood_before_is_a_snapshot_and_a_loop_is_a_new_connection() -> None:
    recorder = Recorder(saves={"a": "1"})
    async with sink_of(recorder) as sink:
        await sink.begin([at(1, 0, job="a")], T0)
        await sink.give([at(2, 1, job="b")], T0 + 1000)
        await sink.begin([], T0)
        await sink.finish(T0 + 1000)
    assert [verb for verb, _ in recorder.calls] == [
        *("on_connect", "snapshot", "on_commit", "on_batch", "on_commit"),
        *("on_disconnect", "on_connect", "snapshot", "on_commit", "on_tick", "on_stop"),
    ]
    assert recorder.given("on_connect") == [{}, {}]
    assert recorder.given("snapshot") == [["a"], []]


async def test_one_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: object) -> None:
        raise ValueError("I will not")

    recorder = Recorder(on_tick=fail)
    async with sink_of(recorder) as sink:
        sink._guard._patience = sink._guard._patience.__class__(first_s=0.0)
        await sink.begin([], T0)
        await sink.tick(T0)
        await sink.give([at(2, 1, job="b")], T0 + 1000)
    assert recorder.given("on_batch") == [["b"]]
    assert "a subscriber fails; what it cannot do is passed over" in caplog.messages


async def silences(*events: Event, fills_silence: bool) -> list[str]:
    watcher = Watcher()
    async with sink_of(watcher, fills_silence=fills_silence) as sink:
        await sink.begin([], T0)
        for event in events:
            await sink.give([event], event.observed_ms)
        for second in range(1, 60):
            await sink.tick(T0 + second * 1000)
    return sorted(set(watcher.silent))


async def test_a_host_that_says_nothing_is_silent_where_the_source_would_have_told() -> None:
    assert await silences(at(1, 0), fills_silence=False) == ["node1"]


async def test_a_source_without_signs_of_life_makes_no_host_silent_but_one_that_stopped() -> None:
    assert await silences(at(1, 0), fills_silence=True) == []
    stopped = make_host_event(2, observed_ms=T0 + 1, stopping=True)
    assert await silences(at(1, 0), stopped, fills_silence=True) == ["node1"]


def test_a_sign_of_life_comes_every_ten_seconds_and_counts_the_jobs() -> None:
    life = SignsOfLife()
    life.note([at(1, 0, job="a"), at(2, 0, job="b"), at(3, 0, job="c", state="done")])
    assert life.due(T0 + 9999) == []
    (sign,) = life.due(T0 + 10_000)
    assert isinstance(sign, HostEvent)
    assert (sign.host, sign.jobs, sign.observed_ms) == ("node1", {"running": 2, "done": 1}, T0 + 10_000)
    assert life.due(T0 + 10_001) == []
    assert len(life.due(T0 + 20_000)) == 1


def test_an_event_of_a_stopped_host_starts_its_signs_again() -> None:
    life = SignsOfLife()
    life.note([make_host_event(1, observed_ms=T0, stopping=True)])
    assert life.due(T0 + 60_000) == []
    life.note([at(2, 60)])
    assert len(life.due(T0 + 70_000)) == 1


async def collect(events: AsyncIterator[Event]) -> list[int]:
    return [event.id.seq async for event in events]


async def test_a_question_about_the_past_is_answered_up_to_the_replay_s_own_instant() -> None:
    bus = Past(at(1, 0), at(2, 5), at(3, 9))
    past = PastBus(bus, moved=False)
    past.at_ms = T0 + 5000
    assert await collect(past.history(Query())) == [1, 2]
    assert await collect(past.history(Query(until_ms=T0 + 1))) == [1]
    with pytest.raises(HistoryUnsupportedError, match="times moved"):
        PastBus(bus, moved=True).history(Query())
    for use in (lambda: past.consumer(None), lambda: past.publisher(None)):
        with pytest.raises(ConfigError):
            use()


class Acting(Subscriber):
    """Acts on the world."""

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        raise AssertionError


class Rehearsed(Acting):
    """Acts on the world, or says what it would do."""

    def rehearse(self, say: Callable[[str], None]) -> None:
        say("I would")


class Showing(Acting):
    """Only shows."""

    durable = False


def opened(subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch, *, really_send: bool) -> Sequence[str]:
    said: list[str] = []
    monkeypatch.setattr("pulse_bridge.replay_subscribers.open_subscriber", lambda _: subscriber)
    assert open_rehearsal("it?name=own", really_send=really_send, say=said.append) == ("own", subscriber)
    return said


def test_one_that_would_act_rehearses_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(Rehearsed(), monkeypatch, really_send=False) == ["I would"]
    assert opened(Rehearsed(), monkeypatch, really_send=True) == []
    assert opened(Showing(), monkeypatch, really_send=False) == []
    assert opened(Acting(), monkeypatch, really_send=True) == []
    with pytest.raises(ConfigError, match=r"cannot rehearse.*--really-send"):
        opened(Acting(), monkeypatch, really_send=False)


async def test_what_it_cannot_take_is_counted_and_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: object) -> None:
        raise ValueError("I will not")

    monkeypatch.chdir(tmp_path)
    async with sink_of(Recorder(on_batch=fail)) as sink:
        sink._guard._patience = sink._guard._patience.__class__(first_s=0.0)
        await sink.begin([], T0)
        await sink.give([make_job_event(1)], T0)
    assert "a subscriber cannot take an event" in caplog.messages
    assert not os.listdir(tmp_path)
