"""The help shows every key on any terminal, though one may have to scroll."""

import pytest
from rich.cells import cell_len

from pulse_bridge.cli.watch_help import KEYS, draw_help
from pulse_bridge.cli.watch_scene import Scene
from pulse_bridge.cli.watch_screen import PLAIN, Size, as_text
from pulse_bridge.cli.watch_state import Browse
from pulse_bridge.clock import Instant
from pulse_bridge.fleet import Fleet

SCENE = Scene(Fleet(), Instant(0, 0))


def read_through(size: Size) -> list[str]:
    """Give every line, as one sees them who scrolls down line by line to the end."""
    drawn = draw_help(SCENE, Browse(page="help"), [], size)
    lines = as_text(drawn.frame)[1:-1]
    for scroll in range(1, 200):
        drawn = draw_help(SCENE, Browse(page="help", scroll=scroll), [], size)
        if drawn.browse.scroll < scroll:
            break
        lines.append(as_text(drawn.frame)[-2])
    return lines


@pytest.mark.parametrize("size", [Size(200, 60), Size(80, 24), Size(40, 12), Size(20, 4)])
def test_every_key_is_told_in_full(size: Size) -> None:
    words = " ".join("\n".join(read_through(size)).split())
    for keys, what in KEYS:
        assert keys.split()[0] in words
        if size.width >= 40:
            assert what in words


@pytest.mark.parametrize("width", [10, 20, 40, 80])
@pytest.mark.parametrize("height", [2, 4, 12, 40])
def test_every_size_is_kept(width: int, height: int) -> None:
    frame = draw_help(SCENE, Browse(page="help", scroll=999), [], Size(width, height)).frame
    assert len(frame) == height
    assert all(piece.x + cell_len(piece.text) <= width for row in frame for piece in row)


def test_where_all_fits_nothing_is_said_of_scrolling() -> None:
    assert as_text(draw_help(SCENE, Browse(page="help"), [], Size(120, 40)).frame)[-1] == "Esc goes back"
    assert "j k" in as_text(draw_help(SCENE, Browse(page="help"), [], Size(120, 10)).frame)[-1]


def test_a_terminal_without_unicode_gets_no_arrows() -> None:
    scene = Scene(Fleet(), Instant(0, 0), glyphs=PLAIN)
    assert "\n".join(as_text(draw_help(scene, Browse(page="help"), [], Size(120, 40)).frame)).isascii()
