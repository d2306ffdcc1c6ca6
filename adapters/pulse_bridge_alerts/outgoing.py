"""What one target is sent: the text for people, and the JSON that a webhook takes; pure."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from pulse_bridge.event import format_time
from pulse_bridge_alerts.notice import Message, Notice
from pulse_bridge_alerts.text import Text, event_of

SCHEMA: Final = "pulse-bridge.alert/1"
Severity = Literal["failure", "warning", "success", "info"]


class Outgoing(NamedTuple):
    """A message as it is sent.

    Args:
        id: The message's; a sink that sees it twice may drop the second.
        severity: Apprise's word, which many services show as a colour or picture.
        payload: The webhook's JSON.
    """

    id: str
    severity: Severity
    title: str
    body: str
    payload: Mapping[str, Any]


def make_outgoing(message: Message, text: Text) -> Outgoing:
    """Give what is sent for a message."""
    first = message.notices[0]
    return Outgoing(
        message.id,
        _severity(first),
        text.title,
        text.body,
        {
            "schema": SCHEMA,
            "id": message.id,
            "target": message.target,
            "rule": first.rule,
            "phase": first.phase,
            "title": text.title,
            "body": text.body,
            "incidents": [_incident(notice) for notice in message.notices],
            "more": message.more,
        },
    )


def make_test(message_id: str, target: str) -> Outgoing:
    """Give a message that nobody can take for an alert."""
    title = "TEST pulse-bridge: this is a test"
    body = f"Alerts for the target {target} arrive here. Nothing happened, and nothing needs to be done."
    payload = {"schema": SCHEMA, "id": message_id, "target": target, "rule": "test", "phase": "test"}
    payload |= {"title": title, "body": body}
    return Outgoing(message_id, "info", title, body, {**payload, "incidents": [], "more": 0})


def _severity(notice: Notice) -> Severity:
    if notice.phase == "close" or notice.rule == "done":
        return "success"
    return "failure" if notice.phase == "open" else "warning"


def _incident(notice: Notice) -> dict[str, Any]:
    event = event_of(notice)
    incident: dict[str, Any] = {
        "incident": notice.incident,
        "host": notice.host,
        "job": notice.job,
        "since": format_time(notice.since_ms),
        "at": format_time(notice.at_ms),
        "detail": notice.detail,
    }
    fields = ("run", "state", "epoch", "total_epochs", "progress", "loss", "diverged", "message")
    incident |= {name: getattr(event, name) if event else None for name in fields}
    return {**incident, "labels": dict(event.labels) if event else {}}
