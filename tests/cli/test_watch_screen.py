"""What is sent to a terminal makes it show exactly what was drawn, and no more than needed is sent."""

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pulse_bridge.cli.watch_screen import Frame, Size, as_text, fit, highlight, line, paint, shown, span, wrap

SIZE = Size(40, 5)


def frame(*texts: str) -> Frame:
    return tuple((span(0, 20, text), span(22, 10, f"<{text}>")) for text in texts)


class Emulator:
    """A terminal that is sent what changes."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(SIZE.width, SIZE.height)
        self.stream = pyte.Stream(self.screen)
        self.before: Frame | None = None

    def show(self, after: Frame) -> int:
        sent = paint(self.before, after, colour=True)
        self.stream.feed(sent)
        self.before = after
        return len(sent)

    @property
    def cells(self) -> list[pyte.screens.Char]:
        """Every character with its colours and so on."""
        return [self.screen.buffer[y][x] for y in range(SIZE.height) for x in range(SIZE.width)]

    @property
    def lines(self) -> list[str]:
        return [text.rstrip() for text in self.screen.display]


ROWS = st.lists(
    st.one_of(
        st.just(()),
        st.text("ab ", max_size=8).map(lambda text: (span(0, 40, text),)),
        st.tuples(st.text("ab", max_size=8), st.text("xy", max_size=8)).map(
            lambda both: (span(0, 10, both[0], "bold"), span(12, 8, both[1], "red"))
        ),
        st.text("ab", max_size=8).map(lambda text: highlight((span(0, 10, text),), SIZE)),
    ),
    min_size=5,
    max_size=5,
).map(tuple)


@given(frames=st.lists(ROWS, min_size=1, max_size=5))
def test_whatever_was_there_before_the_screen_shows_the_newest_frame(frames: list[Frame]) -> None:
    emulator, fresh = Emulator(), Emulator()
    for drawn in frames:
        emulator.show(drawn)
    fresh.show(frames[-1])
    assert emulator.lines == fresh.lines == [*as_text(frames[-1])]
    assert emulator.cells == fresh.cells


def test_nothing_is_sent_when_nothing_changed() -> None:
    assert paint(frame("a", "b"), frame("a", "b"), colour=True) == ""


def test_only_what_changed_is_sent() -> None:
    sent = paint(frame("a", "same"), frame("b", "same"), colour=True)
    assert "same" not in sent
    assert "\x1b[2J" not in sent
    changed = paint(((span(0, 5, "x"), span(6, 5, "1 s")),), ((span(0, 5, "x"), span(6, 5, "2 s")),), colour=True)
    assert "x" not in changed
    assert "2 s" in changed


def test_a_smaller_frame_leaves_nothing_of_a_larger_one() -> None:
    emulator = Emulator()
    emulator.show(frame("a", "b", "c"))
    emulator.show(frame("a"))
    assert emulator.lines[1:] == [""] * 4


def test_without_colour_there_is_none_and_bold_and_reverse_stay() -> None:
    drawn = (highlight((span(0, 5, "x", "bold red"),), SIZE),)
    assert "31" not in paint(None, drawn, colour=False)
    assert "\x1b[1;7m" in paint(None, drawn, colour=False)
    assert "\x1b[1;31;7m" in paint(None, drawn, colour=True)


@given(text=st.text(max_size=60), width=st.integers(0, 50))
def test_a_text_is_cut_or_padded_to_its_width(text: str, width: int) -> None:
    assert cell_len(fit(shown(text), width)) == width
    assert cell_len(fit(shown(text), width, right=True)) == width


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abcdef", 4, "abc…"), ("漢字漢字", 5, "漢字…"), ("漢字漢字", 4, "漢… "), ("ab", 4, "ab  "), ("abc", 1, "…")],
)
def test_no_half_of_a_wide_character_is_left(text: str, width: int, expected: str) -> None:
    assert fit(text, width) == expected


@given(st.text(max_size=60))
def test_no_text_from_outside_says_anything_to_the_terminal(text: str) -> None:
    sent = paint(None, (line(text, SIZE),), colour=True)
    body = sent.partition("\x1b[1;1H")[2].removesuffix("\x1b[?2026l")
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in body)


def test_what_only_restyles_an_emoji_is_left_out() -> None:
    assert shown("👍🏽❤\ufe0f") == "👍❤"


def test_a_sentence_is_broken_at_spaces() -> None:
    assert wrap("one two three four", 9, 3) == ["one two", "three", "four"]
    assert wrap("one two three four", 9, 2) == ["one two", "three four"]
    assert wrap("", 9, 2) == [""]


def test_a_word_that_is_longer_than_a_line_is_broken_anywhere() -> None:
    assert wrap("It failed: /a/long/path now", 9, 9) == ["It", "failed:", "/a/long/p", "ath now"]
    assert wrap("漢字漢字", 5, 9) == ["漢字", "漢字"]
    assert wrap("漢字", 1, 9) == ["漢", "字"]


@given(st.text(st.sampled_from("ab 漢\u0301"), max_size=40), st.integers(2, 12))
def test_a_broken_text_has_all_its_words_in_lines_that_fit(text: str, width: int) -> None:
    lines = wrap(text, width, 100)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cell_len(text) <= width for text in lines)
