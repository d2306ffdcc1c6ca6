"""A text of the user's own in place of ours: the file's first line is the title, the rest the body.

`string.Template`, because `str.format` would let a template reach into the program's objects.
"""

from datetime import tzinfo
from pathlib import Path
from string import Template
from typing import Final, Protocol

from pulse_bridge.errors import ConfigError
from pulse_bridge_alerts import text as words
from pulse_bridge_alerts.notice import Message
from pulse_bridge_alerts.text import Text, compose, defuse, event_of

FIELDS: Final = {
    "title": "our own title",
    "body": "our own text",
    "rule": "the rule, e.g. `stale`",
    "phase": "`open`, `close`, `flapping` or `reminder`",
    "what": "what happened, in a few words",
    "detail": "what happened, exactly",
    "subject": "the job and its host, or how many of them",
    "count": "how many jobs or hosts are meant",
    "job": "the job's name",
    "host": "the host's name",
    "since": "when it began, and how long ago",
    "epoch": "e.g. `1.5 of 3`",
    "loss": "the last loss",
    "message": "the last message",
    "labels": "the labels, e.g. `profile=small`",
    "incident": "the incident's id",
}
"""Every placeholder, and what it stands for. Where several jobs are meant, those of a single job are empty."""


class Composer(Protocol):
    """Words a message."""

    def __call__(self, message: Message, now_ms: int, zone: tzinfo | None = None) -> Text:
        """Give the text; see `text.compose`."""
        ...


def read_template(path: Path, place: str) -> Composer:
    """Read a template and check it.

    Args:
        place: Where it is named, for a refusal.

    Raises:
        ConfigError: The file cannot be read, has no title, or a placeholder is unknown.
    """
    try:
        source = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: the file {path} is no UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{place}: the file {path} cannot be read: {error.strerror}") from None
    title, _, body = source.partition("\n")
    if not title.strip() or not body.strip():
        raise ConfigError(f"{place}: {path} needs a title in its first line and a text below it")
    for part in (title, body):
        _check(Template(part), f"{place}: {path}")
    return _TemplateComposer(Template(title.strip()), Template(body.strip("\n")))


def _check(template: Template, place: str) -> None:
    if not template.is_valid():
        raise ConfigError(f"{place}: a '$' begins no placeholder; write '$$' for the sign itself")
    for name in template.get_identifiers():
        if name not in FIELDS:
            raise ConfigError(f"{place}: there is no placeholder ${name}; known are: {', '.join(FIELDS)}")


class _TemplateComposer:
    def __init__(self, title: Template, body: Template) -> None:
        self._title = title
        self._body = body

    def __call__(self, message: Message, now_ms: int, zone: tzinfo | None = None) -> Text:
        """Fill the template in."""
        fields = _fields(message, now_ms, zone)
        return Text(self._title.substitute(fields), self._body.substitute(fields)[: words.MAX_BODY_CHARS])


def _fields(message: Message, now_ms: int, zone: tzinfo | None) -> dict[str, str]:
    first = message.notices[0]
    ours = compose(message, now_ms, zone)
    fields = dict.fromkeys(FIELDS, "")
    fields |= {
        "title": ours.title,
        "body": ours.body,
        "rule": first.rule,
        "phase": first.phase,
        "what": words.what(first),
        "subject": words.subject(message),
        "count": str(words.count(message)),
    }
    if words.count(message) > 1:
        return fields
    fields |= {
        "detail": defuse(first.detail),
        "job": defuse(first.job or ""),
        "host": defuse(first.host),
        "since": words.since(first, now_ms, zone),
        "incident": defuse(first.incident),
    }
    event = event_of(first)
    if event is not None:
        fields |= {
            "epoch": words.epoch(event),
            "loss": words.loss(event),
            "message": defuse(event.message),
            "labels": words.labels(event),
        }
    return fields
