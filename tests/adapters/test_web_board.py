"""What is so now, and what of it changed since when."""

import json
from typing import Any

from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant
from pulse_bridge.event import Event, JobEvent
from pulse_bridge.testing import SAMPLE_MS, make_host_event, make_job_event
from pulse_bridge_web.board import FORGET_AFTER_S, Board
from pulse_bridge_web.views import SPARK_POINTS, draw_sparks

WALL_S = SAMPLE_MS / 1000


def at(now_s: float) -> Instant:
    return Instant(now_s, WALL_S + now_s)


def make_board(*snapshot: Event) -> Board:
    board = Board("boot")
    board.connect(at(0))
    board.take(Batch(snapshot, snapshot=True), at(0))
    return board


def view(board: Board, job: str, host: str = "node1") -> dict[str, Any]:
    found = board.view_job((host, job), spark=True)
    assert found is not None
    return dict(json.loads(found))


def job(seq: int, name: str, **changes: Any) -> JobEvent:
    return make_job_event(seq, job=name, **changes)


def test_what_changed_is_asked_for_by_number_and_told_once_however_often_it_did() -> None:
    board = make_board(job(1, "a"), job(2, "b"), job(3, "c"))
    before = board.change
    for seq in range(4, 9):
        board.take(Batch([job(seq, "b")], snapshot=False), at(1))
    between = board.change
    board.take(Batch([job(9, "a")], snapshot=False), at(1))
    assert board.jobs_since(before) == [("node1", "a"), ("node1", "b"), ("node1", "c")], "its host is heard now"
    assert board.jobs_since(between) == [("node1", "a")]
    assert board.jobs_since(board.change) == []
    assert view(board, "b")["id"] == "contract-8"


def test_an_event_that_comes_again_changes_nothing() -> None:
    board = make_board()
    board.take(Batch([job(1, "a"), make_host_event(2)], snapshot=False), at(1))
    before = board.change
    board.take(Batch([job(1, "a"), make_host_event(2)], snapshot=False), at(1))
    assert board.change == before


def test_a_host_that_falls_silent_changes_all_its_jobs_and_no_others() -> None:
    board = make_board()
    board.take(Batch([job(1, "a"), job(2, "b"), job(3, "z", host="node2")], snapshot=False), at(1))
    board.take(Batch([job(4, "z", host="node2")], snapshot=False), at(25))
    before = board.change
    board.tick(at(31))
    assert board.change == before
    board.tick(at(32))
    assert board.jobs_since(before) == [("node1", "b"), ("node1", "a")]
    assert board.hosts_since(before) == ["node1"]
    assert view(board, "a")["hearing"] == "silent"
    assert view(board, "z", "node2")["hearing"] == "heard"


def test_a_host_that_says_goodbye_has_stopped() -> None:
    board = make_board(job(1, "a"))
    board.take(Batch([make_host_event(2, stopping=True)], snapshot=False), at(1))
    assert view(board, "a")["hearing"] == "stopped"


def test_a_connection_begins_anew_and_what_was_known_stays() -> None:
    board = make_board(job(1, "a"), make_host_event(2))
    told = []

    def note() -> None:
        told.append((board.connected, board.reason))

    board.disconnect("the broker is away")
    note()
    board.connect(at(9))
    note()
    before = board.change
    board.take(Batch([job(3, "b")], snapshot=True), at(9))
    note()
    assert told == [
        (False, "not connected to the bus: the broker is away"),
        (False, "connected to the bus, which has not told yet what is so"),
        (True, None),
    ]
    assert before < board.snapshot_change <= board.change
    begun = board.snapshot_change
    board.take(Batch([job(4, "c")], snapshot=True), at(9))
    assert board.snapshot_change == begun, "the second part of a snapshot is no new beginning"
    assert [name for _, name in board.fleet.jobs] == ["a", "b", "c"]


def test_a_position_of_another_start_of_the_future_or_of_nonsense_is_not_known() -> None:
    board = make_board(job(1, "a"))
    assert board.position(board.version(board.change)) == board.change
    for strange in ("other-1", f"boot-{board.change + 1}", "boot-", "boot--1", "boot-x", "", "boot-" + "9" * 30):
        assert board.position(strange) is None, strange


