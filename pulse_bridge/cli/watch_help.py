"""What each key does; pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pulse_bridge.cli.watch_rows import ORDERS, JobKey
from pulse_bridge.cli.watch_scene import Drawn, Scene, assemble, footer
from pulse_bridge.cli.watch_screen import Row, Size, line, wrap
from pulse_bridge.cli.watch_state import Browse

KEYS: Final = (
    ("↑ ↓  j k", "the job above, the job below"),
    ("PgUp PgDn", "a screen up, a screen down"),
    ("Home End", "the first job, the last job"),
    ("Enter", "this job by itself: its loss as a curve, what happened, what is wrong"),
    ("/", "show only jobs with these words in host, job, state or labels; !word leaves out"),
    ("Esc", "one step back: clear the filter, leave a job, leave this help"),
    *((order.key, f"sort by {order.words}; once more for the other way round") for order in ORDERS.values()),
    ("< >", "sort by the column to the left, to the right"),
    ("r", "the other way round"),
    ("O", "the order without sorting: what is over comes last"),
    ("g", "under their hosts, or all in one list"),
    ("l", "at a job: a logarithmic curve, or a linear one"),
    ("n p", "at a job: the next job, the one before"),
    ("Ctrl-Z", "suspend; fg brings it back"),
    ("q", "leave a job; end it"),
)


_KEY_WIDTH: Final = 10
_MAX_LINES: Final = 9


def draw_help(scene: Scene, browse: Browse, listed: Sequence[JobKey], size: Size) -> Drawn:
    """Draw what each key does, from the line on to which it was scrolled.

    Args:
        listed: The jobs as the table had them, for the way back.
    """
    body = [row for key, what in KEYS for row in _entry(key, what, scene, size)]
    foot = footer(scene, size)
    rows = max(1, size.height - len(foot) - 2)
    browse = replace(browse, scroll=min(browse.scroll, max(0, len(body) - rows)))
    hint = "Esc goes back" if len(body) <= rows else "Esc goes back, j k show the rest"
    head = [line("Keys", size, "bold underline", glyphs=scene.glyphs)]
    foot = [*foot, line(hint, size, "dim", glyphs=scene.glyphs)]
    return Drawn(assemble(head, body[browse.scroll : browse.scroll + rows], foot, size), listed, rows, browse)


def _entry(key: str, what: str, scene: Scene, size: Size) -> list[Row]:
    shown = "j k" if scene.glyphs.plain and "↑" in key else key
    texts = wrap(what, max(1, size.width - _KEY_WIDTH - 2), _MAX_LINES)
    names = [shown] + [""] * (len(texts) - 1)
    return [
        line(f"{name:>{_KEY_WIDTH}}  {text}", size, glyphs=scene.glyphs)
        for name, text in zip(names, texts, strict=True)
    ]
