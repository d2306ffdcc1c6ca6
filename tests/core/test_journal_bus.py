import asyncio
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from pulse_bridge.bus import Bus, Query, open_bus
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event, EventId
from pulse_bridge.journal import open_journal
from pulse_bridge.testing import ConsumerContract, PublisherContract, make_host_event, make_job_event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def bus(path: Path) -> Bus:
    return open_bus(f"journal://{path}")


def folder_of(path: Path) -> list[Path]:
    return list(path.parent.iterdir())


class TestJournalPublisher(PublisherContract):
    async def received(self, bus: Bus, count: int) -> Sequence[Event]:  # noqa: ARG002 - they are there at once
        return [event async for event in bus.history(Query())]


class TestJournalConsumer(ConsumerContract):
    @pytest.fixture
    def bus(self, path: Path) -> Bus:
        with open_journal(path):
            return open_bus(f"journal://{path}")

    async def put(self, bus: Bus, events: Sequence[Event]) -> None:
        async with bus.publisher(None) as publisher:
            assert not await publisher.publish(events)


async def test_a_relay_repeats_after_a_restart_and_each_event_is_stored_once(bus: Bus) -> None:
    events: list[Event] = [make_job_event(1, id=EventId("one", 1)), make_job_event(1, id=EventId("two", 1))]
    for _ in range(2):
        async with bus.publisher(None) as publisher:
            await publisher.publish(events)
    assert [event async for event in bus.history(Query())] == events


async def test_only_the_newest_host_event_is_kept_of_what_others_published(bus: Bus) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_host_event(seq) for seq in range(1, 5)])
    assert [event.id.seq async for event in bus.history(Query())] == [4]


async def test_a_journal_that_cannot_be_written_now_says_so_and_takes_the_same_events_later(
    bus: Bus, path: Path
) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(1)])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BusUnavailableError, match="cannot be written: database is locked"):
                await publisher.publish([make_job_event(2)])
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(2)])
    assert [event.id.seq async for event in bus.history(Query())] == [1, 2]


async def test_a_journal_in_use_is_not_published_to(bus: Bus, path: Path) -> None:
    with open_journal(path), pytest.raises(ConfigError, match=f"in use by pid {os.getpid()}"):
        async with bus.publisher(None):
            pass


async def test_no_journal_is_unavailable_and_not_made_by_looking(bus: Bus, path: Path) -> None:
    with pytest.raises(BusUnavailableError, match=r"there is no journal .*is a sidecar running on this machine"):
        async with bus.consumer(None):
            pass
    with pytest.raises(BusUnavailableError):
        [event async for event in bus.history(Query())]
    assert not folder_of(path)


@pytest.fixture
def no_journal(path: Path) -> None:
    path.write_text("not a journal\n" * 100)


@pytest.mark.usefixtures("no_journal")
@pytest.mark.parametrize("group", [None, "web"])
async def test_a_file_that_is_no_journal_is_unavailable(bus: Bus, group: str | None) -> None:
    async with bus.consumer(group) as consumer:
        with pytest.raises(BusUnavailableError, match="cannot be read"):
            await anext(consumer.batches())


@pytest.mark.parametrize("url", ["journal://", "journal:///", "journal://host/x.db", "journal:///x.db?speed=1"])
def test_a_url_that_names_no_journal_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="journal"):
        open_bus(url)


HOLDER = """
import asyncio, sys
from pulse_bridge.bus import open_bus

async def hold():
    async with open_bus(sys.argv[1]).consumer("web"):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""


async def test_a_second_holder_of_a_group_is_refused_with_the_pid_of_the_first_until_that_is_gone(
    bus: Bus, path: Path
) -> None:
    with open_journal(path):
        pass
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(bus), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    await holder.stdout.readline()
    with pytest.raises(ConfigError, match=f"'web' on .* is in use by pid {holder.pid}"):
        async with bus.consumer("web"):
            pass
    async with bus.consumer("alerts"), bus.consumer(None):
        pass
    holder.kill()
    await holder.wait()
    async with bus.consumer("web"):
        pass


async def test_the_sidecar_s_events_reach_a_reader_as_they_are_committed(bus: Bus, path: Path) -> None:
    with open_journal(path) as journal:
        journal.begin()
        async with bus.consumer(None) as consumer:
            batches = consumer.batches()
            await anext(batches)
            journal.append([make_job_event()] * 1200)
            got: list[int] = []
            while len(got) < 1200:
                batch = await anext(batches)
                assert not batch.snapshot
                got += [event.id.seq for event in batch.events]
            assert got == list(range(1, 1201))


async def test_a_group_s_cursor_and_state_are_stored_together_or_not_at_all(bus: Bus, path: Path) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(1)])
    async with bus.consumer("web") as consumer:
        batches = consumer.batches()
        await anext(batches)
        (store,) = path.parent.glob("journal.db.group-*[!k]")
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON saved WHEN new.name = 'b'"
                " BEGIN SELECT RAISE(FAIL, 'full'); END"
            )
            with pytest.raises(BusUnavailableError):
                await consumer.commit({"a": "1", "b": "2"})
            assert dict(consumer.saved) == {}
            assert connection.execute("SELECT * FROM cursor").fetchall() == []
            assert connection.execute("SELECT * FROM saved").fetchall() == []


async def test_a_journal_made_anew_begins_anew_for_a_group_that_was_further_on(bus: Bus, path: Path) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(seq) for seq in range(1, 10)])
    async with bus.consumer("web") as consumer:
        await anext(consumer.batches())
        await consumer.commit()
    for file in path.parent.glob("journal.db*"):
        if "group" not in file.name:
            file.unlink()
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(1)])
    async with bus.consumer("web") as consumer:
        batch = await anext(consumer.batches())
        assert batch.snapshot
        assert list(batch.events) == [make_job_event(1)]


async def test_reading_never_holds_the_journal_s_log(bus: Bus, path: Path) -> None:
    with open_journal(path) as journal:
        journal.append([make_job_event()] * 1500)
        async with aclosing(bus.history(Query())) as history, bus.consumer(None) as consumer:  # type: ignore[type-var]  # a generator
            await anext(history)
            batches = consumer.batches()
            await anext(batches)
            busy, _, _ = journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert not busy


async def test_a_journal_is_a_sidecar_s_or_a_relay_s_and_never_both(bus: Bus, path: Path) -> None:
    async with bus.publisher(None) as publisher:
        await publisher.publish([make_job_event(900)])
    with open_journal(path) as journal, pytest.raises(ConfigError, match="is one that a relay writes"):
        journal.begin()
    own = path.with_name("own.db")
    with open_journal(own) as journal:
        journal.begin()
        journal.append([make_job_event()])
    with pytest.raises(ConfigError, match="is a sidecar's own; relay into another file"):
        async with open_bus(f"journal://{own}").publisher(None):
            pass
