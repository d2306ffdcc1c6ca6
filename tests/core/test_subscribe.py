"""Subscribers on a bus that does as the test says, with waits that are only counted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pulse_bridge.bus import Batch, open_bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.config import SidecarSettings
from pulse_bridge.errors import BusError, BusUnavailableError, ConfigError
from pulse_bridge.event import EventId, JobEvent
from pulse_bridge.journal import open_journal
from pulse_bridge.journal_bus import JournalBus
from pulse_bridge.jsonl import DeadLetters, read_events
from pulse_bridge.patience import Patience
from pulse_bridge.reconnect import Backoff
from pulse_bridge.sidecar import Sidecar
from pulse_bridge.subscribe import catch_up, open_subscriptions, run_subscriptions
from pulse_bridge.subscriber import Subscriber
from pulse_bridge.subscription import Subscription
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.processes import WAIT_S, wait_until
from tests.support.recorder import Recorder
from tests.support.scripted_source import ScriptedSource

DOWN = BusUnavailableError("nobody listens")


class Quick(Recorder):
    """Ticks as often as it can."""

    tick_s = 0.001


class Private(Recorder):
    """Keeps no cursor."""

    durable = False


class Bench:
    """One bus, the waits that were slept on it, and the subscriptions made for it."""

    def __init__(self, folder: Path) -> None:
        self.bus = ScriptedSource()
        self.letters = folder / "node1.dead.jsonl"
        self.slept_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await asyncio.sleep(0)

    def subscription(self, subscriber: Subscriber, name: str = "alerts", **options: Any) -> Subscription:
        patience = Patience(**{"sleep": self.sleep, **options.pop("patience", {})})
        return Subscription(
            subscriber,
            options.pop("bus", self.bus),
            name=name,
            shown="scripted://x",
            letters=DeadLetters(self.letters),
            patience=patience,
            backoff=Backoff(sleep=self.sleep),
            **options,
        )

    @asynccontextmanager
    async def running(
        self, *subscriptions: Subscription
    ) -> AsyncIterator[tuple[asyncio.Event, "asyncio.Task[None]"]]:
        stop = asyncio.Event()
        task = asyncio.ensure_future(run_subscriptions(subscriptions, stop))
        try:
            yield stop, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert self.bus.open == 0, "a connection is left open"

    @asynccontextmanager
    async def following(self, subscriber: Recorder, **options: Any) -> AsyncIterator[Subscription]:
        """Run one subscriber behind its first snapshot."""
        subscription = self.subscription(subscriber, **options)
        async with self.running(subscription):
            await wait_until(lambda: bool(self.bus.commits), "the snapshot is taken")
            yield subscription

    def kept(self) -> list[str]:
        return [event.job for event in read_events(self.letters) if isinstance(event, JobEvent)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def job(name: str, seq: int = 1) -> JobEvent:
    return make_job_event(seq, job=name)


def messages(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= level]


def fails(*errors: BaseException) -> Callable[..., Any]:
    """Make a verb that raises each of these in turn, and then works."""
    left = list(errors)

    async def play(*_: object) -> None:
        if left:
            raise left.pop(0)

    return play


async def hang(*_: object) -> None:
    await asyncio.get_running_loop().create_future()


# The ordinary course of things


async def test_a_connection_begins_with_what_is_saved_then_the_snapshot_then_what_comes(bench: Bench) -> None:
    bench.bus.put(job("a"), make_host_event(2))
    recorder = Recorder(saves={"told": "1"})
    async with bench.following(recorder):
        bench.bus.put(job("b"))
        await wait_until(lambda: len(bench.bus.commits) == 2, "it is taken")
    assert recorder.calls == [
        ("on_connect", {}),
        ("snapshot", ["a", "host"]),
        ("on_commit", None),
        ("on_batch", ["b"]),
        ("on_commit", None),
    ]
    assert bench.bus.commits == [{"told": "1"}, {"told": "1"}]


async def test_a_second_start_goes_on_behind_the_last_commit_with_what_was_saved(bench: Bench) -> None:
    async with bench.following(Recorder(saves={"told": "1"})):
        pass
    bench.bus.put(job("a"))
    recorder = Recorder()
    async with bench.running(bench.subscription(recorder)):
        await wait_until(lambda: bool(recorder.given("on_batch")), "it goes on")
    assert recorder.calls[:2] == [("on_connect", {"told": "1"}), ("on_batch", ["a"])]


async def test_one_that_is_not_durable_reads_privately_and_begins_with_a_snapshot_each_time(bench: Bench) -> None:
    for _ in range(2):
        recorder = Private()
        async with bench.running(bench.subscription(recorder)):
            await wait_until(lambda recorder=recorder: bool(recorder.given("snapshot")), "the snapshot")  # type: ignore[misc]
    assert bench.bus.groups == [None, None]
    assert bench.bus.cursors == {}


async def test_it_ticks_while_nothing_comes_and_what_a_tick_gives_back_is_stored(bench: Bench) -> None:
    async def silent(*_: object) -> dict[str, str]:
        return {"silent": "node1"}

    async with bench.following(Quick(on_tick=silent)):
        await wait_until(lambda: len(bench.bus.commits) >= 3, "ticks are stored")
    assert bench.bus.saved["alerts"] == {"silent": "node1"}


async def test_a_tick_that_gives_nothing_back_stores_nothing(bench: Bench) -> None:
    recorder = Quick()
    async with bench.following(recorder):
        await wait_until(lambda: len(recorder.given("on_tick")) >= 3, "it ticks")
    assert bench.bus.commits == [{}]
    assert len(recorder.given("on_commit")) == 1


async def test_what_a_tick_gives_back_is_not_stored_before_a_batch_that_came_meanwhile_is_taken(
    bench: Bench,
) -> None:
    ticking, go = asyncio.Event(), asyncio.Event()

    async def tick(*_: object) -> dict[str, str]:
        ticking.set()
        await go.wait()
        return {"silent": "node1"}

    async def take(*_: object) -> dict[str, str]:
        assert all("silent" not in changes for changes in bench.bus.commits), "stored behind a batch not taken"
        return {"told": "1"}

    recorder = Quick(on_tick=tick)
    async with bench.following(recorder):
        await ticking.wait()
        recorder.plays["on_batch"] = take
        bench.bus.put(job("a"))
        await wait_until(lambda: bench.bus.given == 2, "the batch has come")
        go.set()
        await wait_until(lambda: bench.bus.cursors == {"alerts": 1}, "both are stored")
    assert bench.bus.saved["alerts"] == {"silent": "node1", "told": "1"}
    assert bench.kept() == []


async def test_it_ticks_while_much_comes(bench: Bench) -> None:
    recorder = Quick()
    async with bench.following(recorder):
        for seq in range(2000):
            bench.bus.put(job("a", seq))
        await wait_until(lambda: len(recorder.given("on_batch")) == 2000, "all is taken")
    first, last = recorder.calls.index(("on_batch", ["a"])), len(recorder.calls)
    assert "on_tick" in [verb for verb, _ in recorder.calls[first : last - 2]]


async def test_empty_batches_are_not_passed_on(bench: Bench) -> None:
    recorder = Recorder()
    async with bench.following(recorder):
        bench.bus.put()
        bench.bus.put(job("a"))
        await wait_until(lambda: len(bench.bus.commits) == 2, "what follows is taken")
    assert recorder.given("on_batch") == [["a"]]


async def test_nothing_is_read_ahead_of_a_slow_subscriber(bench: Bench) -> None:
    async with bench.following(Recorder(on_batch=hang)):
        for seq in range(100):
            bench.bus.put(job("a", seq))
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.bus.given == 2, "the snapshot and the one at hand"


async def test_events_that_the_bus_gave_up_are_said_and_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[int] = []

    async def note(batch: Batch) -> None:
        lost.append(batch.lost)

    async with bench.following(Recorder(on_batch=note)) as subscription:
        bench.bus.put(job("a"), lost=7)
        bench.bus.put(lost=5)
        await wait_until(lambda: len(bench.bus.commits) == 3, "both are taken")
    assert lost == [7, 5]
    assert subscription.lost_events == 12
    assert messages(caplog) == ["events are lost: the bus gave them up before they were read"] * 2
    assert [vars(record)["events"] for record in caplog.records] == [7, 5]


# Connections


async def test_a_bus_that_is_down_is_waited_for_and_said_once_and_nobody_ticks_meanwhile(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.bus.connect_errors += [DOWN] * 50
    recorder = Quick()
    async with bench.following(recorder):
        pass
    assert [verb for verb, _ in recorder.calls[:2]] == ["on_connect", "snapshot"]
    assert messages(caplog) == ["unavailable; trying again"]
    assert vars(caplog.records[0])["destination"] == "scripted://x for alerts"


async def test_a_loss_is_told_and_the_next_connection_begins_from_what_is_stored(bench: Bench) -> None:
    recorder = Recorder(saves={"told": "1"})
    async with bench.following(recorder) as subscription:
        bench.bus.lose("the connection was closed")
        await wait_until(lambda: len(recorder.given("on_connect")) == 2, "it is there again")
        assert subscription.progress.reconnects == 1
    assert recorder.calls[3:5] == [("on_disconnect", "the connection was closed"), ("on_connect", {"told": "1"})]


async def test_a_commit_that_fails_brings_the_same_events_again(bench: Bench) -> None:
    recorder = Recorder()
    async with bench.following(recorder):
        bench.bus.commit_errors.append(DOWN)
        bench.bus.put(job("a"))
        await wait_until(lambda: len(bench.bus.commits) == 2, "it is stored at last")
    assert recorder.given("on_batch") == [["a"], ["a"]]
    assert recorder.given("on_disconnect") == ["nobody listens"]
    assert len(recorder.given("on_commit")) == 2, "only what is stored is told"


# One that fails


async def test_one_that_raises_is_called_again_with_the_same_batch(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(on_batch=fails(*[ValueError("not now")] * 4))
    async with bench.following(recorder):
        bench.bus.put(job("a"), job("b"))
        await wait_until(lambda: len(bench.bus.commits) == 2, "it is taken at last")
    assert recorder.given("on_batch") == [["a", "b"]] * 5
    assert bench.kept() == []
    assert messages(caplog) == ["a subscriber failed; it is called again"]
    assert vars(caplog.records[0])["reason"] == "ValueError: not now"
    bounds_s = [0.2, 0.4, 0.8, 1.6]
    assert all(0 <= slept_s <= bound_s for slept_s, bound_s in zip(bench.slept_s, bounds_s, strict=True))


async def test_no_wait_is_longer_than_is_said(bench: Bench) -> None:
    recorder = Recorder(on_batch=fails(*[ValueError("not now")] * 200))
    async with bench.following(recorder, patience={"attempts": 200, "first_s": 1.0, "max_s": 5.0}):
        bench.bus.put(job("a"))
        await wait_until(lambda: len(bench.bus.commits) == 2, "it is given up")
    assert 4 < max(bench.slept_s) <= 5


async def test_one_poisonous_event_costs_no_other(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def choke(batch: Batch) -> dict[str, str]:
        jobs = [event.job for event in batch.events if isinstance(event, JobEvent)]
        if "poison" in jobs:
            raise ValueError("it tastes bad")
        return {f"saw {name}": "yes" for name in jobs}

    recorder = Recorder(on_batch=choke)
    async with bench.following(recorder) as subscription:
        bench.bus.put(job("a"), job("poison"), job("b"))
        bench.bus.put(job("c"))
        await wait_until(lambda: len(bench.bus.commits) == 3, "it goes on")
    assert recorder.given("on_batch")[5:] == [["a"], ["poison"], ["b"], ["c"]]
    assert bench.bus.saved["alerts"] == {"saw a": "yes", "saw b": "yes", "saw c": "yes"}
    assert bench.kept() == ["poison"]
    assert '"rejected_by": "alerts", "reason": "ValueError: it tastes bad"' in bench.letters.read_text()
    assert subscription.letters.count == 1
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in errors] == [
        "a subscriber fails; what it cannot do is passed over",
        "a destination can never take an event; it is kept as a dead letter",
    ]
    assert errors[0].exc_info
    assert isinstance(errors[0].exc_info[1], ValueError)


async def test_dead_letters_are_said_once_and_counted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(on_batch=fails(*[ValueError("never")] * 1000))
    async with bench.following(recorder) as subscription:
        for seq in range(3):
            bench.bus.put(job(f"j{seq}", seq))
        await wait_until(lambda: len(bench.bus.commits) == 4, "the cursor goes on")
        assert subscription.letters.count == 3
    assert bench.kept() == ["j0", "j1", "j2"]
    assert len(messages(caplog, logging.ERROR)) == 2


async def test_what_is_in_a_poisonous_snapshot_is_given_one_by_one_as_a_snapshot(bench: Bench) -> None:
    async def choke(batch: Batch) -> None:
        if len(batch.events) > 1:
            raise ValueError("too much")

    bench.bus.put(job("a"), job("b"))
    recorder = Recorder(snapshot=choke)
    async with bench.following(recorder):
        pass
    assert recorder.given("snapshot") == [["a", "b"]] * 5 + [["a"], ["b"]]
    assert bench.kept() == []


async def test_an_empty_snapshot_that_cannot_be_taken_is_passed_over(bench: Bench) -> None:
    recorder = Recorder(snapshot=fails(*[ValueError("never")] * 5))
    async with bench.following(recorder):
        bench.bus.put(job("a"))
        await wait_until(lambda: len(bench.bus.commits) == 2, "it goes on")
    assert bench.kept() == []


async def test_one_that_hangs_is_cancelled_and_given_up_in_bounded_time(bench: Bench) -> None:
    recorder = Recorder(on_batch=hang)
    async with bench.following(recorder, patience={"limit_s": 0.001, "attempts": 3}):
        bench.bus.put(*(job(f"j{seq}", seq) for seq in range(50)))
        await wait_until(lambda: len(bench.bus.commits) == 2, "the cursor goes on")
    assert len(recorder.given("on_batch")) == 3 + 3, "the batch, and then so many of its events"
    assert len(bench.kept()) == 50
    assert "it took longer than 0.001 s" in bench.letters.read_text()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncio.CancelledError(), "EndedError: it was cancelled from within"),
        (SystemExit(1), "EndedError: it asked for the end of the program"),
        (BaseExceptionGroup("both", [SystemExit(1)]), "EndedError: it raised BaseExceptionGroup"),
        (DOWN, "BusUnavailableError: nobody listens"),
        (ConfigError("no such thing"), "ConfigError: no such thing"),
        (TimeoutError(), "TimeoutError"),
        (ExceptionGroup("both", [ValueError("a")]), "ExceptionGroup: both (1 sub-exception)"),
    ],
)
async def test_whatever_it_raises_is_its_own_failure_and_not_the_bus_s_or_ours(
    bench: Bench, caplog: pytest.LogCaptureFixture, error: BaseException, reason: str
) -> None:
    recorder = Recorder(on_batch=fails(error))
    async with bench.following(recorder):
        bench.bus.put(job("a"))
        await wait_until(lambda: len(bench.bus.commits) == 2, "the second call is fine")
    assert recorder.given("on_disconnect") == []
    assert [vars(record)["reason"] for record in caplog.records] == [reason]


@pytest.mark.parametrize("found", [["a"], {"a": 1}, {1: "a"}, "text"])
async def test_what_cannot_be_stored_is_the_subscriber_s_failure(bench: Bench, found: object) -> None:
    async def give(*_: object) -> object:
        return found

    async with bench.following(Recorder(on_batch=give)):
        bench.bus.put(job("a"))
        await wait_until(lambda: len(bench.bus.commits) == 2, "the cursor goes on")
    assert bench.bus.commits[1] == {}
    assert "TypeError: on_batch gave back" in bench.letters.read_text()


async def test_ticks_wait_while_a_batch_is_tried_again(bench: Bench) -> None:
    recorder = Quick(on_batch=fails(*[ValueError("not now")] * 4))

    async def sleep(_: float) -> None:
        await asyncio.sleep(3 * Quick.tick_s)

    async with bench.following(recorder, patience={"sleep": sleep}):
        bench.bus.put(job("a"))
        await wait_until(lambda: ("on_commit", None) in recorder.calls[4:], "it is taken")
    first = recorder.calls.index(("on_batch", ["a"]))
    assert recorder.calls[first : first + 6] == [("on_batch", ["a"])] * 5 + [("on_commit", None)]


@pytest.mark.parametrize("verb", ["on_connect", "on_tick", "on_commit", "on_disconnect"])
async def test_another_verb_that_fails_is_said_once_and_passed_over(
    bench: Bench, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    plays: dict[str, Any] = {verb: fails(*[ValueError("never")] * 1000)}
    recorder = Quick(**plays)
    async with bench.following(recorder):
        for seq in range(3):
            bench.bus.lose("closed")
            bench.bus.put(job("a", seq))
            await wait_until(lambda: recorder.given("on_batch")[-1:] == [["a"]], "events come")
            ticks = len(recorder.given("on_tick"))
            await wait_until(lambda ticks=ticks: len(recorder.given("on_tick")) > ticks + 2, "it ticks")  # type: ignore[misc]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [vars(record)["verb"] for record in errors] == [verb]
    assert errors[0].exc_info


async def test_a_tick_that_was_given_up_and_works_again_may_fail_again_out_loud(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    async def play(*_: object) -> None:
        if broken:
            raise ValueError("not now")

    recorder = Quick(on_tick=play)
    async with bench.following(recorder):
        await wait_until(lambda: len(messages(caplog, logging.ERROR)) == 1, "it is given up")
        broken = False
        ticks = len(recorder.given("on_tick"))
        await wait_until(lambda: len(recorder.given("on_tick")) > ticks + 1, "it works")
        broken = True
        await wait_until(lambda: len(messages(caplog, logging.ERROR)) == 2, "it is given up again")


async def test_one_that_hangs_changes_nothing_for_the_others(bench: Bench) -> None:
    good = Recorder()
    subscriptions = [bench.subscription(Recorder(on_batch=hang), "bad"), bench.subscription(good, "good")]
    async with bench.running(*subscriptions):
        await wait_until(lambda: len(bench.bus.commits) == 2, "both have begun")
        for seq in range(10):
            bench.bus.put(job("a", seq))
        await wait_until(lambda: len(good.given("on_batch")) == 10, "the other has it all")
    assert sorted(filter(None, bench.bus.groups)) == ["bad", "good"]
    assert bench.bus.cursors == {"bad": 0, "good": 10}


# Lifespans


class Living(Recorder):
    """Fails in its lifespan.

    Args:
        errors: Raised on entering, one after another.
    """

    def __init__(self, *errors: Exception, **plays: Any) -> None:
        super().__init__(**plays)
        self.errors = list(errors)
        self.alive = 0

    @asynccontextmanager
    async def _living(self) -> AsyncIterator[None]:
        if self.errors:
            raise self.errors.pop(0)
        self.alive += 1
        try:
            yield
        finally:
            self.alive -= 1

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        return self._living()


async def test_a_lifespan_holds_over_connections_and_ends_with_the_stop(bench: Bench) -> None:
    living = Living()
    async with bench.running(bench.subscription(living)) as (stop, task):
        await wait_until(lambda: bool(bench.bus.commits), "it has begun")
        bench.bus.lose("closed")
        await wait_until(lambda: len(living.given("on_connect")) == 2, "it is there again")
        assert living.alive == 1
        stop.set()
        await asyncio.wait_for(task, WAIT_S)
    assert living.alive == 0


async def test_a_mistake_found_at_the_start_ends_them_all(bench: Bench) -> None:
    good, bad = Living(), Living(ConfigError("port 9000 is taken"))
    with pytest.raises(ConfigError, match="port 9000 is taken"):
        await run_subscriptions(
            [bench.subscription(good, "good"), bench.subscription(bad, "bad")], asyncio.Event()
        )
    assert good.alive == 0
    assert bench.bus.open == 0


@pytest.mark.parametrize("error", [ConfigError("in use by pid 7"), BusError("it cannot be followed")])
async def test_a_bus_that_cannot_be_read_ends_them_at_the_start(bench: Bench, error: BusError) -> None:
    bench.bus.connect_errors.append(error)
    with pytest.raises(type(error), match=str(error)):
        await run_subscriptions([bench.subscription(Recorder())], asyncio.Event())


async def test_a_mistake_found_later_ends_only_this_one_and_is_said(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    good = Recorder()
    async with bench.running(bench.subscription(Recorder(), "bad"), bench.subscription(good, "good")):
        await wait_until(lambda: len(bench.bus.commits) == 2, "both have begun")
        bench.bus.connect_errors.append(ConfigError("in use by pid 7"))
        bench.bus.lose("closed")
        bench.bus.put(job("a"))
        await wait_until(lambda: bench.bus.open == 1, "one goes on")
    assert messages(caplog, logging.ERROR) == ["a subscriber is lost; it is left until the next start"]


async def test_a_lifespan_that_fails_is_entered_anew(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    living = Living(OSError("busy"), DOWN)
    async with bench.following(living):
        assert living.alive == 1
    assert messages(caplog) == ["a subscriber fell over; it is started anew"] * 2


async def test_a_lifespan_that_always_fails_loses_this_one_alone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    good = Recorder()
    bad = Living(*[OSError("busy")] * 100)
    async with bench.running(bench.subscription(bad, "bad"), bench.subscription(good, "good")):
        await wait_until(lambda: bool(messages(caplog, logging.ERROR)), "it is lost")
        bench.bus.put(job("a"))
        await wait_until(lambda: bool(good.given("on_batch")), "the other goes on")
    assert len(bad.errors) == 95
    assert bad.calls == []


async def test_when_every_one_is_lost_it_ends(bench: Bench) -> None:
    bad = Living(*[OSError("busy")] * 100)
    await asyncio.wait_for(run_subscriptions([bench.subscription(bad)], asyncio.Event()), WAIT_S)


# The end


async def test_a_verb_at_work_is_finished_and_stored_at_a_stop(bench: Bench) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def work(*_: object) -> dict[str, str]:
        begun.set()
        await go.wait()
        return {"told": "1"}

    subscription = bench.subscription(Recorder(on_batch=work))
    async with bench.running(subscription) as (stop, task):
        await wait_until(lambda: bool(bench.bus.commits), "it has begun")
        bench.bus.put(job("a"))
        await begun.wait()
        bench.bus.put(job("b"))
        stop.set()
        await wait_until(subscription._stop.is_set, "the stop is noticed")
        go.set()
        await asyncio.wait_for(task, WAIT_S)
    assert bench.bus.saved["alerts"] == {"told": "1"}
    assert bench.bus.cursors == {"alerts": 1}, "and what came after it is for the next start"


async def test_at_a_stop_it_may_still_store_what_it_has_finished(bench: Bench) -> None:
    async def tell(*_: object) -> dict[str, str]:
        return {"told": "1"}

    recorder = Recorder(on_tick=tell)  # whose tick is not due for a second
    async with bench.running(bench.subscription(recorder)) as (stop, task):
        bench.bus.put(job("a"))
        await wait_until(lambda: bench.bus.cursors == {"alerts": 1}, "the event is taken")
        stop.set()
        await asyncio.wait_for(task, WAIT_S)
    assert bench.bus.saved["alerts"] == {"told": "1"}


async def test_at_a_stop_it_finishes_what_is_under_way_and_what_that_began(bench: Bench) -> None:
    steps = ["begun", "finished"]

    async def finish(*_: object) -> dict[str, str]:
        return {"told": steps.pop(0)} if steps else {}

    recorder = Recorder(on_stop=finish)
    async with bench.running(bench.subscription(recorder)) as (stop, task):
        bench.bus.put(job("a"))
        await wait_until(lambda: bench.bus.cursors == {"alerts": 1}, "the event is taken")
        stop.set()
        await asyncio.wait_for(task, WAIT_S)
    assert bench.bus.saved["alerts"] == {"told": "finished"}
    assert [verb for verb, _ in recorder.calls][-5:] == ["on_stop", "on_commit", "on_stop", "on_commit", "on_stop"]


async def test_what_comes_while_it_finishes_is_taken_before_that_is_stored(bench: Bench) -> None:
    steps = ["begun", "finished"]

    async def finish(*_: object) -> dict[str, str]:
        if steps[:1] == ["begun"]:
            bench.bus.put(job("b", 2), job("c", 3))
            await wait_until(lambda: bench.bus.given == 2, "the next batch is given")
        return {"told": steps.pop(0)} if steps else {}

    recorder = Recorder(on_stop=finish, saves={"told": "taken"})
    async with bench.running(bench.subscription(recorder)) as (stop, task):
        bench.bus.put(job("a"))
        await wait_until(lambda: bench.bus.cursors == {"alerts": 1}, "the event is taken")
        stop.set()
        await asyncio.wait_for(task, WAIT_S)
    assert recorder.given("on_batch") == [["b", "c"]]
    assert bench.bus.saved["alerts"] == {"told": "finished"}


async def test_one_that_finds_no_end_is_cancelled_at_a_stop(bench: Bench) -> None:
    async with bench.running(bench.subscription(Recorder(on_stop=hang), stop_s=0.01)) as (stop, task):
        await wait_until(lambda: bool(bench.bus.commits), "it has begun")
        stop.set()
        await asyncio.wait_for(task, WAIT_S)


async def test_a_verb_that_does_not_end_is_cancelled_at_a_stop_and_its_batch_comes_again(bench: Bench) -> None:
    async with bench.running(bench.subscription(Recorder(on_batch=hang), stop_s=0.01)) as (stop, task):
        await wait_until(lambda: bool(bench.bus.commits), "it has begun")
        bench.bus.put(job("a"))
        await wait_until(lambda: bench.bus.given == 2, "it is at work")
        stop.set()
        await asyncio.wait_for(task, WAIT_S)
    assert bench.bus.cursors == {"alerts": 0}
    assert bench.kept() == []


async def test_a_stop_while_a_batch_is_tried_again_gives_nothing_up(bench: Bench) -> None:
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await hang()

    async def tell(*_: object) -> dict[str, str]:
        return {"told": "1"}

    recorder = Recorder(on_batch=fails(*[ValueError("not now")] * 100), on_tick=tell)
    async with bench.running(bench.subscription(recorder, patience={"sleep": sleep})) as (stop, task):
        await wait_until(lambda: bool(bench.bus.commits), "it has begun")
        bench.bus.put(job("a"), job("b"))
        await waiting.wait()
        stop.set()
        await asyncio.wait_for(task, WAIT_S)
    assert bench.bus.cursors == {"alerts": 0}
    assert bench.kept() == []


@pytest.mark.parametrize("where", ["connecting", "between attempts"])
async def test_a_stop_while_there_is_no_connection_is_at_once(bench: Bench, where: str) -> None:
    class Hanging(ScriptedSource):
        @asynccontextmanager
        async def consumer(self, group: str | None) -> AsyncIterator[Any]:
            self.groups.append(group)
            await hang()
            yield None

    async def sleep(_: float) -> None:
        await hang()

    bus = Hanging() if where == "connecting" else ScriptedSource()
    bus.connect_errors.append(DOWN)
    subscription = bench.subscription(Recorder(), bus=bus, stop_s=3600)
    subscription._backoff = Backoff(sleep=sleep)
    async with bench.running(subscription) as (stop, task):
        await wait_until(lambda: bool(bus.groups), "it connects")
        stop.set()
        await asyncio.wait_for(task, WAIT_S)


async def test_whoever_waits_for_the_last_event_waits_until_it_is_taken(bench: Bench) -> None:
    go = asyncio.Event()

    async def work(*_: object) -> None:
        await go.wait()

    subscription = bench.subscription(Recorder(on_batch=work))
    async with bench.running(subscription):
        await wait_until(lambda: bool(bench.bus.commits), "it has begun")
        bench.bus.put(job("a", 5))
        waiting = asyncio.ensure_future(subscription.catch_up(EventId("contract", 5)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        go.set()
        await asyncio.wait_for(waiting, WAIT_S)
    beyond = subscription.catch_up(EventId("contract", 6))
    await asyncio.wait_for(beyond, WAIT_S)  # nothing more is taken once it has ended


async def test_a_subscriber_that_does_not_come_to_the_last_event_is_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulse_bridge.subscribe.CATCH_UP_S", 0.01)
    async with bench.following(Recorder()) as subscription:
        await asyncio.wait_for(catch_up([subscription], EventId("contract", 5)), WAIT_S)


# A real journal


async def test_a_journal_is_followed_over_a_restart_with_state_and_dead_letters(
    tmp_path: Path, bench: Bench
) -> None:
    path = tmp_path / "journal.db"
    bus = JournalBus(BusUrl.parse(f"journal://{path}"))

    async def choke(batch: Batch) -> dict[str, str]:
        jobs = [event.job for event in batch.events if isinstance(event, JobEvent)]
        if "poison" in jobs:
            raise ValueError("it tastes bad")
        return {"last": jobs[-1]}

    with open_journal(path) as journal:
        journal.append([job("a")])
        first = Recorder(on_batch=choke)
        async with bench.running(bench.subscription(first, bus=bus)):
            await wait_until(lambda: bool(first.given("on_commit")), "the snapshot is taken")
            journal.append([job("b"), job("poison"), job("c")])
            await wait_until(lambda: len(first.given("on_commit")) == 2, "it goes on")
        journal.append([job("d")])
        second = Recorder(on_batch=choke)
        async with bench.running(bench.subscription(second, bus=bus)):
            await wait_until(lambda: bool(second.given("on_commit")), "it goes on after a restart")
    assert second.calls[:2] == [("on_connect", {"last": "c"}), ("on_batch", ["d"])]
    assert bench.kept() == ["poison"]


# Inside a sidecar


async def test_one_that_hangs_does_not_hold_up_the_stop_of_a_sidecar(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulse_bridge.subscribe.CATCH_UP_S", 0.01)
    path = tmp_path / "journal.db"
    bus = JournalBus(BusUrl.parse(f"journal://{path}"))
    good, hanging = Recorder(), Recorder(snapshot=hang)
    subscriptions = [
        bench.subscription(good, "good", bus=bus),
        bench.subscription(hanging, "hanging", bus=bus, stop_s=0.01),
    ]
    settings = SidecarSettings(paths=(str(tmp_path),), host="node1", journal=path)
    stop = asyncio.Event()
    with open_journal(path) as journal:
        running = asyncio.ensure_future(Sidecar(settings, [], journal, subscriptions=subscriptions).run(stop))
        await wait_until(lambda: bool(hanging.calls[1:] and good.given("on_commit")), "both are at work")
        stop.set()
        assert await asyncio.wait_for(running, WAIT_S)
    assert hanging.given("on_commit") == []


async def test_a_sidecar_s_subscriber_that_cannot_begin_is_one_error(tmp_path: Path, bench: Bench) -> None:
    settings = SidecarSettings(paths=(str(tmp_path),), host="node1")
    subscription = bench.subscription(Living(ConfigError("port 9000 is taken")))
    with open_journal(tmp_path / "journal.db") as journal:
        sidecar = Sidecar(settings, [], journal, subscriptions=[subscription])
        with pytest.raises(ConfigError, match="port 9000 is taken"):
            await asyncio.wait_for(sidecar.run(asyncio.Event()), WAIT_S)


# What a user writes


def test_each_is_named_by_its_plugin_or_as_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulse_bridge.subscribe.open_subscriber", lambda _: Recorder())
    found = open_subscriptions(
        ["alerts", "alerts?name=night", "web"], open_bus("x.jsonl"), shown="x", dead_letters=tmp_path / "x.jsonl"
    )
    assert [subscription.name for subscription in found] == ["alerts", "night", "web"]


@pytest.mark.parametrize(
    "texts", [["alerts", "alerts"], ["alerts?notify=json://u:hunter2@h", "alerts"], ["web?name=alerts", "alerts"]]
)
def test_two_that_would_share_a_cursor_are_refused(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulse_bridge.subscribe.open_subscriber", lambda _: Recorder())
    with pytest.raises(ConfigError, match="a subscriber with the name 'alerts' is there already") as error:
        open_subscriptions(texts, open_bus("x.jsonl"), shown="x", dead_letters=tmp_path / "x.jsonl")
    assert "hunter2" not in str(error.value)
