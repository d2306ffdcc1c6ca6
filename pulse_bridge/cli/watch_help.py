"""What each key does; pure."""

from typing import Final

from pulse_bridge.cli.watch_rows import ORDERS
from pulse_bridge.cli.watch_scene import Scene, assemble, footer
from pulse_bridge.cli.watch_screen import Frame, Size, line

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


def draw_help(scene: Scene, size: Size) -> Frame:
    """Draw what each key does; it says when there is no room for all."""
    foot = [*footer(scene, size), line("Esc goes back", size, "dim")]
    room = size.height - len(foot) - 1
    entries = KEYS if len(KEYS) <= room else (*KEYS[: max(0, room - 1)], ("", "a higher terminal shows the rest"))
    arrows = {"↑ ↓  j k": "j k"} if scene.glyphs.plain else {}
    body = [line(f"{arrows.get(key, key):>10}  {what}", size, glyphs=scene.glyphs) for key, what in entries]
    return assemble([line("Keys", size, "bold underline")], body, foot, size)
