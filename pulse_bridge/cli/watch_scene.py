"""What is drawn, and what a drawing gives back; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pulse_bridge.cli.watch_past import Past
from pulse_bridge.cli.watch_rows import JobKey
from pulse_bridge.cli.watch_screen import RICH, Frame, Glyphs, Row, Size, line
from pulse_bridge.cli.watch_state import Browse
from pulse_bridge.cli.watch_words import Link, describe_link
from pulse_bridge.clock import Instant
from pulse_bridge.event import JobEvent, State
from pulse_bridge.fleet import Fleet

MAX_NOTES: Final = 4


class Look(NamedTuple):
    """How a state is told apart: by symbol and word first, by colour for those who see it."""

    symbol: str
    plain_symbol: str
    style: str


LOOKS: Final[dict[State, Look]] = {
    "idle": Look("○", "o", "cyan"),
    "running": Look("▶", ">", "bold green"),
    "stale": Look("!", "!", "bold yellow"),
    "done": Look("✓", "+", "blue"),
    "error": Look("✗", "x", "bold red"),
    "gone": Look("-", "-", "dim"),
}


@dataclass(frozen=True)
class Scene:
    """All that is known, at one moment.

    Args:
        title: Where it comes from, without a secret.
        lasting: Lines that stay.
        notes: Lines that pass.
        keys: There is a keyboard.
        past: Of the job that is looked at, if one is.
    """

    fleet: Fleet
    at: Instant
    link: Link = field(default_factory=Link)
    title: str = ""
    lasting: Sequence[str] = ()
    notes: Sequence[str] = ()
    keys: bool = True
    glyphs: Glyphs = RICH
    past: Past | None = None


class Drawn(NamedTuple):
    """A drawing.

    Args:
        listed: The jobs in the order in which they are shown, those off the screen too.
        page_rows: So many lines of the list are shown at once.
        browse: Where the person is, as it was settled while drawing.
    """

    frame: Frame
    listed: Sequence[JobKey]
    page_rows: int
    browse: Browse


def state_text(event: JobEvent, glyphs: Glyphs, *, live: bool) -> str:
    """Write a state with its symbol; a question mark says that it is the last known."""
    look = LOOKS[event.state]
    return f"{look.plain_symbol if glyphs.plain else look.symbol} {event.state}{'' if live else '?'}"


def footer(scene: Scene, size: Size) -> list[Row]:
    """Draw what is to be seen below whatever page is shown."""
    sentence = describe_link(scene.link, scene.at)
    rows = [line(sentence, size, "bold yellow", glyphs=scene.glyphs)] if sentence else []
    rows += [line(text, size, "cyan", glyphs=scene.glyphs) for text in scene.lasting]
    rows += [line(text, size, "yellow", glyphs=scene.glyphs) for text in scene.notes[-MAX_NOTES:]]
    return rows[: max(0, size.height // 3)]


def assemble(head: Sequence[Row], body: Sequence[Row], foot: Sequence[Row], size: Size) -> Frame:
    """Put head, body and foot on a screen, the foot at its lower edge."""
    room = max(0, size.height - len(head) - len(foot))
    shown = list(body[:room])
    blank: Row = ()
    rows = [*head, *shown, *[blank] * (room - len(shown)), *foot]
    return tuple(rows[: size.height])
