"""A place in a stream, and what became of the entries behind it."""

import pytest
from redis.exceptions import ResponseError

from pulse_bridge_redis.cursor import BEGAN_ANEW, NO_ENTRY, Cursor, StreamInfo, find_loss

HERE = Cursor((100, 0), added=50)


def info(*, added: int | None, length: int, last: int, first: int | None = 90) -> StreamInfo:
    return StreamInfo(length, (last, 0), (first, 0) if first is not None else None, added)


@pytest.mark.parametrize("cursor", [Cursor((5, 7), 3), Cursor((5, 7), None), Cursor(NO_ENTRY, 0)])
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "5", "5-x", "5-7 x", "no cursor"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="int"):
        Cursor.parse(text)


def test_a_cursor_moves_behind_what_was_read() -> None:
    entries = [(b"101-0", ()), (b"101-2", ())]
    assert HERE.behind(entries) == Cursor((101, 2), 52)
    assert HERE._replace(added=None).behind(entries) == Cursor((101, 2), None)
    assert HERE.behind([]) == HERE


@pytest.mark.parametrize(
    ("found", "entries_read", "at_end", "lost"),
    [
        (info(added=50, length=10, last=100), 0, True, 0),
        (info(added=53, length=10, last=103), 3, True, 0),
        (info(added=60, length=4, last=110, first=107), 4, True, 6),
        (info(added=60, length=0, last=110, first=None), 0, True, 10),
        (info(added=5000, length=4950, last=990), 1000, False, 0),
        (info(added=5000, length=4000, last=990, first=300), 1000, False, 950),
        (info(added=20, length=20, last=99), 0, True, BEGAN_ANEW),
        (info(added=0, length=0, last=0, first=None), 0, True, BEGAN_ANEW),
        (info(added=30, length=30, last=130), 30, True, BEGAN_ANEW),
        (info(added=70, length=70, last=130), 40, True, BEGAN_ANEW),
    ],
)
def test_a_server_that_counts_tells_the_loss_exactly(
    found: StreamInfo, entries_read: int, *, at_end: bool, lost: int | str
) -> None:
    assert find_loss(HERE, found, entries_read, at_end=at_end) == lost


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        (info(added=None, length=3, last=100, first=90), 0),
        (info(added=None, length=3, last=103, first=100), 0),
        (info(added=None, length=3, last=103, first=101), 1),
        (info(added=None, length=0, last=103, first=None), 1),
        (info(added=None, length=0, last=100, first=None), 0),
        (info(added=None, length=9, last=99, first=90), BEGAN_ANEW),
    ],
)
def test_a_server_that_does_not_count_shows_that_something_is_lost(found: StreamInfo, lost: int | str) -> None:
    assert find_loss(HERE, found, found.length, at_end=True) == lost
    assert find_loss(HERE._replace(added=None), found._replace(added=70), found.length, at_end=True) == lost


def test_at_the_beginning_of_a_stream_nothing_is_lost() -> None:
    found = info(added=None, length=3, last=103, first=101)
    assert find_loss(Cursor(NO_ENTRY, 0), found, 3, at_end=True) == 0


def test_a_stream_that_is_not_there_is_an_empty_one_and_other_refusals_are_raised() -> None:
    assert StreamInfo.of(ResponseError("no such key")).end == Cursor(NO_ENTRY, 0)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        StreamInfo.of(ResponseError("WRONGTYPE"))


def test_the_answer_of_redis_6_2_has_no_count() -> None:
    reply = [b"length", 2, b"last-generated-id", b"9-1", b"groups", 0, b"first-entry", [b"8-0", []]]
    assert StreamInfo.of(reply) == StreamInfo(2, (9, 1), (8, 0), None)
