"""The ports: what a bus is to the rest of the program, and how one is opened.

A connection is a context manager: to reconnect is to enter again, so no half-connected object exists. The
journal, Redis, MQTT and a JSON-lines file are all buses; `relay.py` has the only loop that reconnects.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple, NoReturn, Protocol, runtime_checkable

from pulse_bridge.bus_url import BusUrl, hide_secret
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import Event, EventId, HostEvent
from pulse_bridge.plugins import BUSES, load_plugin


@dataclass(frozen=True)
class Presence:
    """On whose behalf a publisher speaks. Without one (a replay) nothing is retained and nobody is announced.

    Args:
        host: The host whose sidecar this is: a will, `online` and `offline`, and the host's key are its.
            None for a relay, which keeps state for later viewers but is no host's sidecar.
        owner: Random for each start; tells two sidecars under one host name apart.
        held: This owner has had the name on this bus before: a foreign owner found there is a newer sidecar.
    """

    host: str | None
    owner: str
    held: bool = False


class Rejection(NamedTuple):
    """An event that the bus can never take, and why in words."""

    event: Event
    reason: str


class Batch(NamedTuple):
    """Events in the order of the bus.

    Args:
        snapshot: They are the newest of each job and host: what is so. Given first where there is no cursor, and
            again after a loss.
        lost: So many events the bus gave up before this reader came to them. A snapshot follows, or this is one.
    """

    events: Sequence[Event]
    snapshot: bool
    lost: int = 0


@dataclass(frozen=True)
class Query:
    """Which past events are asked for; an empty sequence asks for all.

    Args:
        since_ms: Unix milliseconds of `observed_at`, included.
        until_ms: Unix milliseconds of `observed_at`, not included.
        jobs: Globs over job names, case-sensitive.
        hosts: Globs over host names.
        limit: At most so many events, the first of the range.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    jobs: Sequence[str] = ()
    hosts: Sequence[str] = ()
    kinds: Sequence[str] = ()
    runs: Sequence[int] = ()
    limit: int | None = None

    def matches(self, event: Event) -> bool:
        """Say whether the event is asked for, `limit` apart."""
        in_range = (self.since_ms is None or event.observed_ms >= self.since_ms) and (
            self.until_ms is None or event.observed_ms < self.until_ms
        )
        return (
            in_range
            and (not self.kinds or event.kind in self.kinds)
            and (not self.hosts or _matches_any(event.host, self.hosts))
            and self._matches_job(event)
        )

    def _matches_job(self, event: Event) -> bool:
        if isinstance(event, HostEvent):
            return not self.jobs and not self.runs
        return (not self.jobs or _matches_any(event.job, self.jobs)) and (not self.runs or event.run in self.runs)


def _matches_any(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


class Publisher(Protocol):
    """One connection to publish on. All its verbs raise `BusUnavailableError` when it is lost: enter anew."""

    max_batch_events: int
    """The most events that one `publish` should carry."""

    async def resume(self, acked: EventId | None) -> EventId | None:
        """Say from where to go on.

        Args:
            acked: The last event that this bus has acknowledged to us, or None.

        Returns:
            The last position that the bus vouches for, never after `acked`; `acked` itself from a bus that
            cannot tell; None from a bus that knows nothing of this producer.
        """

    def publish(self, events: Sequence[Event]) -> Awaitable[Sequence[Rejection]]:
        """Send events in order. The sending is done in the call, so that nothing waits for a turn of the loop.

        Safe to repeat: an event that the bus already has is not added again, where the bus can tell. Calls
        may overlap; their results come in order.

        Returns:
            Once the bus has them all: those that it can never take.

        Raises:
            BusUnavailableError: On awaiting; which of them arrived is not known, so repeat all.
            HostTakenError: On awaiting; leave this destination.
        """

    async def wait_lost(self) -> NoReturn:
        """Wait until the connection is lost.

        Raises:
            BusUnavailableError: It is; connect anew.
            HostTakenError: A newer sidecar has the name; leave this destination.
        """


class Consumer(Protocol):
    """One connection to read from."""

    saved: Mapping[str, str]
    """What the last commit of this group stored."""

    def batches(self) -> AsyncIterator[Batch]:
        """Yield events as they come, a snapshot first where there is no cursor. Each event once.

        May be empty batches: they say that the bus answers. The next batch may be read ahead while the last one
        is at work, within bounds.

        Raises:
            BusUnavailableError: The connection is lost; enter anew and go on from the last commit.
        """

    async def commit(self, changes: Mapping[str, str | None] = {}) -> None:
        """Store the cursor behind the last yielded batch and the changed state, atomically.

        Args:
            changes: Values to store; None removes one.
        """


@runtime_checkable
class Bus(Protocol):
    """A place that events are published to, read from, or both."""

    name: str
    """Short and stable, fit for a field name: the scheme, as a rule. Shown in `lag_<name>`."""

    def publisher(self, presence: Presence | None) -> AbstractAsyncContextManager[Publisher]:
        """Connect to publish.

        Raises:
            BusUnavailableError: On entering; try again later.
            HostTakenError: On entering; leave this destination.
            ConfigError: On entering; a person must act.
        """

    def consumer(self, group: str | None) -> AbstractAsyncContextManager[Consumer]:
        """Connect to read. None keeps no cursor; a name keeps one, held by one consumer at a time.

        Raises:
            BusUnavailableError: On entering; try again later.
        """

    def history(self, query: Query) -> AsyncIterator[Event]:
        """Yield past events in the order of the bus.

        Raises:
            HistoryUnsupportedError: The bus keeps none.
            BusUnavailableError: It cannot be read now.
        """


def open_bus(text: str) -> Bus:
    """Make the bus that a URL, or the path of a `.jsonl` file, names. Nothing is connected yet.

    Raises:
        ConfigError: No such bus, or its options are wrong; the sentence has no secret in it.
    """
    if "://" not in text:
        if not text.endswith(".jsonl"):
            raise ConfigError(
                f"{hide_secret(text)!r} is neither a bus URL (redis://HOST, mqtt://HOST, journal:///PATH)"
                " nor a .jsonl file"
            )
        return _make("jsonl", BusUrl(scheme="jsonl", path=text))
    url = BusUrl.parse(text)
    return _make(url.scheme, url)


def _make(scheme: str, url: BusUrl) -> Bus:
    factory = load_plugin(BUSES, scheme, shown=hide_secret(str(url)))
    bus = factory(url)
    if not isinstance(bus, Bus):
        raise ConfigError(f"the plugin for {scheme}:// made no bus but a {type(bus).__name__}")
    return bus
