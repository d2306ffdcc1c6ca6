"""The past of a job, from the bus, bounded in events, in time, and in how many ask at once.

The journal and a recording are read without a pause, which on the event loop would hold up everybody. So a bus is
read by a thread, on an event loop of its own. Who asks the same while it is read gets the same answer: a link in a
chat is opened by many at once.
"""

import asyncio
import glob
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from pulse_bridge.bus import Bus, Query
from pulse_bridge.errors import BusError, ConfigError, HistoryUnsupportedError
from pulse_bridge.event import JobEvent
from pulse_bridge.threads import run_in_daemon_thread

LIMIT: Final = 5000
MOST: Final = 20_000
MOST_CHARACTERS: Final = 4 * 1024 * 1024
"""The messages and labels of an answer are no longer, together: a message may have 4 KiB."""

READ_S: Final = 15.0
"""A bus that takes longer to be read is read no further."""

_READERS: Final = 2
_PATIENCE_S: Final = 30.0
_CHANGES: Final = ("change", "stale", "recovered", "gone")


class Past(NamedTuple):
    """What was found.

    Args:
        events: Oldest first.
        complete: These are all that the bus has of what was asked for.
        reason: If not, why, in words.
        kept: False where there is no past to ask for, now or later.
    """

    events: Sequence[JobEvent]
    complete: bool
    reason: str | None
    kept: bool = True


class _Shared:
    """A reading that is at work.

    Args:
        readers: So many wait for it.
    """

    def __init__(self, reading: "asyncio.Task[Past]") -> None:
        self.reading = reading
        self.readers = 0


class BusyError(Exception):
    """Too many ask for the past at once; ask again later."""


class History:
    """Reads the past.

    Args:
        read_s: So long a reading may take.
        clock: Gives monotonic seconds.
    """

    def __init__(self, *, read_s: float = READ_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.bus: Bus | None = None
        self._read_s = read_s
        self._clock = clock
        self._turns = asyncio.Semaphore(_READERS)
        self._shared: dict[tuple[Query, int], _Shared] = {}

    async def job(
        self,
        host: str,
        job: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        run: int | None = None,
        limit: int = LIMIT,
        heartbeats: bool = False,
    ) -> Past:
        """Give the newest events of a job in a range.

        Args:
            since_ms: Unix milliseconds of `observed_at`, included.
            until_ms: Unix milliseconds of `observed_at`, not included.
            limit: At most so many, the last of the range.

        Raises:
            BusyError: Ask again later.
        """
        query = Query(
            since_ms=since_ms,
            until_ms=until_ms,
            hosts=(glob.escape(host),),
            jobs=(glob.escape(job),),
            kinds=(*_CHANGES, "heartbeat") if heartbeats else _CHANGES,
            runs=() if run is None else (run,),
        )
        return await self._read(query, limit)

    async def recent(self, since_ms: int, limit: int) -> Past:
        """Give the newest changes of all jobs."""
        return await self._read(Query(since_ms=since_ms, kinds=_CHANGES), limit)

    async def _read(self, query: Query, limit: int) -> Past:
        shared = self._shared.get((query, limit))
        if shared is None:
            shared = _Shared(asyncio.create_task(self._read_alone(query, limit)))
            self._shared[query, limit] = shared
            shared.reading.add_done_callback(lambda _: self._forget(query, limit, shared))
        shared.readers += 1
        try:
            return await asyncio.shield(shared.reading)
        finally:
            shared.readers -= 1
            if not shared.readers:
                self._forget(query, limit, shared)  # at once: who asks from now on must not find its end
                shared.reading.cancel()

    def _forget(self, query: Query, limit: int, shared: _Shared) -> None:
        if self._shared.get((query, limit)) is shared:
            del self._shared[query, limit]

    async def _read_alone(self, query: Query, limit: int) -> Past:
        bus = self.bus
        if bus is None:
            return Past((), complete=False, reason="no bus is known here to ask for the past", kept=False)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._turns.acquire()
        except TimeoutError:
            raise BusyError("others read the past; ask again in a moment") from None
        reading = _Reading(bus, query, limit, self._clock, self._clock() + self._read_s)
        past = asyncio.ensure_future(run_in_daemon_thread(reading.run))
        # A thread that hangs keeps its turn: else every further question would start another one.
        past.add_done_callback(self._end_turn)
        try:
            async with asyncio.timeout(self._read_s * 1.5):
                return await asyncio.shield(past)
        except TimeoutError:
            return Past((), complete=False, reason="the bus does not answer in time")
        finally:
            reading.give_up()

    def _end_turn(self, past: "asyncio.Future[Past]") -> None:
        self._turns.release()
        if not past.cancelled():
            past.exception()  # where nobody waits any more, nobody else would ask for it


_UNREAD: Final = Past((), complete=False, reason="nobody waits for it any more")


class _Reading:
    """One reading of a bus to the end of the range, in a thread.

    Args:
        end_s: When it ends at the latest, on `clock`.
    """

    def __init__(self, bus: Bus, query: Query, limit: int, clock: Callable[[], float], end_s: float) -> None:
        self._given_up = threading.Event()
        self._wake: Callable[[], object] | None = None
        self._bus = bus
        self._query = query
        self._limit = limit
        self._clock = clock
        self._end_s = end_s

    def give_up(self) -> None:
        """End it soon, from another thread: nobody waits any more."""
        self._given_up.set()
        wake = self._wake
        if wake is not None:
            with suppress(RuntimeError):  # it is over, and its loop closed
                wake()

    def run(self) -> Past:
        """Read, and say what cannot be read."""
        try:
            return asyncio.run(self._read())
        except HistoryUnsupportedError as error:
            return Past((), complete=False, reason=str(error), kept=False)
        except (BusError, ConfigError) as error:
            return Past((), complete=False, reason=f"the past cannot be read now: {error}")
        except asyncio.CancelledError:
            return _UNREAD

    async def _read(self) -> Past:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if task is not None:
            # Where the bus gives nothing for long, nobody would look whether to give up.
            self._wake = lambda: loop.call_soon_threadsafe(task.cancel)
        if self._given_up.is_set():
            return _UNREAD
        found = _Newest(self._limit)
        reason = None
        events = self._bus.history(self._query)
        try:
            async for event in events:
                if isinstance(event, JobEvent):
                    found.add(event)
                if self._given_up.is_set() or self._clock() > self._end_s:
                    reason = "the past is long and was not read to its end: ask for less with since= and until="
                    break
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        reason = reason or found.shortage
        return Past(tuple(found.events), complete=reason is None, reason=reason)


class _Newest:
    """The newest events of a reading: so many, and so much text.

    Args:
        limit: At most so many.
    """

    def __init__(self, limit: int) -> None:
        self.events: deque[JobEvent] = deque()
        self.shortage: str | None = None
        self._limit = limit
        self._characters = 0

    def add(self, event: JobEvent) -> None:
        """Take one in, and leave out the oldest where there is no room."""
        self.events.append(event)
        self._characters += _characters_of(event)
        if len(self.events) > self._limit:
            self._leave_out("ask for those before with until=, or for more with limit=")
        while self._characters > MOST_CHARACTERS:
            self._leave_out("their texts are long; ask for those before with until=")

    def _leave_out(self, advice: str) -> None:
        self._characters -= _characters_of(self.events.popleft())
        self.shortage = f"only the last {len(self.events)} events: {advice}"


def _characters_of(event: JobEvent) -> int:
    labels = sum(len(name) + len(value) for name, value in event.labels.items())
    return len(event.message) + labels
