"""What a reader knows, without a broker."""

import pytest

from pulse_bridge.event import EventId
from pulse_bridge.testing import make_host_event, make_job_event
from pulse_bridge_mqtt import cursor as cursor_module
from pulse_bridge_mqtt.cursor import Cursor
from pulse_bridge_mqtt.snapshot import Snapshot
from pulse_bridge_mqtt.topics import MAX_READER_ID_BYTES, Topics

OLD, NEW = EventId("a", 9), EventId("b", 2)


def test_what_is_not_above_a_producers_last_number_is_not_new() -> None:
    cursor = Cursor("me")
    assert [cursor.advance(EventId("a", seq)) for seq in (1, 2, 2, 1, 5, 3, 6)] == [
        *(True, True, False, False),
        *(True, False, True),
    ]
    assert cursor.advance(EventId("b", 1))


def test_a_cursor_reads_what_it_wrote() -> None:
    cursor = Cursor("me")
    cursor.advance(EventId("a", 7))
    again = Cursor.parse(str(cursor))
    assert again is not None
    assert again.holder == "me"
    assert not again.advance(EventId("a", 7))
    assert again.advance(EventId("a", 8))


@pytest.mark.parametrize("text", [None, ""])
def test_no_text_is_no_cursor(text: str | None) -> None:
    assert Cursor.parse(text) is None


def test_a_cursor_forgets_the_producers_that_are_silent_for_the_longest_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cursor_module, "MAX_PRODUCERS", 2)
    cursor = Cursor("me")
    for producer, seq in (("a", 1), ("b", 1), ("a", 2), ("c", 1)):
        cursor.advance(EventId(producer, seq))
    assert not cursor.advance(EventId("a", 2))
    assert not cursor.advance(EventId("c", 1))
    assert cursor.advance(EventId("b", 1))


def test_a_cursor_that_begins_anew_forgets_what_it_knew() -> None:
    cursor = Cursor("me")
    cursor.advance(EventId("a", 9))
    cursor.begin_at([EventId("a", 3)])
    assert cursor.advance(EventId("a", 4))


def test_a_snapshot_has_each_producers_events_in_the_order_of_their_numbers() -> None:
    snapshot = Snapshot()
    for producer, seq in (("b", 3), ("a", 2), ("b", 1), ("a", 10)):
        snapshot.add(f"{producer}{seq}", make_job_event(id=EventId(producer, seq)), retained=True)
    assert [str(event.id) for event in snapshot.events()] == ["a-2", "a-10", "b-1", "b-3"]


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_what_comes_live_beats_what_is_retained_whichever_comes_first(order: tuple[bool, bool]) -> None:
    snapshot = Snapshot()
    for retained in order:
        event_id = OLD if retained else NEW  # another producer: their numbers cannot be compared
        snapshot.add("topic", make_job_event(id=event_id), retained=retained)
    assert [event.id for event in snapshot.events()] == [NEW]


def test_of_one_producer_the_higher_number_is_what_is_so() -> None:
    snapshot = Snapshot()
    for seq in (2, 5, 3):
        snapshot.add("topic", make_job_event(seq), retained=seq != 5)
    assert [event.id.seq for event in snapshot.events()] == [5]
    assert snapshot.topics == {"topic"}


def test_a_group_s_client_id_fits_every_broker() -> None:
    for prefix in ("pulse", "p", "twelve-bytes"):
        topics = Topics(prefix)
        for group in ("alerts", "x" * 200, "Büro / Nacht", "-"):
            client_id = topics.reader_client_id(topics.group(group))
            assert len(client_id) <= MAX_READER_ID_BYTES
            assert client_id.startswith(f"{prefix}-")
    assert Topics("pulse").reader_client_id(Topics("pulse").group("alerts")) == "pulse-alerts"


def test_a_snapshot_knows_how_many_unfinished_jobs_its_hosts_tell_of() -> None:
    snapshot = Snapshot()
    jobs = {"idle": 1, "running": 2, "stale": 1, "done": 50, "error": 3, "gone": 9}
    for host in ("node1", "node2"):
        snapshot.add(f"{host}/host", make_host_event(1, host=host, jobs=jobs), retained=True)
        for seq in range(2, 6 if host == "node1" else 4):
            snapshot.add(f"{host}/{seq}", make_job_event(seq, host=host, job=str(seq)), retained=True)
    assert snapshot.missing() == {"node2": 2}