def test_what_is_long_over_is_let_go_of_and_its_absence_is_told() -> None:
    week_ms = int(FORGET_AFTER_S * 1000)
    old, new = SAMPLE_MS - week_ms - 1, SAMPLE_MS - week_ms + 60_000
    board = make_board(
        job(1, "old", state="done", status="done", observed_ms=old),
        job(2, "new", state="done", status="done", observed_ms=new),
        job(3, "runs", observed_ms=old),
        make_host_event(4, observed_ms=SAMPLE_MS),
        job(1, "lost", host="node2", observed_ms=old, id=job(1, "x").id._replace(producer="other")),
    )
    before = board.change
    board.forget(WALL_S)
    assert sorted(name for _, name in board.fleet.jobs) == ["new", "runs"]
    assert sorted(board.removed_since(before)) == [("node1", "old"), ("node2", "lost")]
    assert list(board.fleet.hosts) == ["node1"]
    assert board.hosts_removed_since(before) == ["node2"]
    assert board.hosts_removed_since(board.change) == []
    assert board.removed_since(board.change) == []
    after = board.change
    board.take(Batch([job(9, "old")], snapshot=False), at(1))
    assert board.removed_since(before) == [("node2", "lost")], "it is back"
    board.take(Batch([make_host_event(10, host="node2")], snapshot=False), at(1))
    assert board.hosts_removed_since(before) == [], "it is back"
    assert ("node1", "old") in board.jobs_since(after)


def test_a_position_from_before_more_removals_than_are_kept_cannot_be_gone_on_from() -> None:
    board = make_board()
    early = board.version(board.change)
    for seq in range(1, 10_002):
        event = job(seq, f"j{seq}", state="done", status="done", observed_ms=SAMPLE_MS - 10**10)
        board.take(Batch([event], snapshot=False), at(1))
    board.forget(WALL_S)
    assert board.position(early) is None
    assert board.position(board.version(board.change)) == board.change


def test_a_sparkline_has_the_newest_points_of_the_run_and_begins_anew_with_the_next() -> None:
    board = make_board()
    for seq in range(1, 101):
        board.take(Batch([job(seq, "a", epoch=seq, loss=seq / 2)], snapshot=False), at(1))
    board.take(Batch([job(101, "a", kind="heartbeat", epoch=100, loss=50.0)], snapshot=False), at(1))
    board.take(Batch([job(102, "a", epoch=101, loss=None, diverged=True)], snapshot=False), at(1))
    spark = view(board, "a")["spark"]
    assert spark == [[epoch, epoch / 2] for epoch in range(101 - SPARK_POINTS, 101)]
    board.take(Batch([job(103, "a", run=1_790_000_999, epoch=0.5, loss=3)], snapshot=False), at(1))
    assert view(board, "a")["spark"] == [[0.5, 3]]


def test_the_past_of_the_run_at_hand_is_put_before_what_was_seen() -> None:
    board = make_board(job(9, "a", epoch=3, loss=1.0), job(10, "b", run=7, epoch=1, loss=9))
    board.take(Batch([job(11, "a", epoch=4, loss=0.5)], snapshot=False), at(1))
    before = board.change
    past = [
        job(1, "a", run=5, epoch=9, loss=9.0),
        job(2, "a", epoch=1, loss=3.0),
        job(3, "a", epoch=2, loss=2.0),
        job(4, "a", epoch=3, loss=1.0),
        job(5, "b", run=6, epoch=1, loss=1.0),
        job(6, "unknown", epoch=1, loss=1.0),
    ]
    board.put_past(draw_sparks(past))
    assert view(board, "a")["spark"] == [[1, 3.0], [2, 2.0], [3, 1.0], [4, 0.5]]
    assert view(board, "b")["spark"] == [[1, 9]], "the past is of another run"
    assert board.snapshot_change > before, "sparklines travel in snapshots"
    board.put_past({})
    assert board.snapshot_change == board.change
