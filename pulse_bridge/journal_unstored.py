"""What is on its way into the journal's database: numbered events, and what they change beside them.

As a rule it is empty again within the call that filled it. With a full disk it is the memory that events are
published from until they can be stored.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pulse_bridge import journal_rows as rows
from pulse_bridge.event import Event, HostEvent, JobEvent

JobKey = tuple[str, str]
"""Host and job; the job is empty for the host's own events."""


class Entry(NamedTuple):
    """One event and its row. `intermediate`: a change that leaves run and state of its job as they were."""

    row: int
    event: Event
    intermediate: bool


@dataclass(slots=True)
class Newest:
    """Where the newest of one job stands, and what it says."""

    last_row: int
    heartbeat_row: int | None
    run: int
    state: str


class Unstored:
    """Collects what one commit is to store.

    Args:
        newest: The newest of each job, as stored; kept up to date here.
    """

    def __init__(self, newest: dict[JobKey, Newest]) -> None:
        self.entries: OrderedDict[int, Entry] = OrderedDict()
        self._newest = newest
        self._tracks: dict[JobKey, str] = {}
        self._touched: set[JobKey] = set()
        self._obsolete: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.entries or self._touched)

    def add(self, row: int, event: Event) -> None:
        """Take an event. A heartbeat or host event puts the one before it away, stored or not."""
        key = key_of(event)
        newest = self._newest.get(key)
        intermediate = (
            newest is not None
            and isinstance(event, JobEvent)
            and event.kind == "change"
            and (newest.run, newest.state) == (event.run, event.state)
        )
        if newest is None:
            newest = self._newest[key] = Newest(row, None, 0, "")
        newest.last_row = row
        if event.kind in {"heartbeat", "host"}:
            if newest.heartbeat_row is not None and self.entries.pop(newest.heartbeat_row, None) is None:
                self._obsolete.append(newest.heartbeat_row)
            newest.heartbeat_row = row
        if isinstance(event, JobEvent):
            newest.run = event.run
            newest.state = event.state
        self._touched.add(key)
        self.entries[row] = Entry(row, event, intermediate)

    def remember(self, tracks: Mapping[JobKey, str]) -> None:
        """Take the state of trackers, to be stored with their jobs' events."""
        self._tracks.update(tracks)

    def is_replaced(self, event: Event) -> bool:
        """Say whether a newer heartbeat or host event stands in for this one."""
        if event.kind not in {"heartbeat", "host"}:
            return False
        return self._newest[key_of(event)].heartbeat_row != event.id.seq

    def write(self, connection: sqlite3.Connection) -> None:
        """Store everything, within the caller's transaction; `clear` once that is committed.

        Raises:
            sqlite3.Error: It is not stored.
        """
        execute = connection.execute
        for entry in self.entries.values():
            execute(rows.INSERT_EVENT, rows.to_row(entry.row, entry.event, intermediate=entry.intermediate))
        for row in self._obsolete:
            execute("DELETE FROM events WHERE row = ?", (row,))
        for key in self._touched:
            newest = self._newest[key]
            track = self._tracks.get(key)
            execute(
                rows.UPSERT_JOB,
                (*key, track, newest.last_row, newest.heartbeat_row, newest.run, newest.state),
            )

    def clear(self) -> None:
        """Forget everything, because it is stored."""
        self.entries.clear()
        self._obsolete.clear()
        self._touched.clear()
        self._tracks.clear()


def key_of(event: Event) -> JobKey:
    """Give the job, or the host, that an event speaks of."""
    return (event.host, "" if isinstance(event, HostEvent) else event.job)
