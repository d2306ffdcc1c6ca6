"""Which past events a replay gives: what stood when the range began, then the range."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from pulse_bridge.bus import Bus, Query
from pulse_bridge.event import Event, JobEvent

JobKey = tuple[str, str]

BREATH_EVENTS: Final = 200


@dataclass(frozen=True)
class Selection:
    """What is asked for.

    Args:
        query: Its runs are those asked for by number.
        last_run: Of each job the newest run within the query, too.
    """

    query: Query
    last_run: bool = False

    @property
    def wide(self) -> Query:
        """What must be read to find it: a last run is known only at the end."""
        return replace(self.query, runs=(), limit=None) if self.last_run else self.query

    def takes(self, event: Event, newest: Mapping[JobKey, int]) -> bool:
        """Say whether an event that `wide` gave is meant.

        Args:
            newest: Job to its newest run.
        """
        if not self.last_run:
            return True
        if not isinstance(event, JobEvent):
            return False
        # A newer one than is known has begun since.
        return event.run in self.query.runs or event.run >= newest.get((event.host, event.job), event.run)


@dataclass
class Survey:
    """What a first reading found.

    Args:
        before: The state of each job as the range begins, in the order in which they were seen.
        first_ms, last_ms: Unix milliseconds of the first and the last event; None where there is none.
        kinds: Kind to the number of its events, `before` left out.
        newest: Job to its newest run.
    """

    before: list[JobEvent] = field(default_factory=list)
    first_ms: int | None = None
    last_ms: int | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    jobs: set[JobKey] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    newest: dict[JobKey, int] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """The number of events in the range."""
        return self.kinds.total()

    def count(self, event: Event) -> None:
        """Take an event of the range in."""
        self.kinds[event.kind] += 1
        self.hosts.add(event.host)
        if isinstance(event, JobEvent):
            self.jobs.add((event.host, event.job))
        ms = event.observed_ms
        self.first_ms = ms if self.first_ms is None else min(self.first_ms, ms)
        self.last_ms = ms if self.last_ms is None else max(self.last_ms, ms)


async def survey(bus: Bus, selection: Selection, *, count: bool) -> Survey:
    """Read what must be known before the first event is given.

    Args:
        count: Read the whole range, too, though nothing else asks for it.

    Raises:
        HistoryUnsupportedError: The bus keeps no past.
        BusUnavailableError: It cannot be read now.
    """
    found = Survey()
    if selection.last_run:
        async with reading(bus, selection.wide) as events:
            async for event in events:
                if isinstance(event, JobEvent):
                    key = (event.host, event.job)
                    found.newest[key] = max(event.run, found.newest.get(key, event.run))
    if selection.query.since_ms is not None:
        found.before = await _state_before(bus, selection, found.newest)
    if count:
        async for event in select(bus, selection, found):
            found.count(event)
    return found


async def _state_before(bus: Bus, selection: Selection, newest: Mapping[JobKey, int]) -> list[JobEvent]:
    """Give the newest event before the range of each job that is meant, whatever its kind."""
    query = selection.query
    earlier = replace(selection.wide, since_ms=None, until_ms=query.since_ms, kinds=(), limit=None, runs=())
    last: dict[JobKey, JobEvent] = {}
    async with reading(bus, earlier) as events:
        async for event in events:
            if isinstance(event, JobEvent):
                last[event.host, event.job] = event
    meant = [
        event
        for event in last.values()
        if selection.takes(event, newest) and (selection.last_run or not query.runs or event.run in query.runs)
    ]
    return sorted(meant, key=lambda event: event.observed_ms)


async def select(bus: Bus, selection: Selection, known: Survey) -> AsyncGenerator[Event]:
    """Yield the range in the order of the bus.

    Args:
        known: From `survey`.
    """
    given = 0
    async with reading(bus, selection.wide) as events:
        async for event in events:
            if selection.takes(event, known.newest):
                yield event
                given += 1
                if given == selection.query.limit:
                    return


@asynccontextmanager
async def reading(bus: Bus, query: Query) -> AsyncIterator[AsyncIterator[Event]]:
    """Hold a reading of a bus's past, which ends with the block however that is left."""
    found = bus.history(query)
    events = _breathing(found)
    try:
        yield events
    finally:
        await events.aclose()
        close = getattr(found, "aclose", None)
        if close is not None:
            await close()


async def _breathing(events: AsyncIterator[Event]) -> AsyncGenerator[Event]:
    """Let others have their turn: a file is read without a pause, and Ctrl-C must be heard meanwhile."""
    count = 0
    async for event in events:
        yield event
        count += 1
        if count % BREATH_EVENTS == 0:
            await asyncio.sleep(0)
