"""The journal as a bus: read by other processes while the sidecar writes it, or written by a relay.

Reading goes through a connection that cannot write, so that nobody who looks can hold up the sidecar.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn

from pulse_bridge import journal_rows as rows
from pulse_bridge.bus import Batch, Consumer, Presence, Publisher, Query, Rejection
from pulse_bridge.bus_url import BusOptions, BusUrl
from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.doctor_file_bus import check_file
from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.event import Event, EventId
from pulse_bridge.group_store import GroupStore, open_group_store, read_saved
from pulse_bridge.journal import Journal, open_journal
from pulse_bridge.journal_lines import Page, row_filter
from pulse_bridge.journal_query import LAST_OF_WINDOW, select_window

POLL_S: Final = 0.05
PAGE_EVENTS: Final = 500


class JournalBus:
    """The journal at `journal:///path`.

    Args:
        url: Its path is the file; it takes no options.
    """

    name = "journal"
    keeps_signs_of_life = False
    """Of heartbeats and host events only the newest stay, so silence in its past says nothing."""

    def __init__(self, url: BusUrl) -> None:
        url.parse_options(BusOptions)
        if url.host or not url.path.strip("/"):
            raise ConfigError(f"{url}: names no file; write journal:///PATH with three slashes")
        self._path = Path(url.path)

    def __str__(self) -> str:
        return f"journal://{self._path}"

    @asynccontextmanager
    async def publisher(self, presence: Presence | None) -> AsyncIterator[Publisher]:  # noqa: ARG002 - a file has no viewers
        """Open the journal for writing.

        Raises:
            ConfigError: Another process writes it, or it is a sidecar's own.
            BusUnavailableError: It cannot be written now.
        """
        with open_journal(self._path) as journal:
            journal.begin_foreign()
            yield _JournalPublisher(journal)

    @asynccontextmanager
    async def consumer(self, group: str | None) -> AsyncIterator[Consumer]:
        """Read on from the group's cursor; without a group, from now on with a snapshot first.

        Raises:
            BusUnavailableError: There is no such journal (yet), or it cannot be read now.
            ConfigError: Another consumer of this group runs.
        """
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(_open_reader(self._path))
            # Behind the reader, because beside a journal that is not there yet there may be no folder either.
            store = stack.enter_context(open_group_store(self._path, group)) if group is not None else None
            yield _JournalConsumer(reader, store)

    async def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        """Tell whether the file can be written or read; see `pulse_bridge.doctor`."""
        for finding in check_file(self._path, examination):
            yield finding

    async def saved(self, group: str) -> Mapping[str, str]:
        """Give what a group's last commit stored, whoever holds it; see `pulse_bridge.saved`.

        Raises:
            BusUnavailableError: It cannot be read now.
        """
        return read_saved(self._path, group)

    async def history(self, query: Query) -> AsyncIterator[Event]:
        """Yield stored events in the order of their rows.

        Raises:
            BusUnavailableError: There is no such journal, or it cannot be read now.
        """
        given = 0
        with _open_reader(self._path) as reader:
            for found in reader.meant_by(query):
                for event in map(rows.from_row, found):
                    if query.limit is not None and given >= query.limit:
                        return
                    if query.matches(event):
                        given += 1
                        yield event
                await asyncio.sleep(0)  # where nothing is found for long, too, one can give it up

    def history_pages(self, query: Query) -> Iterator[Page]:
        """Yield what `history` yields, a page at a time and without a pause.

        Raises:
            BusUnavailableError: There is no such journal, or it cannot be read now.
        """
        matches = row_filter(query)
        left = query.limit
        with _open_reader(self._path) as reader:
            for found in reader.meant_by(query):
                meant = list(filter(matches, found)) if matches else list(found)
                if left is not None:
                    meant = meant[:left]
                    left -= len(meant)
                if meant:
                    yield Page(meant)
                if left == 0:
                    return


class _JournalPublisher:
    """Stores what others numbered; each producer's events once."""

    max_batch_events = 1000

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def resume(self, acked: EventId | None) -> EventId | None:
        """Say what the journal has of the producer."""
        seq = self._journal.taken_from(acked.producer) if acked else None
        return None if acked is None or seq is None else min(acked, EventId(acked.producer, seq))

    async def publish(self, events: Sequence[Event]) -> Sequence[Rejection]:
        """Store the events in one commit."""
        try:
            self._journal.append_foreign(events)
        except sqlite3.Error as error:
            raise BusUnavailableError(f"the journal cannot be written: {error}") from error
        return ()

    async def wait_lost(self) -> NoReturn:
        """Wait for ever: a file does not go away."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError


class _Reader:
    """The reading side of a journal; never holds a transaction open, because that would let its log grow."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def after(self, row: int, limit: int) -> list[rows.Row]:
        """Give stored rows in order."""
        with self._translating():
            return self._connection.execute(rows.SELECT_AFTER, (row, limit)).fetchall()

    def meant_by(self, query: Query) -> Iterator[list[rows.Row]]:
        """Yield stored rows in order, some or none at a time; most of what the query does not mean is left out."""
        statement, values = select_window(query)
        last: int | None = 0
        while True:
            with self._translating():
                row, (last,) = last, self._connection.execute(LAST_OF_WINDOW, (last, PAGE_EVENTS)).fetchone()
                if last is None:
                    return
                found = self._connection.execute(statement, (row, last, *values)).fetchall()
            yield found

    def snapshot(self) -> tuple[list[Event], int]:
        """Give the newest event of each job and host, and the row up to which they speak."""
        with self._translating():
            (last_row,) = self._connection.execute("SELECT coalesce(max(row), 0) FROM events").fetchone()
            found = self._connection.execute(rows.SELECT_NEWEST, (last_row,)).fetchall()
        return [rows.from_row(row) for row in found], last_row

    def highest_row(self) -> int:
        """Give the highest row that the journal knows of, whether it still stands or not."""
        with self._translating():
            return int(self._connection.execute(rows.HIGHEST_ROW).fetchone()[0])

    def version(self) -> int:
        """Give a number that changes when somebody commits."""
        with self._translating():
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise BusUnavailableError(f"the journal {self._path} cannot be read: {error}") from error


