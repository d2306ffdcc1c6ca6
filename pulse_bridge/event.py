"""What travels on every bus, and its two text forms.

This is the only place that builds or parses an event. The JSON form omits an absent number; the flat text
form, for buses whose readers take a missing field for zero, writes it as `NaN`. Both give the same event back.
"""

import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, cast, get_args

from pydantic_core import to_json as encode_json

from pulse_bridge.errors import EventFormatError

Kind = Literal["change", "heartbeat", "stale", "recovered", "gone", "host"]
State = Literal["idle", "running", "stale", "done", "error", "gone"]
Status = Literal["idle", "running", "done", "error"]
Number = int | float
Scalar = str | int | float | bool

KINDS: Final[tuple[Kind, ...]] = ("change", "heartbeat", "stale", "recovered", "gone", "host")
STATES: Final[tuple[State, ...]] = ("idle", "running", "stale", "done", "error", "gone")
FINISHED_STATES: Final[frozenset[State]] = frozenset({"done", "error", "gone"})
MAX_MESSAGE_BYTES: Final = 4096
STALE_MESSAGE: Final = "Process unresponsive (stale pulse)"
DropReason = Literal["journal_full", "too_old", "no_space"]
DROP_REASONS: Final[tuple[DropReason, ...]] = get_args(DropReason)
"""Why a journal gives events up. A sidecar tells the number of each, zeros too: a counter that first appears with
a value has, for whoever computes its increase, never increased."""
_LABEL: Final = "label_"
_LAG: Final = "lag_"
_DROPPED: Final = "dropped_"
_JOBS: Final = "jobs_"
_REPLAY_OF: Final = "replay_of"
_REPLAY_OBSERVED_AT: Final = "replay_observed_at"
_MAX_SEQ_DIGITS: Final = 18  # fits the 64 bits of a row number
_MAX_INTEGER: Final = 2**63 - 1  # what every bus can keep as an integer


class EventId(NamedTuple):
    """Who published an event, and its place among theirs: `<producer>-<seq>` in text."""

    producer: str
    seq: int

    def __str__(self) -> str:
        return f"{self.producer}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "EventId":
        """Read `<producer>-<seq>`.

        Raises:
            EventFormatError: The text has another form.
        """
        producer, dash, seq = text.rpartition("-")
        if not (producer and dash and seq.isascii() and seq.isdigit() and len(seq) <= _MAX_SEQ_DIGITS):
            raise EventFormatError(f"{text!r} is no event id: expected <producer>-<number>")
        return cls(producer, int(seq))


UNNUMBERED: Final = EventId("", 0)
"""The id of an event that the journal has not numbered yet."""


class JobEvent(NamedTuple):
    """What is so now with one job. A tuple, because thousands a second are made and stored as rows.

    Args:
        run: Unix seconds that name the training run (`pulse-v1.md`, "Runs").
        status: PULSE v1 as a v1 viewer should see it; a stale job reads `error`.
        epoch: Epochs, fractional.
        loss: Absent (None) when the file's loss is not finite; `diverged` is then true.
        timestamp: Unix seconds at which the training wrote.
        progress: Percent, 0 to 100.
        eta_s: Seconds to the end of the run, from `observed_ms` on; None until known.
        observed_ms: Unix milliseconds at which the sidecar saw it.
        replay_of: The event that a replay gives again; None of one that is told for the first time.
        replay_observed_ms: When that one was seen, where a replay has moved the times.
    """

    id: EventId
    kind: Kind
    host: str
    job: str
    run: int
    state: State
    status: Status
    epoch: Number
    total_epochs: Number
    loss: Number | None
    message: str
    timestamp: int
    progress: Number
    eta_s: Number | None
    diverged: bool
    step: int | None
    total_steps: int | None
    learning_rate: Number | None
    labels: Mapping[str, str]
    observed_ms: int
    replay_of: EventId | None = None
    replay_observed_ms: int | None = None


class HostEvent(NamedTuple):
    """A sidecar's sign of life, with its own health.

    Args:
        owner: Random for each start of a sidecar; tells two under one host name apart.
        stopping: The sidecar ends cleanly after this.
        jobs: State to number of jobs in it; a state not named has none.
        malformed: Files that cannot be read as PULSE now.
        dropped: Events given up before every destination had them, since the start.
        lag: Destination to number of events that it does not have yet.
        observed_ms: Unix milliseconds.
        published: Events that a destination took, since the start; once for each destination, and again when
            it lost one and was given it anew. What it refused for good, and what it is reminded of at a
            reconnect, is not counted.
        reconnects: Connections to a destination that were lost or did not come about, since the start.
        dropped_by: Reason to its part of `dropped`; empty from a sidecar that does not tell.
        replay_of, replay_observed_ms: As of a job's event.
    """

    id: EventId
    host: str
    owner: str
    version: str
    stopping: bool
    jobs: Mapping[State, int]
    malformed: int
    dropped: int
    lag: Mapping[str, int]
    observed_ms: int
    published: int = 0
    reconnects: int = 0
    dropped_by: Mapping[str, int] = {}
    replay_of: EventId | None = None
    replay_observed_ms: int | None = None

    @property
    def kind(self) -> Literal["host"]:
        """Say what sort of event this is, as a job event's `kind` does."""
        return "host"


