"""Keeps what a target could not be told, in a file.

One line for each notice: the job's event, which `pulse-bridge replay` reads, and beside its fields those of the
alert. A host's own notice has no event; `replay` passes over its line and says so.
"""

import json
import logging
from pathlib import Path
from typing import Any

from pulse_bridge.event import format_time, to_fields
from pulse_bridge_alerts.notice import Message, Notice
from pulse_bridge_alerts.text import event_of

logger = logging.getLogger(__name__)


class Undelivered:
    """Dead letters of alerts.

    Args:
        path: The file; made with the first letter.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, message: Message, reason: str) -> None:
        """Append a message.

        Args:
            reason: Without a secret.
        """
        lines = [json.dumps(_fields(message, notice, reason), ensure_ascii=False) for notice in message.notices]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                file.write("".join(line + "\n" for line in lines))
        except OSError as error:
            logger.error(  # noqa: TRY400 - a full disk is no place for a traceback
                "the undelivered alert cannot be kept", extra={"path": str(self.path), "reason": str(error)}
            )


def _fields(message: Message, notice: Notice, reason: str) -> dict[str, Any]:
    event = event_of(notice)
    return {
        **(to_fields(event) if event else {"host": notice.host, "job": notice.job}),
        "rejected_by": message.target,
        "reason": reason,
        "alert": message.id,
        "incident": notice.incident,
        "rule": notice.rule,
        "phase": notice.phase,
        "since": format_time(notice.since_ms),
        "at": format_time(notice.at_ms),
        "detail": notice.detail,
    }
