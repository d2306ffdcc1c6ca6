"""Any bus to any other, from a real journal to a bus that does as the test says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pulse_bridge.bus import Presence, Rejection, open_bus
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event
from pulse_bridge.forward import Forwarder
from pulse_bridge.journal import Journal, open_journal
from pulse_bridge.reconnect import Backoff, Progress
from pulse_bridge.testing import make_job_event
from tests.support.processes import wait_until
from tests.support.scripted_bus import ScriptedBus

LOST = BusUnavailableError("the cable was pulled")
BACKOFF = Backoff(first_s=0.001, max_s=0.002)


class Letters:
    """What a relay gives up."""

    def __init__(self) -> None:
        self.rejected: list[tuple[str, Rejection]] = []

    def __call__(self, destination: str, rejections: Sequence[Rejection]) -> None:
        self.rejected += [(destination, rejection) for rejection in rejections]


def write(journal: Journal, count: int) -> None:
    for _ in range(count):
        journal.append([make_job_event()])


def seqs(events: Sequence[Event]) -> list[int]:
    return [event.id.seq for event in events]


@asynccontextmanager
async def forwarding(
    source: Path, destination: ScriptedBus, letters: Letters
) -> AsyncIterator["asyncio.Task[None]"]:
    forwarder = Forwarder(
        open_bus(f"journal://{source}"), destination, presence=Presence(None, "owner1"), on_rejected=letters
    )
    task = asyncio.ensure_future(forwarder.run("relay", Progress("scripted://x"), BACKOFF))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_any_bus_is_relayed_from_its_newest_on_and_over_losses_and_restarts(tmp_path: Path) -> None:
    bus = ScriptedBus()
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin()
        write(journal, 5)
        async with forwarding(journal.path, bus, Letters()):
            await wait_until(lambda: seqs(bus.stored) == [5], "the newest is there")
            write(journal, 2)
            await wait_until(lambda: seqs(bus.stored) == [5, 6, 7], "what followed is there")
            bus.latest.lose(LOST)
            write(journal, 1)
            await wait_until(lambda: seqs(bus.stored) == [5, 6, 7, 8], "what came in the outage is there")
        write(journal, 200)
        async with forwarding(journal.path, bus, Letters()):
            await wait_until(lambda: len(bus.stored) == 204, "what came in between is there")
    assert seqs(bus.stored) == list(range(5, 209))


async def test_the_cursor_of_a_relay_moves_only_once_the_destination_has_a_batch(tmp_path: Path) -> None:
    bus = ScriptedBus(holds=True)
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin()
        write(journal, 1)
        async with forwarding(journal.path, bus, Letters()):
            await wait_until(lambda: bool(bus.publishers and bus.latest.calls), "the newest is sent")
        bus.holds = False
        async with forwarding(journal.path, bus, Letters()):
            await wait_until(lambda: seqs(bus.stored) == [1], "it is sent again")


async def test_a_relay_hands_over_what_its_destination_can_never_take(tmp_path: Path) -> None:
    bus, letters = ScriptedBus(holds=True), Letters()
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin()
        write(journal, 1)
        async with forwarding(journal.path, bus, letters):
            await wait_until(lambda: bool(bus.publishers and bus.latest.calls), "the newest is sent")
            bus.latest.answer([Rejection(bus.latest.calls[0][0], "too large")])
            await wait_until(lambda: bool(letters.rejected), "it is handed over")
    assert [rejection.reason for _, rejection in letters.rejected] == ["too large"]


async def test_a_destination_that_lost_everything_is_given_all_that_the_source_has(tmp_path: Path) -> None:
    bus = ScriptedBus()
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin()
        write(journal, 1)
        async with forwarding(journal.path, bus, Letters()):
            await wait_until(lambda: seqs(bus.stored) == [1], "the newest is there")
            write(journal, 4)
            await wait_until(lambda: seqs(bus.stored) == [1, 2, 3, 4, 5], "what followed is there")
            bus.forget()
            bus.latest.lose(LOST)
            write(journal, 1)
            await wait_until(lambda: seqs(bus.stored) == [1, 2, 3, 4, 5, 6], "all is there again, in order")


async def test_a_destination_that_cannot_tell_is_given_each_jobs_newest_again(tmp_path: Path) -> None:
    bus = ScriptedBus(vouches=False)
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin()
        journal.append([make_job_event(job="a"), make_job_event(job="b"), make_job_event(job="a")])
        async with forwarding(journal.path, bus, Letters()):
            await wait_until(lambda: sorted(seqs(bus.stored)) == [2, 3], "each job's newest is there")
            bus.forget()
            bus.latest.lose(LOST)
            await wait_until(lambda: sorted(seqs(bus.stored)) == [2, 3], "each job's newest is there again")
