"""The sidecar: one task group that joins watch, track, journal, and a relay for each destination.

What the watcher reads goes through the trackers into the journal and on to the destinations in one callback.
"""

import asyncio
import contextlib
import gc
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pulse_bridge import __version__
from pulse_bridge.bus import Bus, Presence, open_bus
from pulse_bridge.bus_url import BusUrl, hide_secret
from pulse_bridge.clock import Instant, read_clocks
from pulse_bridge.config import SidecarSettings
from pulse_bridge.errors import ConfigError, PulseBridgeError
from pulse_bridge.event import DROP_REASONS, UNNUMBERED, EventId, HostEvent
from pulse_bridge.jobs import Jobs, News
from pulse_bridge.journal import Journal
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.reconnect import Backoff
from pulse_bridge.relay import JournalRelay, first_of
from pulse_bridge.subscribe import catch_up, run_subscriptions
from pulse_bridge.subscription import Subscription
from pulse_bridge.watch import Sighting, Watcher

logger = logging.getLogger(__name__)

FINISH_WAIT_S: Final = 30.0
"""How long `exit_when_done` waits for destinations that lack something."""

SETTLE_AFTER_S: Final = 0.005
"""How long after an event its deadlines are set: together with those of others, in a burst."""

LAST_LOOK_S: Final = 0.4
"""How long a clean end waits for files on network file systems."""

GOODBYE_S: Final = 0.8
"""How long a clean end waits for publishers to say `offline`."""


@dataclass(frozen=True)
class Destination:
    """A bus to publish to.

    Args:
        name: Unique in this sidecar.
        identity: The same over restarts.
        shown: For a person, without a secret.
    """

    bus: Bus
    name: str
    identity: str
    shown: str


def open_destinations(urls: Sequence[str]) -> list[Destination]:
    """Make the buses to publish to; nothing is connected yet.

    Raises:
        ConfigError: A URL is wrong, or stands there twice.
    """
    found: list[Destination] = []
    names: Counter[str] = Counter()
    for text in urls:
        bus = open_bus(text)
        identity = BusUrl.parse(text).identity if "://" in text else text
        if any(identity == other.identity for other in found):
            raise ConfigError(f"{hide_secret(text)}: this destination is named twice")
        names[bus.name] += 1
        name = bus.name if names[bus.name] == 1 else f"{bus.name}_{names[bus.name]}"
        found.append(Destination(bus, name, identity, hide_secret(text)))
    return found


