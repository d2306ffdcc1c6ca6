"""Delivers to nobody: says what would be told, for a replay of what is long over."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from pulse_bridge.event import format_time
from pulse_bridge_alerts.notice import Message
from pulse_bridge_alerts.text import compose


class Rehearsal:
    """Takes messages as `delivery.Delivery` does.

    Args:
        say: Takes the text of each, in its own instant's words.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._known: set[str] = set()
        self._finished: list[str] = []

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Hold nothing."""
        yield

    def start(self, message: Message) -> None:
        """Say what would be sent, once."""
        if message.id in self._known:
            return
        self._known.add(message.id)
        self._finished.append(message.id)
        at_ms = max(notice.at_ms for notice in message.notices)
        text = compose(message, at_ms, None)
        lines = [f"{format_time(at_ms)}  would tell {message.target}: {text.title}"]
        lines += [f"    {line}" for line in text.body.splitlines()]
        self._say("\n".join(lines))

    def withdraw(self) -> None:
        """Do nothing: what was said is said."""

    async def settle(self, limit_s: float) -> None:
        """Do nothing: nothing is under way."""

    def take_finished(self) -> Sequence[str]:
        """Give the ids of what was said since the last call."""
        finished, self._finished = self._finished, []
        return finished
