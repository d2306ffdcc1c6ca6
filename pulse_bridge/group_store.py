"""Where a consumer group keeps its cursor and state if its bus cannot: a small SQLite file beside the journal."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from hashlib import blake2b
from pathlib import Path

from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge.locks import HeldError, hold_lock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursor (one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS saved (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class GroupStore:
    """One group's cursor and state, committed together.

    Args:
        connection: The group's own file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.saved: Mapping[str, str] = dict(connection.execute("SELECT name, value FROM saved"))
        found = connection.execute("SELECT value FROM cursor").fetchone()
        self.cursor: str | None = found[0] if found else None

    def commit(self, cursor: str, changes: Mapping[str, str | None]) -> None:
        """Store the cursor and the changed values atomically; None removes one.

        Raises:
            BusUnavailableError: They are not stored; the same events come again after a new connection.
        """
        try:
            with self._connection:
                self._connection.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?)", (cursor,))
                for name, value in changes.items():
                    if value is None:
                        self._connection.execute("DELETE FROM saved WHERE name = ?", (name,))
                    else:
                        self._connection.execute("INSERT OR REPLACE INTO saved VALUES (?, ?)", (name, value))
        except sqlite3.Error as error:
            raise BusUnavailableError(f"the cursor cannot be stored: {error}") from error
        self.cursor = cursor
        merged = {**self.saved, **changes}
        self.saved = {name: value for name, value in merged.items() if value is not None}


def read_saved(beside: Path, group: str) -> Mapping[str, str]:
    """Read a group's state while its holder, if there is one, goes on; empty if the group has never run.

    Args:
        beside: As for `open_group_store`.

    Raises:
        BusUnavailableError: It cannot be read now.
    """
    path = _path(beside, group)
    if not path.is_file():
        return {}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return dict(connection.execute("SELECT name, value FROM saved"))
    except sqlite3.Error as error:
        raise BusUnavailableError(f"the state beside {beside} cannot be read: {error}") from error


def _path(beside: Path, group: str) -> Path:
    digest = blake2b(group.encode(), digest_size=6).hexdigest()
    return beside.with_name(f"{beside.name}.group-{digest}")


@contextmanager
def open_group_store(beside: Path, group: str) -> Iterator[GroupStore]:
    """Open a group's store for its one holder.

    Args:
        beside: The file in whose folder the store lies, and whose name it carries.

    Raises:
        ConfigError: Another process holds the group (named by its pid).
        BusUnavailableError: The store cannot be used now.
    """
    path = _path(beside, group)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path.with_name(path.name + ".lock")))
            connection = stack.enter_context(closing(sqlite3.connect(path)))
            connection.executescript(_SCHEMA)
            store = GroupStore(connection)
        except HeldError as error:
            holder = f"pid {error.pid}" if error.pid else "another process"
            raise ConfigError(
                f"the group {group!r} on {beside} is in use by {holder}: stop that one, or use another name"
            ) from None
        except (OSError, sqlite3.Error) as error:
            raise BusUnavailableError(f"the cursor beside {beside} cannot be used: {error}") from error
        yield store
