"""Each key does one thing, and a cursor stays with its job."""

from functools import reduce

import pytest

from pulse_bridge.cli.watch_rows import ORDERS
from pulse_bridge.cli.watch_state import Browse, press, settle

JOBS = [("node1", f"job{number:02}") for number in range(50)]


def after(*keys: str, browse: Browse | None = None, page_rows: int = 10) -> Browse:
    return reduce(lambda now, key: press(now, key, JOBS, page_rows), keys, browse or Browse())


@pytest.mark.parametrize(
    ("keys", "index"),
    [
        ("j", 1),
        (["down", "down", "k"], 1),
        (["up"], 0),
        (["pgdn"], 9),
        (["pgdn", "pgdn", "pgup"], 9),
        (["end"], 49),
        (["end", "j"], 49),
        (["G", "home"], 0),
        ([" "], 9),
    ],
)
def test_the_cursor_goes_where_a_key_says_and_no_further(keys: list[str], index: int) -> None:
    assert after(*keys).index == index


def test_the_cursor_stays_with_its_job_wherever_that_goes() -> None:
    browse = settle(after("j", "j"), JOBS[::-1])
    assert (browse.selected, browse.index) == (JOBS[2], 47)


def test_the_cursor_at_the_top_stays_at_the_top() -> None:
    browse = settle(after("j", "k"), [("node0", "new"), *JOBS])
    assert browse.index == 0


def test_when_the_job_leaves_the_one_in_its_place_is_selected() -> None:
    listed = [key for key in JOBS if key != JOBS[2]]
    assert settle(after("j", "j"), listed).selected == JOBS[3]
    assert settle(after("end"), JOBS[:3]).selected == JOBS[2]


def test_an_empty_list_is_no_mistake() -> None:
    for key in ["j", "k", "pgdn", "end", "enter", "n", "x"]:
        assert press(Browse(), key, [], 1).page == "table"


def test_a_filter_is_written_and_kept_or_cleared() -> None:
    assert after("/", "q", "j", "?").words == "qj?"
    assert after("/", "a", "b", "backspace").words == "a"
    assert after("/", "a", " ", "b", "ctrl-w").words == "a"
    assert after("/", "a", "b", "ctrl-u").typing
    kept = after("/", "a", "enter")
    assert (kept.words, kept.typing) == ("a", False)
    assert after("esc", browse=kept).words == ""
    cleared = after("/", "a", "esc")
    assert (cleared.words, cleared.typing) == ("", False)
    assert not after("/", "backspace").typing


def test_the_cursor_moves_while_a_filter_is_written() -> None:
    assert after("/", "a", "down").index == 1


@pytest.mark.parametrize("title", ORDERS)
def test_each_order_has_its_key_and_again_it_turns_round(title: str) -> None:
    key = ORDERS[title].key
    assert (after(key).order, after(key).backwards) == (title, False)
    assert after(key, key).backwards
    assert not after(key, key, key).backwards
    assert after(key, "r").backwards
    assert after(key, "O") == after("O")


def test_no_two_orders_have_one_key() -> None:
    assert len({order.key for order in ORDERS.values()}) == len(ORDERS)


def test_the_sorted_column_steps_to_either_side_and_round() -> None:
    titles = ["", *ORDERS]
    assert [after(*">" * steps).order for steps in range(len(titles) + 1)] == [*titles, ""]
    assert after("<").order == titles[-1]


def test_escape_and_q_go_one_step_back_and_q_ends_it_in_the_list() -> None:
    assert after("enter").page == "job"
    assert after("enter", "?").page == "help"
    assert after("enter", "?", "esc").page == "job"
    assert after("enter", "?", "q", "q").page == "table"
    assert not after("enter", "?", "q", "q").over
    assert after("enter", "q", "q").over
    assert not after("esc").over


def test_a_job_s_page_goes_to_the_next_and_the_one_before() -> None:
    assert after("j", "enter", "n").selected == JOBS[2]
    assert after("j", "enter", "p", "p").selected == JOBS[0]
    assert after("enter", "l").log
    assert not after("enter", "l", "l").log


def test_the_help_scrolls_and_the_page_behind_it_begins_anew() -> None:
    assert after("enter", "?", "j", "pgdn", "k").scroll == 10
    assert after("enter", "?", "j", "esc").scroll == 0


def test_a_page_that_is_read_is_not_taken_away_by_the_end_of_its_job() -> None:
    browse = settle(after("j", "enter"), JOBS[5:])
    assert (browse.page, browse.selected) == ("job", JOBS[1])


@pytest.mark.parametrize("key", ["x", "tab", "ctrl-x", "delete", "漢"])
def test_a_key_that_means_nothing_changes_nothing(key: str) -> None:
    for before in (Browse(), after("enter"), after("?")):
        assert press(before, key, JOBS, 10) == settle(before, JOBS)