class Sidecar:
    """Watches status files and publishes what is news.

    Args:
        settings: Validated.
        destinations: From `open_destinations(settings.to)`.
        journal: Open for this sidecar alone.
        subscriptions: On this journal; their failures are their own, but for a mistake at their start.
        clock: Gives both clocks.
    """

    def __init__(
        self,
        settings: SidecarSettings,
        destinations: Sequence[Destination],
        journal: Journal,
        *,
        subscriptions: Sequence[Subscription] = (),
        clock: Callable[[], Instant] = read_clocks,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._subscriptions = subscriptions
        self._subscribers_stop = asyncio.Event()
        self._clock = clock
        self._owner = secrets.token_hex(6)
        self._timer: asyncio.TimerHandle | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._fault: asyncio.Future[None] | None = None
        self._begun = False
        self._finished = asyncio.Event()
        self._watcher = Watcher(
            settings.paths, self._on_sightings, poll_s=settings.poll_s, quiet_poll_s=settings.quiet_poll_s
        )
        self._jobs = Jobs(settings, journal.tracks(settings.host), self._watcher.look)
        self._letters = DeadLetters(journal.path.with_name(f"{journal.path.stem}.dead.jsonl"))
        # Made before the first event, so that a new destination starts with what was, and gets all that follows.
        self._relays = [self._make_relay(destination) for destination in destinations]
        journal.begin()

    def _make_relay(self, destination: Destination) -> JournalRelay:
        settings = self._settings
        return JournalRelay(
            self._journal,
            destination.bus,
            Presence(settings.host, self._owner),
            name=destination.name,
            identity=destination.identity,
            shown=destination.shown,
            on_rejected=self._letters.add,
            backoff=Backoff(max_s=settings.reconnect_max_s),
            coalesce_s=settings.coalesce_ms / 1000,
        )

    async def run(self, stop: asyncio.Event) -> bool:
        """Run until told to stop or, with `exit_when_done`, until every job is finished.

        Args:
            stop: Set from outside, by a signal say.

        Returns:
            Whether every destination has everything. After `stop` what is unsent is in the journal: no failure.

        Raises:
            ConfigError: A destination or a subscriber needs a person.
        """
        self._fault = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                relays = [group.create_task(relay.run()) for relay in self._relays]
                upkeep = group.create_task(self._journal.maintain())
                subscribing = group.create_task(run_subscriptions(self._subscriptions, self._subscribers_stop))
                sources = [
                    group.create_task(self._watcher.run()),
                    group.create_task(self._begin()),
                    group.create_task(self._tell_of_host()),
                    group.create_task(_wait_for(self._fault)),
                ]
                await self._until_end(stop)
                await self._look_for_the_last_time()
                for task in sources:
                    task.cancel()
                self._cancel_timers()
                # After the last event of every source, so that it is the last word and the flush has an end.
                self._journal.append([self._host_event(stopping=True)])
                leaving = group.create_task(self._let_subscribers_go(subscribing))
                everything_sent = await self._flush(stopped=stop.is_set())
                await self._say_goodbye(relays)
                await leaving
                upkeep.cancel()
        except ExceptionGroup as errors:
            # What a person must put right is one sentence, whichever task found it.
            expected = errors.subgroup(PulseBridgeError)
            if expected is None:
                raise
            raise _first_leaf(expected) from errors
        else:
            return everything_sent
        finally:
            self._cancel_timers()

    # The data's way, in one callback: what was read, what is news, the journal, the relays.

    def _on_sightings(self, sightings: Sequence[Sighting]) -> None:
        self._record(self._jobs.observe(sightings, self._clock()))

    def _on_timer(self) -> None:
        self._timer = None
        self._guard(lambda: self._record(self._jobs.tick(self._clock())))

    def _guard(self, work: Callable[[], None]) -> None:
        """Do a callback's work: it has no caller, so what it raises is raised by `run`."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised by run()
            if self._fault is not None and not self._fault.done():
                self._fault.set_exception(error)

    def _record(self, news: News) -> None:
        if news.events:
            self._journal.append(news.events, news.tracks)
        if self._settling is None:
            # Not at once: a broker on this machine may be waiting for our processor.
            self._settling = asyncio.get_running_loop().call_later(SETTLE_AFTER_S, self._settle)

    def _settle(self) -> None:
        self._settling = None
        self._guard(self._jobs.settle)
        self._note_whether_finished()
        self._set_timer()

    def _note_whether_finished(self) -> None:
        # Not before every file was found: the first one's result is not the end of them all.
        if self._begun and self._jobs.all_finished:
            self._finished.set()
        else:
            self._finished.clear()

    def _set_timer(self) -> None:
        deadline_s = self._jobs.next_deadline_s
        if self._timer is not None and deadline_s is not None and self._timer.when() <= deadline_s:
            return  # it comes early, finds nothing due and is set anew
        self._cancel_timer()
        if deadline_s is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline_s, self._on_timer)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_timers(self) -> None:
        self._cancel_timer()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    # Beside it

    async def _begin(self) -> None:
        await self._watcher.ready.wait()
        self._jobs.miss_unseen(self._clock())
        self._set_timer()
        self._begun = True
        self._note_whether_finished()
        # What lives now lives for good; a full collection over thousands of jobs would hold the loop for long.
        gc.collect()
        gc.freeze()
        logger.info(
            "watching", extra={"jobs": sum(self._jobs.count_states().values()), "host": self._settings.host}
        )

    async def _tell_of_host(self) -> None:
        while True:
            self._journal.append([self._host_event(stopping=False)])
            await asyncio.sleep(self._settings.host_event_s)

    def _host_event(self, *, stopping: bool) -> HostEvent:
        dropped = self._journal.health.dropped
        return HostEvent(
            id=UNNUMBERED,
            host=self._settings.host,
            owner=self._owner,
            version=__version__,
            stopping=stopping,
            jobs=self._jobs.count_states(),
            malformed=self._watcher.malformed,
            dropped=sum(dropped.values()),
            lag={relay.name: relay.lag for relay in self._relays},
            observed_ms=int(self._clock().wall_s * 1000),
            published=sum(relay.published for relay in self._relays),
            reconnects=sum(relay.progress.reconnects for relay in self._relays),
            dropped_by={reason: dropped.get(reason, 0) for reason in DROP_REASONS},
        )

    async def _until_end(self, stop: asyncio.Event) -> None:
        if self._settings.exit_when_done:
            await first_of(stop.wait(), self._finished.wait())
        else:
            await stop.wait()

    async def _look_for_the_last_time(self) -> None:
        """See what was written just before the end and polling has not shown yet."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_LOOK_S):
                await self._watcher.look_at_remote()
        self._record(self._jobs.look_at_all(self._clock()))

    async def _flush(self, *, stopped: bool) -> bool:
        """Wait, within bounds, until the destinations have everything, and say whether that counts as done."""
        if stopped:
            await self._drain([relay for relay in self._relays if relay.connected], self._settings.flush_s)
            return True
        return await self._drain(self._relays, FINISH_WAIT_S)

    async def _drain(self, relays: Sequence[JournalRelay], limit_s: float) -> bool:
        tasks = {asyncio.ensure_future(relay.drain()): relay for relay in relays}
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=limit_s)
        for task in late:
            task.cancel()
            logger.warning(
                "not everything is sent at the end; the journal has it for the next start",
                extra={"destination": tasks[task].name, "events": tasks[task].lag},
            )
        return not late

    async def _let_subscribers_go(self, subscribing: asyncio.Task[None]) -> None:
        """Let subscribers see the last word, and end them before the journal closes."""
        await catch_up(self._subscriptions, EventId(self._journal.producer, self._journal.last_row))
        self._subscribers_stop.set()
        await asyncio.wait({subscribing})

    async def _say_goodbye(self, relays: Sequence[asyncio.Task[None]]) -> None:
        for relay in self._relays:
            relay.finish()
        if relays:
            await asyncio.wait(relays, timeout=GOODBYE_S)
        for task in relays:
            task.cancel()


async def _wait_for(fault: asyncio.Future[None]) -> None:
    await fault


def _first_leaf(group: BaseExceptionGroup[PulseBridgeError]) -> PulseBridgeError:
    first = group.exceptions[0]
    return _first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
