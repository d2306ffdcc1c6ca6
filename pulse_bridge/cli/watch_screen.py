"""A screen as rows of text in columns, and the least that must be sent to get from one to the next; pure.

Each piece of text is put at its own column, so that a character that a terminal draws wider than we think shifts
nothing but itself.

Source: ECMA-48 for the sequences; for synchronized output, the terminals' shared specification of mode 2026, which
others ignore.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from rich.cells import cell_len, get_character_cell_size

from pulse_bridge.printable import printable

_BEGIN: Final = "\x1b[?2026h"
_END: Final = "\x1b[?2026l"
_COLOURS: Final = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
_LOOKS: Final = {"bold": "1", "dim": "2", "underline": "4", "reverse": "7"}

# Variation selectors and skin tones: they change how the character before them looks, and on some terminals its
# width.
_RESTYLING: Final = dict.fromkeys([*range(0xFE00, 0xFE10), *range(0x1F3FB, 0x1F400)])


class Size(NamedTuple):
    """Of a terminal, in characters."""

    width: int
    height: int


class Glyphs(NamedTuple):
    """What stands for what; the plain ones are in every font and encoding.

    Args:
        cut: The end of a text that was cut.
        bar: Of progress: done, and to do.
    """

    plain: bool
    cut: str
    up: str
    down: str
    bar: tuple[str, str]


RICH: Final = Glyphs(plain=False, cut="…", up="▲", down="▼", bar=("█", "░"))
PLAIN: Final = Glyphs(plain=True, cut="", up="^", down="v", bar=("#", "."))


class Span(NamedTuple):
    """A piece of text on a row.

    Args:
        x: Its first column, from 0.
        width: In columns; the text has exactly so many.
        style: Words of `bold dim underline reverse red green yellow blue cyan`.
    """

    x: int
    width: int
    text: str
    style: str = ""


Row = tuple[Span, ...]
Frame = tuple[Row, ...]


@lru_cache(maxsize=8192)
def shown(text: str) -> str:
    """Write a text from outside so that it does nothing to a terminal, in one line."""
    return printable(text) if text.isascii() else printable(text).translate(_RESTYLING)


@lru_cache(maxsize=16384)
def fit(text: str, width: int, cut: str = "…", *, right: bool = False) -> str:
    """Cut or pad a text to exactly `width` columns.

    Args:
        cut: What a text ends with that was cut; it counts.
        right: Put the padding before it.
    """
    if width <= 0:
        return ""
    used = cell_len(text)
    if used > width:
        text = _head(text, width - cell_len(cut)) + cut if width > cell_len(cut) else cut[:width]
        used = cell_len(text)
    padding = " " * (width - used)
    return padding + text if right else text + padding


def _head(text: str, width: int) -> str:
    used = 0
    for number, char in enumerate(text):
        used += get_character_cell_size(char)
        if used > width:
            return text[:number]
    return text


def span(x: int, width: int, text: str, style: str = "", *, cut: str = "…", right: bool = False) -> Span:
    """Put a text that is harmless already at a column, cut or padded to its width."""
    return Span(x, width, fit(text, width, cut, right=right), style)


def line(text: str, size: Size, style: str = "", *, glyphs: Glyphs = RICH) -> Row:
    """Give a row of one text from outside."""
    return (span(0, size.width, shown(text), style, cut=glyphs.cut),)


def wrap(text: str, width: int, most: int) -> list[str]:
    """Break a text at spaces into at most so many lines; what is left over stays on the last.

    Args:
        width: In columns; a longer word is broken anywhere.
    """
    lines: list[str] = []
    rest = shown(text)
    while len(lines) < most - 1 and cell_len(rest) > width:
        head = _head(rest, width) or rest[:1]
        # A space just behind the line ends it as well as one in it.
        at = rest.rfind(" ", 1, len(head) + 1)
        head = rest[:at] if at > 0 else head
        lines.append(head)
        rest = rest[len(head) :].lstrip(" ")
    return [*lines, rest] if rest or not lines else lines


def highlight(row: Row, size: Size) -> Row:
    """Show a row in reverse from edge to edge."""
    ground = Span(0, size.width, " " * size.width, "reverse")
    return (ground, *(piece._replace(style=f"{piece.style} reverse".strip()) for piece in row))


def paint(before: Frame | None, after: Frame, *, colour: bool) -> str:
    """Give what a terminal must be sent; empty where both are the same.

    Args:
        before: What it shows; None where that is not known.
        colour: Else only bold, dim, underlined and reverse are used.
    """
    parts = ["\x1b[m\x1b[2J"] if before is None else []
    blank: Row = ()
    for number, row in enumerate(after):
        old = blank if before is None or number >= len(before) else before[number]
        if old != row:
            parts += _paint_row(number + 1, old, row, colour=colour)
    if before is not None and len(before) > len(after):
        parts.append(f"\x1b[{len(after) + 1};1H\x1b[J")
    return f"{_BEGIN}{''.join(parts)}{_END}" if parts else ""


def _paint_row(y: int, old: Row, new: Row, *, colour: bool) -> list[str]:
    in_place = len(old) == len(new) and all(a[:2] == b[:2] for a, b in zip(old, new, strict=True))
    if not in_place or _is_highlit(old) != _is_highlit(new):
        wipe = [f"\x1b[{y};1H\x1b[2K"] if old else []
        return wipe + [_paint_span(y, piece, colour=colour) for piece in new]
    return [_paint_span(y, piece, colour=colour) for piece, was in zip(new, old, strict=True) if piece != was]


def _is_highlit(row: Row) -> bool:
    return bool(row) and row[0].style == "reverse"


def _paint_span(y: int, piece: Span, *, colour: bool) -> str:
    codes = _codes(piece.style, colour=colour)
    text = f"\x1b[{codes}m{piece.text}\x1b[m" if codes else piece.text
    return f"\x1b[{y};{piece.x + 1}H{text}"


@lru_cache(maxsize=256)
def _codes(style: str, *, colour: bool) -> str:
    known = _LOOKS | _COLOURS if colour else _LOOKS
    return ";".join(known[word] for word in style.split() if word in known)


def as_text(rows: Sequence[Row]) -> list[str]:
    """Give rows as lines without styles, for a screen that is left."""
    lines: list[str] = []
    for row in rows:
        text = ""
        for piece in sorted(row, key=lambda piece: piece.x):
            text = fit(text, piece.x, "") + piece.text
        lines.append(text.rstrip())
    return lines
