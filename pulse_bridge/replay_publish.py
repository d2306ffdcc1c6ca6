"""Publishes what a replay gives, over losses of the connection."""

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Final, Self

from pulse_bridge.bus import Bus, Publisher, Rejection
from pulse_bridge.bus_url import BusUrl, hide_secret
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import Event
from pulse_bridge.reconnect import Backoff, Progress, keep_connected
from pulse_bridge.relay import batches, first_of

_LIVE_PREFIX: Final = "pulse"
_PREFIXED: Final = ("redis", "rediss", "mqtt", "mqtts")
"""Schemes whose buses hold many fleets beside each other, each under a prefix."""


def require_own_place(to: str, source: str) -> None:
    """Refuse a destination at which a replay would be taken for what is live.

    Args:
        to, source: Bus URLs, or paths of recordings.

    Raises:
        ConfigError: With the remedy.
    """
    prefix = _prefix(to)
    if prefix is None:
        if _file(to) is not None and _file(to) == _file(source):
            raise ConfigError(f"{hide_secret(to)} is what is to be replayed: name another file")
    elif prefix in {_LIVE_PREFIX, _prefix(source)}:
        whose = "what is live" if prefix == _LIVE_PREFIX else "what is to be replayed"
        raise ConfigError(
            f"{hide_secret(to)}: the prefix {prefix!r} belongs to {whose}, and a replay would be taken for it:"
            f" give it one of its own by '{'&' if '?' in to else '?'}prefix=replay', say"
        )


def _prefix(text: str) -> str | None:
    """Give the prefix on a bus; None where there is no such thing."""
    if "://" not in text:
        return None
    url = BusUrl.parse(text)
    return url.options.get("prefix", _LIVE_PREFIX) if url.scheme.partition("+")[0] in _PREFIXED else None


def _file(text: str) -> Path | None:
    """Give the file that a bus is; None of another."""
    if "://" not in text:
        return Path(text).resolve()
    url = BusUrl.parse(text)
    return Path(url.path).resolve() if url.scheme == "journal" else None


class BusSink:
    """Gives a bus what a replay gives, for nobody's presence, so that nothing is retained. To be entered.

    Args:
        shown: The bus for a person, without a secret.
    """

    tick_s: float | None = None

    def __init__(self, bus: Bus, *, shown: str, backoff: Backoff | None = None) -> None:
        self.published = 0
        self.rejections: list[Rejection] = []
        self._bus = bus
        self._progress = Progress(shown)
        self._backoff = backoff or Backoff()
        self._connected = asyncio.Event()
        self._work: asyncio.Queue[tuple[Sequence[Event], asyncio.Future[None]]] = asyncio.Queue()
        self._at_hand: tuple[Sequence[Event], asyncio.Future[None]] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._task = asyncio.create_task(
            keep_connected(lambda: self._bus.publisher(None), self._session, self._progress, self._backoff)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def begin(self, before: Sequence[Event], at_ms: int) -> None:
        """Wait for the connection, so that the time it takes is not lost, and publish what stood before."""
        await self._unless_over(self._connected.wait())
        if before:
            await self.give(before, at_ms)

    async def give(self, events: Sequence[Event], at_ms: int) -> None:  # noqa: ARG002 - the port's signature
        """Return when the bus has them.

        Raises:
            ConfigError: A person must act.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._work.put_nowait((events, done))
        await self._unless_over(done)

    async def tick(self, at_ms: int) -> None:
        """Do nothing: silence is not published."""

    async def finish(self, at_ms: int) -> None:
        """Do nothing: what was given has arrived."""

    async def _unless_over(self, wait: Awaitable[object]) -> None:
        if self._task is None:
            raise RuntimeError("the sink is not entered")
        await first_of(wait, asyncio.shield(self._task))

    async def _session(self, publisher: Publisher) -> None:
        self._progress.made()
        self._connected.set()
        await first_of(publisher.wait_lost(), self._publish(publisher))

    async def _publish(self, publisher: Publisher) -> None:
        while True:
            # What was at hand when a connection was lost is sent again: its ids are the same.
            events, done = self._at_hand = self._at_hand or await self._work.get()
            rejections: list[Rejection] = []
            for part in batches(events, publisher):
                rejections += await publisher.publish(part)
            self.rejections += rejections
            self.published += len(events) - len(rejections)
            self._at_hand = None
            if not done.done():
                done.set_result(None)
