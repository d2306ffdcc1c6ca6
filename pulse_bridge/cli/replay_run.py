"""Puts a replay together from what was asked for, runs it, and says where it stopped."""

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

import click

from pulse_bridge.bus import Bus, open_bus
from pulse_bridge.bus_url import hide_secret
from pulse_bridge.cli.output import is_terminal, say
from pulse_bridge.cli.replay import Asked
from pulse_bridge.cli.replay_print import Keys, PrintSink, Steps, progress_bar, say_plan, write_events
from pulse_bridge.errors import PulseBridgeError
from pulse_bridge.event import Event, format_time
from pulse_bridge.journal_lines import Page
from pulse_bridge.reconnect import Backoff, Progress
from pulse_bridge.record import Seen, Tail
from pulse_bridge.relay import first_of
from pulse_bridge.replay import BATCH_EVENTS, Replay, Sink
from pulse_bridge.replay_pace import Pace, Renumber
from pulse_bridge.replay_publish import BusSink, require_own_place
from pulse_bridge.replay_select import Survey, survey
from pulse_bridge.replay_subscribers import PastBus, SubscriberSink, open_rehearsal
from pulse_bridge.stop import stop_on_signals
from pulse_bridge.subscriber import Subscriber

HOLD_TICK_S: Final = 1.0
NOTHING: Final = "nothing there is what was asked for"


class _Takers(NamedTuple):
    """Whoever gets the events, by sort; `sinks` has them all."""

    sinks: Sequence[Sink]
    publishing: BusSink | None = None
    views: Sequence[SubscriberSink] = ()
    steps: Steps | None = None


def _wall_ms() -> int:
    return int(time.time() * 1000)


async def run_replay(asked: Asked) -> None:
    """Do what was asked for.

    Raises:
        ConfigError: A person must act.
        BusError: The past cannot be read.
    """
    with stop_on_signals() as stop:
        bus = open_bus(asked.source)
        if asked.to:
            require_own_place(asked.to, asked.source)
        target = open_bus(asked.to) if asked.to else None
        subscribers = _open_subscribers(asked)
        shows_bar = is_terminal(sys.stderr) and not asked.step and not (asked.prints and sys.stdout.isatty())
        known = Survey()

        async def look() -> None:
            nonlocal known
            known = await survey(bus, asked.selection, count=asked.dry_run or (shows_bar and not asked.follow))

        await first_of(stop.wait(), look())
        if stop.is_set():
            return
        if note := getattr(bus, "history_note", None):
            say(note)
        if asked.dry_run:
            say_plan(known, destination=_destination(asked), speed=asked.speed, max_gap_s=asked.max_gap_s)
            return
        if (pages := _pages_of(bus, asked)) and not shows_bar:
            await _print_pages(pages, known, stop, as_json=asked.as_json)
            return
        renumber = None
        if not asked.prints or asked.moves_times:
            renumber = Renumber(secrets.token_hex(6), speed=asked.speed if asked.moves_times else None)
        async with _takers(
            asked, bus, target=target, subscribers=subscribers, renumber=renumber, stop=stop
        ) as takers:
            await _Running(asked, bus, known, takers, renumber=renumber, stop=stop).run(shows_bar=shows_bar)


def _pages_of(bus: Bus, asked: Asked) -> Iterator[Page] | None:
    """Give the past in pages, where it is only printed and the bus has them: three times as fast."""
    is_plain = asked.prints and asked.speed is None and not sys.stdout.isatty()
    if not is_plain or asked.loop or asked.step or asked.follow or asked.selection.last_run:
        return None
    paged = getattr(bus, "history_pages", None)
    return paged(asked.selection.query) if paged else None


async def _print_pages(pages: Iterator[Page], known: Survey, stop: asyncio.Event, *, as_json: bool) -> None:
    given, at_ms = 0, None
    if known.before:
        write_events(known.before, as_json=as_json)
    for page in pages:
        if as_json:
            sys.stdout.buffer.write(page.to_json_lines())
        else:
            write_events(page.to_events(), as_json=False)
        given, at_ms = given + len(page.rows), page.last_ms
        await asyncio.sleep(0)
        if stop.is_set():
            _say_stopped(at_ms, given)
            return
    if not given and not known.before:
        say(NOTHING)


def _say_stopped(at_ms: int | None, given: int) -> None:
    if at_ms is None:
        say("stopped before the first event")
        return
    at = format_time(at_ms)
    say(f"stopped at {at} after {given} events; go on with --since {at}")


def _open_subscribers(asked: Asked) -> dict[str, Subscriber]:
    def tell(text: str) -> None:
        click.echo(text)
        sys.stdout.flush()

    return dict(open_rehearsal(text, really_send=asked.really_send, say=tell) for text in asked.subscribers)


