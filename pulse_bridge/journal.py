"""The journal: every event before any bus has it, and what the trackers know, in one SQLite file.

One process writes. A commit is made inline in the event loop, because a worker thread costs more than the commit
does; what is slow (moving the log into the database) is done from a second connection in a thread. A batch that
cannot be committed (a full disk) is published all the same from memory and committed when that works again.
"""

import asyncio
import contextlib
import logging
import secrets
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from pulse_bridge import journal_rows as rows
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import DropReason, Event, EventId
from pulse_bridge.journal_file import checkpoint_passively, log_bytes, open_to_write
from pulse_bridge.journal_trim import Limits, Trimmer
from pulse_bridge.journal_unstored import JobKey, Newest, Unstored, key_of

logger = logging.getLogger(__name__)

TAIL_EVENTS: Final = 8192
CURSOR_EVERY_S: Final = 0.2
MAINTENANCE_EVERY_S: Final = 0.5
TRIM_EVERY_S: Final = 0.02
"""While there is more to trim: some 10,000 events a second, more than are ever added for long."""
RETRY_EVERY_S: Final = 2.0
"""An attempt to write all that is pending to a full disk holds the loop for up to 0.1 s."""
CHECKPOINT_EVERY_S: Final = 10.0
CHECKPOINT_COMMITS: Final = 4000
"""Not more often, because its fsync holds up whoever writes to the disk, the training too."""
LAG_COUNTED_EVENTS: Final = 10_000
WAL_MAX_BYTES: Final = 32 * 1024 * 1024


class Start(NamedTuple):
    """One start of a sidecar: its rows go from `first_row` to where the next start begins."""

    first_row: int
    producer: str


class Slice(NamedTuple):
    """Events read in order, and the row up to which nothing else is to be read."""

    events: Sequence[Event]
    upto_row: int


