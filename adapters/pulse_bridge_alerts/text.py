"""What a person reads at night: which job on which host, what happened, since when, and how it stood; pure.

Names and messages come from whoever writes a status file, so they are defused: nothing in them begins a line of
its own, makes a link, a code block or a tag, or calls people by `@`. Bold and the like may remain: they only look.
"""

import re
from datetime import datetime, tzinfo
from typing import Final, NamedTuple

from pulse_bridge.errors import EventFormatError
from pulse_bridge.event import JobEvent, State, from_json
from pulse_bridge.printable import printable
from pulse_bridge_alerts.notice import Message, Notice, Phase
from pulse_bridge_alerts.policy import Rule

MAX_LISTED: Final = 10
"""Of a group so many are listed; the rest is counted."""

MAX_BODY_CHARS: Final = 1800
"""Fits into one message of every chat service that matters; the tightest takes 2,000."""

_MAX_NAME_CHARS: Final = 80
_MAX_TEXT_CHARS: Final = 300
_MAX_LISTED_TEXT_CHARS: Final = 80

_OPENED: Final[dict[Rule, str]] = {
    "stale": "no sign of life",
    "host-silent": "the sidecar is silent",
    "error": "failed",
    "diverged": "the loss diverged",
    "stuck": "stuck, its epoch does not move",
    "loss-spike": "the loss spiked",
    "done": "done",
}
_CLOSED: Final[dict[Rule, str]] = {
    "stale": "alive again",
    "host-silent": "heard again",
    "error": "failed no longer",
    "diverged": "the loss is finite again",
    "stuck": "moves again",
    "loss-spike": "the loss is as before",
    "done": "at work again",
}
_ENDED: Final[dict[State, str]] = {
    "gone": "its file is gone",
    "error": "it failed",
    "done": "it is done",
    "stale": "no sign of life",
}
"""What a job came to that is not at work: that its trouble is over is no good news then, or not the whole."""
_MARKS: Final[dict[Phase, str]] = {"open": "ALERT", "close": "OK", "flapping": "FLAPPING", "reminder": "STILL"}

# An address such as me@example.com stays; those who are called in the middle of a word, too, are everybody.
_CALL: Final = re.compile(r"(?<!\w)@(?=\w)|@(?=(?:everyone|here|channel|all)\b)")
# Replaced one for one; the angle quotes look like the brackets that chat services take for tags and mentions.
_DEFUSED: Final = str.maketrans({"<": "\u2039", ">": "\u203a", "`": "'"})


class Text(NamedTuple):
    """A title of one line, and a body of several."""

    title: str
    body: str


def defuse(text: str, max_chars: int = _MAX_TEXT_CHARS) -> str:
    """Make a text from outside harmless in a line of a chat message, and cut it."""
    text = text.strip()
    short = text if len(text) <= max_chars else text[: max_chars - 3] + "..."
    return _CALL.sub("(at)", printable(short).translate(_DEFUSED)).replace("](", "] (")


def event_of(notice: Notice) -> JobEvent | None:
    """Give the job's newest event; None for a host, and for what an older or newer version saved."""
    if notice.event is None:
        return None
    try:
        event = from_json(notice.event)
    except EventFormatError:
        return None
    return event if isinstance(event, JobEvent) else None


def compose(message: Message, now_ms: int, zone: tzinfo | None = None) -> Text:
    """Word a message.

    Args:
        message: Of at least one notice.
        now_ms: Unix milliseconds at which it is sent; "12 min ago" is counted to it.
        zone: Of the times; None for the one of this machine.
    """
    first = message.notices[0]
    title = f"{_mark(first)} {subject(message)}: {what(first)}"
    if count(message) == 1:
        return Text(title, "\n".join(_lines(first, now_ms, zone)))
    return Text(title, _listing(message, now_ms, zone))


def count(message: Message) -> int:
    """Count the jobs or hosts meant."""
    return len(message.notices) + message.more


def _mark(notice: Notice) -> str:
    if (notice.rule, notice.phase) == ("done", "open"):
        return "DONE"
    return "OVER" if notice.phase == "close" and _came_to(notice) else _MARKS[notice.phase]


def what(notice: Notice) -> str:
    """Say in a few words what happened."""
    if notice.phase == "close":
        came_to = _came_to(notice)
        return f"no longer {notice.rule}: {came_to}" if came_to else _CLOSED[notice.rule]
    if notice.phase == "flapping":
        return f"{notice.rule} comes and goes; muted until it is quiet"
    return _OPENED[notice.rule]


