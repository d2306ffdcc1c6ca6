import asyncio
import errno
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulse_bridge import journal as journal_module
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import UNNUMBERED, Event, EventId, HostEvent, JobEvent
from pulse_bridge.journal import TAIL_EVENTS, Journal, open_journal
from pulse_bridge.journal_trim import Limits
from pulse_bridge.testing import make_host_event, make_job_event
from tests.support.processes import wait_until_blocking

KEY = ("node1", "llm/run a")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@contextmanager
def started(path: Path) -> Iterator[Journal]:
    with open_journal(path) as journal:
        journal.begin()
        yield journal


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file as another process does that only looks."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def stored_rows(path: Path) -> list[int]:
    with reading(path) as connection:
        return [row for (row,) in connection.execute("SELECT row FROM events ORDER BY row")]


def read_all(journal: Journal, after_row: int = 0, limit: int = 64) -> list[Event]:
    found: list[Event] = []
    while after_row < journal.last_row:
        events, after_row = journal.read(after_row, limit)
        found += events
    return found


def fill_disk(journal: Journal) -> None:
    """Let the database grow no further, as a full disk does."""
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count={pages}")


def free_disk(journal: Journal) -> None:
    journal._connection.execute("PRAGMA max_page_count=1000000")


def write_until_full(journal: Journal) -> None:
    """Append until a commit fails."""
    journal.append([make_job_event(message="x" * 2000)] * 9)
    fill_disk(journal)
    for _ in range(200):
        journal.append([make_job_event(message="x" * 2000)])
        if not journal.health.durable:
            return
    raise AssertionError("the disk is never full")


# Numbers


def test_events_are_numbered_by_their_row_under_the_producer_of_this_start(path: Path) -> None:
    with started(path) as journal:
        journal.append([make_job_event(id=UNNUMBERED), make_host_event(id=UNNUMBERED)])
        journal.append([make_job_event(id=UNNUMBERED)])
        assert [event.id for event in read_all(journal)] == [EventId(journal.producer, seq) for seq in (1, 2, 3)]


def test_numbers_go_on_over_starts_under_a_new_producer(path: Path) -> None:
    with started(path) as journal:
        journal.append([make_job_event()] * 3)
        first = journal.producer
    with started(path) as journal:
        journal.append([make_job_event()])
        assert journal.producer != first
        assert journal.last_row == 4


def test_numbers_go_on_after_everything_that_may_go_was_trimmed(path: Path) -> None:
    with started(path) as journal:
        journal.append([make_job_event(state="gone", kind="gone")] * 3)
        journal.tend(wall_s=5e9)
    assert stored_rows(path) == [3]
    with started(path) as journal:
        journal.append([make_job_event()])
        assert journal.last_row == 4


def test_numbers_go_on_behind_a_cursor_that_is_ahead_of_the_rows(path: Path) -> None:
    with started(path) as journal:
        journal.activate("redis://x")
        journal.ack("redis://x", EventId(journal.producer, 70))
    with open_journal(path) as journal:
        assert journal.last_row == 70


def test_the_starts_before_a_producer_s_are_known_by_their_last_event(path: Path) -> None:
    producers = []
    for count in (2, 0, 3, 1):
        with started(path) as journal:
            producers.append(journal.producer)
            for _ in range(count):
                journal.append([make_job_event()])
    with started(path) as journal:
        assert journal.earlier_starts(producers[3]) == [EventId(producers[2], 5), EventId(producers[0], 2)]
        assert journal.earlier_starts(producers[0]) == []
        assert journal.earlier_starts("nobody") == []


# One commit


def test_the_state_of_the_trackers_is_there_after_a_restart(path: Path) -> None:
    with started(path) as journal:
        journal.append([make_job_event()], {KEY: "first"})
        journal.append([make_job_event(job="b")], {("node1", "b"): "other"})
        journal.append([make_job_event()], {KEY: "second"})
        journal.append([make_job_event()])
    with started(path) as journal:
        assert journal.tracks("node1") == {"llm/run a": "second", "b": "other"}
        assert journal.tracks("node2") == {}


