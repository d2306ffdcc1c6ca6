"""Announces jobs and hosts to Home Assistant on one connection: when what is read and sent.

What is to be sent is decided in `homeassistant.py`. Only imported with the option.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Final, Protocol

from paho.mqtt.client import MQTTMessage

from pulse_bridge import __version__
from pulse_bridge.errors import BusError
from pulse_bridge.event import Event, HostEvent
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.homeassistant import Discovery, Retained
from pulse_bridge_mqtt.host_lines import HostLines
from pulse_bridge_mqtt.reading import ReadRetained, Take
from pulse_bridge_mqtt.topics import Topics

logger = logging.getLogger(__name__)

BIRTH: Final = b"online"
MAX_BIRTH_DELAY_S: Final = 5.0
"""A hundred sidecars hear the same birth message; each looks at the broker somewhere within this time."""
SETTLED_AFTER_S: Final = 120.0
"""So long after a sidecar connected, each job that it knows has been spoken of: heartbeats come every 10 s, and an
unfinished job whose file is not found is `gone` after 30 s."""
MAX_FILTERS: Final = 100
"""Of one subscription; some brokers take no long ones."""


class Speaker(Protocol):
    """What is needed of the publisher."""

    @property
    def finished(self) -> Collection[str]:
        """The state topics of jobs that are finished and retained."""

    def send_extra(self, topic: str, payload: bytes, *, on_refused: Callable[[str], None]) -> None:
        """Send in turn a message for the broker to retain; `on_refused` takes the reason."""

    def read_event(self, message: MQTTMessage) -> None:
        """Learn from an event that the broker has."""

    def forget(self, topic: str) -> None:
        """Remove what is retained of a job, its device first."""


class Announcer:
    """What a publisher does for Home Assistant.

    Args:
        discovery: Of this connection.
        birth_topic: Where Home Assistant says `online`.
        host: Whose sidecar this is; None for a relay.
        publisher: Whose events are announced.
        read: Reads what the broker retains, in peace from the publisher.
        lines: Of a relay.
        delay_s: Gives a random number of seconds up to its argument.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        discovery: Discovery,
        *,
        birth_topic: str,
        host: str | None,
        publisher: Speaker,
        read: ReadRetained,
        lines: HostLines | None,
        shown: str,
        delay_s: Callable[[float], float] = lambda limit_s: random.uniform(0, limit_s),
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._discovery = discovery
        self._birth_topic = birth_topic
        self._host = host
        self._publisher = publisher
        self._read_retained = read
        self._lines = lines
        self._shown = shown
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._reading = asyncio.Lock()
        self._started_ms = 0.0
        self._settled = False
        self._refused = False
        self._look_at_s: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def filters(self) -> list[str]:
        """What stays subscribed."""
        return [self._birth_topic]

    async def start(self) -> None:
        """Learn what the broker has, and announce what needs no event to be known.

        Raises:
            BusUnavailableError: The connection is lost.
        """
        self._started_ms = time.time() * 1000
        codes = await self._connection.subscribe(self.filters)
        if self._host is None:  # a sidecar's publisher has read its own already
            await self._read(self._topics.everything[1:], self._publisher.read_event)
        if not await self._read_configs() or codes[0].value >= reasons.FAILURE:
            logger.warning(
                "Home Assistant's topics cannot be read: its restart goes unnoticed, what an earlier version"
                " announced stays, and all is announced anew with each connection",
                extra={"destination": self._shown, "topics": f"{self._discovery.filter}, {self._birth_topic}"},
            )
        if self._host is not None:
            self._send_all(self._discovery.announce_host(self._host, __version__))

    def see(self, event: Event) -> None:
        """Announce what an event that the broker has is of, if that is news."""
        if self._lines is not None:
            self._lines.hear(event)
        self._send_all(self._discovery.announce(event))

    def forget(self, state_topic: str) -> None:
        """Remove a job's device. To be called before its state is cleared."""
        self._send_all(self._discovery.forget(state_topic))

    def settle(self, event: Event) -> None:
        """Have the jobs removed, once, that the sidecar does not know though they have a device.

        Events are published in order, so with a sign of life of the sidecar every job's of before has been seen,
        however long the backlog is. A relay never settles: what it does not speak of may be quiet for a reason.
        """
        if self._settled or self._host is None or not isinstance(event, HostEvent) or event.host != self._host:
            return
        if event.observed_ms - self._started_ms >= SETTLED_AFTER_S * 1000:
            self._settled = True
            self._run(self._clear_leftovers(self._host))

    def take(self, message: MQTTMessage) -> bool:
        """Take a message that is for us; False if it is not."""
        if message.topic != self._birth_topic:
            return False
        # One that is retained was said some time; we have just looked. One look answers for all that come before.
        if message.payload == BIRTH and not message.retain and self._look_at_s is None:
            self._look_at_s = self._loop.time() + self._delay_s(MAX_BIRTH_DELAY_S)
        return True

    def on_tick(self, now_s: float) -> None:
        """Do what is due; `now_s` is the loop's clock."""
        if self._lines is not None:
            self._lines.on_tick(now_s)
        if self._look_at_s is not None and now_s >= self._look_at_s and not self._reading.locked():
            self._look_at_s = None
            self._run(self._look())

    async def finish(self, *, goodbye: bool) -> None:
        """End what runs beside; with `goodbye` in peace."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._lines is not None:
            await self._lines.close(goodbye=goodbye)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        """Send what the broker does not have any more.

        Home Assistant has what the broker retains before it says that it is there, so nothing else is needed.
        """
        await self._read_configs()
        self._send_all(self._discovery.restore())

    async def _clear_leftovers(self, host: str) -> None:
        """Remove what nobody speaks of; first make sure of each, because a broker may hold something back."""
        doubtful = self._discovery.leftovers(host, self._publisher.finished)
        for start in range(0, len(doubtful), MAX_FILTERS):
            topics = doubtful[start : start + MAX_FILTERS]
            if await self._read(topics, self._publisher.read_event):
                for topic in set(topics).intersection(self._discovery.leftovers(host, self._publisher.finished)):
                    self._publisher.forget(topic)

    async def _read_configs(self) -> bool:
        """Read the configuration of every device, and say whether that was to be had."""
        async with self._reading:
            self._discovery.begin_reading()
            readable = await self._read([self._discovery.filter], self._discover)
            self._discovery.end_reading()
        return readable

    async def _read(self, filters: Sequence[str], take: Take) -> bool:
        try:
            return await self._read_retained(filters, take)
        except BusError:  # of a connection that is not the events': they can do without
            return False

    def _discover(self, message: MQTTMessage) -> None:
        if message.payload:
            self._discovery.read(message.topic, bytes(message.payload))

    def _send_all(self, messages: Iterable[Retained]) -> None:
        for message in messages:
            self._publisher.send_extra(message.topic, message.payload, on_refused=self._note_refused)

    def _note_refused(self, reason: str) -> None:
        if not self._refused:
            self._refused = True
            logger.warning(
                "the broker refuses what is meant for Home Assistant; events are not concerned",
                extra={"destination": self._shown, "reason": reason},
            )
