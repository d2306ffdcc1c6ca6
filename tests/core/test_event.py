"""The event and its two text forms: `design.md`, "The event"."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import (
    KINDS,
    MAX_MESSAGE_BYTES,
    STATES,
    EventId,
    HostEvent,
    JobEvent,
    cut_message,
    format_time,
    from_fields,
    from_json,
    parse_time,
    to_fields,
    to_json,
    to_text_fields,
)
from pulse_bridge.testing import make_host_event, make_job_event

texts = st.text()  # hypothesis leaves out lone surrogates, as a PULSE file does
names = st.text(min_size=1, max_size=20)
integers = st.integers(-(2**53), 2**53)
numbers = integers | st.floats(allow_nan=False, allow_infinity=False)
instants_ms = st.integers(parse_time("1970-01-01T00:00:00Z"), parse_time("9999-12-31T23:59:59.999Z"))
ids = st.builds(EventId, names, st.integers(0, 10**18 - 1))

job_events = st.builds(
    JobEvent,
    id=ids,
    kind=st.sampled_from([kind for kind in KINDS if kind != "host"]),
    host=texts,
    job=texts,
    run=integers,
    state=st.sampled_from(STATES),
    status=st.sampled_from(["idle", "running", "done", "error"]),
    epoch=numbers,
    total_epochs=numbers,
    loss=st.none() | numbers,
    message=texts,
    timestamp=integers,
    progress=numbers,
    eta_s=st.none() | numbers,
    diverged=st.booleans(),
    step=st.none() | integers,
    total_steps=st.none() | integers,
    learning_rate=st.none() | numbers,
    labels=st.dictionaries(names, texts, max_size=4),
    observed_ms=instants_ms,
    replay_of=st.none() | ids,
    replay_observed_ms=st.none(),
)
host_events = st.builds(
    HostEvent,
    id=ids,
    host=texts,
    owner=texts,
    version=texts,
    stopping=st.booleans(),
    jobs=st.tuples(*(integers for _ in STATES)).map(lambda counts: dict(zip(STATES, counts, strict=True))),
    malformed=integers,
    dropped=integers,
    lag=st.dictionaries(names, integers, max_size=4),
    observed_ms=instants_ms,
    published=integers,
    reconnects=integers,
    dropped_by=st.dictionaries(names, integers, max_size=4),
    replay_of=ids,
    replay_observed_ms=st.none() | instants_ms,
)


def refuse_constant(word: str) -> NoReturn:
    raise AssertionError(f"{word} is no strict JSON")


def typed(event: JobEvent | HostEvent) -> str:
    """Give a text in which 2 and 2.0 differ."""
    return repr(event)


@given(job_events | host_events)
@example(make_job_event(1, message="NaN", job="1", labels={"": "", "a": "NaN", "label_": "1"}))
@example(make_job_event(1, epoch=1e308, total_epochs=-0.0, loss=5e-324, learning_rate=1e-07))
@example(make_host_event(1, lag={"lag_": 1, "redis": 0}, dropped_by={"dropped_": 1, "": 2, "lag_x": 3}))
def test_each_text_form_gives_the_same_event_back(event: JobEvent | HostEvent) -> None:
    assert typed(from_json(to_json(event))) == typed(event)
    assert typed(from_json(to_json(event).encode())) == typed(event)
    assert typed(from_fields(to_fields(event))) == typed(event)
    assert typed(from_fields(to_text_fields(event))) == typed(event)


@given(job_events | host_events)
def test_the_json_form_is_one_line_of_strict_and_flat_json(event: JobEvent | HostEvent) -> None:
    line = to_json(event)
    assert "\n" not in line
    fields = json.loads(line, parse_constant=refuse_constant)
    assert all(isinstance(value, str | int | float) for value in fields.values()), (
        "flat, and null is never written"
    )


def test_the_json_form_is_as_documented() -> None:
    assert to_json(make_job_event(1)) == (
        '{"id":"contract-1","kind":"change","host":"node1","job":"llm/run a","run":1790000000,"state":"running",'
        '"status":"running","epoch":1.5,"total_epochs":3,"loss":0.125,"message":"épique ✓ step 150/800",'
        '"timestamp":1790000000,"progress":50.0,"eta_s":12.5,"diverged":false,"step":150,"total_steps":800,'
        '"learning_rate":0.00002,"label_profile":"TRIZ Engineer","observed_at":"2026-09-21T14:13:20.124Z"}'
    )
    assert to_json(make_host_event(1)) == (
        '{"id":"contract-1","kind":"host","host":"node1","owner":"owner1","version":"0.1.0",'
        '"observed_at":"2026-09-21T14:13:20.124Z","stopping":false,"jobs_idle":0,"jobs_running":2,"jobs_stale":0,'
        '"jobs_done":1,"jobs_error":0,"jobs_gone":0,"malformed":1,"dropped":0,"published":40,"reconnects":2,'
        '"dropped_journal_full":0,"lag_redis":3}'
    )


ABSENT = {"loss": None, "eta_s": None, "step": None, "total_steps": None, "learning_rate": None}


def test_an_absent_number_is_left_out_of_json_and_is_nan_in_flat_text() -> None:
    event = make_job_event(1, diverged=True, **ABSENT)
    assert not ABSENT.keys() & to_fields(event).keys()
    text = to_text_fields(event)
    assert {text[name] for name in ABSENT} == {"NaN"}
    assert text["diverged"] == "1"


def test_flat_text_has_every_field_of_its_sort() -> None:
    bare = to_text_fields(make_job_event(1, **ABSENT))
    full = to_text_fields(make_job_event(1))
    assert list(bare) == list(full)
    assert all(isinstance(value, str) for value in full.values())
    assert to_text_fields(make_host_event(1, jobs={}))["jobs_gone"] == "0"


def test_unknown_fields_are_ignored() -> None:
    event = make_job_event(1)
    assert from_fields({**to_fields(event), "gpu_watts": 300, "rejected_by": "x-1"}) == event


REQUIRED_OF_A_JOB = set(to_fields(make_job_event(1))) - ABSENT.keys() - {"label_profile"}
ADDED_TO_A_HOST = {"published", "reconnects", "dropped_journal_full"}
REQUIRED_OF_A_HOST = set(to_fields(make_host_event(1))) - {"lag_redis"} - ADDED_TO_A_HOST


@pytest.mark.parametrize("form", [to_fields, to_text_fields])
def test_a_host_event_of_an_older_sidecar_has_none_of_what_it_does_not_tell(
    form: Callable[[HostEvent], Mapping[str, object]],
) -> None:
    fields = {name: value for name, value in form(make_host_event(1)).items() if name not in ADDED_TO_A_HOST}
    assert from_fields(fields) == make_host_event(1, published=0, reconnects=0, dropped_by={})


@pytest.mark.parametrize("name", sorted(REQUIRED_OF_A_JOB))
def test_a_job_event_without_a_field_is_refused_by_its_name(name: str) -> None:
    fields = to_fields(make_job_event(1))
    del fields[name]
    with pytest.raises(EventFormatError, match=rf"'{name}'"):
        from_fields(fields)


@pytest.mark.parametrize("name", sorted(REQUIRED_OF_A_HOST))
def test_a_host_event_without_a_field_is_refused_by_its_name(name: str) -> None:
    fields = to_fields(make_host_event(1))
    del fields[name]
    with pytest.raises(EventFormatError, match=rf"'{name}'"):
        from_fields(fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "explosion"),
        ("kind", 1),
        ("host", None),
        ("job", ["a"]),
        ("job", "half a pair \ud83d"),
        ("run", "now"),
        ("run", 1.5),
        ("run", True),
        ("run", 10**400),
        ("run", 2**63),
        ("state", "asleep"),
        ("status", "stale"),
        ("epoch", "much"),
        ("epoch", math.nan),
        ("epoch", 10**400),
        ("epoch", {}),
        ("loss", "low"),
        ("loss", False),
        ("message", 5),
        ("message", "\udc00"),
        ("timestamp", 0.5),
        ("progress", "NaN"),
        ("eta_s", []),
        ("diverged", "yes"),
        ("diverged", 1),
        ("step", 1.5),
        ("step", "9" * 5000),
        ("label_profile", 3),
        ("observed_at", "yesterday"),
        ("observed_at", "2026-01-02T03:04:05"),
        ("observed_at", 1_790_000_000),
    ],
    ids=lambda value: f"{value!r:.30}" if not isinstance(value, int) else "an integer",
)
def test_a_wrong_value_is_refused_by_the_fields_name(name: str, value: object) -> None:
    with pytest.raises(EventFormatError, match=rf"'{name}'"):
        from_fields({**to_fields(make_job_event(1)), name: value})


@pytest.mark.parametrize(
    "text", ["", "p", "-1", "p-", "p-x", "p--", "p-1.0", "p-٣", "p-" + "9" * 5000, "p-" + "9" * 19]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(EventFormatError, match="event id"):
        EventId.parse(text)


def test_a_producer_may_have_dashes() -> None:
    assert EventId.parse("a-b-7") == EventId("a-b", 7)
    assert str(EventId("a-b", 7)) == "a-b-7"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", '"x"', "[" * 100_000, b"\xff", "{}"], ids=lambda t: f"{t!r:.9}"
)
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(EventFormatError, match=r"JSON|'kind'"):
        from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)
field_names = st.sampled_from(sorted({*to_fields(make_job_event(1)), *to_fields(make_host_event(1))}))


@given(
    st.sampled_from([to_fields(make_job_event(1)), to_fields(make_host_event(1))]),
    st.dictionaries(field_names, json_values | st.sampled_from(["NaN", "1", "1e999", "-1", 10**400, 2**70])),
)
def test_whatever_a_bus_holds_is_an_event_or_is_refused(base: dict[str, Any], changes: dict[str, Any]) -> None:
    try:
        event = from_fields({**base, **changes})
    except EventFormatError:
        return
    assert from_json(to_json(event)) == event


@given(st.text() | st.binary())
def test_any_text_is_an_event_or_is_refused(text: str | bytes) -> None:
    with pytest.raises(EventFormatError):
        from_json(text)


class TestTime:
    @given(instants_ms)
    @example(0)
    @example(1_790_000_000_999)
    def test_is_rfc_3339_in_utc_with_milliseconds_and_reads_back(self, unix_ms: int) -> None:
        text = format_time(unix_ms)
        assert len(text) == len("2026-01-02T03:04:05.678Z")
        assert text.endswith("Z")
        assert parse_time(text) == unix_ms

    def test_is_right_when_seconds_alternate(self) -> None:
        assert [format_time(ms) for ms in (1000, 2001, 1002)] == [
            "1970-01-01T00:00:01.000Z",
            "1970-01-01T00:00:02.001Z",
            "1970-01-01T00:00:01.002Z",
        ]

    def test_may_have_another_offset(self) -> None:
        assert parse_time("2026-01-02T03:04:05.678+02:00") == parse_time("2026-01-02T01:04:05.678Z")

    @pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
    def test_may_lie_at_the_edge_of_the_calendar(self, text: str) -> None:
        assert isinstance(parse_time(text), int)


class TestCutMessage:
    @given(st.text(max_size=50), st.integers(1, 3000))
    @example("ж", 2048)
    @example("€", 1366)
    @example("😀", 1025)
    @example("a", 4097)
    def test_leaves_at_most_the_limit_and_cuts_at_a_character(self, unit: str, times: int) -> None:
        text = unit * times
        cut = cut_message(text)
        assert text.startswith(cut)
        size = len(cut.encode())
        assert size <= MAX_MESSAGE_BYTES
        if cut != text:
            assert size > MAX_MESSAGE_BYTES - 4, "no more is cut than must be"

    def test_leaves_a_short_message_as_it_is(self) -> None:
        message = "épique ✓ step 150/800"
        assert cut_message(message) is message
