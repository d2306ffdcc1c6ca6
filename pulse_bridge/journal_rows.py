"""The journal's tables, and an event as a row of them. Pure: text and tuples, no connection.

Number columns have no declared type, because SQLite would turn the epoch 2 into 2.0 in a REAL column and a
reader is to see the number as the training wrote it.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from pulse_bridge.event import Event, EventId, HostEvent, JobEvent

LAYOUT: Final = 1

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    row INTEGER PRIMARY KEY,
    producer TEXT NOT NULL, seq INTEGER NOT NULL,
    kind TEXT NOT NULL, host TEXT NOT NULL, job TEXT, run, state, status, epoch, total_epochs, loss, message,
    timestamp, progress, eta_s, diverged, step, total_steps, learning_rate, labels, observed_ms,
    host_fields TEXT,
    intermediate INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS jobs (
    host TEXT NOT NULL, job TEXT NOT NULL, track TEXT, last_row INTEGER NOT NULL, heartbeat_row INTEGER,
    run INTEGER NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (host, job)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursors (
    destination TEXT PRIMARY KEY, producer TEXT NOT NULL, row INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS starts (first_row INTEGER PRIMARY KEY, producer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS producers (producer TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
"""
# `track` is the tracker's state; `last_row` and `heartbeat_row` are of a job's newest event and heartbeat.
# A host's newest event stands in `jobs` under an empty job name. `starts` tells where each start of the sidecar
# begins; `producers` what was taken from foreign ones (a relay into this journal).

_COLUMNS: Final = (
    "row, producer, seq, kind, host, job, run, state, status, epoch, total_epochs, loss, message, timestamp,"
    " progress, eta_s, diverged, step, total_steps, learning_rate, labels, observed_ms, host_fields, intermediate"
)
EVENT_COLUMNS: Final = _COLUMNS.removesuffix(", intermediate")

INSERT_EVENT: Final = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * 24)})"  # noqa: S608 - constants
SELECT_AFTER: Final = f"SELECT {EVENT_COLUMNS} FROM events WHERE row > ? ORDER BY row LIMIT ?"  # noqa: S608
SELECT_NEWEST: Final = (
    f"SELECT {', '.join('events.' + name for name in EVENT_COLUMNS.split(', '))} FROM jobs"  # noqa: S608
    " JOIN events ON events.row = jobs.last_row WHERE jobs.last_row <= ? ORDER BY jobs.last_row"
)
HIGHEST_ROW: Final = (
    "SELECT max(coalesce((SELECT max(row) FROM events), 0),"
    " coalesce((SELECT max(row) FROM cursors), 0),"
    " coalesce((SELECT max(last_row) FROM jobs), 0),"
    " coalesce((SELECT max(first_row) - 1 FROM starts), 0))"
)
UPSERT_JOB: Final = (
    "INSERT INTO jobs (host, job, track, last_row, heartbeat_row, run, state) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (host, job) DO UPDATE SET track = coalesce(excluded.track, track), last_row = excluded.last_row,"
    " heartbeat_row = excluded.heartbeat_row, run = excluded.run, state = excluded.state"
)

Row = tuple[Any, ...]


def to_row(row: int, event: Event, *, intermediate: bool) -> Row:
    """Give the values of `INSERT_EVENT`."""
    if isinstance(event, JobEvent):
        return (
            row,
            *event.id,
            *event[1:18],
            _labels_text(event.labels),
            event.observed_ms,
            json.dumps(_origin(event)) if event.replay_of else None,
            intermediate,
        )
    host_fields = json.dumps(
        {
            "owner": event.owner,
            "version": event.version,
            "stopping": event.stopping,
            "jobs": event.jobs,
            "malformed": event.malformed,
            "dropped": event.dropped,
            "lag": event.lag,
            "published": event.published,
            "reconnects": event.reconnects,
            "dropped_by": event.dropped_by,
            **(_origin(event) if event.replay_of else {}),
        }
    )
    return (row, *event.id, "host", event.host, *([None] * 16), event.observed_ms, host_fields, intermediate)


def _origin(event: Event) -> dict[str, object]:
    """Give of which event this is a replay; `host_fields` keeps it for a job's event, too."""
    return {"replay_of": event.replay_of, "replay_observed_ms": event.replay_observed_ms}


def _labels_text(labels: Mapping[str, str]) -> str | None:
    return json.dumps(dict(labels), ensure_ascii=False) if labels else None


def from_row(row: Row) -> Event:
    """Make the event of a row of `EVENT_COLUMNS`."""
    event_id = EventId(row[1], row[2])
    if row[3] == "host":
        fields = _read_fields(row[22])
        return HostEvent(id=event_id, host=row[4], observed_ms=row[21], **fields)
    labels = dict(_read_labels(row[20])) if row[20] else {}
    event = JobEvent._make((event_id, *row[3:16], bool(row[16]), *row[17:20], labels, row[21], None, None))
    return event._replace(**_read_fields(row[22])) if row[22] else event


@lru_cache(maxsize=256)
def _read_labels(text: str) -> Mapping[str, str]:
    """Read labels. Those of one job are the same again and again."""
    labels: dict[str, str] = json.loads(text)
    return labels


def _read_fields(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(text)
    if fields.get("replay_of"):
        fields["replay_of"] = EventId(*fields["replay_of"])
    return fields
