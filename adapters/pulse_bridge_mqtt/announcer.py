"""Announces jobs and hosts to Home Assistant on one connection: when what is read and sent.

What is to be sent is decided in `homeassistant.py`. Only imported with the option.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from paho.mqtt.client import MQTTMessage

from pulse_bridge import __version__
from pulse_bridge.errors import BusError
from pulse_bridge.event import Event, HostEvent
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.homeassistant import Discovery, Retained
from pulse_bridge_mqtt.host_lines import HostLines
from pulse_bridge_mqtt.mark import Mark
from pulse_bridge_mqtt.topics import Topics

logger = logging.getLogger(__name__)

BIRTH: Final = b"online"
MAX_BIRTH_DELAY_S: Final = 5.0
"""A hundred sidecars hear the same birth message; each looks at the broker somewhere within this time."""
SETTLED_AFTER_S: Final = 120.0
"""So long after a sidecar connected, each job that it knows has been spoken of: heartbeats come every 10 s, and an
unfinished job whose file is not found is `gone` after 30 s."""


class Send(Protocol):
    """Sends a message of the bridge's own; what the broker refuses of it is no matter of the events."""

    def __call__(self, topic: str, payload: bytes, *, retain: bool, on_refused: Callable[[str], None]) -> None:
        """Send it in turn; `on_refused` takes the reason."""


class Announcer:
    """What a publisher does for Home Assistant.

    Args:
        discovery: Of this connection.
        birth_topic: Where Home Assistant says `online`.
        host: Whose sidecar this is; None for a relay.
        reader: Names the topic of our own that comes back behind all that is retained.
        send: In the publisher's turn.
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
        reader: str,
        send: Send,
        lines: HostLines | None,
        shown: str,
        delay_s: Callable[[float], float] = lambda limit_s: random.uniform(0, limit_s),
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._discovery = discovery
        self._birth_topic = birth_topic
        self._host = host
        self._mark_topic = topics.mark(reader)
        self._send = send
        self._lines = lines
        self._shown = shown
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._mark: Mark | None = None
        self._reading = False
        self._started_ms = 0.0
        self._settled = False
        self._refused = False
        self._look_at_s: float | None = None
        self._looking: asyncio.Task[None] | None = None

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
        # A relay learns of its jobs here, a sidecar's publisher has read its own already.
        readable = await self._read([self._topics.everything[1]] if self._host is None else [])
        if not readable or codes[0].value >= reasons.FAILURE:
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

    def settle(self, event: Event, staying: Iterable[str]) -> list[str]:
        """Give, once, the state topics of jobs that the sidecar does not know though they have a device.

        Events are published in order, so with a sign of life of the sidecar every job's of before has been seen,
        however long the backlog is. A relay never settles: what it does not speak of may be quiet for a reason.
        """
        if self._settled or self._host is None or not isinstance(event, HostEvent) or event.host != self._host:
            return []
        if event.observed_ms - self._started_ms < SETTLED_AFTER_S * 1000:
            return []
        self._settled = True
        return self._discovery.leftovers(self._host, frozenset(staying))

    def take(self, message: MQTTMessage) -> bool:
        """Take a message that is for us; False if it is not."""
        if self._mark is not None:
            self._mark.hear()
        if message.topic == self._mark_topic:
            if self._mark is not None:
                self._mark.reach()
        elif message.topic == self._birth_topic:
            # One that is retained was said some time; we have just looked.
            if message.payload == BIRTH and not message.retain:
                self._look_at_s = self._loop.time() + self._delay_s(MAX_BIRTH_DELAY_S)
        elif self._discovery.matches(message.topic):
            if self._reading and message.payload:
                self._discovery.read(message.topic, bytes(message.payload))
        else:
            return False
        return True

    def on_tick(self, now_s: float) -> None:
        """Do what is due; `now_s` is the loop's clock."""
        if self._lines is not None:
            self._lines.on_tick(now_s)
        if self._look_at_s is not None and now_s >= self._look_at_s and not self._reading:
            self._look_at_s = None
            self._looking = self._loop.create_task(self._look())

    async def finish(self, *, goodbye: bool) -> None:
        """End what runs beside; with `goodbye` in peace."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        if self._lines is not None:
            await self._lines.close(goodbye=goodbye)

    async def _look(self) -> None:
        """Send what the broker does not have any more.

        Home Assistant has what the broker retains before it says that it is there, so nothing else is needed.
        """
        with contextlib.suppress(BusError):  # of the connection; who waits for that is told
            if await self._read([]):
                self._send_all(self._discovery.restore())

    async def _read(self, more_filters: list[str]) -> bool:
        """Read every device's configuration that the broker retains, and say whether that was to be had."""
        filters = [self._discovery.filter, *more_filters, self._mark_topic]
        self._reading = True
        try:
            self._discovery.begin_reading()
            codes = await self._connection.subscribe(filters)
            self._mark = Mark(self._connection)
            self._send(self._mark_topic, b"", retain=False, on_refused=self._note_refused)
            complete = await self._mark.wait()
            await self._connection.unsubscribe(filters)
        finally:
            self._reading = False
            self._mark = None
        return complete and all(code.value < reasons.FAILURE for code in codes)

    def _send_all(self, messages: Iterable[Retained]) -> None:
        for message in messages:
            self._send(message.topic, message.payload, retain=True, on_refused=self._note_refused)

    def _note_refused(self, reason: str) -> None:
        if not self._refused:
            self._refused = True
            logger.warning(
                "the broker refuses what is meant for Home Assistant; events are not concerned",
                extra={"destination": self._shown, "reason": reason},
            )
