"""What must still be told: saved in one commit with the incident that says so, sent only behind that commit."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pulse_bridge_alerts.notice import Message
from pulse_bridge_alerts.saved import OUT, decode_message, encode_message

logger = logging.getLogger(__name__)


class Deliverer(Protocol):
    """Sends messages in the background; `delivery.py` is one."""

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold what sending needs."""

    def start(self, message: Message) -> None:
        """Begin to send; never blocks, and a message that is being or was sent is not sent again."""

    def withdraw(self) -> None:
        """Stop trying; what is still to be told is given anew."""

    async def settle(self, limit_s: float) -> None:
        """Give what is being sent so many seconds to arrive."""

    def take_finished(self) -> Sequence[str]:
        """Give the ids of messages that were delivered or given up for good since the last call."""
        ...


class Outbox:
    """Messages on their way, in order.

    A message is `put`, stored with `take_changes`, given to the deliverer on `release`, and removed once it is
    finished. A crash between the last two sends it again: at least once.
    """

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._unstored: dict[str, None] = {}
        self._finished: set[str] = set()  # till their removal is stored
        self._removed: set[str] = set()
        self._unreadable: set[str] = set()

    def rebuild(self, saved: Mapping[str, str]) -> None:
        """Begin from what is stored, in order; what this process knows to be finished is not sent again."""
        self._messages = {}
        self._unstored = {}
        self._removed = set()
        for key, text in sorted(saved.items()):  # an id begins with its instant
            if key.startswith(OUT):
                self._restore(key.removeprefix(OUT), text)
        self._finished &= self._messages.keys()

    def _restore(self, identity: str, text: str) -> None:
        try:
            self._messages[identity] = decode_message(identity, text)
        except ValueError as error:
            self._unreadable.add(identity)
            logger.error(  # noqa: TRY400 - the text is at fault, not the code
                "a stored message cannot be read and is lost", extra={"id": identity, "reason": str(error)}
            )

    def store_all(self) -> None:
        """Store everything again: the bus forgot it."""
        self._unstored = dict.fromkeys(self._messages)

    def put(self, messages: Sequence[Message]) -> None:
        """Take messages in, to be stored."""
        for message in messages:
            self._messages[message.id] = message
            self._unstored[message.id] = None

    def finish(self, identities: Sequence[str]) -> None:
        """Note what was delivered or given up."""
        self._finished.update(identities)

    def take_changes(self) -> dict[str, str | None]:
        """Give what must be stored since the last call."""
        changes: dict[str, str | None] = {OUT + id_: encode_message(self._messages[id_]) for id_ in self._unstored}
        self._unstored = {}
        changes |= dict.fromkeys((OUT + identity for identity in self._unreadable), None)
        self._unreadable = set()
        for identity in self._finished & self._messages.keys():
            changes[OUT + identity] = None
            self._removed.add(identity)
            del self._messages[identity]
        return changes

    def __len__(self) -> int:
        """Count what is still to be told."""
        return len(self._messages)

    def release(self, deliverer: Deliverer) -> None:
        """Send what is stored: all that was taken with the changes is."""
        self._finished -= self._removed
        self._removed = set()
        for identity, message in self._messages.items():
            if identity not in self._unstored and identity not in self._finished:
                deliverer.start(message)
