"""Following a bus for a person or a program: as lines, as JSON, or as a live table."""

import asyncio
import sys
from typing import Final, Protocol

import click

from pulse_bridge.bus import Batch, Bus, Consumer
from pulse_bridge.cli.lines import format_event
from pulse_bridge.cli.output import is_reader_gone, say, write_json
from pulse_bridge.clock import read_clocks
from pulse_bridge.errors import BusUnavailableError
from pulse_bridge.event import UNNUMBERED, Event, HostEvent, JobEvent
from pulse_bridge.fleet import Fleet
from pulse_bridge.reconnect import Backoff, Progress, keep_connected

RETRY_MAX_S: Final = 1.0
"""A person waits for it."""

READER_CHECK_S: Final = 0.5


class View(Protocol):
    """Shows what comes from a bus."""

    def take(self, batch: Batch) -> None:
        """Show a batch; one that is known already is no news."""

    def note(self, sentence: str) -> None:
        """Say what is waited for."""

    async def run(self) -> None:
        """Do what is due by the clock, until there is nobody to show anything to."""


class Link(Protocol):
    """Is told of the connection to the bus, where a view shows more of it than a sentence."""

    def connected(self) -> None:
        """Begin to listen: the first batch of a connection is there, and is shown next."""

    def disconnected(self, reason: str) -> None:
        """Know that nothing is heard from now on. Comes again with each attempt that fails."""

    def missed(self) -> None:
        """Know that events were lost."""


class LineView:
    """One line per event on standard output.

    Args:
        as_json: Every event, exactly in its JSON form; else what a person reads.
        heartbeats: Signs of life too, of jobs and of sidecars.
    """

    def __init__(self, *, as_json: bool = False, heartbeats: bool = False) -> None:
        self._fleet = Fleet()
        self._as_json = as_json
        self._all = as_json or heartbeats

    def take(self, batch: Batch) -> None:
        """Print what is new."""
        at = read_clocks()
        for event in batch.events:
            known = self._fleet.jobs.get((event.host, event.job)) if isinstance(event, JobEvent) else None
            is_new = self._fleet.apply(event, at, snapshot=batch.snapshot)
            if is_new and (self._all or _is_news(event, known, batch)):
                if self._as_json:
                    write_json(event)
                else:
                    click.echo(format_event(event))
        sys.stdout.flush()

    def note(self, sentence: str) -> None:
        """Print a sentence on standard error."""
        say(sentence)

    async def run(self) -> None:
        """Return when nobody reads any more, though there be nothing to write."""
        while not is_reader_gone():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(READER_CHECK_S)


def _is_news(event: Event, known: JobEvent | None, batch: Batch) -> bool:
    """Say whether an event tells a person something.

    Args:
        known: What was known of the job before. With a new connection comes a snapshot again, mostly heartbeats:
            they are news only of a job that changed meanwhile, unseen.
    """
    if isinstance(event, HostEvent):
        return event.stopping
    if event.kind != "heartbeat":
        return True
    return batch.snapshot and (known is None or _what_is_so(event) != _what_is_so(known))


def _what_is_so(event: JobEvent) -> JobEvent:
    """Leave out what differs between two events of a job that did not change."""
    return event._replace(id=UNNUMBERED, kind="change", observed_ms=0, eta_s=None)


class _Waiting(Progress):
    """Says in plain words, once, what is waited for; a viewer's log would help nobody."""

    def __init__(self, view: View, link: Link | None) -> None:
        super().__init__("")
        self._view = view
        self._link = link
        self._useful = False
        self._told = False

    def made(self) -> None:
        if self._link and not self._useful:
            self._link.connected()
        self._useful = True
        self._told = False

    def lost(self, error: BusUnavailableError) -> bool:
        was_useful, self._useful = self._useful, False
        if self._link:
            self._link.disconnected(str(error))
        elif not self._told:
            self._told = True
            self._view.note(f"waiting: {error}")
        return was_useful


async def follow(bus: Bus, view: View, link: Link | None = None) -> None:
    """Show a bus's snapshot and what comes after it, again after each loss of the connection; runs on.

    Args:
        link: Is told of the connection; without one, the view is given a sentence.

    Raises:
        BusError: This bus cannot be followed.
    """
    progress = _Waiting(view, link)

    async def session(consumer: Consumer) -> None:
        async for batch in consumer.batches():
            progress.made()
            if batch.lost:
                view.note(f"{batch.lost} events are lost: the bus gave them up before they were read")
                if link:
                    link.missed()
            view.take(batch)

    await keep_connected(lambda: bus.consumer(None), session, progress, Backoff(max_s=RETRY_MAX_S))