@dataclass
class JournalHealth:
    """What the host event tells of the journal."""

    durable: bool = True
    dropped: dict[DropReason, int] = field(default_factory=dict)

    def drop(self, reason: DropReason, count: int) -> None:
        """Count events given up before every destination had them."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count


@contextmanager
def open_journal(path: Path, *, limits: Limits | None = None) -> Iterator["Journal"]:
    """Open the journal for writing, making what is missing; closes it at the end of the block.

    Raises:
        ConfigError: Another process writes it (named by its pid), it cannot be made, or it is no journal.
    """
    with open_to_write(path) as connection:
        journal = Journal(connection, path, limits or Limits())
        try:
            yield journal
        finally:
            journal.close()


class Journal:
    """An open journal; made by `open_journal`.

    Args:
        connection: The only one that writes.
        limits: How large and how old it may become.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, limits: Limits) -> None:
        self.path = path
        self.producer = secrets.token_hex(6)
        self.health = JournalHealth()
        self._connection = connection
        self._listeners: list[Callable[[], None]] = []
        self._tail: deque[Event] = deque(maxlen=TAIL_EVENTS)
        self._unstored = Unstored(
            {
                (host, job): Newest(last_row, heartbeat_row, run, state)
                for host, job, last_row, heartbeat_row, run, state in connection.execute(
                    "SELECT host, job, last_row, heartbeat_row, run, state FROM jobs"
                )
            }
        )
        self._cursors = {
            destination: EventId(producer, row)
            for destination, producer, row in connection.execute("SELECT destination, producer, row FROM cursors")
        }
        self._active: set[str] = set()
        self._dirty_cursors: set[str] = set()
        self._cursors_written_s = 0.0
        self._uncheckpointed = 0
        self._checkpointed_s = time.monotonic()
        self._retry_at_s = 0.0
        self._last_row = self._highest_row()
        self._starts = [
            Start(*found)
            for found in connection.execute("SELECT first_row, producer FROM starts ORDER BY first_row")
        ]
        self._unstored_start: Start | None = None
        self._limits = limits
        self._trimmer = Trimmer(connection, limits)

    def _highest_row(self) -> int:
        return int(self._connection.execute(rows.HIGHEST_ROW).fetchone()[0])

    @property
    def last_row(self) -> int:
        """The row of the newest event, 0 where there has never been one."""
        return self._last_row

    def begin(self) -> None:
        """Note that a sidecar starts here, so that its rows can be told from those of earlier starts.

        It is stored with its first rows: a disk that is full now is no reason not to start.

        Raises:
            ConfigError: The journal holds what a relay brought from elsewhere, under numbers that are no rows.
        """
        if self._connection.execute("SELECT 1 FROM producers LIMIT 1").fetchone():
            raise ConfigError(
                f"the journal {self.path} is one that a relay writes; give the sidecar its own with --journal"
            )
        start = self._unstored_start = Start(self._last_row + 1, self.producer)
        self._starts = [earlier for earlier in self._starts if earlier.first_row != start.first_row] + [start]

    def tracks(self, host: str) -> dict[str, str]:
        """Give each job's tracker state as `append` last stored it."""
        found = self._connection.execute(
            "SELECT job, track FROM jobs WHERE host = ? AND track IS NOT NULL", (host,)
        )
        return dict(found.fetchall())

    # Writing

    def append(self, events: Sequence[Event], tracks: Mapping[JobKey, str] | None = None) -> None:
        """Number events, store them with the trackers' state in one commit, and wake the relays.

        Args:
            events: Of this start of the sidecar, in order; their `id` is given here.
            tracks: The state of the trackers that made them.
        """
        producer = self.producer
        for event in events:
            self._last_row += 1
            numbered = event._replace(id=EventId(producer, self._last_row))
            self._add(numbered)
        self._unstored.remember(tracks or {})
        # A disk that is full is tried again now and then: each attempt writes all that is pending.
        if self.health.durable:
            self._commit()
        for listener in self._listeners:
            listener()

    def begin_foreign(self) -> None:
        """Note that a relay writes here what others numbered.

        Raises:
            ConfigError: It is a sidecar's, whose destinations count its rows.
        """
        if self._starts:
            raise ConfigError(f"the journal {self.path} is a sidecar's own; relay into another file")

    def append_foreign(self, events: Iterable[Event]) -> None:
        """Store events that others numbered, leaving out what was taken from their producer before.

        Raises:
            sqlite3.Error: They are not stored.
        """
        taken = dict(self._connection.execute("SELECT producer, seq FROM producers"))
        for event in events:
            if event.id.seq > taken.get(event.id.producer, 0):
                taken[event.id.producer] = event.id.seq
                self._last_row += 1
                self._add(event)
        self._commit(
            [
                ("INSERT OR REPLACE INTO producers (producer, seq) VALUES (?, ?)", (producer, seq))
                for producer, seq in taken.items()
            ],
            must=True,
        )

    def taken_from(self, producer: str) -> int | None:
        """Give the highest seq stored by `append_foreign`, or None."""
        found = self._connection.execute("SELECT seq FROM producers WHERE producer = ?", (producer,)).fetchone()
        return None if found is None else int(found[0])

    def _add(self, event: Event) -> None:
        self._unstored.add(self._last_row, event)
        self._tail.append(event)
        if len(self._unstored.entries) > TAIL_EVENTS:
            dropped_row, _ = self._unstored.entries.popitem(last=False)
            self._drop("journal_full", int(dropped_row > self._sent_row(otherwise=0)))

    def _drop(self, reason: DropReason, count: int) -> None:
        """Count events given up before every destination had them; said once for each reason."""
        if count and reason not in self.health.dropped:
            logger.error(
                "events are given up before every destination had them; the host event counts them",
                extra={"path": str(self.path), "reason": reason},
            )
        self.health.drop(reason, count)

    def _commit(self, extra: Sequence[tuple[str, tuple[object, ...]]] = (), *, must: bool = False) -> None:
        execute = self._connection.execute
        cursors = bool(self._dirty_cursors) and time.monotonic() - self._cursors_written_s >= CURSOR_EVERY_S
        try:
            execute("BEGIN IMMEDIATE")
            if self._unstored_start is not None:
                execute("INSERT OR REPLACE INTO starts (first_row, producer) VALUES (?, ?)", self._unstored_start)
            self._unstored.write(self._connection)
            for statement, values in extra:
                execute(statement, values)
            if cursors:
                self._write_cursors()
            execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                execute("ROLLBACK")
            if must:
                self._forget_unstored()
                raise
            self._note_failure(error)
            return
        self._uncheckpointed += 1
        self._forget_unstored()
        if cursors:
            self._dirty_cursors.clear()
            self._cursors_written_s = time.monotonic()
        if not self.health.durable:
            self.health.durable = True
            logger.info("the journal can be written again", extra={"path": str(self.path)})

    def _forget_unstored(self) -> None:
        self._unstored.clear()
        self._unstored_start = None

    def _note_failure(self, error: sqlite3.Error) -> None:
        self._retry_at_s = time.monotonic() + RETRY_EVERY_S
        if self.health.durable:
            self.health.durable = False
            logger.warning(
                "the journal cannot be written; events are published from memory until it can",
                extra={"path": str(self.path), "reason": str(error)},
            )

    # Reading

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each append, in the same callback. Gives the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def read(self, after_row: int, limit: int) -> Slice:
        """Give events of this journal after a row, in order; from memory where they are recent.

        A heartbeat or host event that a newer one replaced is left out, as it is in the database.
        """
        behind = self._last_row - after_row
        if behind <= 0:
            return Slice((), after_row)
        if behind > len(self._tail):
            return self._read_stored(after_row, limit)
        count = min(limit, behind)
        # By index, from the near end: to walk a deque to its last element takes longer than all the rest.
        window = (self._tail[index] for index in range(-behind, count - behind))
        return Slice([event for event in window if not self._unstored.is_replaced(event)], after_row + count)

    def _read_stored(self, after_row: int, limit: int) -> Slice:
        found = self._connection.execute(rows.SELECT_AFTER, (after_row, limit)).fetchall()
        if found:
            return Slice([rows.from_row(row) for row in found], found[-1][0])
        entries = self._unstored.entries.values()
        pending = list(islice((entry for entry in entries if entry.row > after_row), limit))
        return Slice([entry.event for entry in pending], pending[-1].row if pending else self._last_row)

    def newest(self, upto_row: int) -> list[Event]:
        """Give the newest event of each job and host, in order, those after `upto_row` left out."""
        stored = map(rows.from_row, self._connection.execute(rows.SELECT_NEWEST, (upto_row,)))
        found = {key_of(event): event for event in stored}
        for entry in self._unstored.entries.values():
            if entry.row <= upto_row:
                found.pop(key_of(entry.event), None)  # so that it takes its place at the end
                found[key_of(entry.event)] = entry.event
        return list(found.values())

    # Cursors

    def activate(self, destination: str) -> EventId:
        """Say that a destination is in use, so that what it lacks is kept.

        Returns:
            Its cursor. One that has never had anything starts behind what is stored now, with no producer.
        """
        self._active.add(destination)
        cursor = self._cursors.get(destination)
        if cursor is None:
            cursor = EventId("", self._last_row)
            self.ack(destination, cursor)
        return cursor

    def deactivate(self, destination: str) -> None:
        """Say that a destination is given up: nothing is kept for it any more."""
        self._active.discard(destination)

    def ack(self, destination: str, event_id: EventId) -> None:
        """Move a destination's cursor; stored at most every `CURSOR_EVERY_S`, because repeating is harmless."""
        self._cursors[destination] = event_id
        self._dirty_cursors.add(destination)

    def lag(self, destination: str) -> int:
        """Give the number of events that a destination does not have yet.

        Beyond `LAG_COUNTED_EVENTS` it is an upper bound: counting a long backlog would hold the loop for 0.1 s.
        """
        after_row = self._cursors[destination].seq
        if after_row >= self._last_row:
            return 0
        counted, upto_row = self._connection.execute(
            "SELECT count(*), max(row) FROM (SELECT row FROM events WHERE row > ? ORDER BY row LIMIT ?)",
            (after_row, LAG_COUNTED_EVENTS),
        ).fetchone()
        if counted == LAG_COUNTED_EVENTS:
            return int(counted + self._last_row - upto_row)
        return int(counted) + sum(row > after_row for row in self._unstored.entries)

    def is_recent(self, row: int, wall_s: float) -> bool:
        """Say whether any event up to a row is young enough to be kept; a bus may have forgotten older ones."""
        found = self._connection.execute(
            "SELECT observed_ms FROM events WHERE row <= ? ORDER BY row DESC LIMIT 1", (row,)
        ).fetchone()
        return found is not None and found[0] >= (wall_s - self._limits.max_age_s) * 1000

    def earlier_starts(self, producer: str) -> list[EventId]:
        """Give the last event of each start before the one of `producer`, newest first."""
        following = self._last_row + 1
        found: list[EventId] = []
        seen = False
        for start in reversed(self._starts):
            if seen and following > start.first_row:
                found.append(EventId(start.producer, following - 1))
            seen = seen or start.producer == producer
            following = start.first_row
        return found

    def _write_cursors(self) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO cursors (destination, producer, row) VALUES (?, ?, ?)",
            [(destination, *self._cursors[destination]) for destination in self._dirty_cursors],
        )

    def _sent_row(self, *, otherwise: int) -> int:
        """Give the row up to which every destination in use has everything; `otherwise` where none is in use."""
        return min((self._cursors[destination].seq for destination in self._active), default=otherwise)

    # Keeping

    async def maintain(self) -> None:
        """Store cursors, retry what could not be committed, trim, and move the log into the database; runs on."""
        while True:
            await asyncio.sleep(self._pause_s())
            if time.monotonic() >= self._retry_at_s:
                self.tend(time.time())
            due = time.monotonic() - self._checkpointed_s >= CHECKPOINT_EVERY_S
            if self._uncheckpointed >= CHECKPOINT_COMMITS or (due and self._uncheckpointed):
                await self._checkpoint()

    def _pause_s(self) -> float:
        if self._trimmer.behind:
            return TRIM_EVERY_S
        return CURSOR_EVERY_S if self._dirty_cursors else MAINTENANCE_EVERY_S

    def tend(self, wall_s: float) -> None:
        """Do once what must be done in the loop: retry, store cursors, trim one small batch."""
        if self._unstored or self._dirty_cursors:
            self._commit()
        with contextlib.suppress(sqlite3.Error):  # tried again; what ails the disk is told by the next commit
            for reason, count in self._trimmer.trim(wall_s, self._sent_row(otherwise=self._last_row)).items():
                self._drop(reason, count)

    async def _checkpoint(self) -> None:
        self._uncheckpointed = 0
        self._checkpointed_s = time.monotonic()
        await asyncio.to_thread(checkpoint_passively, self.path)
        # Under steady writes the passive one never catches up, and the log would grow for ever.
        if log_bytes(self.path) > WAL_MAX_BYTES:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Store the cursors and what else is pending."""
        self._cursors_written_s = 0.0
        if self._unstored or self._dirty_cursors:
            self._commit()
        if self._unstored.entries:
            logger.error(
                "events could not be stored in the journal to the end",
                extra={"path": str(self.path), "events": len(self._unstored.entries)},
            )
