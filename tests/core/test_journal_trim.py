"""What leaves the journal, in which order, and what of it counts as lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulse_bridge import journal as journal_module
from pulse_bridge import journal_trim
from pulse_bridge.event import EventId, JobEvent
from pulse_bridge.journal import Journal, open_journal
from pulse_bridge.journal_trim import BATCH_ROWS, Limits
from pulse_bridge.testing import SAMPLE_MS, make_job_event

DAY_S = 86_400
NOW_S = SAMPLE_MS / 1000


@contextmanager
def opened(path: Path, **limits: float) -> Iterator[Journal]:
    with open_journal(path / "journal.db", limits=Limits(**limits)) as journal:  # type: ignore[arg-type]  # a byte count is an int
        journal.begin()
        yield journal


def rows_of(journal: Journal) -> list[int]:
    return [row for (row,) in journal._connection.execute("SELECT row FROM events ORDER BY row")]


def append(journal: Journal, count: int = 1, *, age_days: float = 0.0, **fields: Any) -> None:
    observed_ms = SAMPLE_MS - int(age_days * DAY_S * 1000)
    for _ in range(count):
        journal.append([make_job_event(observed_ms=observed_ms, **fields)])


def trim_for_size(journal: Journal, calls: int = 1) -> None:
    """Trim as if there was room for less than what is there."""
    journal._trimmer._limits = Limits(max_bytes=1, max_age_s=1e10)
    for _ in range(calls):
        journal.tend(NOW_S)


def test_what_is_young_and_small_enough_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 3, age_days=6.9)
        journal.tend(NOW_S)
        assert rows_of(journal) == [1, 2, 3]
        assert journal.health.dropped == {}


def test_what_is_too_old_goes_and_is_no_loss_if_it_was_sent(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.activate("redis://x")
        append(journal, 3, age_days=7.1)
        append(journal, 2, age_days=1)
        journal.ack("redis://x", EventId(journal.producer, 3))
        journal.tend(NOW_S)
        assert rows_of(journal) == [4, 5]
        assert journal.health.dropped == {}


def test_what_is_too_old_and_unsent_is_counted_with_its_reason(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.activate("redis://x")
        append(journal, 3, age_days=7.1)
        append(journal, 2)
        journal.ack("redis://x", EventId(journal.producer, 1))
        journal.tend(NOW_S)
        assert rows_of(journal) == [4, 5]
        assert journal.health.dropped == {"too_old": 2}


def test_without_a_destination_old_events_are_history_and_no_loss(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 3, age_days=8)
        append(journal)
        journal.tend(NOW_S)
        assert rows_of(journal) == [4]
        assert journal.health.dropped == {}


def test_a_destination_that_is_new_lacks_nothing_of_what_was_before(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 3, age_days=8)
        journal.activate("redis://new")
        append(journal)
        journal.tend(NOW_S)
        assert rows_of(journal) == [4]
        assert journal.health.dropped == {}


def test_the_slowest_destination_decides_what_is_sent(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for destination in ("redis://x", "mqtt://y"):
            journal.activate(destination)
        append(journal, 4, age_days=8)
        journal.ack("redis://x", EventId(journal.producer, 4))
        journal.ack("mqtt://y", EventId(journal.producer, 1))
        append(journal)
        journal.tend(NOW_S)
        assert journal.health.dropped == {"too_old": 3}


def test_one_call_takes_one_small_batch(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        events = [make_job_event(observed_ms=SAMPLE_MS - 8 * DAY_S * 1000)] * (2 * BATCH_ROWS + 10)
        journal.append(events)
        journal.tend(NOW_S)
        assert rows_of(journal)[0] == BATCH_ROWS + 1
        journal.tend(NOW_S)
        journal.tend(NOW_S)
        assert rows_of(journal) == [len(events)], "the last row stays, for the numbering"


def test_a_job_that_is_gone_is_forgotten_with_its_last_event(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for job, state in (("a", "gone"), ("b", "done")):
            event = make_job_event(job=job, state=state, observed_ms=SAMPLE_MS - 8 * DAY_S * 1000)
            journal.append([event], {("node1", job): f"track of {job}"})
        append(journal, job="c")
        journal.tend(NOW_S)
        assert journal.tracks("node1") == {"b": "track of b"}
        append(journal, job="a", state="running")
        assert [event.id.seq for event in journal.newest(journal.last_row)] == [3, 4]


def test_a_clock_that_jumps_back_drops_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.activate("redis://x")
        append(journal, 3)
        append(journal, 3, age_days=400)
        journal.tend(NOW_S - 400 * DAY_S)
        assert rows_of(journal) == [1, 2, 3, 4, 5, 6]
        assert journal.health.dropped == {}


def test_for_size_what_was_sent_goes_first_and_the_newest_of_each_job_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.activate("redis://x")
        append(journal, job="done long ago", state="done")
        append(journal, 5)
        journal.ack("redis://x", EventId(journal.producer, 4))
        trim_for_size(journal)
        assert rows_of(journal) == [1, 5, 6]
        assert [event.id.seq for event in journal.newest(6)] == [1, 6]
        assert journal.health.dropped == {}


def test_for_size_intermediate_changes_go_before_transitions_and_all_are_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.activate("redis://x")
        states = ["running", "running", "running", "stale", "running", "running", "done"]
        for state in states:
            kind = "stale" if state == "stale" else "change"
            append(journal, state=state, kind=kind)
        append(journal, job="b")
        trim_for_size(journal)
        assert rows_of(journal) == [1, 4, 5, 7, 8], "of each stretch its first stays"
        assert journal.health.dropped == {"no_space": 3}
        trim_for_size(journal)
        assert rows_of(journal) == [8], "nothing else is left to go"
        assert journal.health.dropped == {"no_space": 7}


def test_for_size_one_call_takes_one_small_batch(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append([make_job_event()] * (BATCH_ROWS * 2))
        trim_for_size(journal)
        assert rows_of(journal)[0] == BATCH_ROWS + 1


def test_a_real_limit_keeps_the_file_s_pages_in_bounds(tmp_path: Path) -> None:
    limit = 1024 * 1024
    with opened(tmp_path, max_bytes=limit, max_age_s=1e10) as journal:
        journal.activate("redis://x")
        most = 0
        for _ in range(60):
            journal.append([make_job_event(message="x" * 500)] * 100)
            while journal._trimmer._used_bytes() > limit:
                journal.tend(NOW_S)
            most = max(most, journal._trimmer._used_bytes())
        assert most <= limit
        assert 0 < journal.health.dropped["no_space"] < 6000
        (newest,) = journal.newest(journal.last_row)
        assert isinstance(newest, JobEvent)
        assert newest.id.seq == 6000
        assert journal.lag("redis://x") + journal.health.dropped["no_space"] == 6000


def test_a_trim_that_fails_half_way_is_undone_and_leaves_the_journal_at_work(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 3, age_days=8)
        journal._connection.execute(
            "CREATE TEMP TRIGGER refuse BEFORE DELETE ON main.events WHEN old.row = 2"
            " BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END"
        )
        journal.tend(NOW_S)
        assert not journal._connection.in_transaction
        assert rows_of(journal) == [1, 2, 3]
        append(journal)
        assert rows_of(journal) == [1, 2, 3, 4]
        assert journal.health.durable


def test_the_batch_is_small_enough_not_to_hold_the_loop() -> None:
    # 2,000 rows held it for 38 ms; a state that is overwritten meanwhile is gone for good.
    assert journal_trim.BATCH_ROWS <= 500


def test_trimming_goes_on_at_once_while_there_is_more_than_one_batch(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, BATCH_ROWS + 5, age_days=8)
        append(journal)
        journal.tend(NOW_S)
        assert journal._pause_s() == journal_module.TRIM_EVERY_S
        journal.tend(NOW_S)
        assert rows_of(journal) == [BATCH_ROWS + 6]
        assert journal._pause_s() > journal_module.TRIM_EVERY_S