WRITER = """
import sys
from pathlib import Path
from pulse_bridge.journal import open_journal
from pulse_bridge.testing import make_job_event

with open_journal(Path(sys.argv[1])) as journal:
    journal.begin()
    for number in range(1, 1_000_000):
        events = [make_job_event(job="a", message=str(number)), make_job_event(job="a", message=str(number))]
        journal.append(events, {("node1", "a"): str(number)})
        if number % 50 == 0:
            journal.tend(1_790_000_000)
            print(journal.last_row, flush=True)
"""


def test_a_kill_leaves_events_and_trackers_of_one_commit_together_or_neither(path: Path) -> None:
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(random.randint(1, 4)):
                told = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        with open_journal(path) as journal:
            assert journal.last_row >= told, "what was committed before is there"
            (last,) = journal.newest(journal.last_row)
            assert isinstance(last, JobEvent)
            assert journal.tracks("node1") == {"a": last.message}
            *_, before, newest = read_all(journal, journal.last_row - 4)
            assert isinstance(before, JobEvent)
            assert isinstance(newest, JobEvent)
            assert before.message == newest.message, "both events of the commit"


def test_only_one_process_writes_and_the_refusal_names_it(path: Path) -> None:
    with started(path), pytest.raises(ConfigError, match=f"in use by pid {os.getpid()}: stop that one, or give"):  # noqa: SIM117
        with open_journal(path):
            pass
    with open_journal(path):
        pass


@pytest.mark.parametrize("sort", ["no database", "folder", "no right", "other layout"])
def test_what_is_no_journal_is_refused_in_one_sentence(tmp_path: Path, sort: str) -> None:
    path = tmp_path / "journal.db"
    if sort == "no database":
        path.write_text("my thesis, only copy\n" * 100)
    elif sort == "folder":
        path.mkdir()
    elif sort == "no right":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "journal.db"
    else:
        with open_journal(path) as journal:
            journal._connection.execute("UPDATE meta SET value = 99 WHERE name = 'layout'")
    with pytest.raises(ConfigError, match=r"^the journal .*choose another with --journal$"), open_journal(path):
        pass
    if sort == "no database":
        assert path.read_text().startswith("my thesis"), "it is left as it was"


def test_a_host_event_of_an_older_sidecar_is_read_with_none_of_what_it_does_not_tell(path: Path) -> None:
    with started(path) as journal:
        journal.append([make_host_event()])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE events SET host_fields ="
            " json_remove(host_fields, '$.published', '$.reconnects', '$.dropped_by')"
        )
    with started(path) as journal:
        (found,) = journal.read(0, 1).events
    assert found == make_host_event(published=0, reconnects=0, dropped_by={})._replace(id=found.id)


# Heartbeats


def test_only_the_newest_heartbeat_of_each_job_and_the_newest_host_event_stay(path: Path) -> None:
    with started(path) as journal:
        for _ in range(5):
            for job in ("a", "b"):
                journal.append([make_job_event(job=job, kind="heartbeat")])
            journal.append([make_host_event()])
        journal.append([make_job_event(job="a")])
    assert stored_rows(path) == [13, 14, 15, 16]
    with started(path) as journal:
        journal.append([make_job_event(job="a", kind="heartbeat")])
    assert stored_rows(path) == [14, 15, 16, 17]


JOB_EVENTS = st.builds(
    make_job_event,
    job=st.sampled_from(["a", "b", "c/ж \x01"]),
    kind=st.sampled_from(["change", "heartbeat", "heartbeat", "stale", "recovered", "gone"]),
    state=st.sampled_from(["idle", "running", "stale", "done", "error", "gone"]),
    run=st.integers(0, 2),
    epoch=st.one_of(st.integers(0, 2**53), st.floats(allow_nan=False, allow_infinity=False)),
    loss=st.one_of(st.none(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False)),
    eta_s=st.one_of(st.none(), st.integers(0, 5), st.floats(0, 1e9)),
    step=st.one_of(st.none(), st.integers(0, 2**53)),
    learning_rate=st.one_of(st.none(), st.floats(0, 1)),
    diverged=st.booleans(),
    message=st.text(max_size=20),
    labels=st.dictionaries(st.text("abc_", min_size=1, max_size=3), st.text(max_size=5), max_size=3),
)
HOST_EVENTS = st.builds(
    make_host_event,
    stopping=st.booleans(),
    jobs=st.fixed_dictionaries({"running": st.integers(0, 3)}),
    lag=st.dictionaries(st.sampled_from(["redis", "mqtt_2"]), st.integers(0, 10**12)),
)
BATCHES = st.lists(st.lists(st.one_of(JOB_EVENTS, HOST_EVENTS), max_size=4), max_size=12)


