"""What SQL leaves out of a journal's past is what the query does not mean, and no more."""

import glob
import time
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulse_bridge.bus import Query, open_bus
from pulse_bridge.event import KINDS, Event, Kind
from pulse_bridge.journal import open_journal
from pulse_bridge.journal_query import select_window
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event

NAMES = (
    "a",
    "A",
    "b",
    "llm/a",
    "llm/[ab]",
    "a*",
    "a?",
    "[",
    "]",
    "[a",
    "é",
    "e\u0301",
    "",
    " ",
    "a\n",
    "..",
    "%",
    "_",
)
GLOBS = (
    *NAMES,
    *map(glob.escape, NAMES),
    "*",
    "?",
    "llm/*",
    "[!a]",
    "[a-b]",
    "[[]",
    "[*]",
    "[?]",
    "a[*]?",
    "\udcff",
)
RUNS = (0, 1, 1_790_000_000)
JOB_KINDS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "host")


def instants() -> st.SearchStrategy[int]:
    return st.integers(SAMPLE_MS - 3, SAMPLE_MS + 3)


def events() -> st.SearchStrategy[Event]:
    job = st.builds(
        lambda name, host, kind, run, at: make_job_event(
            1, job=name, host=host, kind=kind, run=run, observed_ms=at
        ),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.sampled_from(JOB_KINDS),
        st.sampled_from(RUNS),
        instants(),
    )
    host = st.builds(
        lambda name, at: make_host_event(1, host=name, observed_ms=at), st.sampled_from(NAMES), instants()
    )
    return st.one_of(job, host)


def queries() -> st.SearchStrategy[Query]:
    far = st.sampled_from([-(2**70), -1, 2**63 - 1, 2**63, 2**70])
    some = st.lists(st.sampled_from(GLOBS), max_size=3)
    return st.builds(
        Query,
        since_ms=st.none() | instants() | far,
        until_ms=st.none() | instants() | far,
        jobs=some,
        hosts=some,
        kinds=st.lists(st.sampled_from(KINDS), max_size=3),
        runs=st.lists(st.sampled_from(RUNS) | far, max_size=3),
        limit=st.none() | st.integers(0, 5),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journals")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stored=st.lists(events(), max_size=30), asked=st.lists(queries(), min_size=1, max_size=8))
async def test_the_past_is_what_the_query_matches(folder: Path, stored: list[Event], asked: list[Query]) -> None:
    path = folder / f"{time.monotonic_ns()}.db"
    with open_journal(path) as journal:
        journal.append(stored)
    bus = open_bus(f"journal://{path}")
    everything = [event async for event in bus.history(Query())]
    for query in asked:
        found = [event async for event in bus.history(query)]
        assert found == [event for event in everything if query.matches(event)][: query.limit]


def test_names_instants_kinds_and_runs_are_left_to_sql_and_globs_are_not() -> None:
    query = Query(
        since_ms=1,
        until_ms=2,
        hosts=("node1",),
        jobs=(glob.escape("llm/[a]*?"),),
        kinds=("change",),
        runs=(7, 2**70),
    )
    statement, values = select_window(query)
    for condition in (
        "observed_ms >= ?",
        "observed_ms < ?",
        "kind IN (?)",
        "host IN (?)",
        "job IN (?)",
        "run IN (?)",
    ):
        assert condition in statement
    assert values == [1, 2, "change", "node1", "llm/[a]*?", 7]
    statement, values = select_window(Query(jobs=("a", "b*"), hosts=("n[12]",)))
    assert "IN" not in statement
    assert values == []


async def test_a_long_past_is_read_over_many_windows_and_what_comes_meanwhile_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_journal(path) as journal:
        journal.append([make_job_event(seq, job=f"j{seq % 7}") for seq in range(1, 3001)])
        bus = open_bus(f"journal://{path}")
        async with aclosing(bus.history(Query(jobs=("j3",)))) as history:  # type: ignore[type-var]  # a generator
            found = [await anext(history)]
            journal.append([make_job_event(1, job="j3", epoch=9)])
            found += [event async for event in history]
    assert len(found) == len(range(3, 3001, 7)) + 1
