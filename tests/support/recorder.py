"""A subscriber that notes what it is asked, and does as a test says."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant
from pulse_bridge.event import JobEvent
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber

Play = Callable[..., Awaitable[Any]]


class Recorder(Subscriber):
    """Notes each call in `calls`: the verb, and what it was given in few words.

    Args:
        plays: Verb to what it does in place of nothing; it is given the verb's first argument.
        saves: What `on_batch` gives back.
    """

    def __init__(self, *, saves: Changes = NOTHING, **plays: Play) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.plays = plays
        self.saves = saves

    async def on_connect(self, saved: Mapping[str, str], at: Instant) -> None:  # noqa: ARG002 - the port's signature
        await self._play("on_connect", dict(saved), saved)

    async def on_disconnect(self, reason: str) -> None:
        await self._play("on_disconnect", reason, reason)

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        shown = [event.job if isinstance(event, JobEvent) else "host" for event in batch.events]
        found = await self._play("snapshot" if batch.snapshot else "on_batch", shown, batch)
        return self.saves if found is None else found

    async def on_tick(self, at: Instant) -> Changes:
        found = await self._play("on_tick", None, at)
        return NOTHING if found is None else found

    async def on_commit(self) -> None:
        await self._play("on_commit", None)

    async def on_stop(self, at: Instant) -> Changes:
        found = await self._play("on_stop", None, at)
        return NOTHING if found is None else found

    async def _play(self, verb: str, shown: object, *arguments: object) -> Any:
        self.calls.append((verb, shown))
        play = self.plays.get(verb)
        return await play(*arguments) if play else None

    def given(self, verb: str) -> list[Any]:
        """Give what each call of a verb was given."""
        return [shown for name, shown in self.calls if name == verb]
