"""A curve keeps to its room, goes where the numbers go, and says what its edges are."""

import math

import pytest
from rich.cells import cell_len

from pulse_bridge.cli.curve import draw_curve

FALLING = [(float(epoch), 100.0 / (1 + epoch)) for epoch in range(100)]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("height", [3, 5, 18])
@pytest.mark.parametrize("plain", [False, True])
def test_it_keeps_to_its_room(width: int, height: int, *, plain: bool) -> None:
    lines = draw_curve(FALLING, width, height, plain=plain)
    assert len(lines) == height
    assert all(cell_len(line) <= width for line in lines)
    assert not plain or all(line.isascii() for line in lines)


def test_what_falls_is_drawn_from_the_upper_left_to_the_lower_right() -> None:
    *rows, axis = draw_curve([(0, 3), (1, 2), (2, 1)], 32, 6, plain=True)
    columns = [row.index("*") for row in rows]
    assert columns == sorted(columns)
    assert columns[0] == 12
    assert rows[-1].rindex("*") == 31
    assert [rows[0].split()[0], rows[-1].split()[0]] == ["3", "1"]
    assert axis.split() == ["0", "epoch", "2"]


def test_braille_has_the_dot_where_the_value_is() -> None:
    first, second, _ = draw_curve([(0, 1), (1, 0)], 20 + 12, 3)
    # The highest left dot, and the lowest right one.
    assert first[12] == "\N{BRAILLE PATTERN DOTS-1}" or ord(first[12]) & 0x01
    assert ord(second[31]) & 0x80


def test_a_loss_that_is_no_number_leaves_a_gap() -> None:
    with_gap = [(0.0, 1.0), (1.0, math.nan), (2.0, 1.0)]
    row, _, _ = draw_curve(with_gap, 52, 3, plain=True)
    assert row.count("*") + draw_curve(with_gap, 52, 3, plain=True)[1].count("*") == 2
    joined = draw_curve([(0.0, 1.0), (2.0, 1.0)], 52, 3, plain=True)
    assert "".join(joined).count("*") == 40


def test_a_logarithmic_scale_draws_an_exponential_as_a_straight_line() -> None:
    points = [(float(n), 10.0**-n) for n in range(9)]
    rows = draw_curve(points, 9 + 12, 10, log=True, plain=True)[:-1]
    assert [row.index("*") - 12 for row in rows] == list(range(9))


def test_a_logarithmic_scale_leaves_out_what_is_not_above_0() -> None:
    assert draw_curve([(0, 0), (1, -1)], 40, 5, log=True) == []
    assert "*" in "".join(draw_curve([(0, 0), (1, 1)], 40, 5, log=True, plain=True))


@pytest.mark.parametrize("points", [[], [(0.0, math.nan)], [(0.0, math.inf)]])
def test_nothing_to_draw_is_nothing(points: list[tuple[float, float]]) -> None:
    assert draw_curve(points, 40, 5) == []


@pytest.mark.parametrize("points", [[(1.0, 0.5)], [(1.0, 0.5), (2.0, 0.5)], [(1.0, 0.5), (1.0, 0.7)]])
def test_one_point_and_points_in_a_line_are_drawn(points: list[tuple[float, float]]) -> None:
    assert "*" in "".join(draw_curve(points, 40, 5, plain=True))


@pytest.mark.parametrize("value", [1e300, 1e-300, -1e308])
def test_numbers_of_any_size_keep_to_their_column(value: float) -> None:
    lines = draw_curve([(0.0, value), (1.0, -value)], 40, 6)
    assert all(cell_len(line) <= 40 for line in lines)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("height", [3, 4, 12])
def test_a_value_that_stays_is_told_once_where_it_is_drawn(height: int, *, plain: bool, log: bool) -> None:
    *rows, axis = draw_curve([(2, 10)], 40, height, plain=plain, log=log)
    [told] = [row for row in rows if row[:11].strip()]
    assert told.split()[0] == "10"
    assert told[12:].strip(), "the point is on the same row"
    assert axis.split() == ["epoch", "2"]
