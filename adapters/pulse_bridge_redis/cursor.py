"""A place in one stream, and what has become of it: pure.

A cursor holds the id of the last entry read and, where the server counts (Redis 7, Valkey), how many entries had
been added up to it. With both numbers the loss is known exactly, however late somebody looks: what is missing
between the two counts was trimmed before it was read.

Source: Redis commands, XINFO STREAM (`entries-added`, `last-generated-id`).
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from redis.exceptions import ResponseError

EntryId = tuple[int, int]
Entry = tuple[bytes, Sequence[bytes]]
"""An entry as Redis gives it: its id, then names and values by turns."""

NO_ENTRY: Final[EntryId] = (0, 0)
BEGAN_ANEW: Final = "began anew"


def parse_entry_id(text: bytes | str) -> EntryId:
    """Read `<ms>-<number>`.

    Raises:
        ValueError: It has another form.
    """
    ms, _, number = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(ms), int(number)


class Cursor(NamedTuple):
    """A place behind an entry.

    Args:
        entry_id: Of the last entry read.
        added: Entries ever added to the stream up to and with it; None where the server does not count.
    """

    entry_id: EntryId
    added: int | None

    @property
    def id_text(self) -> str:
        """Give the entry's id as Redis writes it."""
        return f"{self.entry_id[0]}-{self.entry_id[1]}"

    def behind(self, entries: Sequence[Entry]) -> "Cursor":
        """Give the place behind entries that follow this one."""
        if not entries:
            return self
        return Cursor(parse_entry_id(entries[-1][0]), None if self.added is None else self.added + len(entries))

    def __str__(self) -> str:
        return self.id_text if self.added is None else f"{self.id_text} {self.added}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read what `str` wrote.

        Raises:
            ValueError: It has another form.
        """
        id_text, _, added = text.partition(" ")
        return cls(parse_entry_id(id_text), int(added) if added else None)


class StreamInfo(NamedTuple):
    """What Redis says of a stream.

    Args:
        length: Entries in it now.
        added: Entries ever added; None before Redis 7.
        first_id: None in an empty stream.
    """

    length: int
    last_id: EntryId
    first_id: EntryId | None
    added: int | None

    @classmethod
    def of(cls, reply: Any) -> "StreamInfo":  # noqa: ANN401 - what Redis answers
        """Read the answer to XINFO STREAM.

        Raises:
            ResponseError: It is a refusal. That there is no stream is none: it is an empty one.
        """
        if isinstance(reply, ResponseError):
            if "no such key" in str(reply):
                return cls(0, NO_ENTRY, None, 0)
            raise reply
        facts = dict(zip(reply[::2], reply[1::2], strict=True))
        first = facts[b"first-entry"]
        return cls(
            length=facts[b"length"],
            last_id=parse_entry_id(facts[b"last-generated-id"]),
            first_id=parse_entry_id(first[0]) if first else None,
            added=facts.get(b"entries-added"),
        )

    @property
    def end(self) -> Cursor:
        """Give the place behind the last entry."""
        return Cursor(self.last_id, self.added)


def find_loss(cursor: Cursor, info: StreamInfo, entries_read: int, *, at_end: bool) -> int | Literal["began anew"]:
    """Say what became of the entries behind a cursor.

    Args:
        info: As it was at the very moment of the reading.
        entries_read: So many entries were found behind the cursor.
        at_end: They were all.

    Returns:
        How many were given up before they were read; 0 if none. At least so many while not at the end, and 1 for
        any number where the server does not count. `BEGAN_ANEW` if this is not the stream that the cursor is of:
        it was deleted, or comes from an older dump.
    """
    if info.last_id < cursor.entry_id:
        return BEGAN_ANEW
    if info.added is None or cursor.added is None:
        # The entry at the cursor itself is the first to go; whether more went with it cannot be seen.
        gone = info.first_id is None or info.first_id > cursor.entry_id
        return int(gone and NO_ENTRY < cursor.entry_id < info.last_id)
    if info.added < cursor.added:
        return BEGAN_ANEW
    if not at_end:
        return max(0, info.added - info.length - cursor.added)
    lost = info.added - entries_read - cursor.added
    return lost if lost >= 0 else BEGAN_ANEW
