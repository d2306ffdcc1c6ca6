"""Keeps the libraries that send from logging URLs, and listens to what Apprise would say.

Apprise, requests and httpx log addresses, and with chat services an address is the secret. Apprise's `notify`
gives nothing but a bool: why it failed stands only in its log.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from pulse_bridge_alerts.sending import SendError, refused_with

_APPRISE: Final = "apprise"
_TALKATIVE: Final = (
    "httpx",
    "httpcore",
    "urllib3",
    "requests",
    "gntp",
    "slixmpp",
    "smpplib",
    "charset_normalizer",
)
_STATUS: Final = re.compile(r"\berror=(\d{3})\b")
_UNREACHABLE: Final = re.compile(
    r"connection error|socket error|unable to connect|could not connect", re.IGNORECASE
)

_said: ContextVar[list[str] | None] = ContextVar("said", default=None)


class _Listener(logging.Handler):
    """Hands each line to whoever listens in this thread, and to nobody else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line in."""
        said = _said.get()
        if said is not None:
            said.append(record.getMessage())


def silence_libraries() -> None:
    """Let nothing of theirs come to our log; safe to repeat."""
    apprise = logging.getLogger(_APPRISE)
    apprise.propagate = False
    apprise.setLevel(logging.WARNING)
    if not any(isinstance(handler, _Listener) for handler in apprise.handlers):
        apprise.addHandler(_Listener())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what Apprise says in this thread. None of it may be shown as it is."""
    said: list[str] = []
    token = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(token)


def failure_from(said: list[str]) -> SendError:
    """Make an error of what is surely no secret in Apprise's words: a status, or that nobody was there."""
    text = "\n".join(said)
    status = _STATUS.search(text)
    if status is not None:
        return refused_with(int(status[1]))
    return SendError("it cannot be reached" if _UNREACHABLE.search(text) else "the service did not take it")
