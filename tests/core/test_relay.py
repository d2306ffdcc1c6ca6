"""The sidecar's relay, from a real journal to a bus that does as the test says."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pulse_bridge.bus import Presence, Rejection
from pulse_bridge.errors import BusUnavailableError, ConfigError, HostTakenError
from pulse_bridge.event import Event, EventId
from pulse_bridge.journal import Journal, open_journal
from pulse_bridge.reconnect import Backoff
from pulse_bridge.relay import MAX_BATCH_EVENTS, MAX_IN_FLIGHT, JournalRelay
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from tests.support.processes import wait_until
from tests.support.scripted_bus import ScriptedBus

LOST = BusUnavailableError("the cable was pulled")
BACKOFF = Backoff(first_s=0.001, max_s=0.002)
NOW_S = SAMPLE_MS / 1000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin()
        yield journal


class Letters:
    """What a relay gives up."""

    def __init__(self) -> None:
        self.rejected: list[tuple[str, Rejection]] = []

    def __call__(self, destination: str, rejections: Sequence[Rejection]) -> None:
        self.rejected += [(destination, rejection) for rejection in rejections]


def make_relay(
    journal: Journal, bus: ScriptedBus, *, coalesce_s: float = 0.0, letters: Letters | None = None
) -> JournalRelay:
    return JournalRelay(
        journal,
        bus,
        Presence("node1", "owner1"),
        name="scripted",
        identity="scripted://x",
        shown="scripted://x",
        on_rejected=letters or Letters(),
        backoff=BACKOFF,
        coalesce_s=coalesce_s,
        wall_s=lambda: NOW_S,
    )


@asynccontextmanager
async def running(relay: JournalRelay, *, connected: bool = True) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.ensure_future(relay.run())
    try:
        if connected:
            await wait_until(lambda: relay.connected or task.done(), "the relay is connected")
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def write(journal: Journal, count: int, **fields: object) -> None:
    """Append events one by one, each another epoch of one job."""
    for _ in range(count):
        journal.append([make_job_event(journal.last_row + 1, **fields)])


def seqs(events: Sequence[Event]) -> list[int]:
    return [event.id.seq for event in events]


# The way of an event


async def test_an_event_is_sent_in_the_same_callback_in_which_the_journal_took_it(journal: Journal) -> None:
    bus = ScriptedBus()
    async with running(make_relay(journal, bus)):
        write(journal, 1)
        assert seqs(bus.stored) == [1]


async def test_two_batches_are_in_flight_and_never_more(journal: Journal) -> None:
    bus = ScriptedBus(holds=True)
    async with running(make_relay(journal, bus)):
        write(journal, 5)
        assert [seqs(call) for call in bus.latest.calls] == [[1], [2]]
        assert len(bus.latest.calls) == MAX_IN_FLIGHT
        bus.latest.answer()
        await wait_until(lambda: len(bus.latest.calls) == 3, "the answer makes room")
        assert seqs(bus.latest.calls[2]) == [3, 4, 5]


async def test_a_backlog_arrives_whole_and_in_order_in_batches_that_do_not_hold_the_loop(journal: Journal) -> None:
    bus = ScriptedBus()
    relay = make_relay(journal, bus)
    write(journal, 500)
    async with running(relay):
        await relay.drain()
        assert seqs(bus.stored) == list(range(1, 501))
        assert max(len(call) for call in bus.latest.calls) == MAX_BATCH_EVENTS


async def test_a_bus_that_takes_less_at_once_is_given_less(journal: Journal) -> None:
    bus = ScriptedBus()
    bus.max_batch_events = 7
    relay = make_relay(journal, bus)
    write(journal, 30)
    async with running(relay):
        await relay.drain()
        assert max(len(call) for call in bus.latest.calls) == 7


async def test_the_cursor_moves_with_answers_and_with_nothing_else(journal: Journal) -> None:
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    async with running(relay):
        write(journal, 2)
        assert relay.lag == 2
        bus.latest.answer()
        await wait_until(lambda: relay.lag == 1, "the first answer counts")
        assert journal.activate("scripted://x") == EventId(journal.producer, 1)


async def test_an_answer_out_of_turn_waits_for_those_before_it(journal: Journal) -> None:
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    async with running(relay):
        write(journal, 2)
        first, second = bus.latest.unanswered
        second[1].set_result(())
        await asyncio.sleep(0)
        assert relay.lag == 2
        first[1].set_result(())
        await wait_until(lambda: relay.lag == 0, "both count")


async def test_events_are_sent_together_when_that_is_asked_for(journal: Journal) -> None:
    bus = ScriptedBus()
    relay = make_relay(journal, bus, coalesce_s=0.02)
    async with running(relay):
        write(journal, 5)
        assert not bus.stored
        await relay.drain()
        assert [seqs(call) for call in bus.latest.calls] == [[1, 2, 3, 4, 5]]


async def test_replaced_heartbeats_alone_neither_hold_up_nor_count(journal: Journal) -> None:
    bus = ScriptedBus()
    relay = make_relay(journal, bus)
    for _ in range(300):
        journal.append([make_host_event()])
    assert relay.lag == 1
    async with running(relay):
        await relay.drain()
        assert seqs(bus.stored) == [300]
        assert relay.lag == 0


# Loss and return


async def test_what_was_not_answered_is_sent_again_after_a_loss(journal: Journal) -> None:
    bus = ScriptedBus(holds=True)
    async with running(make_relay(journal, bus)):
        write(journal, 3)
        bus.latest.answer()
        await wait_until(lambda: len(bus.latest.calls) == 3, "the third is sent")
        bus.holds = False
        bus.latest.lose(LOST)
        await wait_until(lambda: seqs(bus.stored) == [1, 2, 3], "the rest comes again")
        assert len(bus.publishers) == 2


async def test_a_batch_that_fails_alone_ends_the_connection(journal: Journal) -> None:
    bus = ScriptedBus(holds=True)
    async with running(make_relay(journal, bus)):
        write(journal, 2)
        bus.holds = False
        bus.latest.fail(LOST)
        await wait_until(lambda: seqs(bus.stored) == [1, 2], "both come over a new connection")


async def test_an_answer_from_a_dead_connection_moves_nothing(journal: Journal) -> None:
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    async with running(relay):
        write(journal, 2)
        dead = bus.latest
        kept, dead.unanswered = dead.unanswered, []
        dead.lose(LOST)  # without an answer to either batch
        await wait_until(lambda: len(bus.publishers) == 2 and relay.connected, "a new connection is there")
        assert all(result.cancelled() for _, result in kept)
        assert relay.lag == 2
        assert [seqs(call) for call in bus.latest.calls] == [[1, 2]]
        bus.latest.answer()
        await wait_until(lambda: relay.lag == 0, "the new connection's answer counts")
        assert relay.connected


async def test_a_bus_that_forgot_is_given_everything_again(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    bus = ScriptedBus()
    relay = make_relay(journal, bus)
    async with running(relay):
        write(journal, 5)
        await relay.drain()
        bus.forget()
        bus.latest.lose(LOST)
        await wait_until(lambda: seqs(bus.stored) == [1, 2, 3, 4, 5], "all are there again")
    assert [r.message for r in caplog.records].count(
        "the destination lost what it had acknowledged; it is given it again"
    ) == 1


async def test_a_bus_that_forgot_the_end_is_given_the_end(journal: Journal) -> None:
    bus = ScriptedBus()
    relay = make_relay(journal, bus)
    async with running(relay):
        write(journal, 5)
        await relay.drain()
        bus.has[journal.producer] = 3
        del bus.stored[3:]
        bus.latest.lose(LOST)
        await wait_until(lambda: seqs(bus.stored) == [1, 2, 3, 4, 5], "the end is there again")
        assert [seqs(call) for call in bus.latest.calls] == [[4, 5]]


async def test_resuming_goes_back_over_earlier_starts_to_what_the_bus_vouches_for(
    tmp_path: Path,
) -> None:
    bus = ScriptedBus()
    producers = []
    for _ in range(4):
        with open_journal(tmp_path / "journal.db") as journal:
            relay = make_relay(journal, bus)
            journal.begin()
            producers.append(journal.producer)
            async with running(relay):
                write(journal, 3)
                await relay.drain()
    assert seqs(bus.stored) == list(range(1, 13))
    # Restored from a dump that was made in the middle of the second start.
    bus.has = {producers[0]: 3, producers[1]: 5}
    del bus.stored[5:]
    bus.asked.clear()
    with open_journal(tmp_path / "journal.db") as journal:
        relay = make_relay(journal, bus)
        journal.begin()
        async with running(relay):
            await relay.drain()
    assert bus.asked == [
        EventId(producers[3], 12),
        EventId(producers[2], 9),
        EventId(producers[1], 6),
    ]
    assert seqs(bus.stored) == list(range(1, 13))


async def test_a_start_that_wrote_nothing_is_passed_over_in_going_back(tmp_path: Path) -> None:
    bus = ScriptedBus()
    for count in (3, 0, 2):
        with open_journal(tmp_path / "journal.db") as journal:
            relay = make_relay(journal, bus)
            journal.begin()
            async with running(relay):
                write(journal, count)
                await relay.drain()
    bus.forget()
    with open_journal(tmp_path / "journal.db") as journal:
        relay = make_relay(journal, bus)
        journal.begin()
        async with running(relay):
            await relay.drain()
    assert seqs(bus.stored) == [1, 2, 3, 4, 5]


# The first time


async def test_a_new_destination_gets_the_newest_of_each_job_and_then_everything(journal: Journal) -> None:
    for job in ("a", "b"):
        write(journal, 50, job=job)
    bus = ScriptedBus()
    relay = make_relay(journal, bus)
    write(journal, 3, job="c")
    async with running(relay):
        await relay.drain()
    assert seqs(bus.stored) == [50, 100, 101, 102, 103]


@pytest.mark.parametrize("vouches", [True, False])
async def test_the_newest_of_each_job_is_given_again_on_every_connect(journal: Journal, *, vouches: bool) -> None:
    bus = ScriptedBus(vouches=vouches)
    relay = make_relay(journal, bus)
    async with running(relay):
        for job in ("a", "b"):
            write(journal, 2, job=job)
        await relay.drain()
        bus.latest.lose(LOST)
        await wait_until(lambda: len(bus.publishers) == 2 and relay.connected, "a new connection is there")
    assert [seqs(call) for call in bus.latest.calls] == [[2, 4]]
    assert len(bus.stored) == (4 if vouches else 6)


async def test_a_loss_while_the_newest_are_given_gives_them_again(journal: Journal) -> None:
    write(journal, 2)
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    async with running(relay, connected=False):
        await wait_until(lambda: bool(bus.publishers and bus.latest.calls), "the newest is sent")
        assert not relay.connected
        bus.holds = False
        bus.latest.lose(LOST)
        await wait_until(lambda: relay.connected, "the second attempt comes through")
        assert seqs(bus.stored) == [2]


async def test_ending_while_the_newest_are_given_is_clean(journal: Journal) -> None:
    write(journal, 2)
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    async with running(relay, connected=False) as task:
        await wait_until(lambda: bool(bus.publishers and bus.latest.calls), "the newest is sent")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert journal.activate("scripted://x") == EventId("", 2)


# Refusals


async def test_what_a_bus_can_never_take_is_handed_over_and_the_rest_goes_on(journal: Journal) -> None:
    bus, letters = ScriptedBus(holds=True), Letters()
    relay = make_relay(journal, bus, letters=letters)
    async with running(relay):
        write(journal, 2)
        (event,) = bus.latest.calls[0]
        bus.latest.answer([Rejection(event, "too large")])
        bus.latest.answer()
        await relay.drain()
    assert letters.rejected == [("scripted", Rejection(event, "too large"))]
    assert seqs(bus.stored) == [2]
    assert relay.lag == 0
    assert relay.published == 1, "what was refused is not published"


async def test_what_is_published_is_what_was_answered_and_not_what_is_given_as_a_reminder(
    journal: Journal,
) -> None:
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    async with running(relay):
        write(journal, 2)
        bus.latest.answer()
        await wait_until(lambda: relay.lag == 1, "the first answer counts")
        assert relay.published == 1, "the second is on its way"
        bus.holds = False
        bus.latest.lose(LOST)
        await wait_until(lambda: len(bus.publishers) == 2, "it connects again")
        await relay.drain()
    assert relay.published == 2


@pytest.mark.parametrize("where", ["connect", "publish", "wait_lost"])
async def test_a_newer_sidecar_ends_this_relay_alone_and_says_so(
    journal: Journal, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    taken = HostTakenError("node1 is used by owner2")
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    if where == "connect":
        bus.connect_errors.append(taken)
    async with running(relay) as task:
        if where != "connect":
            write(journal, 1)
            (bus.latest.fail if where == "publish" else bus.latest.lose)(taken)
        await asyncio.wait_for(task, 5)
    assert relay.left
    assert relay.lag == 0
    await relay.drain()
    assert [(r.levelno, r.message) for r in caplog.records if r.levelno >= logging.WARNING] == [
        (logging.ERROR, "a newer sidecar has this host's name; this destination is left to it")
    ]


async def test_a_destination_that_needs_a_person_at_the_first_attempt_is_said_to_whoever_started_it(
    journal: Journal,
) -> None:
    bus = ScriptedBus()
    bus.connect_errors.append(ConfigError("another layout"))
    with pytest.raises(ConfigError, match="another layout"):
        await make_relay(journal, bus).run()


@pytest.mark.parametrize("before", ["connected", "down"])
async def test_a_destination_that_needs_a_person_later_ends_its_own_relay_alone(
    journal: Journal, before: str
) -> None:
    bus = ScriptedBus()
    relay = make_relay(journal, bus)
    wrong = ConfigError("another layout")
    if before == "down":
        bus.connect_errors += [LOST, wrong]
        await asyncio.wait_for(relay.run(), 5)
    else:
        async with running(relay) as task:
            bus.connect_errors.append(wrong)
            bus.latest.lose(LOST)
            await asyncio.wait_for(task, 5)
    assert relay.left


async def test_nothing_is_kept_for_a_destination_that_was_left(journal: Journal) -> None:
    bus = ScriptedBus()
    bus.connect_errors.append(HostTakenError("taken"))
    relay = make_relay(journal, bus)
    write(journal, 1)
    await relay.run()
    journal.tend(wall_s=5e9)
    assert journal.health.dropped == {}


# The end


async def test_draining_waits_for_the_last_answer(journal: Journal) -> None:
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    async with running(relay):
        write(journal, 2)
        draining = asyncio.ensure_future(relay.drain())
        bus.latest.answer()
        await wait_until(lambda: relay.lag == 1, "one is answered")
        assert not draining.done()
        bus.latest.answer()
        await asyncio.wait_for(draining, 5)


async def test_draining_waits_for_a_destination_to_come_back(journal: Journal) -> None:
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)
    async with running(relay):
        write(journal, 2)
        draining = asyncio.ensure_future(relay.drain())
        bus.holds = False
        bus.latest.lose(LOST)
        await asyncio.wait_for(draining, 5)
        assert seqs(bus.stored) == [1, 2]


async def test_finishing_lets_the_publisher_say_its_goodbye(journal: Journal) -> None:
    bus = ScriptedBus()
    relay = make_relay(journal, bus)
    async with running(relay) as task:
        relay.finish()
        await asyncio.wait_for(task, 5)
    assert bus.goodbyes == 1
    assert not relay.left


async def test_the_presence_says_from_the_second_connection_on_that_the_name_was_held(journal: Journal) -> None:
    bus = ScriptedBus()
    bus.connect_errors.append(LOST)
    relay = make_relay(journal, bus)
    async with running(relay):
        bus.latest.lose(LOST)
        await wait_until(lambda: len(bus.publishers) == 2, "it is connected again")
    assert [presence and presence.held for presence in bus.presences] == [False, False, True]


async def test_one_destination_that_is_down_holds_up_no_other(journal: Journal) -> None:
    down, up = ScriptedBus(), ScriptedBus()
    down.connect_errors += [LOST] * 1000
    relays = [
        make_relay(journal, down),
        JournalRelay(
            journal,
            up,
            Presence("node1", "owner1"),
            name="scripted_2",
            identity="scripted://y",
            shown="scripted://y",
            on_rejected=Letters(),
            backoff=BACKOFF,
        ),
    ]
    async with running(relays[0], connected=False), running(relays[1]):
        write(journal, 3)
        await relays[1].drain()
        assert seqs(up.stored) == [1, 2, 3]
        assert [relay.lag for relay in relays] == [3, 0]


@pytest.mark.parametrize("by", ["append", "answer"])
async def test_a_fault_of_a_publisher_ends_its_relay_and_not_whoever_appends(journal: Journal, by: str) -> None:
    bus = ScriptedBus(holds=True)
    relay = make_relay(journal, bus)

    def fall_over(_: Sequence[Event]) -> None:
        raise RuntimeError("boom")

    async with running(relay) as task:
        if by == "answer":
            write(journal, 3)
        bus.on_publish = fall_over
        if by == "answer":
            bus.latest.answer()
        else:
            write(journal, 1)
        with pytest.raises(RuntimeError, match="boom"):
            await asyncio.wait_for(task, 5)


async def test_a_bus_that_let_go_of_a_producer_after_the_journals_age_is_not_given_it_all_again(
    journal: Journal,
) -> None:
    bus = ScriptedBus()
    write(journal, 3)
    async with running(make_relay(journal, bus)) as _:
        write(journal, 3)
        await wait_until(lambda: len(bus.stored) > 3, "it is sent")
    bus.has.clear()  # its memory of the producer expired; what it was given is still there
    before = list(bus.stored)
    relay = make_relay(journal, bus)
    relay._wall_s = lambda: NOW_S + 8 * 86_400
    async with running(relay):
        await relay.drain()
    assert bus.stored == before