@given(batches=BATCHES, limit=st.integers(1, 9))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_read_is_the_same_from_memory_and_from_the_disk(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Event]], limit: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    with started(path) as journal:
        for batch in batches:
            journal.append(batch)
        from_memory = [read_all(journal, after_row, limit) for after_row in range(journal.last_row + 1)]
        newest = journal.newest(journal.last_row)
    with open_journal(path) as journal:
        from_disk = [read_all(journal, after_row, limit) for after_row in range(journal.last_row + 1)]
        assert journal.newest(journal.last_row) == newest
    assert from_memory == from_disk
    assert repr([_plain(events) for events in from_memory]) == repr([_plain(events) for events in from_disk])
    signs_of_life = [_key(event) for event in from_disk[0] if event.kind in {"heartbeat", "host"}]
    assert len(signs_of_life) == len(set(signs_of_life)), "the newest of each alone"


def _key(event: Event) -> tuple[str, str]:
    return (event.host, "" if isinstance(event, HostEvent) else event.job)


def _plain(events: list[Event]) -> list[tuple[object, ...]]:
    """Give the fields so that `2` differs from `2.0`; the order of a mapping says nothing."""
    return [
        tuple(sorted(field.items()) if isinstance(field, dict) else field for field in event[1:])
        for event in events
    ]


def test_a_backlog_larger_than_the_memory_is_read_whole_and_in_order(path: Path) -> None:
    count = TAIL_EVENTS + 700
    with started(path) as journal:
        for start in range(0, count, 500):
            journal.append([make_job_event()] * min(500, count - start))
        found = read_all(journal, limit=300)
        assert [event.id.seq for event in found] == list(range(1, count + 1))


def test_a_listener_is_called_in_the_append_and_no_more_once_it_ended(path: Path) -> None:
    called: list[int] = []
    with started(path) as journal:
        stop = journal.listen(lambda: called.append(journal.last_row))
        journal.append([make_job_event()])
        stop()
        journal.append([make_job_event()])
    assert called == [1]


