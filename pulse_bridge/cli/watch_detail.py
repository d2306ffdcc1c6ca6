"""One job by itself, as rows that fit the terminal: what is so, what is wrong, its loss, what happened; pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from typing import Final

from rich.cells import cell_len

from pulse_bridge.cli.curve import draw_curve
from pulse_bridge.cli.lines import format_epoch, format_loss, format_span
from pulse_bridge.cli.watch_columns import draw_bar
from pulse_bridge.cli.watch_past import Moment, Past
from pulse_bridge.cli.watch_rows import Job, JobKey, voices
from pulse_bridge.cli.watch_scene import LOOKS, Drawn, Scene, assemble, footer, state_text
from pulse_bridge.cli.watch_screen import Row, Size, fit, line, shown, span, wrap
from pulse_bridge.cli.watch_state import Browse
from pulse_bridge.cli.watch_words import VOICE_STYLES, describe_host, describe_trouble
from pulse_bridge.event import JobEvent

_LABEL_WIDTH: Final = 9
_MIN_CURVE_ROWS: Final = 4
_MAX_CURVE_ROWS: Final = 18
_MIN_CURVE_WIDTH: Final = 24
_MIN_EVENTS: Final = 4
_MAX_TROUBLE_ROWS: Final = 4
_BAR_WIDTH: Final = 24
_HINTS: Final = "Esc back  l log scale  n next job  p job before  j k events  ? help"


def draw_job(
    scene: Scene, browse: Browse, listed: Sequence[JobKey], size: Size, *, zone: tzinfo | None = None
) -> Drawn:
    """Draw the selected job.

    Args:
        listed: The jobs as the table had them, for the way to the next.
        zone: Of the times; None for the one of this machine.
    """
    foot = footer(scene, size)
    if size.height > _MIN_CURVE_ROWS:
        foot = [*foot, line(_HINTS if len(_HINTS) <= size.width else "Esc back  ? help", size, "dim")]
    event = scene.fleet.jobs.get(browse.selected) if browse.selected else None
    if event is None:
        body = [line("this job is not known any more", size, "dim")]
        return Drawn(assemble([], body, foot, size), listed, size.height, browse)
    job = Job(event, voices(scene.fleet, scene.at, scene.link)[event.host])
    head = [_title(job, scene, size), *_trouble(job, scene, size), *_facts(job, scene, size, zone)]
    room = size.height - len(head) - len(foot)
    past = scene.past or Past()
    events_wanted = min(len(past.moments) + 1, max(_MIN_EVENTS, room // 3))
    curve = _curve(past, browse, scene, size, room - events_wanted)
    rows = max(0, room - len(curve) - 1)
    browse = replace(browse, scroll=min(browse.scroll, max(0, len(past.moments) - rows)))
    body = [*curve, *_events(past, browse.scroll, scene, size, rows, zone=zone)]
    return Drawn(assemble(head, body, foot, size), listed, max(1, rows), browse)


def _title(job: Job, scene: Scene, size: Size) -> Row:
    state = state_text(job.event, scene.glyphs, live=job.live)
    width = cell_len(state)
    room = max(0, size.width - width - 2)
    name = fit(shown(f"{job.event.host}/{job.event.job}"), room, scene.glyphs.cut).rstrip()
    used = cell_len(name)
    return (
        span(0, used, name, "bold underline"),
        span(used + 2, min(width, size.width - used - 2), state, LOOKS[job.event.state].style),
    )


def _trouble(job: Job, scene: Scene, size: Size) -> list[Row]:
    rows = []
    for sentence in describe_trouble(job.event, job.voice, scene.at):
        rows += [line(text, size, "bold yellow", glyphs=scene.glyphs) for text in wrap(sentence, size.width, 3)]
    return rows[:_MAX_TROUBLE_ROWS]


def _facts(job: Job, scene: Scene, size: Size, zone: tzinfo | None) -> list[Row]:
    event = job.event
    host = scene.fleet.hosts[event.host]
    facts = [
        ("progress", _progress(event, scene, size)),
        ("loss", _loss(event, scene.past)),
        ("time left", _time_left(job, scene, zone)),
        ("run", _run(event, scene, zone)),
        ("labels", ", ".join(f"{name}={value}" for name, value in event.labels.items())),
        ("message", event.message),
        ("host", describe_host(event.host, host, job.voice, scene.at, unfinished=not job.live)),
    ]
    rows: list[Row] = []
    for label, text in facts:
        if text:
            style = VOICE_STYLES[job.voice] if label == "host" else ""
            room = max(0, size.width - _LABEL_WIDTH - 1)
            rows.append(
                (
                    span(0, _LABEL_WIDTH, label, "dim", cut=""),
                    span(_LABEL_WIDTH + 1, room, shown(text), style, cut=scene.glyphs.cut),
                )
            )
    return rows


def _progress(event: JobEvent, scene: Scene, size: Size) -> str:
    wide = size.width >= 2 * _BAR_WIDTH + _LABEL_WIDTH
    bar = draw_bar(float(event.progress), _BAR_WIDTH, scene.glyphs.bar) + "  " if wide else ""
    step = f"  step {event.step}" if event.step is not None else ""
    step += f"/{event.total_steps}" if step and event.total_steps is not None else ""
    return f"{bar}{event.progress:.1f} %  epoch {format_epoch(event)}{step}"


def _loss(event: JobEvent, past: Past | None) -> str:
    text = format_loss(event)
    if past and past.lowest and past.run == event.run:
        epoch, lowest = past.lowest
        text += f"  lowest {format_loss(event._replace(loss=lowest))} at epoch {epoch:.4g}"
    if event.learning_rate is not None:
        text += f"  learning rate {event.learning_rate:.4g}"
    return text


def _time_left(job: Job, scene: Scene, zone: tzinfo | None) -> str:
    event = job.event
    if event.state != "running":
        return ""
    if event.eta_s is None:
        return "not known yet"
    end_s = event.observed_ms / 1000 + event.eta_s
    note = "" if job.live else ", as last known"
    return f"{format_span(end_s - scene.at.wall_s)}, until {_local(end_s * 1000, scene, zone)}{note}"


def _run(event: JobEvent, scene: Scene, zone: tzinfo | None) -> str:
    began = f"began {_local(event.run * 1000, scene, zone)}, {format_span(scene.at.wall_s - event.run)} ago"
    return f"{began}; written {format_span(scene.at.wall_s - event.timestamp)} ago"


def _local(unix_ms: float, scene: Scene, zone: tzinfo | None) -> str:
    """Write an instant as a clock on this machine shows it, with the date where it is not today."""
    try:
        instant, today = (
            datetime.fromtimestamp(seconds, UTC).astimezone(zone) for seconds in (unix_ms / 1000, scene.at.wall_s)
        )
    except (ValueError, OverflowError, OSError):
        return "an unknown time"  # beyond the calendar
    return instant.strftime("%H:%M:%S" if instant.date() == today.date() else "%Y-%m-%d %H:%M")


def _curve(past: Past, browse: Browse, scene: Scene, size: Size, rows: int) -> list[Row]:
    rows = min(rows, _MAX_CURVE_ROWS)
    if rows < _MIN_CURVE_ROWS or size.width < _MIN_CURVE_WIDTH:
        return []
    points = past.curve.points
    drawn = draw_curve(points, size.width, rows - 1, log=browse.log, plain=scene.glyphs.plain)
    scale = "loss, logarithmic" if browse.log else "loss"
    if not drawn:
        why = "no loss above 0 to draw" if browse.log and points else "no loss to draw yet"
        return [line(f"{scale}: {why}", size, "bold", glyphs=scene.glyphs)]
    return [
        line(scale, size, "bold", glyphs=scene.glyphs),
        *((span(0, size.width, text, cut=scene.glyphs.cut),) for text in drawn),
    ]


def _events(past: Past, scroll: int, scene: Scene, size: Size, rows: int, *, zone: tzinfo | None) -> list[Row]:
    """Draw what happened, the newest first, below a line that says how far back it reaches."""
    if past.why:
        reach = f"what happened; {past.why}"
    elif past.asked:
        reach = "what happened, as far as the bus keeps it"
    else:
        reach = f"what happened since {_local(past.since_ms, scene, zone)}"
    newest = list(past.moments)[::-1][scroll : scroll + rows]
    return [
        line(reach, size, "bold", glyphs=scene.glyphs),
        *(_moment(moment, scene, size, zone) for moment in newest),
    ]


def _moment(moment: Moment, scene: Scene, size: Size, zone: tzinfo | None) -> Row:
    look = LOOKS[moment.state]
    symbol = look.plain_symbol if scene.glyphs.plain else look.symbol
    at = _local(moment.at_ms, scene, zone)
    x = cell_len(at) + 1
    return (
        span(0, min(x, size.width), at, "dim", cut=""),
        span(min(x, size.width), max(0, min(2, size.width - x)), symbol, look.style, cut=""),
        span(min(x + 2, size.width), max(0, size.width - x - 2), shown(moment.what), cut=scene.glyphs.cut),
    )
