"""The columns of the list of jobs: what each shows, and which of them fit; pure."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len

from pulse_bridge.cli.lines import format_epoch, format_loss, format_span
from pulse_bridge.cli.watch_rows import ORDERS, Job
from pulse_bridge.cli.watch_scene import LOOKS, Scene, state_text
from pulse_bridge.cli.watch_screen import Row, Size, Span, fit, shown, span
from pulse_bridge.cli.watch_state import Browse
from pulse_bridge.cli.watch_words import LAST_KNOWN

PADDING: Final = 2
INDENT: Final = 2
MIN_NAME: Final = 8
_LEAST_NAME: Final = 4


class _Field(NamedTuple):
    """A column: how it is drawn, and how much room it needs.

    Args:
        order: Which order sorts by it.
        min_width: In columns, so that it does not jump with each digit; a longer text of a column of fixed
            width widens it. A column for which there is no room is left out.
        ratio: Its share of what room is left; 0 for a column of fixed width.
        draw: Gives the text, from the job, the scene, and the width where the ratio is not 0.
    """

    title: str
    order: str
    min_width: int
    ratio: int
    draw: Callable[[Job, Scene, int], str]
    right: bool = False


def _draw_state(job: Job, scene: Scene, _: int) -> str:
    return state_text(job.event, scene.glyphs, live=job.live)


def draw_bar(percent: float, width: int, bar: tuple[str, str]) -> str:
    """Draw progress; the last character is kept for when all is done."""
    done = width if percent >= 100 else min(width - 1, int(percent / 100 * width))  # noqa: PLR2004 - all
    return bar[0] * done + bar[1] * (width - done)


def _draw_eta(job: Job, scene: Scene, _: int) -> str:
    event = job.event
    if event.eta_s is None or event.state != "running" or job.voice != "heard":
        return ""
    return format_span(event.eta_s - (scene.at.wall_s - event.observed_ms / 1000))


def _draw_updated(job: Job, scene: Scene, _: int) -> str:
    return f"{format_span(scene.at.wall_s - job.event.timestamp)} ago"


def _draw_message(job: Job, *_: object) -> str:
    message = shown(job.event.message)
    return message if job.live else f"({LAST_KNOWN}) {message}".strip()


def _draw_labels(job: Job, *_: object) -> str:
    return shown(" ".join(f"{name}={value}" for name, value in job.event.labels.items()))


_STATE: Final = _Field("state", "state", 9, 0, _draw_state)
_PERCENT: Final = _Field("%", "progress", 7, 0, lambda job, *_: f"{job.event.progress:.1f} %", right=True)
_UPDATED: Final = _Field("updated", "updated", 10, 0, _draw_updated, right=True)
_LOSS: Final = _Field("loss", "loss", 6, 0, lambda job, *_: format_loss(job.event), right=True)
_EPOCH: Final = _Field("epoch", "epoch", 7, 0, lambda job, *_: format_epoch(job.event), right=True)
_ETA: Final = _Field("ETA", "ETA", 8, 0, _draw_eta, right=True)
_MESSAGE: Final = _Field("message", "", 18, 3, _draw_message)
_BAR: Final = _Field(
    "progress", "", 12, 1, lambda job, scene, width: draw_bar(float(job.event.progress), width, scene.glyphs.bar)
)
_LABELS: Final = _Field("labels", "", 16, 2, _draw_labels)

_IN_ORDER: Final = (_STATE, _BAR, _PERCENT, _EPOCH, _LOSS, _ETA, _UPDATED, _MESSAGE, _LABELS)
_BY_WEIGHT: Final = (_STATE, _PERCENT, _LOSS, _UPDATED, _EPOCH, _ETA, _BAR, _MESSAGE, _LABELS)
"""Which columns go last where the terminal is narrow."""


class Column(NamedTuple):
    """A column in its place."""

    field: _Field
    x: int
    width: int


def choose_columns(scene: Scene, size: Size, jobs: Sequence[Job], longest: int) -> list[Column]:
    """Choose the columns that there is room for, the weightiest first, and share what is left among them."""
    widths = {field: _width(field, jobs, scene) for field in _IN_ORDER}
    name = min(max(longest, MIN_NAME), max(MIN_NAME, size.width // 4))
    name = min(name, max(_LEAST_NAME, size.width - INDENT - PADDING - widths[_STATE]))
    room = size.width - INDENT - name
    chosen: set[_Field] = set()
    for field in _BY_WEIGHT:
        if room < widths[field] + PADDING and chosen:
            break
        room -= widths[field] + PADDING
        chosen.add(field)
    shares = sum(field.ratio for field in chosen)
    if room > 0 and not shares:
        grown = min(room, max(0, longest - name))
        name, room = name + grown, room - grown
    columns, x = [Column(_Field("job", "job", 0, 0, lambda *_: ""), INDENT, name)], INDENT + name + PADDING
    for field in _IN_ORDER:
        if field in chosen:
            width = widths[field] + (max(0, room) * field.ratio // shares if field.ratio else 0)
            columns.append(Column(field, x, max(0, min(width, size.width - x))))
            x += width + PADDING
    return columns


def _width(field: _Field, jobs: Sequence[Job], scene: Scene) -> int:
    if field.ratio:
        return field.min_width
    return max([field.min_width, *(cell_len(field.draw(job, scene, 0)) for job in jobs)])


def _within(piece: Span, size: Size) -> Span:
    width = min(piece.width, size.width - piece.x)
    return piece if width == piece.width else Span(piece.x, width, fit(piece.text, width, ""), piece.style)


def _style(field: _Field, job: Job) -> str:
    if not job.live and field in {_STATE, _UPDATED, _MESSAGE}:
        return "dim"
    if field is _STATE:
        return LOOKS[job.event.state].style
    return "dim" if field is _LABELS else ""


def draw_job_row(job: Job, name: str, scene: Scene, columns: Sequence[Column], size: Size, *, cursor: bool) -> Row:
    """Draw a job's row.

    Args:
        name: As it is shown.
        cursor: It is the selected one.
    """
    cut = scene.glyphs.cut
    row = [
        span(0, INDENT, ">" if cursor else "", cut=""),
        span(columns[0].x, columns[0].width, name, cut=cut),
    ]
    for field, x, width in columns[1:]:
        row.append(span(x, width, field.draw(job, scene, width), _style(field, job), cut=cut, right=field.right))
    return tuple(_within(piece, size) for piece in row if piece.x < size.width)


def draw_titles(columns: Sequence[Column], browse: Browse, scene: Scene, size: Size) -> Row:
    """Draw the titles; an arrow marks the one that is sorted by."""
    row = []
    for field, x, width in columns:
        title = field.title
        if field.order and field.order == browse.order:
            descending = ORDERS[browse.order].descending != browse.backwards
            title += scene.glyphs.down if descending else scene.glyphs.up
        row.append(span(x, width, title, "bold underline", cut=scene.glyphs.cut, right=field.right))
    return tuple(_within(piece, size) for piece in row if piece.x < size.width)