def _destination(asked: Asked) -> str:
    found = [hide_secret(asked.to)] if asked.to else []
    found += [hide_secret(text).partition("?")[0] for text in asked.subscribers]
    return ", ".join(found) or "standard output"


@asynccontextmanager
async def _takers(
    asked: Asked,
    bus: Bus,
    *,
    target: Bus | None,
    subscribers: dict[str, Subscriber],
    renumber: Renumber | None,
    stop: asyncio.Event,
) -> AsyncIterator[_Takers]:
    """Hold whoever is to get the events."""
    if asked.step:
        steps = Steps(Keys().wait, as_json=asked.as_json)
        yield _Takers([steps], steps=steps)
        return
    if renumber is None or asked.prints:
        yield _Takers([PrintSink(as_json=asked.as_json)])
        return
    async with AsyncExitStack() as stack:
        publishing = None
        if target is not None:
            publishing = await stack.enter_async_context(BusSink(target, shown=_destination(asked)))
        running = [
            await stack.enter_async_context(
                SubscriberSink(
                    name,
                    subscriber,
                    PastBus(bus, moved=asked.moves_times),
                    renumber=renumber,
                    stop=stop,
                    fills_silence=not getattr(bus, "keeps_signs_of_life", True),
                )
            )
            for name, subscriber in subscribers.items()
        ]
        sinks: list[Sink] = [*([publishing] if publishing else []), *running]
        yield _Takers(sinks, publishing, [sink for sink in running if sink.is_view])


class _Running:
    """One replay under way."""

    def __init__(
        self,
        asked: Asked,
        bus: Bus,
        known: Survey,
        takers: _Takers,
        *,
        renumber: Renumber | None,
        stop: asyncio.Event,
    ) -> None:
        self._asked = asked
        self._bus = bus
        self._known = known
        self._takers = takers
        self._renumber = renumber
        self._stop = stop
        self._seen: Seen | None = None
        self._replay = Replay(
            bus,
            asked.selection,
            known,
            pace=Pace(asked.speed, max_gap_s=asked.max_gap_s),
            sinks=takers.sinks,
            wall_ms=_wall_ms,
            renumber=renumber,
            loop=asked.loop,
            batch_events=1 if asked.step else BATCH_EVENTS,
            note=self._note if asked.follow else None,
        )

    async def run(self, *, shows_bar: bool) -> None:
        """Run it to its end, or to a stop."""
        waits = [self._stop.wait(), self._follow() if self._asked.follow else self._replay.run()]
        if self._takers.steps:
            waits.append(self._takers.steps.ended.wait())
        async with AsyncExitStack() as stack:
            if shows_bar and not self._asked.follow and self._known.events:
                await stack.enter_async_context(progress_bar(self._replay, self._known, self._asked.speed))
            await first_of(*waits)
        if self._takers.steps and self._takers.steps.ended.is_set():
            return
        if self._stop.is_set() and not self._asked.follow:
            _say_stopped(self._replay.position_ms, self._replay.given)
        elif not self._replay.given and not self._known.before and not self._asked.follow:
            say(NOTHING)
        else:
            await self._hold()
        self._say_rejected()

    async def _follow(self) -> None:
        tail = Tail(
            self._bus,
            self._asked.selection.query,
            self._give_live,
            past=self._give_past,
            on_lost=lambda events: say(f"{events} events are lost: the bus gave them up before they were read"),
        )
        await tail.run(Progress(hide_secret(self._asked.source)), Backoff())

    async def _give_past(self, seen: Seen) -> None:
        self._seen = seen
        await self._replay.run()

    def _note(self, event: Event) -> None:
        if self._seen is not None:
            self._seen.note(event.id)

    async def _give_live(self, events: Sequence[Event]) -> None:
        meant = [event for event in events if self._asked.selection.takes(event, self._known.newest)]
        if meant:
            own = [self._renumber(event) for event in meant] if self._renumber else meant
            for sink in self._takers.sinks:
                await sink.give(own, own[-1].observed_ms)

    async def _hold(self) -> None:
        """Keep up what is to be looked at, with the past's clock standing still."""
        if not self._takers.views or self._stop.is_set():
            return
        say(f"all of it is given; {', '.join(view.name for view in self._takers.views)} stays until Ctrl-C")
        at_ms = self._replay.position_ms or 0

        async def stand_still() -> None:
            while True:
                await asyncio.sleep(HOLD_TICK_S)
                for view in self._takers.views:
                    await view.tick(at_ms)

        await first_of(self._stop.wait(), stand_still())

    def _say_rejected(self) -> None:
        publishing = self._takers.publishing
        if publishing and publishing.rejections:
            raise PulseBridgeError(
                f"{_destination(self._asked)} could not take {len(publishing.rejections)} events:"
                f" {publishing.rejections[0].reason}"
            )
