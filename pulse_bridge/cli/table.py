"""The state of jobs and hosts as a table that fits the terminal; pure: state and `now` in, a renderable out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, OverflowMethod, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from pulse_bridge.cli.lines import format_epoch, format_loss, format_span
from pulse_bridge.clock import Instant
from pulse_bridge.event import FINISHED_STATES, HostEvent, JobEvent, State
from pulse_bridge.fleet import SILENT_AFTER_S, Fleet, Hearing, Host
from pulse_bridge.printable import printable


class _Look(NamedTuple):
    """How a state is told apart: by symbol and word first, by colour for those who see it."""

    symbol: str
    plain_symbol: str
    style: str


_LOOKS: Final[dict[State, _Look]] = {
    "idle": _Look("○", "o", "cyan"),
    "running": _Look("▶", ">", "bold green"),
    "stale": _Look("!", "!", "bold yellow"),
    "done": _Look("✓", "+", "blue"),
    "error": _Look("✗", "x", "bold red"),
    "gone": _Look("-", "-", "dim"),
}
_LAST_KNOWN: Final = "last known"
_PADDING: Final = 2


class _Row(NamedTuple):
    """One job, and whether its sidecar speaks."""

    event: JobEvent
    host: Host
    heard: bool
    now_ms: int
    plain: bool

    @property
    def live(self) -> bool:
        """What is shown is so now; what is finished stays so without a sidecar."""
        return self.heard or self.event.state in FINISHED_STATES


class _Field(NamedTuple):
    """A column: how it is drawn, and how much room it needs.

    Args:
        min_width: In characters, so that it does not jump with each digit; a longer text of a column of fixed
            width widens it. A column for which there is no room is left out.
        ratio: Its share of what room is left; 0 for a column of fixed width.
    """

    title: str
    min_width: int
    ratio: int
    draw: Callable[[_Row], RenderableType]
    right: bool = False


def _draw_state(row: _Row) -> Text:
    look = _LOOKS[row.event.state]
    text = f"{look.plain_symbol if row.plain else look.symbol} {row.event.state}"
    return Text(text, style=look.style if row.live else "dim")


def _draw_percent(row: _Row) -> Text:
    return Text(f"{row.event.progress:.1f} %")


def _draw_bar(row: _Row) -> ProgressBar:
    return ProgressBar(total=100, completed=float(row.event.progress))


def _draw_eta(row: _Row) -> Text:
    event = row.event
    if event.eta_s is None or event.state != "running" or not row.heard:
        return Text("")
    return Text(format_span(event.eta_s - (row.now_ms - event.observed_ms) / 1000))


def _draw_updated(row: _Row) -> Text:
    return Text(f"{format_span(row.now_ms / 1000 - row.event.timestamp)} ago", style="" if row.live else "dim")


def _draw_message(row: _Row) -> Text:
    message = printable(row.event.message)
    return Text(message) if row.live else Text(f"({_LAST_KNOWN}) {message}".strip(), style="dim")


def _draw_labels(row: _Row) -> Text:
    labels = row.event.labels
    return Text(printable(" ".join(f"{name}={value}" for name, value in labels.items())), style="dim")


def _name(event: JobEvent, *, with_host: bool) -> str:
    return printable(f"{event.host}/{event.job}" if with_host else event.job)


_STATE: Final = _Field("state", 9, 0, _draw_state)
_PERCENT: Final = _Field("", 7, 0, _draw_percent, right=True)
_UPDATED: Final = _Field("updated", 10, 0, _draw_updated, right=True)
_LOSS: Final = _Field("loss", 6, 0, lambda row: Text(format_loss(row.event)), right=True)
_EPOCH: Final = _Field("epoch", 7, 0, lambda row: Text(format_epoch(row.event)), right=True)
_ETA: Final = _Field("ETA", 8, 0, _draw_eta, right=True)
_MESSAGE: Final = _Field("message", 18, 3, _draw_message)
_BAR: Final = _Field("progress", 12, 1, _draw_bar)
_LABELS: Final = _Field("labels", 16, 2, _draw_labels)

_IN_ORDER: Final = (_STATE, _BAR, _PERCENT, _EPOCH, _LOSS, _ETA, _UPDATED, _MESSAGE, _LABELS)
_BY_WEIGHT: Final = (_STATE, _PERCENT, _LOSS, _UPDATED, _EPOCH, _ETA, _BAR, _MESSAGE, _LABELS)
"""Which columns go last where the terminal is narrow."""


class FleetTable:
    """All jobs, and below them what is to be said of the sidecars.

    Args:
        at: When it is drawn.
        notes: Further lines, below.
        cut: Leave out jobs that there is no room for, and say how many.
    """

    def __init__(self, fleet: Fleet, at: Instant, notes: Sequence[str] = (), *, cut: bool = True) -> None:
        self._fleet = fleet
        self._at = at
        self._now_ms = int(at.wall_s * 1000)
        self._notes = notes
        self._cut = cut

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it for the terminal's size."""
        unfinished = {event.host for event in self._fleet.jobs.values() if event.state not in FINISHED_STATES}
        below: list[RenderableType] = [
            Text(
                _describe_host(name, host, self._at, unfinished=name in unfinished),
                style=_HOST_STYLES[_hearing(host, self._at)],
            )
            for name, host in sorted(self._fleet.hosts.items())
        ]
        below += [Text(printable(note), style="yellow") for note in self._notes]
        rows = self._rows(plain=options.ascii_only)
        room = max(1, console.height - len(below) - 3) if self._cut else len(rows)
        hidden = len(rows) - room
        if hidden > 0:
            rows = rows[: max(1, room - 1)]
            below.insert(0, Text(f"and {len(self._fleet.jobs) - len(rows)} more jobs", style="dim"))
        for line in below:
            if isinstance(line, Text):
                line.no_wrap, line.overflow = True, _overflow(plain=options.ascii_only)
        top = _table(rows, options.max_width) if rows else Text("no jobs yet", style="dim")
        yield Group(top, Text(""), *below)

    def _rows(self, *, plain: bool) -> list[_Row]:
        rows = []
        for event in sorted(self._fleet.jobs.values(), key=_place):
            host = self._fleet.hosts[event.host]
            heard = _hearing(host, self._at) == "heard"
            rows.append(_Row(event, host, heard, self._now_ms, plain))
        return rows