Event = JobEvent | HostEvent


def cut_message(text: str) -> str:
    """Cut a message to `MAX_MESSAGE_BYTES` of UTF-8, at a character."""
    if len(text) * 4 <= MAX_MESSAGE_BYTES:
        return text
    return text.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")


_second_text: tuple[int, str] = (-1, "")


def format_time(unix_ms: int) -> str:
    """Write Unix milliseconds as RFC 3339 in UTC, e.g. `2026-01-02T03:04:05.678Z`."""
    global _second_text  # noqa: PLW0603 - events of one second share the expensive part
    second, ms = divmod(unix_ms, 1000)
    known = _second_text  # once, because another thread may be at it
    if known[0] != second:
        known = _second_text = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    return f"{known[1]}.{ms:03d}Z"


def parse_time(text: str) -> int:
    """Read RFC 3339 with an offset into Unix milliseconds.

    Raises:
        ValueError: The text is no such instant.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    delta = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def _all_fields(event: Event) -> dict[str, Scalar | None]:
    """Give every field of the event's sort in the documented order; None for an absent number."""
    if isinstance(event, JobEvent):
        fields: dict[str, Scalar | None] = {
            "id": f"{event.id.producer}-{event.id.seq}",
            "kind": event.kind,
            "host": event.host,
            "job": event.job,
            "run": event.run,
            "state": event.state,
            "status": event.status,
            "epoch": event.epoch,
            "total_epochs": event.total_epochs,
            "loss": event.loss,
            "message": event.message,
            "timestamp": event.timestamp,
            "progress": event.progress,
            "eta_s": event.eta_s,
            "diverged": event.diverged,
            "step": event.step,
            "total_steps": event.total_steps,
            "learning_rate": event.learning_rate,
        }
        for name, value in event.labels.items():
            fields[_LABEL + name] = value
        fields["observed_at"] = format_time(event.observed_ms)
        if event.replay_of is not None:
            _add_origin(fields, event)
        return fields
    fields = {
        "id": str(event.id),
        "kind": "host",
        "host": event.host,
        "owner": event.owner,
        "version": event.version,
        "observed_at": format_time(event.observed_ms),
        "stopping": event.stopping,
    }
    for state in STATES:
        fields[_JOBS + state] = event.jobs.get(state, 0)
    fields["malformed"] = event.malformed
    fields["dropped"] = event.dropped
    fields["published"] = event.published
    fields["reconnects"] = event.reconnects
    for reason, count in event.dropped_by.items():
        fields[_DROPPED + reason] = count
    for destination, count in event.lag.items():
        fields[_LAG + destination] = count
    if event.replay_of is not None:
        _add_origin(fields, event)
    return fields


def _add_origin(fields: dict[str, Scalar | None], event: Event) -> None:
    """Say of which event this is a replay. Only a replay has these fields: they are no numbers."""
    fields[_REPLAY_OF] = str(event.replay_of)
    if event.replay_observed_ms is not None:
        fields[_REPLAY_OBSERVED_AT] = format_time(event.replay_observed_ms)


def to_fields(event: Event) -> dict[str, Scalar]:
    """Give the event as a flat mapping; an absent number is left out."""
    return {name: value for name, value in _all_fields(event).items() if value is not None}


def to_json(event: Event) -> str:
    """Give the event as one line of strict JSON.

    Raises:
        ValueError: A number is not finite, or a text has no UTF-8 form.
    """
    newest, text = _newest_json
    return text if event is newest else _remember_json(event, _all_fields(event))


_newest_json: tuple[Event | None, str] = (None, "")


def _remember_json(event: Event, fields: dict[str, Scalar | None]) -> str:
    global _newest_json  # noqa: PLW0603 - each destination asks for the JSON of the same event in turn
    _newest_json = (event, _json_of(fields))
    return _newest_json[1]


def _json_of(fields: dict[str, Scalar | None]) -> str:
    present = {name: value for name, value in fields.items() if value is not None}
    if not all(map(math.isfinite, [value for value in present.values() if value.__class__ is float])):
        name = next(
            name for name, value in present.items() if value.__class__ is float and not math.isfinite(value)
        )
        raise ValueError(f"event field {name!r} is not finite: {present[name]}")
    return str(encode_json(present), "utf-8")  # a quarter of the time of the standard library's


def to_text_fields(event: Event) -> dict[str, str]:
    """Give the event as flat text with every field of its sort: `NaN` for an absent number, `0`/`1` for a flag."""
    return _text_of(_all_fields(event))


def to_text_fields_and_json(event: Event) -> tuple[dict[str, str], str]:
    """Give both text forms at once, for a bus that needs both of each event."""
    fields = _all_fields(event)
    return _text_of(fields), _remember_json(event, fields)


def _text_of(fields: dict[str, Scalar | None]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else _as_text(value) for name, value in fields.items()}


def _as_text(value: bool | float | None) -> str:  # noqa: FBT001 - a field's value
    if value is None:
        return "NaN"
    if value is True:
        return "1"
    if value is False:
        return "0"
    return repr(value)  # a number's text in JSON, too


