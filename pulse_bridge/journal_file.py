"""The journal's file: opened by one writer, set up for short commits, its log moved into the database aside."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pulse_bridge import journal_rows as rows
from pulse_bridge.errors import ConfigError
from pulse_bridge.locks import HeldError, hold_lock

_OPENING_TIMEOUT_MS: Final = 2000
_BUSY_TIMEOUT_MS: Final = 50
"""How long the event loop waits for somebody else's lock; what is not committed then is published all the same."""


@contextmanager
def open_to_write(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for its one writer, making what is missing.

    Raises:
        ConfigError: Another process writes it (named by its pid), it cannot be made, or it is no journal.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold_lock(path.with_name(path.name + ".lock")))
        except HeldError as error:
            holder = f"pid {error.pid}" if error.pid else "another process"
            raise ConfigError(
                f"the journal {path} is in use by {holder}: stop that one, or give this one its own with --journal"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"the journal {path} cannot be made: {error.strerror}; choose another with --journal"
            ) from None
        try:
            connection = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
            layout = _set_up(connection)
        except sqlite3.Error as error:
            raise ConfigError(
                f"the journal {path} cannot be used: {error}; choose another with --journal"
            ) from None
        if layout != rows.LAYOUT:
            raise ConfigError(
                f"the journal {path} has layout {layout}, not {rows.LAYOUT}: choose another with --journal"
            )
        yield connection


def _set_up(connection: sqlite3.Connection) -> object:
    """Make the tables, and give the layout that the file says it has."""
    execute = connection.execute
    execute("PRAGMA page_size=2048")  # half the log of the default, where a commit has two small rows
    execute("PRAGMA journal_mode=WAL")
    execute("PRAGMA synchronous=NORMAL")
    execute("PRAGMA wal_autocheckpoint=0")  # automatic ones stall a commit for 20 to 40 ms
    execute(f"PRAGMA busy_timeout={_OPENING_TIMEOUT_MS}")
    connection.executescript(rows.SCHEMA)
    execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('layout', ?)", (rows.LAYOUT,))
    (layout,) = execute("SELECT value FROM meta WHERE name = 'layout'").fetchone()
    execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    return layout


def checkpoint_passively(path: Path) -> None:
    """Move the log into the database as far as nobody is in the way; for a thread, as it waits for the disk."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def log_bytes(path: Path) -> int:
    """Give the size of the log beside the database, 0 where there is none."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0