def _place(event: JobEvent) -> tuple[int, str, str]:
    """Order jobs so that each keeps its place while it goes on, and those that are over come last."""
    over = 2 if event.state == "gone" else int(event.state in FINISHED_STATES)
    return over, event.host, event.job


def _table(rows: Sequence[_Row], width: int) -> Table:
    with_host = len({row.event.host for row in rows}) > 1
    names = [_name(row.event, with_host=with_host) for row in rows]
    name_width = min(max(map(cell_len, names)), max(8, width // 4))
    cells = {field: [field.draw(row) for row in rows] for field in _IN_ORDER}
    widths = {field: _width(field, drawn) for field, drawn in cells.items()}
    fields = _fitting(width - name_width, widths)
    overflow = _overflow(plain=rows[0].plain)
    columns = [Column("job", width=name_width, no_wrap=True, overflow=overflow)]
    columns += [
        Column(
            field.title,
            justify="right" if field.right else "left",
            width=None if field.ratio else widths[field],
            min_width=widths[field],
            ratio=field.ratio or None,
            no_wrap=True,
            overflow=overflow,
        )
        for field in fields
    ]
    expand = any(field.ratio for field in fields)
    table = Table(*columns, box=None, padding=(0, _PADDING, 0, 0), pad_edge=False, expand=expand)
    for number, name in enumerate(names):
        table.add_row(Text(name), *(cells[field][number] for field in fields))
    return table


def _overflow(*, plain: bool) -> OverflowMethod:
    """Choose how a text that is too long is cut; not every terminal knows the ellipsis."""
    return "crop" if plain else "ellipsis"


def _width(field: _Field, drawn: Sequence[RenderableType]) -> int:
    if field.ratio:
        return field.min_width
    return max(field.min_width, *(cell.cell_len for cell in drawn if isinstance(cell, Text)))


def _fitting(width: int, widths: Mapping[_Field, int]) -> list[_Field]:
    """Choose the columns that there is room for, the weightiest first; the state always."""
    chosen: set[_Field] = set()
    for field in _BY_WEIGHT:
        width -= widths[field] + _PADDING
        if width < 0 and chosen:
            break
        chosen.add(field)
    return [field for field in _IN_ORDER if field in chosen]


_HOST_STYLES: Final = {"heard": "dim", "silent": "bold yellow", "stopped": "yellow"}


def _hearing(host: Host, at: Instant) -> Hearing:
    """Say whether a host speaks. Before it could be heard, what the bus kept of it tells, by its own clock."""
    hearing = host.hearing(at.now_s)
    if hearing != "unheard":
        return hearing
    return "silent" if at.wall_s - host.last_ms / 1000 > SILENT_AFTER_S else "heard"


def _describe_host(name: str, host: Host, at: Instant, *, unfinished: bool) -> str:
    """Say how a host's sidecar is, in one sentence.

    Args:
        unfinished: A job of this host may be otherwise by now than its sidecar last said.
    """
    shown = printable(name)
    hearing = _hearing(host, at)
    ago = format_span(max(0.0, at.wall_s - host.last_ms / 1000))
    last_known = f"; states are {_LAST_KNOWN}" if unfinished else ""
    if hearing == "stopped":
        sentence = f"{shown}: the sidecar was stopped {ago} ago{last_known}"
    elif hearing == "silent":
        sentence = f"{shown}: the sidecar is silent, for {ago} now{last_known}"
    else:
        sentence = f"{shown}: the sidecar spoke {ago} ago"
    return "; ".join([sentence, *(_describe_health(host.newest) if host.newest else ())])


def _describe_health(newest: HostEvent) -> list[str]:
    parts = [f"{count} events not yet at {printable(bus)}" for bus, count in newest.lag.items() if count]
    parts += [f"{newest.malformed} files are no PULSE"] if newest.malformed else []
    parts += [f"{newest.dropped} events dropped"] if newest.dropped else []
    return parts
