"""Contract suites for adapters, ours and a third party's, to inherit; needs pytest with anyio's plugin.

    class TestMyBus(PublisherContract):
        @pytest.fixture
        def bus(self): ...
        async def received(self, bus): ...

Each test is a sentence of a port's promise, in `bus.py` or `subscriber.py`.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Final, cast
from unittest import SkipTest

from pulse_bridge.bus import Batch, Bus, Consumer, Presence, Query
from pulse_bridge.clock import Instant
from pulse_bridge.event import KINDS, STATES, Event, EventId, HostEvent, JobEvent, Status
from pulse_bridge.subscriber import Subscriber

SAMPLE_MS = 1_790_000_000_123


def make_job_event(seq: int = 1, **changes: Any) -> JobEvent:  # noqa: ANN401 - any field of the event
    """Make a plausible job event; each call with its own `seq`, and a loss that shows it."""
    event = JobEvent(
        id=EventId("contract", seq),
        kind="change",
        host="node1",
        job="llm/run a",
        run=1_790_000_000,
        state="running",
        status="running",
        epoch=1.5,
        total_epochs=3,
        loss=seq / 8,
        message="épique ✓ step 150/800",
        timestamp=1_790_000_000,
        progress=50.0,
        eta_s=12.5,
        diverged=False,
        step=150,
        total_steps=800,
        learning_rate=2e-05,
        labels={"profile": "TRIZ Engineer"},
        observed_ms=SAMPLE_MS + seq,
    )
    return event._replace(**changes)


def make_host_event(seq: int = 1, **changes: Any) -> HostEvent:  # noqa: ANN401 - any field of the event
    """Make a plausible host event."""
    event = HostEvent(
        id=EventId("contract", seq),
        host="node1",
        owner="owner1",
        version="0.1.0",
        stopping=False,
        jobs={"idle": 0, "running": 2, "stale": 0, "done": 1, "error": 0, "gone": 0},
        malformed=1,
        dropped=0,
        lag={"redis": 3},
        observed_ms=SAMPLE_MS + seq,
        published=40,
        reconnects=2,
        dropped_by={"journal_full": 0},
    )
    return event._replace(**changes)


PRESENCE = Presence(host="node1", owner="owner1")


class PublisherContract:
    """What every bus promises to whoever publishes on it. A test class inherits it and gives a `bus` fixture."""

    drops_repeats: ClassVar[bool] = True
    """The bus itself leaves out an event that it already has (MQTT leaves that to the reader)."""

    vouches: ClassVar[bool] = True
    """The bus can tell what it has of a producer."""

    @abstractmethod
    async def received(self, bus: Bus, count: int) -> Sequence[Event]:
        """Give what a reader of the bus gets in the end, in order.

        Args:
            count: At least so many are awaited.
        """

    async def test_events_arrive_in_order_with_every_field(self, bus: Bus) -> None:
        """What a reader gets is what was published. A bus may keep no more than a host's newest event."""
        events: list[Event] = [
            make_host_event(1, host="node2"),
            *(make_job_event(seq) for seq in range(2, 12)),
            make_host_event(12),
        ]
        async with bus.publisher(PRESENCE) as publisher:
            assert not await publisher.publish(events)
            assert list(await self.received(bus, len(events))) == events

    async def test_an_absent_number_stays_absent(self, bus: Bus) -> None:
        """No bus turns an unknown number into zero."""
        event = make_job_event(
            1, loss=None, diverged=True, eta_s=None, step=None, total_steps=None, learning_rate=None
        )
        async with bus.publisher(PRESENCE) as publisher:
            assert not await publisher.publish([event])
            assert list(await self.received(bus, 1)) == [event]

    async def test_integers_stay_integers(self, bus: Bus) -> None:
        """A reader sees the number as the training wrote it."""
        event = make_job_event(1, epoch=2, total_epochs=3, loss=1, learning_rate=1e-7, progress=66.7)
        async with bus.publisher(PRESENCE) as publisher:
            await publisher.publish([event])
            (got,) = await self.received(bus, 1)
        assert isinstance(got, JobEvent)
        assert [repr(got.epoch), repr(got.loss), repr(got.learning_rate)] == ["2", "1", "1e-07"]

    async def test_hostile_names_and_texts_arrive_as_they_were_written(self, bus: Bus) -> None:
        """Names are text, not syntax."""
        events = [
            make_job_event(1, job="a/+/#/.. {x} *", message="NaN"),
            make_job_event(2, job="ж" * 200, message="1"),
            make_job_event(3, job="$SYS/\u200b", message='"quoted"\n\ttab \x01'),
        ]
        async with bus.publisher(PRESENCE) as publisher:
            assert not await publisher.publish(events)
            assert list(await self.received(bus, len(events))) == events

    async def test_overlapping_calls_arrive_in_the_order_of_the_calls(self, bus: Bus) -> None:
        """A relay keeps two batches in flight."""
        events = [make_job_event(seq) for seq in range(1, 61)]
        async with bus.publisher(PRESENCE) as publisher:
            size = min(20, publisher.max_batch_events)
            calls = [
                asyncio.ensure_future(publisher.publish(events[start : start + size]))
                for start in range(0, len(events), size)
            ]
            assert not any(await asyncio.gather(*calls))
            assert list(await self.received(bus, len(events))) == events

    async def test_a_full_batch_is_taken(self, bus: Bus) -> None:
        """The stated batch size is true."""
        async with bus.publisher(PRESENCE) as publisher:
            events = [make_job_event(seq) for seq in range(1, publisher.max_batch_events + 1)]
            assert not await publisher.publish(events)
            assert list(await self.received(bus, len(events))) == events

    async def test_a_repeated_batch_adds_nothing(self, bus: Bus) -> None:
        """Publishing is safe to repeat; a reader that drops known ids sees each event once."""
        events = [make_job_event(seq) for seq in range(1, 6)]
        async with bus.publisher(PRESENCE) as publisher:
            await publisher.publish(events)
            await publisher.publish(events[2:])
            got = list(await self.received(bus, len(events)))
        if self.drops_repeats:
            assert got == events
        else:
            assert list(dict.fromkeys(event.id for event in got)) == [event.id for event in events]

    async def test_resume_answers_nothing_for_an_unknown_producer(self, bus: Bus) -> None:
        """A bus that forgot says so; one that cannot tell repeats what it was told."""
        async with bus.publisher(PRESENCE) as publisher:
            assert await publisher.resume(None) is None
            acked = EventId("nobody", 7)
            assert await publisher.resume(acked) == (None if self.vouches else acked)

    async def test_resume_never_answers_beyond_what_was_acknowledged(self, bus: Bus) -> None:
        """A cursor that lags behind is not moved by the bus, and one that runs ahead is pulled back."""
        async with bus.publisher(PRESENCE) as publisher:
            await publisher.publish([make_job_event(seq) for seq in range(1, 6)])
        async with bus.publisher(PRESENCE) as publisher:
            assert await publisher.resume(EventId("contract", 3)) == EventId("contract", 3)
            beyond = EventId("contract", 9)
            assert await publisher.resume(beyond) == (EventId("contract", 5) if self.vouches else beyond)

    async def test_publishing_without_presence_is_possible(self, bus: Bus) -> None:
        """A replay speaks for nobody."""
        async with bus.publisher(None) as publisher:
            assert not await publisher.publish([make_job_event(1)])