def from_json(text: str | bytes) -> Event:
    """Read an event from its JSON form.

    Raises:
        EventFormatError: It is none.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventFormatError(f"no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise EventFormatError("the JSON is no object")
    return from_fields(fields)


def from_fields(fields: Mapping[str, object]) -> Event:
    """Read an event from a flat mapping in either text form; unknown fields are ignored.

    Raises:
        EventFormatError: A field is missing or of the wrong type; the sentence names it.
    """
    reader = _FieldReader(fields)
    if reader.text("kind") == "host":
        return HostEvent(
            id=EventId.parse(reader.text("id")),
            host=reader.text("host"),
            owner=reader.text("owner"),
            version=reader.text("version"),
            stopping=reader.flag("stopping"),
            jobs={state: reader.integer(_JOBS + state) for state in STATES},
            malformed=reader.integer("malformed"),
            dropped=reader.integer("dropped"),
            lag={name.removeprefix(_LAG): reader.integer(name) for name in fields if name.startswith(_LAG)},
            observed_ms=reader.instant("observed_at"),
            published=reader.optional_integer("published") or 0,
            reconnects=reader.optional_integer("reconnects") or 0,
            dropped_by={
                name.removeprefix(_DROPPED): reader.integer(name) for name in fields if name.startswith(_DROPPED)
            },
            replay_of=reader.optional_id(_REPLAY_OF),
            replay_observed_ms=reader.optional_instant(_REPLAY_OBSERVED_AT),
        )
    return JobEvent(
        id=EventId.parse(reader.text("id")),
        kind=cast("Kind", reader.choice("kind", KINDS)),
        host=reader.text("host"),
        job=reader.text("job"),
        run=reader.integer("run"),
        state=cast("State", reader.choice("state", STATES)),
        status=cast("Status", reader.choice("status", ("idle", "running", "done", "error"))),
        epoch=reader.number("epoch"),
        total_epochs=reader.number("total_epochs"),
        loss=reader.optional_number("loss"),
        message=reader.text("message"),
        timestamp=reader.integer("timestamp"),
        progress=reader.number("progress"),
        eta_s=reader.optional_number("eta_s"),
        diverged=reader.flag("diverged"),
        step=reader.optional_integer("step"),
        total_steps=reader.optional_integer("total_steps"),
        learning_rate=reader.optional_number("learning_rate"),
        labels={name.removeprefix(_LABEL): reader.text(name) for name in fields if name.startswith(_LABEL)},
        observed_ms=reader.instant("observed_at"),
        replay_of=reader.optional_id(_REPLAY_OF),
        replay_observed_ms=reader.optional_instant(_REPLAY_OBSERVED_AT),
    )


class _FieldReader:
    """Types one event's fields; each verb raises `EventFormatError` that names the field."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise EventFormatError(f"event field {name!r} is not text: {value!r:.80}")
        if not value.isascii():
            self._require_unicode(name, value)
        return value

    def _require_unicode(self, name: str, value: str) -> None:
        """Refuse half a surrogate pair, which JSON can spell and no bus can carry."""
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise EventFormatError(f"event field {name!r} is no Unicode text: {value!r:.80}") from error

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in choices:
            raise EventFormatError(f"event field {name!r} is none of {', '.join(choices)}: {value!r:.80}")
        return value

    def optional_number(self, name: str) -> Number | None:
        value = self._fields.get(name)
        if isinstance(value, str):
            value = _number_of(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise EventFormatError(f"event field {name!r} is no number: {value!r:.80}")
        if isinstance(value, int):
            if abs(value) > _MAX_INTEGER:
                raise EventFormatError(f"event field {name!r} is too large an integer")
            return value
        return value if math.isfinite(value) else None

    def number(self, name: str) -> Number:
        value = self.optional_number(name)
        if value is None:
            raise EventFormatError(f"event field {name!r} is missing")
        return value

    def optional_integer(self, name: str) -> int | None:
        value = self.optional_number(name)
        if value is not None and not isinstance(value, int):
            raise EventFormatError(f"event field {name!r} is no integer: {value!r:.80}")
        return value

    def integer(self, name: str) -> int:
        value = self.number(name)
        if not isinstance(value, int):
            raise EventFormatError(f"event field {name!r} is no integer: {value!r:.80}")
        return value

    def flag(self, name: str) -> bool:
        value = self._fields.get(name)
        if value is True or value == "1":
            return True
        if value is False or value == "0":
            return False
        raise EventFormatError(f"event field {name!r} is neither true nor false: {value!r:.80}")

    def instant(self, name: str) -> int:
        try:
            return parse_time(self.text(name))
        except ValueError as error:
            raise EventFormatError(f"event field {name!r} is no instant: {error}") from error

    def optional_instant(self, name: str) -> int | None:
        return self.instant(name) if name in self._fields else None

    def optional_id(self, name: str) -> EventId | None:
        return EventId.parse(self.text(name)) if name in self._fields else None


def _number_of(text: str) -> object:
    """Read a number's JSON text; `NaN` reads as a float that is not finite, other text as itself."""
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text