def test_another_process_reads_while_it_is_written(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            with reading(path) as connection:
                seen: list[tuple[int, int]] = []

                def grows() -> bool:
                    found = connection.execute("SELECT count(*), max(row) FROM events").fetchone()
                    seen.append(found)
                    return len({row for _, row in seen}) > 3

                wait_until_blocking(grows, "the reader sees commits as they come")
                assert all(count == row and row % 2 == 0 for count, row in seen), "whole commits"
        finally:
            writer.kill()


# Cursors


def test_cursors_are_stored_now_and_then_and_always_at_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("pulse_bridge.journal.time.monotonic", lambda: now_s[0])

    def stored() -> int:
        with reading(path) as connection:
            return int(connection.execute("SELECT row FROM cursors").fetchone()[0])

    with started(path) as journal:
        journal.activate("redis://x")
        journal.append([make_job_event()] * 9)
        assert stored() == 0
        now_s[0] += 0.1
        journal.ack("redis://x", EventId(journal.producer, 4))
        journal.append([make_job_event()])
        assert stored() == 0, "too soon"
        now_s[0] += 0.15
        journal.tend(1_790_000_000)
        assert stored() == 4, "even of an idle journal"
        journal.ack("redis://x", EventId(journal.producer, 8))
        journal.tend(1_790_000_000)
        assert stored() == 4
    assert stored() == 8
    with started(path) as journal:
        assert journal.activate("redis://x").seq == 8
        assert journal.lag("redis://x") == 2


def test_the_lag_is_exact_and_of_a_long_backlog_never_too_small(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LAG_COUNTED_EVENTS", 5)
    with started(path) as journal:
        journal.append([make_job_event()] * 3)
        journal.activate("redis://x")
        assert journal.lag("redis://x") == 0
        journal.append([make_job_event(kind="heartbeat")] * 20)
        assert journal.lag("redis://x") == 1, "those that were replaced are no lack"
        journal.append([make_job_event()] * 3)
        assert journal.lag("redis://x") == 4
        journal.append([make_job_event()] * 30)
        assert journal.lag("redis://x") == 34


async def test_the_cursor_of_an_idle_destination_is_stored_by_itself(path: Path) -> None:
    with started(path) as journal:
        keeping = asyncio.ensure_future(journal.maintain())
        journal.activate("redis://x")
        journal.append([make_job_event()] * 3)
        journal.ack("redis://x", EventId(journal.producer, 3))

        async def is_stored() -> bool:
            with reading(path) as connection:
                return connection.execute("SELECT row FROM cursors").fetchall() == [(3,)]

        while not await is_stored():
            assert not keeping.done()
            await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


class Unreliable:
    """A connection that refuses some statements, as a disk does."""

    def __init__(self, connection: sqlite3.Connection, *refused: str) -> None:
        self._connection = connection
        self._refused = refused

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        if statement.startswith(self._refused):
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *values)  # type: ignore[arg-type]  # passed through

    def executemany(self, statement: str, values: object) -> sqlite3.Cursor:
        return self._connection.executemany(statement, values)  # type: ignore[arg-type]  # passed through


def test_a_cursor_whose_commit_failed_is_stored_by_the_next(path: Path) -> None:
    with started(path) as journal:
        connection = journal._connection
        journal.activate("redis://x")
        journal.append([make_job_event()])
        journal._cursors_written_s = 0.0
        journal.ack("redis://x", EventId(journal.producer, 1))
        journal._connection = Unreliable(connection, "COMMIT")  # type: ignore[assignment]  # what is used of it
        journal.append([make_job_event()])
        assert not journal.health.durable
        journal._connection = connection
    with reading(path) as reader:
        assert reader.execute("SELECT row FROM cursors").fetchall() == [(1,)]
    assert stored_rows(path) == [1, 2]


# A full disk


def test_what_cannot_be_committed_is_published_from_memory_and_stored_later_under_its_number(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    woken: list[int] = []
    with started(path) as journal:
        write_until_full(journal)
        first = journal.last_row
        journal.listen(lambda: woken.append(journal.last_row))
        journal.append([make_job_event(message="y" * 2000)], {KEY: "while full"})
        journal.append([make_job_event(message="z" * 2000)])
        assert woken == [first + 1, first + 2]
        in_memory = read_all(journal, first - 1)
        assert [event.id.seq for event in in_memory] == [first, first + 1, first + 2]
        assert stored_rows(path)[-1] == first - 1
        assert journal.activate("redis://x").seq == first + 2, "nothing of it is lost to a new destination"
        assert journal.newest(journal.last_row) == in_memory[-1:]
        free_disk(journal)
        journal.tend(1_790_000_000)
        assert journal.health.durable
        assert stored_rows(path)[-3:] == [first, first + 1, first + 2]
        assert journal.tracks("node1") == {"llm/run a": "while full"}
    with open_journal(path) as journal:
        assert read_all(journal, first - 1) == in_memory
    messages = [(record.levelno, record.message) for record in caplog.records]
    assert messages == [
        (logging.WARNING, "the journal cannot be written; events are published from memory until it can"),
        (logging.INFO, "the journal can be written again"),
    ]


def test_heartbeats_of_a_full_disk_leave_one_of_each_job_and_fill_no_memory(path: Path) -> None:
    with started(path) as journal:
        journal.append([make_job_event(kind="heartbeat"), make_host_event()])
        fill_disk(journal)
        connection = journal._connection
        journal._connection = Unreliable(connection, "BEGIN")  # type: ignore[assignment]  # what is used of it
        for _ in range(50):
            journal.append([make_job_event(kind="heartbeat"), make_host_event()])
        assert len(journal._unstored.entries) == 2
        assert sorted(journal._unstored._obsolete) == [1, 2]
        journal._connection = connection
        free_disk(journal)
        journal.tend(1_790_000_000)
    assert stored_rows(path) == [101, 102]


@pytest.mark.parametrize("sent", [True, False])
def test_memory_is_bounded_and_only_what_nobody_has_counts_as_dropped(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, sent: bool
) -> None:
    monkeypatch.setattr(journal_module, "TAIL_EVENTS", 10)
    with started(path) as journal:
        journal.activate("redis://x")
        connection = journal._connection
        journal._connection = Unreliable(connection, "BEGIN")  # type: ignore[assignment]  # what is used of it
        for _ in range(25):
            journal.append([make_job_event()])
            if sent:
                journal.ack("redis://x", EventId(journal.producer, journal.last_row))
        assert len(journal._unstored.entries) == 10
        assert journal.health.dropped == ({} if sent else {"journal_full": 15})
        journal._connection = connection
    assert stored_rows(path) == list(range(16, 26))


def test_a_backlog_in_memory_alone_is_read_whole(path: Path) -> None:
    with started(path) as journal:
        journal.append([make_job_event()])
        connection = journal._connection
        journal._connection = Unreliable(connection, "BEGIN")  # type: ignore[assignment]  # what is used of it
        for _ in range(200):
            journal.append([make_job_event()])
        journal._tail.clear()
        assert [event.id.seq for event in read_all(journal, limit=7)] == list(range(1, 202))
        journal._connection = connection


def test_a_disk_that_is_full_from_the_start_does_not_stop_the_start(path: Path) -> None:
    with open_journal(path) as journal:
        connection = journal._connection
        journal._connection = Unreliable(connection, "BEGIN", "INSERT")  # type: ignore[assignment]  # the same
        journal.begin()
        producer = journal.producer
        journal.append([make_job_event()])
        journal._connection = connection
    with started(path) as journal:
        journal.append([make_job_event()])
        assert journal.earlier_starts(journal.producer) == [EventId(producer, 1)]


def test_what_could_not_be_stored_to_the_end_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with started(path) as journal:
        journal._connection = Unreliable(journal._connection, "BEGIN")  # type: ignore[assignment]  # the same
        journal.append([make_job_event()] * 3)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message == "events could not be stored in the journal to the end"
    assert vars(record)["events"] == 3


FULL_FILE = """
import resource, sys
from pathlib import Path
from pulse_bridge.journal import open_journal
from pulse_bridge.testing import make_job_event

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
with open_journal(Path(sys.argv[1])) as journal:
    journal.begin()
    for _ in range(300):
        journal.append([make_job_event(message="x" * 1000)])
    assert not journal.health.durable
    got = []
    row = 0
    while row < journal.last_row:
        events, row = journal.read(row, 64)
        got += [event.id.seq for event in events]
    assert got == list(range(1, 301)), got
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.tend(1_790_000_000)
    assert journal.health.durable
"""


def test_a_write_that_the_kernel_refuses_loses_nothing(path: Path) -> None:
    subprocess.run([sys.executable, "-c", FULL_FILE, str(path)], check=True, timeout=60)
    assert stored_rows(path) == list(range(1, 301))
    with reading(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# The log beside the database


async def test_the_log_stays_bounded_under_steady_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 400_000
    monkeypatch.setattr(journal_module, "WAL_MAX_BYTES", limit)
    monkeypatch.setattr(journal_module, "CHECKPOINT_COMMITS", 50)
    monkeypatch.setattr(journal_module, "MAINTENANCE_EVERY_S", 0.001)
    log = path.with_name(path.name + "-wal")
    peak = 0
    with open_journal(path, limits=Limits(max_age_s=1e10)) as journal:
        keeping = asyncio.ensure_future(journal.maintain())
        for _ in range(2000):
            journal.append([make_job_event(message="x" * 500)])
            peak = max(peak, log.stat().st_size)
            await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert keeping.cancelled()
    # Without it, 2,000 commits of at least three pages each are 24 MB.
    assert peak < 10 * limit
    assert len(stored_rows(path)) == 2000


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    with started(tmp_path / "a" / "b" / "journal.db") as journal:
        journal.append([make_job_event()])


def test_a_name_too_long_for_a_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=os.strerror(errno.ENAMETOOLONG)), open_journal(tmp_path / ("x" * 300)):
        pass