class ConsumerContract:
    """What every bus promises to whoever reads it. A test class inherits it and gives a `bus` fixture."""

    keeps_cursors: ClassVar[bool] = True
    """The bus keeps what a group has not read yet."""

    keeps_history: ClassVar[bool] = True
    """The bus keeps past events."""

    @abstractmethod
    async def put(self, bus: Bus, events: Sequence[Event]) -> None:
        """Bring events onto the bus, as one sidecar does; returns when they are there."""

    async def test_a_private_reader_gets_the_newest_of_each_job_first_and_then_what_comes(self, bus: Bus) -> None:
        """A page that is opened shows what is so, and then what changes."""
        await self.put(bus, [make_job_event(seq, job=job) for seq, job in ((1, "a"), (2, "b"), (3, "a"))])
        async with bus.consumer(None) as consumer, _following(consumer) as batches:
            snapshot = await _next_events(batches, snapshot=True)
            assert snapshot == [make_job_event(2, job="b"), make_job_event(3, job="a")]
            await self.put(bus, [make_job_event(4, job="b")])
            assert await _next_events(batches, snapshot=False) == [make_job_event(4, job="b")]

    async def test_a_snapshot_has_a_producer_s_events_in_the_order_of_their_numbers(self, bus: Bus) -> None:
        """A reader that drops what is not above the last number loses nothing of it."""
        jobs = ["b", "d", "a", "c"]
        await self.put(bus, [make_job_event(seq, job=job) for seq, job in enumerate(jobs, start=1)])
        async with bus.consumer(None) as consumer, _following(consumer) as batches:
            snapshot = await _next_events(batches, snapshot=True)
        assert [event.id.seq for event in snapshot] == [1, 2, 3, 4]

    async def test_an_empty_bus_gives_an_empty_snapshot(self, bus: Bus) -> None:
        """Whoever waits for the snapshot does not wait for ever."""
        async with bus.consumer(None) as consumer, _following(consumer) as batches:
            assert await _next_events(batches, snapshot=True) == []

    async def test_a_new_group_begins_with_a_snapshot_and_nothing_saved(self, bus: Bus) -> None:
        """The first start of a subscriber knows what is so, and none of it is news."""
        await self.put(bus, [make_job_event(1)])
        async with bus.consumer("alerts") as consumer, _following(consumer) as batches:
            assert dict(consumer.saved) == {}
            assert await _next_events(batches, snapshot=True) == [make_job_event(1)]

    async def test_a_group_goes_on_behind_its_last_commit_with_what_it_saved(self, bus: Bus) -> None:
        """A restart loses nothing and repeats only what was not committed."""
        if not self.keeps_cursors:
            return
        await self.put(bus, [make_job_event(1)])
        async with bus.consumer("alerts") as consumer, _following(consumer) as batches:
            await _next_events(batches, snapshot=True)
            await consumer.commit({"told": "1", "muted": "no"})
            await self.put(bus, [make_job_event(2)])
            await _next_events(batches, snapshot=False)
            await consumer.commit({"told": "2", "muted": None})
            await self.put(bus, [make_job_event(3)])
            await _next_events(batches, snapshot=False)  # and not committed
        await self.put(bus, [make_job_event(4)])
        async with bus.consumer("alerts") as consumer, _following(consumer) as batches:
            assert dict(consumer.saved) == {"told": "2"}
            got = await _next_events(batches, snapshot=False)
            if len(got) == 1:
                got += await _next_events(batches, snapshot=False)
            assert got == [make_job_event(3), make_job_event(4)]

    async def test_groups_do_not_know_of_each_other(self, bus: Bus) -> None:
        """Each subscriber gets everything."""
        await self.put(bus, [make_job_event(1)])
        for group in ("alerts", "web"):
            async with bus.consumer(group) as consumer, _following(consumer) as batches:
                assert dict(consumer.saved) == {}
                assert await _next_events(batches, snapshot=True) == [make_job_event(1)]
                await consumer.commit({"mine": group})

    async def test_history_is_asked_for_by_time_job_host_kind_run_and_number(self, bus: Bus) -> None:
        """Each filter alone, in the order of the bus."""
        if not self.keeps_history:
            return
        events: list[Event] = [
            make_job_event(1, job="llm/a", run=1),
            make_job_event(2, job="llm/b", run=2, kind="stale", state="stale"),
            make_job_event(3, job="vit", run=1, host="node2"),
            make_host_event(4),
            make_job_event(5, job="llm/a", run=2),
        ]
        await self.put(bus, events)
        asked = {
            (1, 2, 3, 4, 5): Query(),
            (3, 4, 5): Query(since_ms=SAMPLE_MS + 3),
            (1, 2): Query(until_ms=SAMPLE_MS + 3),
            (1, 2, 5): Query(jobs=["llm/*"]),
            (3,): Query(hosts=["node[2-9]"]),
            (2, 4): Query(kinds=["stale", "host"]),
            (1, 3): Query(runs=[1]),
            (1, 2, 3): Query(limit=3),
            (): Query(limit=0),
            (5,): Query(jobs=["*/a"], runs=[2], since_ms=SAMPLE_MS, limit=7),
        }
        for seqs, query in asked.items():
            assert [event.id.seq async for event in bus.history(query)] == list(seqs), query


