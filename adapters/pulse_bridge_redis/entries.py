"""Entries of a stream, and what the state hash holds, as events: pure."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import Event, HostEvent, from_json
from pulse_bridge.event_text import from_text_fields
from pulse_bridge_redis.cursor import Entry

_HOST_KIND = [b"kind", b"host"]


@lru_cache(maxsize=1024)
def _decode_name(name: bytes) -> str:
    return name.decode(errors="replace")


def decode_fields(texts: Sequence[bytes]) -> dict[str, str]:
    """Give an entry's names and values as text."""
    # Whatever else is in the stream may be no text at all; ours always is. Names are few and come again and again.
    return {
        _decode_name(name): str(value, "utf-8", "replace")
        for name, value in zip(texts[::2], texts[1::2], strict=True)
    }


def read_entries(entries: Iterable[Entry]) -> tuple[list[Event], int]:
    """Read entries in order.

    Returns:
        The events, and the number of entries that are none.
    """
    events: list[Event] = []
    skipped = 0
    for _, texts in entries:
        try:
            events.append(from_text_fields(decode_fields(texts)))
        except EventFormatError:
            skipped += 1
    return events, skipped


def read_snapshot(states: Iterable[bytes], newest_first: Iterable[Entry]) -> tuple[list[Event], int]:
    """Read what is so: each job's last event, and each host's as far as they stand among the newest entries.

    Args:
        states: The values of the state hash.
        newest_first: The stream's newest entries.

    Returns:
        The events, each producer's in the order of their seq, and the number of states that are no events.
    """
    found: list[Event] = []
    skipped = 0
    for state in states:
        try:
            found.append(from_json(state))
        except EventFormatError:
            skipped += 1
    hosts: dict[str, Event] = {}
    # Our own entries have their fields in the same places always: `id`, then `kind`.
    for event in read_entries(entry for entry in newest_first if entry[1][2:4] == _HOST_KIND)[0]:
        if isinstance(event, HostEvent):
            hosts.setdefault(event.host, event)
    return sorted((*found, *hosts.values()), key=lambda event: event.id), skipped
