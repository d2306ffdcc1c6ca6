"""A bus in memory to read from, that is lost, refuses and forgets as a test says."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pulse_bridge.bus import Batch, Consumer, Presence, Publisher, Query
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import Event


class ScriptedSource:
    """Gives each `put` as a batch, behind a snapshot of what was there before.

    `given` counts the batches that were yielded, over all consumers.
    """

    name = "scripted"

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.cursors: dict[str, int] = {}
        self.saved: dict[str, dict[str, str]] = {}
        self.groups: list[str | None] = []
        self.commits: list[dict[str, str | None]] = []
        self.connect_errors: list[Exception] = []
        self.commit_errors: list[Exception] = []
        self.given = 0
        self.open = 0
        self._changed = asyncio.Event()
        self._lost: dict[_ScriptedConsumer, BusUnavailableError] = {}
        self._consumers: list[_ScriptedConsumer] = []

    def put(self, *events: Event, lost: int = 0) -> None:
        """Add a batch."""
        self.batches.append(Batch(events, snapshot=False, lost=lost))
        self._changed.set()

    def lose(self, reason: str) -> None:
        """Lose every connection."""
        self._lost = {consumer: BusUnavailableError(reason) for consumer in self._consumers}
        self._changed.set()

    @asynccontextmanager
    async def consumer(self, group: str | None) -> AsyncIterator[Consumer]:
        self.groups.append(group)
        if self.connect_errors:
            raise self.connect_errors.pop(0)
        consumer = _ScriptedConsumer(self, group)
        self._consumers.append(consumer)
        self.open += 1
        try:
            yield consumer
        finally:
            self.open -= 1
            self._consumers.remove(consumer)

    def publisher(self, presence: Presence | None) -> AbstractAsyncContextManager[Publisher]:
        raise NotImplementedError

    def history(self, query: Query) -> AsyncIterator[Event]:
        raise NotImplementedError


class _ScriptedConsumer:
    """One connection."""

    def __init__(self, source: ScriptedSource, group: str | None) -> None:
        self.saved: Mapping[str, str] = dict(source.saved.get(group or "", {}))
        self._source = source
        self._group = group
        self._position = source.cursors.get(group or "", -1)

    async def batches(self) -> AsyncIterator[Batch]:
        source = self._source
        if self._position < 0:
            self._position = len(source.batches)
            source.given += 1
            yield Batch([event for batch in source.batches for event in batch.events], snapshot=True)
        while True:
            if self in source._lost:
                raise source._lost.pop(self)
            if self._position < len(source.batches):
                self._position += 1
                source.given += 1
                yield source.batches[self._position - 1]
            else:
                source._changed.clear()
                await source._changed.wait()

    async def commit(self, changes: Mapping[str, str | None] = {}) -> None:
        source = self._source
        if source.commit_errors:
            raise source.commit_errors.pop(0)
        source.commits.append(dict(changes))
        if self._group is None:
            return
        source.cursors[self._group] = self._position
        saved = source.saved.setdefault(self._group, {})
        for name, value in changes.items():
            if value is None:
                saved.pop(name, None)
            else:
                saved[name] = value