@asynccontextmanager
async def _following(consumer: Consumer) -> AsyncIterator[AsyncIterator[Batch]]:
    """Give the batches, and end them with the block."""
    batches = consumer.batches()
    try:
        yield batches
    finally:
        close = getattr(batches, "aclose", None)
        if close is not None:
            await close()


async def _next_events(batches: AsyncIterator[Batch], *, snapshot: bool) -> list[Event]:
    """Await the next batch that has something, or the snapshot."""
    async with asyncio.timeout(20):
        while True:
            batch = await anext(batches)
            assert batch.snapshot is snapshot
            if batch.events or snapshot:
                return list(batch.events)


HOSTILE_NAMES: Final = (
    "a/+/#/.. {x} *",
    "ж" * 200,
    "$SYS/\u200b",
    '"quoted"\n\ttab \x01',
    "{{ event.job }} %s %(x)s {0} ${HOME}",
    "<script>alert(1)</script>&amp;",
    " ",
)


class SubscriberContract:
    """What the runtime asks of every subscriber. A test class inherits it and gives a `subscriber` fixture."""

    async def test_an_empty_snapshot_is_no_mistake(self, subscriber: Subscriber) -> None:
        """The first start on a bus that is new."""
        async with _playing(subscriber) as play:
            await play.connect()
            await play.take([], snapshot=True)
            await play.tick()

    async def test_a_snapshot_is_followed_by_what_comes(self, subscriber: Subscriber) -> None:
        """The ordinary course of things."""
        async with _playing(subscriber) as play:
            await play.connect()
            await play.take(
                [make_job_event(1, job="a"), make_job_event(2, job="b"), make_host_event(3)], snapshot=True
            )
            for seq in range(4, 24):
                await play.take([make_job_event(seq, job="ab"[seq % 2], epoch=1.5 + seq / 100)])
                await play.tick()

    async def test_every_kind_and_state_is_taken_in_any_order(self, subscriber: Subscriber) -> None:
        """A subscriber that starts late, or a bus that lost something, may show any."""
        events: list[Event] = []
        for kind in KINDS:
            for state in STATES if kind != "host" else ():
                status: Status = "error" if state in {"stale", "gone"} else cast("Status", state)
                events.append(make_job_event(len(events) + 1, kind=kind, state=state, status=status))
        events += [
            make_host_event(len(events) + 1),
            make_host_event(len(events) + 2, stopping=True, jobs={}, lag={}),
        ]
        async with _playing(subscriber) as play:
            await play.connect()
            await play.take([], snapshot=True)
            for event in (*events, *reversed(events)):
                await play.take([event])
                await play.tick()

    async def test_hostile_names_and_texts_are_texts(self, subscriber: Subscriber) -> None:
        """Names are what users write, and syntax nowhere."""
        events: list[Event] = []
        for name in HOSTILE_NAMES:
            seq = len(events) + 1
            labels = {"profile": name, "dataset": name}
            events.append(make_job_event(seq, job=name, host=name.replace("/", "_"), message=name, labels=labels))
            events.append(make_host_event(seq + 1, host=name.replace("/", "_")))
        async with _playing(subscriber) as play:
            await play.connect()
            await play.take([], snapshot=True)
            await play.take(events)
            failed = [
                event._replace(id=EventId("contract", 100 + index), state="error", status="error")
                for index, event in enumerate(events)
                if isinstance(event, JobEvent)
            ]
            await play.take(failed)
            await play.tick()

    async def test_an_absent_number_and_one_out_of_all_measure_are_numbers(self, subscriber: Subscriber) -> None:
        """Absent is not zero, and nothing is divided by what is zero."""
        absent: dict[str, Any] = {
            "loss": None,
            "eta_s": None,
            "step": None,
            "total_steps": None,
            "learning_rate": None,
            "labels": {},
        }
        async with _playing(subscriber) as play:
            await play.connect()
            await play.take([make_job_event(1, **absent)], snapshot=True)
            await play.take([make_job_event(2, **absent, diverged=True), make_job_event(3)])
            await play.take([make_job_event(4, epoch=0, total_epochs=0, progress=0, loss=0, eta_s=0, timestamp=0)])
            await play.take(
                [make_job_event(5, epoch=1e300, total_epochs=-1, loss=-1e300, eta_s=1e300, step=2**62)]
            )
            await play.tick()

    async def test_what_comes_again_changes_nothing(self, subscriber: Subscriber) -> None:
        """After a crash everything behind the last commit comes again."""
        events = [make_job_event(1, job="a"), make_job_event(2, job="b", state="error", status="error")]
        async with _playing(subscriber) as play:
            await play.connect()
            await play.take([make_job_event(9, job="c", id=EventId("other", 9))], snapshot=True)
            await play.take(events)
            saved = dict(play.saved)
            await play.take(events)
            assert play.saved == saved

    async def test_it_goes_on_from_what_it_gave_back(self, subscriber: Subscriber) -> None:
        """What is stored is all that it knows at a connection: another replica may have been at work since."""
        async with _playing(subscriber) as play:
            await play.connect()
            await play.take([make_job_event(1)], snapshot=True)
            await play.take([make_job_event(2, state="error", status="error")])
            await play.lose()
            await play.connect()
            await play.take([make_job_event(3)])
            await play.tick()
            await play.lose()
            await play.connect()
            await play.take([make_job_event(3), make_host_event(4)], snapshot=True, lost=7)
            await play.tick()
            play.saved.clear()  # a bus that lost it all
            await play.lose()
            await play.connect()
            await play.take([make_job_event(3)], snapshot=True)

    async def test_ticks_need_no_events(self, subscriber: Subscriber) -> None:
        """Time passes on a bus that has nothing, too: an hour of it, and a moment before the first batch."""
        async with _playing(subscriber) as play:
            await play.connect()
            await play.tick()
            await play.take([make_job_event(1), make_host_event(2)], snapshot=True)
            for _ in range(60):
                await play.tick(after_s=60)

    async def test_no_verb_blocks_the_event_loop(self, subscriber: Subscriber) -> None:
        """Whoever blocks it holds up every other subscriber, and inside `run --with` the sidecar itself.

        Found by the calls that can block, whose time is not taken; skipped where `blockbuster` is not installed.
        The way into the lifespan is left out: to start a thread is to wait for it.
        """
        if find_spec("blockbuster") is None:
            raise SkipTest("blockbuster is not installed")
        # By name, because whoever inherits this need not have it.
        blockbuster = import_module("blockbuster")
        async with _playing(subscriber) as play:
            with blockbuster.blockbuster_ctx():
                await play.connect()
                await play.take([make_job_event(1), make_host_event(2)], snapshot=True)
                await play.take([make_job_event(3, kind="stale", state="stale", status="error")])
                await play.take([make_job_event(4, kind="recovered")])
                await play.tick(after_s=60)
                await play.take([make_job_event(5, state="done", status="done")])
                await play.stop()

    async def test_it_comes_to_an_end(self, subscriber: Subscriber) -> None:
        """At a stop it is asked until it has nothing more to store, and nobody waits long for that."""
        async with _playing(subscriber) as play:
            await play.connect()
            await play.take([make_job_event(1)], snapshot=True)
            await play.take([make_job_event(2, state="error", status="error")])
            await play.stop()


