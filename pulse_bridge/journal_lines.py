"""A journal's rows a page at a time, and as lines of JSON with no event between. Pure.

What makes a week of them printed in seconds.
"""

import json
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple

from pydantic_core import to_json as encode_json

from pulse_bridge.bus import Query
from pulse_bridge.event import Event, format_time, to_json
from pulse_bridge.journal_rows import Row, from_row

_KIND: Final = 3
_HOST: Final = 4
_JOB: Final = 5
_RUN: Final = 6
_OBSERVED_MS: Final = 21
_OTHER_FIELDS: Final = 22


class Page(NamedTuple):
    """Some rows of a journal, in order; at least one."""

    rows: Sequence[Row]

    @property
    def last_ms(self) -> int:
        """Give Unix milliseconds of the last one's `observed_at`."""
        return int(self.rows[-1][_OBSERVED_MS])

    def to_events(self) -> list[Event]:
        """Make the events."""
        return list(map(from_row, self.rows))

    def to_json_lines(self) -> bytes:
        """Write each event as a line of UTF-8, exactly in its JSON form."""
        return to_lines(self.rows)


def to_lines(rows: Sequence[Row]) -> bytes:
    """Write rows as lines."""
    return b"\n".join(map(_line, rows)) + b"\n"


def _line(row: Row) -> bytes:
    """Write a row as `to_json` writes its event. Numbers in a journal are finite: each came from an event."""
    if row[_OTHER_FIELDS]:  # a host's event, or one of a replay
        return to_json(from_row(row)).encode()
    (
        _,
        producer,
        seq,
        kind,
        host,
        job,
        run,
        state,
        status,
        epoch,
        total_epochs,
        loss,
        message,
        timestamp,
        progress,
        eta_s,
        diverged,
        step,
        total_steps,
        learning_rate,
        labels,
        observed_ms,
        _,
    ) = row
    # Built piece by piece, because to leave the absent out afterwards costs as much as all of it.
    fields = {
        "id": f"{producer}-{seq}",
        "kind": kind,
        "host": host,
        "job": job,
        "run": run,
        "state": state,
        "status": status,
        "epoch": epoch,
        "total_epochs": total_epochs,
    }
    if loss is not None:
        fields["loss"] = loss
    fields["message"] = message
    fields["timestamp"] = timestamp
    fields["progress"] = progress
    if eta_s is not None:
        fields["eta_s"] = eta_s
    fields["diverged"] = diverged == 1
    if step is not None:
        fields["step"] = step
    if total_steps is not None:
        fields["total_steps"] = total_steps
    if learning_rate is not None:
        fields["learning_rate"] = learning_rate
    if labels:
        fields |= _label_fields(labels)
    fields["observed_at"] = format_time(observed_ms)
    return encode_json(fields)


@lru_cache(maxsize=256)
def _label_fields(text: str) -> dict[str, str]:
    """Name labels as fields. Those of one job are the same again and again."""
    return {f"label_{name}": value for name, value in json.loads(text).items()}


def row_filter(query: Query) -> Callable[[Row], bool] | None:
    """Give what says of a row what `query.matches` says of its event; None where everything is asked for."""
    tests: list[Callable[[Row], bool]] = []
    since_ms, until_ms, kinds, runs = query.since_ms, query.until_ms, set(query.kinds), set(query.runs)
    if since_ms is not None:
        tests.append(lambda row: row[_OBSERVED_MS] >= since_ms)
    if until_ms is not None:
        tests.append(lambda row: row[_OBSERVED_MS] < until_ms)
    if kinds:
        tests.append(lambda row: row[_KIND] in kinds)
    if runs:
        tests.append(lambda row: row[_RUN] in runs)
    if query.hosts:
        tests.append(_matcher(query.hosts, _HOST))
    if query.jobs:
        tests.append(_matcher(query.jobs, _JOB))
    return (lambda row: all(test(row) for test in tests)) if tests else None


def _matcher(globs: Sequence[str], column: int) -> Callable[[Row], bool]:
    @lru_cache(maxsize=4096)
    def matches(name: str | None) -> bool:
        return name is not None and any(fnmatchcase(name, glob) for glob in globs)

    return lambda row: matches(row[column])