@contextlib.contextmanager
def _open_reader(path: Path) -> Iterator[_Reader]:
    if not path.is_file():
        raise BusUnavailableError(f"there is no journal {path}; is a sidecar running on this machine?")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise BusUnavailableError(f"the journal {path} cannot be read: {error}") from error
    with contextlib.closing(connection):
        yield _Reader(connection, path)


class _JournalConsumer:
    """Follows a journal by looking for commits every `POLL_S`."""

    def __init__(self, reader: _Reader, store: GroupStore | None) -> None:
        self.saved: Mapping[str, str] = store.saved if store else {}
        self._reader = reader
        self._store = store
        self._row = 0

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield a snapshot where there is no cursor, then what is committed."""
        cursor = self._store.cursor if self._store else None
        # A cursor ahead of the journal is of an earlier file at this path; to wait for its row would lose much.
        if cursor is None or int(cursor) > self._reader.highest_row():
            events, self._row = self._reader.snapshot()
            yield Batch(events, snapshot=True)
        else:
            self._row = int(cursor)
        seen = None
        while True:
            version = self._reader.version()
            if version == seen:
                await asyncio.sleep(POLL_S)
                continue
            while found := self._reader.after(self._row, PAGE_EVENTS):
                self._row = found[-1][0]
                yield Batch([rows.from_row(row) for row in found], snapshot=False)
            seen = version

    async def commit(self, changes: Mapping[str, str | None] = {}) -> None:
        """Store the cursor and the changed state."""
        if self._store:
            self._store.commit(str(self._row), changes)
            self.saved = self._store.saved
