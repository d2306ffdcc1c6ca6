"""How far a reader has come with each producer; pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Final, Self

from pulse_bridge.event import EventId

MAX_PRODUCERS: Final = 1000
"""Each start of a sidecar makes one; those that have not spoken for the longest time are forgotten."""


class Cursor:
    """The last seq of each producer, and whose cursor it is.

    One number for each producer, not for each topic, is enough for what comes live: a sidecar publishes in the
    order of its numbers on one connection, and repeats, after a loss, from where the broker last answered. So what
    is not above the number was delivered before. What was retained comes in the order of topics and is judged
    otherwise (`snapshot.py`).

    Args:
        holder: Random for each store; tells two that use the same group apart.
    """

    def __init__(self, holder: str, seqs: Mapping[str, int] | None = None) -> None:
        self.holder = holder
        self._seqs = dict(seqs or {})

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read what `str` gave; None where there is none (yet)."""
        if not text:
            return None
        fields = json.loads(text)
        return cls(fields["holder"], fields["seqs"])

    def advance(self, event_id: EventId) -> bool:
        """Move behind an event.

        Returns:
            Whether it was new.
        """
        last = self._seqs.pop(event_id.producer, -1)
        self._seqs[event_id.producer] = max(last, event_id.seq)
        if len(self._seqs) > MAX_PRODUCERS:
            del self._seqs[next(iter(self._seqs))]
        return event_id.seq > last

    def begin_at(self, event_ids: Iterable[EventId]) -> None:
        """Forget everything and move behind these."""
        self._seqs.clear()
        for event_id in event_ids:
            self.advance(event_id)

    def __str__(self) -> str:
        return json.dumps({"holder": self.holder, "seqs": self._seqs}, separators=(",", ":"))
