"""A row's line is exactly its event's JSON, and is asked for exactly when its event is."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pulse_bridge.bus import Query, open_bus
from pulse_bridge.event import Event, EventId, to_json
from pulse_bridge.journal import open_journal
from pulse_bridge.journal_bus import JournalBus
from pulse_bridge.journal_lines import row_filter, to_lines
from pulse_bridge.journal_rows import from_row, to_row
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from tests.core.test_event import host_events, job_events

EVENTS: list[Event] = [
    make_host_event(1),
    make_job_event(2, job="llm/a", run=100, loss=None, diverged=True, eta_s=None, labels={}),
    make_job_event(3, job="llm/b", run=101, message='\x1b "é\u2028', labels={"a b": "ü", "": "NaN"}),
    make_job_event(4, job="[x]", host="node2", kind="stale", state="stale", step=None, epoch=3),
    make_job_event(5, replay_of=EventId("x", 1), replay_observed_ms=7),
    make_host_event(6, replay_of=EventId("x", 2)),
]


@given(job_events | host_events)
@example(EVENTS[2])
@example(EVENTS[4])
def test_a_line_is_exactly_the_event_s_json(event: Event) -> None:
    row = to_row(1, event, intermediate=False)[:23]
    assert to_lines([row]).decode() == to_json(from_row(row)) + "\n" == to_json(event) + "\n"


@given(
    st.builds(
        Query,
        since_ms=st.none() | st.integers(SAMPLE_MS, SAMPLE_MS + 8),
        until_ms=st.none() | st.integers(SAMPLE_MS, SAMPLE_MS + 8),
        jobs=st.lists(st.sampled_from(["llm/*", "*", "[x]", "[[]x]", "none"]), max_size=2),
        hosts=st.lists(st.sampled_from(["node1", "node?", "none"]), max_size=2),
        kinds=st.lists(st.sampled_from(["host", "change", "stale"]), max_size=2),
        runs=st.lists(st.sampled_from([100, 101, 1_790_000_000]), max_size=2),
    )
)
def test_a_row_is_asked_for_exactly_when_its_event_is(query: Query) -> None:
    takes = row_filter(query)
    for event in EVENTS:
        row = to_row(1, event, intermediate=False)[:23]
        assert (takes is None or takes(row)) == query.matches(event), event


@pytest.mark.parametrize("limit", [None, 1, 3, 4, 100])
async def test_the_pages_of_a_journal_are_its_history(limit: int | None, tmp_path: Path) -> None:
    with open_journal(tmp_path / "j.db") as journal:
        journal.append(EVENTS)
    bus = open_bus(f"journal://{tmp_path}/j.db")
    assert isinstance(bus, JournalBus)
    query = Query(hosts=["node?"], limit=limit)
    expected = [event async for event in bus.history(query)]
    pages = list(bus.history_pages(query))
    assert [event for page in pages for event in page.to_events()] == expected
    assert b"".join(page.to_json_lines() for page in pages).decode() == "".join(
        to_json(event) + "\n" for event in expected
    )
    assert pages[-1].last_ms == expected[-1].observed_ms