def _came_to(notice: Notice) -> str | None:
    """Say what a job came to that is not at work any more; None of one that is."""
    event = event_of(notice)
    return None if event is None else _ENDED.get(event.state)


def subject(message: Message) -> str:
    """Name the one job or host meant, or count them."""
    notices = message.notices
    if count(message) == 1:
        return _name(notices[0])
    if all(notice.job is None for notice in notices):
        return f"{count(message)} hosts"
    hosts = {notice.host for notice in notices}
    if len(hosts) > 1:
        return f"{count(message)} jobs on several hosts"
    return f"{count(message)} jobs on {defuse(notices[0].host, _MAX_NAME_CHARS)}"


def _name(notice: Notice) -> str:
    host = defuse(notice.host, _MAX_NAME_CHARS)
    return host if notice.job is None else f"{defuse(notice.job, _MAX_NAME_CHARS)} on {host}"


def _lines(notice: Notice, now_ms: int, zone: tzinfo | None) -> list[str]:
    event = event_of(notice)
    lines = [defuse(notice.detail)] if notice.detail else []
    if notice.job is not None:
        lines.append(f"Job: {defuse(notice.job, _MAX_NAME_CHARS)}")
    lines.append(f"Host: {defuse(notice.host, _MAX_NAME_CHARS)}")
    lines.append(f"Since: {since(notice, now_ms, zone)}")
    if event is not None:
        lines.append(f"Epoch: {epoch(event)} ({event.progress:.4g} %)")
        lines.append(f"Loss: {loss(event)}")
        if event.message:
            lines.append(f"Message: {defuse(event.message)}")
        if event.labels:
            lines.append(f"Labels: {labels(event)}")
    lines.append(f"Incident: {defuse(notice.incident)}")
    return lines


def _listing(message: Message, now_ms: int, zone: tzinfo | None) -> str:
    lines: list[str] = []
    left_chars = MAX_BODY_CHARS - len(f"and {count(message)} more")
    for notice in message.notices[:MAX_LISTED]:
        line = _listed(notice, now_ms, zone)
        left_chars -= len(line) + 1
        if left_chars < 0:
            break
        lines.append(line)
    if rest := count(message) - len(lines):
        lines.append(f"and {rest} more")
    return "\n".join(lines)


def _listed(notice: Notice, now_ms: int, zone: tzinfo | None) -> str:
    parts = [defuse(notice.detail, _MAX_LISTED_TEXT_CHARS)] if notice.detail else []
    parts.append(f"since {since(notice, now_ms, zone)}")
    event = event_of(notice)
    if event is not None:
        parts.append(f"epoch {epoch(event)}")
        parts.append(f"loss {loss(event)}")
    return f"- {_name(notice)}: {', '.join(parts)}"


def since(notice: Notice, now_ms: int, zone: tzinfo | None) -> str:
    """Say when it began and how long ago, or how long it lasted."""
    began = instant(notice.since_ms, zone)
    if notice.phase == "close":
        lasted = span((notice.at_ms - notice.since_ms) / 1000)
        return f"{began}, over at {instant(notice.at_ms, zone)} (after {lasted})"
    return f"{began} ({span((now_ms - notice.since_ms) / 1000)} ago)"


def instant(unix_ms: int, zone: tzinfo | None) -> str:
    """Write an instant in the reader's zone, e.g. `2026-01-02 03:04:05 CET`."""
    local = datetime.fromtimestamp(unix_ms // 1000, zone).astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S %Z}"


def span(seconds: float) -> str:
    """Write a time span in the two units that matter, e.g. `12 min` or `3 h 20 min`."""
    whole = max(0, round(seconds))
    if whole < 120:  # noqa: PLR2004 - below two minutes the seconds matter
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:  # noqa: PLR2004 - minutes of an hour
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:  # noqa: PLR2004 - hours of a day
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def epoch(event: JobEvent) -> str:
    """Write the position, e.g. `1.5 of 3`."""
    return f"{event.epoch:.6g} of {event.total_epochs:.6g}"


def loss(event: JobEvent) -> str:
    """Write the loss; one that is not finite is said to be so."""
    if event.loss is None:
        return "NaN or infinite" if event.diverged else "unknown"
    return f"{event.loss:.4g}"


def labels(event: JobEvent) -> str:
    """Write the labels in one line."""
    return defuse(", ".join(f"{name}={value}" for name, value in sorted(event.labels.items())))