class _Play:
    """Calls a subscriber as the runtime does, and keeps what it would store.

    Args:
        saved: What is stored.
    """

    def __init__(self, subscriber: Subscriber) -> None:
        self.saved: dict[str, str] = {}
        self._subscriber = subscriber
        self._at = Instant(1000.0, SAMPLE_MS / 1000)

    async def connect(self) -> None:
        """Begin a connection."""
        await self._subscriber.on_connect(dict(self.saved), self._at)

    async def lose(self) -> None:
        """Lose the connection."""
        await self._subscriber.on_disconnect("the connection was closed")

    async def take(self, events: Sequence[Event], *, snapshot: bool = False, lost: int = 0) -> None:
        """Give a batch and store what comes back."""
        await self._store(await self._subscriber.on_batch(Batch(events, snapshot, lost), self._at))

    async def tick(self, after_s: float = 1.0) -> None:
        """Let time pass, and call its tick."""
        self._at = Instant(self._at.now_s + after_s, self._at.wall_s + after_s)
        await self._store(await self._subscriber.on_tick(self._at))

    async def stop(self) -> None:
        """End as the runtime does."""
        async with asyncio.timeout(5):
            while changes := await self._subscriber.on_stop(self._at):
                await self._store(changes)

    async def _store(self, changes: object) -> None:
        assert isinstance(changes, Mapping)
        for name, value in changes.items():
            assert isinstance(name, str)
            assert value is None or isinstance(value, str)
            if value is None:
                self.saved.pop(name, None)
            else:
                self.saved[name] = value
        await self._subscriber.on_commit()


@asynccontextmanager
async def _playing(subscriber: Subscriber) -> AsyncIterator[_Play]:
    async with subscriber.lifespan():
        yield _Play(subscriber)
