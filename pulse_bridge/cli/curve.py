"""A curve drawn with characters: two by four dots each in braille, or one star each; pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len

Point = tuple[float, float]

_BRAILLE: Final = 0x2800
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of each dot of a braille character, by column, then from the top. Source: Unicode, Braille Patterns."""

_LABEL_CHARS: Final = 10


class _Scale(NamedTuple):
    """From values to dots.

    Args:
        low: The value at dot 0, or its logarithm.
        dots: How many there are.
    """

    low: float
    high: float
    dots: int
    log: bool = False

    def dot(self, value: float) -> int:
        place = math.log10(value) if self.log else value
        # Halved, because the difference of two finite numbers need not be one.
        extent = self.high / 2 - self.low / 2
        share = (place / 2 - self.low / 2) / extent if extent > 0 else 0.5
        return min(self.dots - 1, max(0, round(share * (self.dots - 1))))

    def value(self, share: float) -> float:
        place = self.low * (1 - share) + self.high * share
        return 10**place if self.log else place


def _scale(values: Iterable[float], dots: int, *, log: bool = False) -> _Scale:
    places = [math.log10(value) if log else value for value in values]
    return _Scale(min(places), max(places), dots, log)


def draw_curve(
    points: Sequence[Point], width: int, height: int, *, log: bool = False, plain: bool = False
) -> list[str]:
    """Draw points joined by lines, with the values of the edges beside them.

    Args:
        points: In order of x. What has no finite y leaves a gap; on a logarithmic scale, so does what is not
            above 0.
        width: In columns, 20 or more.
        height: In lines, 3 or more; the last one tells x.
        plain: Without braille.

    Returns:
        `height` lines of at most `width` columns; none where there is nothing to draw.
    """
    drawable = [point for point in points if _is_drawable(point, log=log)]
    if not drawable:
        return []
    columns, rows = width - _LABEL_CHARS - 2, height - 1
    across, down = (1, 1) if plain else (2, 4)
    xs = _scale((x for x, _ in drawable), columns * across)
    ys = _scale((y for _, y in drawable), rows * down, log=log)
    lit = _light(points, xs, ys)
    lines = _as_stars(lit, columns, rows) if plain else _as_braille(lit, columns, rows)
    labels = _labels(ys, rows, down)
    edge = "|" if plain else "│"
    drawn = [
        f"{_short(labels[number]) if number in labels else '':>{_LABEL_CHARS}} {edge}{text}"
        for number, text in enumerate(lines)
    ]
    return [*drawn, _x_axis(xs, columns)]


def _labels(ys: _Scale, rows: int, down: int) -> dict[int, float]:
    """Give which value is told at which row, from the top; one value alone stands where it is drawn."""
    if ys.low == ys.high:
        return {rows - 1 - ys.dot(ys.value(0.0)) // down: ys.value(0.0)}
    labels = {0: ys.value(1.0), rows - 1: ys.value(0.0)}
    if rows >= 5:  # noqa: PLR2004 - room for a line between
        labels[(rows - 1) // 2] = ys.value(1 - ((rows - 1) // 2) / (rows - 1))
    return labels


def _is_drawable(point: Point, *, log: bool) -> bool:
    x, y = point
    return math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)


def _light(points: Sequence[Point], xs: _Scale, ys: _Scale) -> set[tuple[int, int]]:
    """Give the dots, (from the left, from the bottom), that the curve touches."""
    lit: set[tuple[int, int]] = set()
    before: tuple[int, int] | None = None
    for point in points:
        if not _is_drawable(point, log=ys.log):
            before = None
            continue
        dot = (xs.dot(point[0]), ys.dot(point[1]))
        if dot != before:
            lit.update(_segment(before or dot, dot))
        before = dot
    return lit


def _segment(begin: tuple[int, int], end: tuple[int, int]) -> Iterable[tuple[int, int]]:
    steps = max(abs(end[0] - begin[0]), abs(end[1] - begin[1]), 1)
    for step in range(steps + 1):
        yield (
            round(begin[0] + (end[0] - begin[0]) * step / steps),
            round(begin[1] + (end[1] - begin[1]) * step / steps),
        )


def _as_braille(lit: set[tuple[int, int]], columns: int, rows: int) -> list[str]:
    cells = [[0] * columns for _ in range(rows)]
    for x, y in lit:
        row, dot = divmod(rows * 4 - 1 - y, 4)
        cells[row][x // 2] |= _DOTS[x % 2][dot]
    return ["".join(chr(_BRAILLE + bits) if bits else " " for bits in row) for row in cells]


def _as_stars(lit: set[tuple[int, int]], columns: int, rows: int) -> list[str]:
    return ["".join("*" if (x, rows - 1 - y) in lit else " " for x in range(columns)) for y in range(rows)]


def _x_axis(xs: _Scale, columns: int) -> str:
    begin, end = "" if xs.low == xs.high else _short(xs.low), f"epoch {_short(xs.high)}"
    room = columns - cell_len(begin) - cell_len(end)
    return " " * (_LABEL_CHARS + 2) + (begin + " " * room + end if room > 0 else end[:columns])


def _short(value: float) -> str:
    """Write a number in at most ten characters."""
    if value and not 1e-4 <= abs(value) < 1e6:  # noqa: PLR2004 - what four digits show
        return f"{value:.2e}"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - digits enough
