"""When a replay gives what, and at which times a viewer is told that it was; pure, but for the one wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from pulse_bridge.event import Event, EventId, HostEvent

LATE_S: Final = 0.001
"""What is due within this is given at once: a timer is no finer."""

Sleep = Callable[[float], Awaitable[None]]


class Pace:
    """The way from instants of the past to instants of this replay.

    Each instant is counted from the beginning, so that what is late once makes nothing behind it late.

    Args:
        speed: So many seconds of the past pass in one; None for as fast as it goes.
        max_gap_s: No wait between two events is longer, in seconds of the replay; None for any.
        clock: Gives monotonic seconds.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        speed: float | None,
        *,
        max_gap_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.speed = speed
        self._max_gap_s = max_gap_s
        self._clock = clock
        self._sleep = sleep
        self._from_ms: float | None = None
        self._from_s = 0.0

    def begin(self, from_ms: int) -> None:
        """Let an instant of the past be now.

        Args:
            from_ms: Unix milliseconds.
        """
        self._from_ms = from_ms
        self._from_s = self._clock()

    def shorten(self, before_ms: float, next_ms: float) -> float:
        """Leave out of a gap between two events what is too much; called once for each.

        Returns:
            Milliseconds of the past that are left out; they are due at once.
        """
        if self.speed is None or self._max_gap_s is None or self._from_ms is None:
            return 0.0
        left_out_ms = max(0.0, next_ms - before_ms - self._max_gap_s * 1000 * self.speed)
        self._from_ms += left_out_ms
        return left_out_ms

    def wait_s(self, instant_ms: float) -> float:
        """Give the seconds until an instant of the past is due; 0 for one that is."""
        if self.speed is None or self._from_ms is None:
            return 0.0
        due_s = self._from_s + (instant_ms - self._from_ms) / 1000 / self.speed
        wait_s = due_s - self._clock()
        return wait_s if wait_s > LATE_S else 0.0

    async def wait(self, instant_ms: float) -> None:
        """Wait until an instant of the past is due."""
        wait_s = self.wait_s(instant_ms)
        if wait_s:
            await self._sleep(wait_s)


class Renumber:
    """Makes events a replay's own: another producer, the original id beside it, and times moved if asked for.

    A run keeps one moved number, and two runs of a job never get the same one, however fast they pass.

    Args:
        producer: Random for each replay.
        speed: As of the pace, to move times by; None leaves them.
    """

    def __init__(self, producer: str, *, speed: float | None = None) -> None:
        self._producer = producer
        self._speed = speed
        self._seq = 0
        self._from_ms = 0.0
        self._to_ms = 0
        self._newest_told_ms = 0
        self._runs: dict[tuple[str, str, int], int] = {}
        self._last_run: dict[tuple[str, str], int] = {}

    def begin(self, from_ms: int, to_ms: int) -> None:
        """Let an instant of the past be told as another one, both in Unix milliseconds."""
        self._from_ms, self._to_ms = from_ms, to_ms
        self._runs.clear()

    def shorten(self, left_out_ms: float) -> None:
        """Tell no time of what the pace leaves out."""
        self._from_ms += left_out_ms

    def told_ms(self, instant_ms: int) -> int:
        """Give the instant, in Unix milliseconds, as this replay tells it; it never goes back."""
        if self._speed is None:
            return instant_ms
        self._newest_told_ms = max(self._newest_told_ms, self._moved_ms(instant_ms))
        return self._newest_told_ms

    def __call__(self, event: Event) -> Event:
        """Give the event as this replay tells it. What is itself a replay keeps the id that it came with."""
        self._seq += 1
        origin = event.replay_of or event.id
        own = event._replace(id=EventId(self._producer, self._seq), replay_of=origin)
        return own if self._speed is None else self._move(own)

    def _move(self, event: Event) -> Event:
        observed_ms = self._moved_ms(event.observed_ms)
        seen_ms = event.observed_ms if event.replay_observed_ms is None else event.replay_observed_ms
        if isinstance(event, HostEvent):
            return event._replace(observed_ms=observed_ms, replay_observed_ms=seen_ms)
        return event._replace(
            observed_ms=observed_ms,
            replay_observed_ms=seen_ms,
            timestamp=max(0, self._moved_ms(event.timestamp * 1000) // 1000),
            run=self._moved_run(event.host, event.job, event.run),
        )

    def _moved_ms(self, instant_ms: int) -> int:
        return self._to_ms + round((instant_ms - self._from_ms) / (self._speed or 1))

    def _moved_run(self, host: str, job: str, run: int) -> int:
        moved = self._runs.get((host, job, run))
        if moved is None:
            # As the sidecar numbers runs: `pulse-v1.md`, "Runs".
            moved = max(self._last_run.get((host, job), 0) + 1, self._moved_ms(run * 1000) // 1000)
            self._runs[host, job, run] = self._last_run[host, job] = moved
        return moved
