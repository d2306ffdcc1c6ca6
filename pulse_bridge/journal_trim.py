"""What leaves the journal when it is too old or too large: small batches, the least important first."""

import sqlite3
from dataclasses import dataclass
from typing import Final

from pulse_bridge.event import DropReason

BATCH_ROWS: Final = 256
"""So many rows a call: one delete of many rows holds the lock, and the event loop, for seconds."""

_NOT_NEWEST: Final = "row NOT IN (SELECT last_row FROM jobs)"

_NOT_LAST: Final = "row < (SELECT max(row) FROM events)"
"""The last row stays, whatever the limits say, so that numbers go on from it."""

_SELECT_OLD: Final = (
    f"SELECT row FROM (SELECT row, observed_ms FROM events ORDER BY row LIMIT ?)"  # noqa: S608 - constants
    f" WHERE observed_ms < ? AND {_NOT_LAST}"
)


@dataclass(frozen=True)
class Limits:
    """How large and how old a journal may become.

    Args:
        max_bytes: Of the pages in use.
        max_age_s: Of an event, by its `observed_ms`.
    """

    max_bytes: int = 256 * 1024 * 1024
    max_age_s: float = 7 * 86_400.0


class Trimmer:
    """Trims one journal. What every destination has goes first, oldest first; that is history, and no loss.

    For size the newest event of each job stays as long as anything else can go, because a snapshot is made of
    them. Unsent events go only then: first the `intermediate` changes of a run, at last transitions.
    """

    def __init__(self, connection: sqlite3.Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._no_intermediate_before = 0
        self.behind = False
        """The last call deleted a full batch: there may be more to delete."""

    def trim(self, wall_s: float, sent_row: int) -> dict[DropReason, int]:
        """Delete at most one batch for age and one for size.

        Args:
            wall_s: Unix seconds now.
            sent_row: Every destination has what stands up to this row.

        Returns:
            Reason to number of events that were deleted unsent.
        """
        self.behind = False
        dropped: dict[DropReason, int] = {"too_old": self._trim_old(wall_s, sent_row)}
        if self._used_bytes() > self._limits.max_bytes:
            dropped["no_space"] = self._trim_large(sent_row)
        return {reason: count for reason, count in dropped.items() if count}

    def _trim_old(self, wall_s: float, sent_row: int) -> int:
        oldest = self._connection.execute("SELECT observed_ms FROM events ORDER BY row LIMIT 1").fetchone()
        horizon_ms = int((wall_s - self._limits.max_age_s) * 1000)
        if oldest is None or oldest[0] >= horizon_ms:
            return 0
        found = self._connection.execute(_SELECT_OLD, (BATCH_ROWS, horizon_ms)).fetchall()
        if not found:
            return 0
        unsent: int = sum(row > sent_row for (row,) in found)
        self._delete(found)
        # A job that is gone and whose last event is forgotten has nothing left to remember.
        self._connection.execute(
            "DELETE FROM jobs WHERE state = 'gone' AND last_row NOT IN (SELECT row FROM events)"
        )
        return unsent

    def _trim_large(self, sent_row: int) -> int:
        found = self._select(f"row <= ? AND {_NOT_NEWEST}", sent_row)
        if not found:
            found = self._select(f"intermediate AND row > ? AND {_NOT_NEWEST}", self._no_intermediate_before)
            if found:
                self._no_intermediate_before = found[-1][0]
        if not found:
            found = self._select("row > ?", 0)
        self._delete(found)
        return sum(row > sent_row for (row,) in found)

    def _select(self, condition: str, value: int) -> list[tuple[int]]:
        statement = f"SELECT row FROM events WHERE {condition} AND {_NOT_LAST} ORDER BY row LIMIT ?"  # noqa: S608 - constants
        found: list[tuple[int]] = self._connection.execute(statement, (value, BATCH_ROWS)).fetchall()
        return found

    def _delete(self, found: list[tuple[int]]) -> None:
        with self._connection:  # undoes it if it fails: a full disk can refuse a delete, too
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM events WHERE row = ?", found)
        self.behind = self.behind or len(found) >= BATCH_ROWS

    def _used_bytes(self) -> int:
        def pragma(name: str) -> int:
            value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            return value

        return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
