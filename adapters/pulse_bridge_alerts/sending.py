"""The port of whoever sends to one target, and why a sending failed."""

from typing import Final, Protocol

from pulse_bridge_alerts.outgoing import Outgoing

_REQUEST_TIMEOUT: Final = 408
_TOO_MANY_REQUESTS: Final = 429


class SendError(Exception):
    """One sending failed: try again later.

    Args:
        reason: In words, with nothing of the target's URL.
        final: It was refused in a way that time alone will hardly mend: do not go on for long.
        retry_after_s: The sink asks for so much time.
    """

    def __init__(self, reason: str, *, final: bool = False, retry_after_s: float = 0.0) -> None:
        self.reason = reason
        self.final = final
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class Sender(Protocol):
    """Sends to one target; called for one message after the other."""

    async def send(self, outgoing: Outgoing) -> None:
        """Send, within a time limit of its own.

        Raises:
            SendError: It did not arrive, as far as is known.
        """


def refused_with(status: int, *, retry_after_s: float = 0.0) -> SendError:
    """Give the error for an HTTP status that is no success."""
    is_final = 400 <= status < 500 and status not in {_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS}  # noqa: PLR2004 - HTTP's classes
    return SendError(f"it answered HTTP {status}", final=is_final, retry_after_s=retry_after_s)


def overdue(limit_s: float) -> SendError:
    """Give the error for no answer in time."""
    return SendError(f"no answer within {limit_s:g} s")
