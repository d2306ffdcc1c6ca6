"""What a job's own stream says of it, as events: pure.

The stream holds only what a chart needs. What follows from that is reckoned as the sidecar did it, and the rest is
absent.
"""

from hashlib import blake2s
from typing import Final

from pulse_bridge.event import STALE_MESSAGE, EventId, JobEvent, format_time
from pulse_bridge.event_text import from_text_fields
from pulse_bridge.track import kind_of
from pulse_bridge_redis.cursor import Entry, parse_entry_id
from pulse_bridge_redis.entries import decode_fields
from pulse_bridge_redis.keys import state_field

ABSENT: Final = (
    "a job's own stream has its changes and no heartbeats or host events; message, labels, total_steps and id are"
    " not in it, and timestamp and run are reckoned from when each was seen"
)
_NUMBERS: Final = 100_000
"""So many entries of one job within a millisecond are told apart."""


class JobEntries:
    """Reads the stream of one job, from its first entry on."""

    def __init__(self, host: str, job: str) -> None:
        self._host = host
        self._job = job
        # Of the job's own, so that whoever drops what came already does not take one job's for another's.
        self._producer = blake2s(state_field(host, job).encode(), digest_size=6).hexdigest()
        self._before: JobEvent | None = None
        self._is_in_run = False

    def read(self, entry: Entry) -> JobEvent:
        """Read the next entry.

        Raises:
            EventFormatError: It is none of ours.
        """
        observed_ms, number = parse_entry_id(entry[0])
        chart = decode_fields(entry[1])
        state = chart.get("state", "")
        event = from_text_fields(
            {
                "id": str(EventId(self._producer, observed_ms * _NUMBERS + number % _NUMBERS)),
                "kind": "change",
                "host": self._host,
                "job": self._job,
                "run": "0",
                "status": self._status(state),
                "message": STALE_MESSAGE if state == "stale" else "",
                "timestamp": str(observed_ms // 1000),
                "diverged": "1" if chart.get("loss") == "NaN" else "0",
                "total_steps": "NaN",
                "observed_at": format_time(observed_ms),
                **chart,
            }
        )
        assert isinstance(event, JobEvent)  # noqa: S101 - its kind is above
        return self._place(event)

    def _status(self, state: str) -> str:
        if state == "gone":
            return self._before.status if self._before else "idle"
        return "error" if state == "stale" else state

    def _place(self, event: JobEvent) -> JobEvent:
        """Give it its kind and run, by what was before."""
        before = self._before
        kind = "gone" if event.state == "gone" else kind_of(before.state if before else None, event.state)
        runs = event.state in {"running", "stale"}
        # As the sidecar numbers runs: `pulse-v1.md`, "Runs".
        begins = before is None or (runs and not (self._is_in_run and event.epoch >= before.epoch))
        run = before.run if before else 0
        if begins:
            run = max(run + 1, event.observed_ms // 1000)
        if event.state != "gone":
            self._is_in_run = runs
        self._before = event._replace(kind=kind, run=run)
        return self._before
