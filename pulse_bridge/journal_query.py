"""Which rows of the journal a query can mean, as SQL; pure.

SQLite passes over a row several times faster than an event is made of it. What it cannot tell exactly, such as a
glob, it leaves in: of what is found, `Query.matches` has the last word.
"""

import re
from collections.abc import Sequence
from typing import Final

from pulse_bridge import journal_rows as rows
from pulse_bridge.bus import Query

_ESCAPED: Final = re.compile(r"\[([*?[])\]")
"""A character that is meant as it is, as `glob.escape` writes it."""

_SPECIAL: Final = re.compile(r"[*?[]")
_INTEGERS: Final = (-(2**63), 2**63 - 1)
_MOST_VALUES: Final = 100

LAST_OF_WINDOW: Final = "SELECT max(row) FROM (SELECT row FROM events WHERE row > ? ORDER BY row LIMIT ?)"


def select_window(query: Query) -> tuple[str, Sequence[str | int]]:
    """Give a statement for the rows behind one and up to another, and what to put behind those two."""
    conditions: list[str] = []
    values: list[str | int] = []

    def ask(condition: str, *asked: str | int) -> None:
        conditions.append(f" AND {condition}")
        values.extend(asked)

    if query.since_ms is not None:
        ask("observed_ms >= ?", _clamped(query.since_ms))
    if query.until_ms is not None:
        ask("observed_ms < ?", _clamped(query.until_ms))
    for column, wanted in (
        ("kind", query.kinds),
        ("host", _names(query.hosts)),
        ("job", _names(query.jobs)),
        ("run", [run for run in query.runs if _clamped(run) == run]),
    ):
        if len(wanted) <= _MOST_VALUES and (wanted or (column == "run" and query.runs)):
            ask(f"{column} IN ({', '.join('?' * len(wanted))})", *wanted)
    return (
        f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE row > ? AND row <= ?{''.join(conditions)} ORDER BY row",  # noqa: S608
        values,
    )


def _clamped(number: int) -> int:
    """Give the nearest number that SQLite can compare with; no row has one beyond."""
    low, high = _INTEGERS
    return min(max(number, low), high)


def _names(globs: Sequence[str]) -> Sequence[str]:
    """Give the names that globs mean if each means one alone, else none."""
    names = [name for name in map(_name, globs) if name is not None]
    return names if len(names) == len(globs) else ()


def _name(glob: str) -> str | None:
    if _SPECIAL.search(_ESCAPED.sub("", glob)) or not _is_unicode(glob):
        return None
    return _ESCAPED.sub(r"\1", glob)


def _is_unicode(text: str) -> bool:
    """Say whether SQLite takes it: the shell may hand on what is no text, as surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
