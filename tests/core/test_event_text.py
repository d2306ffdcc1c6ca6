"""The fast way of reading gives what the thorough one gives, or leaves it to that."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import KINDS, STATES, Event, from_fields, to_text_fields
from pulse_bridge.event_text import from_text_fields
from pulse_bridge.testing import make_host_event, make_job_event

NUMBERS = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JOB_EVENTS = st.builds(
    make_job_event,
    st.integers(1, 10**12),
    kind=st.sampled_from([kind for kind in KINDS if kind != "host"]),
    state=st.sampled_from(STATES),
    job=TEXTS,
    message=TEXTS,
    epoch=NUMBERS,
    loss=st.none() | NUMBERS,
    eta_s=st.none() | NUMBERS,
    step=st.none() | st.integers(0, 2**63 - 1),
    diverged=st.booleans(),
    labels=st.dictionaries(TEXTS, TEXTS, max_size=3),
)


@given(JOB_EVENTS)
def test_what_was_written_is_read(event: Event) -> None:
    got = from_text_fields(to_text_fields(event))
    assert got == event
    assert repr(got) == repr(event)


def test_a_host_event_is_read_too() -> None:
    assert from_text_fields(to_text_fields(make_host_event(3))) == make_host_event(3)


@given(
    st.sampled_from(sorted(to_text_fields(make_job_event()))), TEXTS | st.sampled_from(["NaN", "inf", "-1", "²"])
)
def test_a_field_that_says_anything_is_read_or_refused_as_by_the_thorough_way(name: str, text: str) -> None:
    fields = to_text_fields(make_job_event()) | {name: text}
    assert outcome(from_text_fields, fields) == outcome(from_fields, fields)


@pytest.mark.parametrize("name", sorted(to_text_fields(make_job_event(labels={}))))
def test_a_missing_field_is_read_or_refused_as_by_the_thorough_way(name: str) -> None:
    fields = to_text_fields(make_job_event(labels={}))
    del fields[name]
    assert outcome(from_text_fields, fields) == outcome(from_fields, fields)


def outcome(read: Any, fields: dict[str, str]) -> str:
    try:
        return repr(read(fields))
    except EventFormatError as error:
        return str(error)


def test_no_number_is_infinite() -> None:
    assert math.isinf(float("1e999"))
    with pytest.raises(EventFormatError, match="epoch"):
        from_text_fields(to_text_fields(make_job_event()) | {"epoch": "1e999"})
