"""What the rules say and the targets are told: plain values with a JSON form, for they are saved until told."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pulse_bridge_alerts.policy import Rule

Phase = Literal["open", "close", "flapping", "reminder"]


class Notice(NamedTuple):
    """One thing to be told of one incident.

    Args:
        incident: The incident's id: the same for its opening, its closing and every repetition.
        job: None where the host itself is meant.
        since_ms: Unix milliseconds at which the incident began, also on its closing.
        at_ms: Unix milliseconds at which this was found: what is told is so from then on.
        detail: What happened, in words without a full stop, e.g. `no sign of life for 65 s`.
        event: The job's newest event in its JSON form, for last epoch, loss, message and labels; None for a host.
    """

    incident: str
    phase: Phase
    rule: Rule
    host: str
    job: str | None
    since_ms: int
    at_ms: int
    detail: str
    event: str | None


class Message(NamedTuple):
    """What one target of one route is told at once: notices of one rule and one phase.

    Args:
        id: Unique, and the same over restarts and replicas: a sink that sees it twice may drop the second.
        target: The target's name.
        more: So many further notices are meant but not listed, to keep the message bounded.
    """

    id: str
    target: str
    notices: Sequence[Notice]
    more: int = 0
