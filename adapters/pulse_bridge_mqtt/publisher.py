"""Publishing on one connection: what goes to which topic, and whose name this is."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.bus import Presence, Rejection
from pulse_bridge.errors import BusError, BusUnavailableError, EventFormatError, HostTakenError
from pulse_bridge.event import FINISHED_STATES, Event, EventId, HostEvent, JobEvent, from_json, to_json
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.endpoint import OFFLINE, ONLINE
from pulse_bridge_mqtt.mark import Mark
from pulse_bridge_mqtt.topics import Topics
from pulse_bridge_mqtt.window import Call, Message, Window

if TYPE_CHECKING:
    from pulse_bridge_mqtt.announcer import Announcer

logger = logging.getLogger(__name__)

MAX_BATCH_EVENTS: Final = 50
GOODBYE_TIMEOUT_S: Final = 1.0
FORGET_CHECK_S: Final = 60.0


class MqttPublisher:
    """The port's Publisher on an open connection.

    Args:
        older_owners: Owners known to be older sidecars than this one under its host name. Kept by the bus over
            connections, so that a last word of one of them does not look like a newer sidecar's first.
        forget_after_s: See `MqttOptions`.
        shown: The destination for sentences, without a secret.
    """

    max_batch_events = MAX_BATCH_EVENTS

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        presence: Presence | None,
        *,
        older_owners: set[str],
        forget_after_s: float,
        shown: str,
    ) -> None:
        self._connection = connection
        self._window = Window(connection, shown)
        self._topics = topics
        self._presence = presence
        self._host = None if presence is None else presence.host
        self._older_owners = older_owners
        self._forget_after_ms = forget_after_s * 1000
        self._shown = shown
        self._announcer: Announcer | None = None
        self._mark: Mark | None = None
        self._retained: dict[str, EventId] = {}  # by topic, as the broker had it when we connected
        self._recalled: dict[str, list[JobEvent]] = {}  # by host: finished jobs that were retained
        self._finished_ms: dict[str, int] = {}  # by topic: since when its job is done, error or gone
        self._forget_check_at = 0.0
        self._stopping = False
        self._leaving = False

    def announce_with(self, announcer: "Announcer") -> None:
        """Have hosts and jobs announced to Home Assistant; to be called before `start`."""
        self._announcer = announcer

    async def start(self) -> None:
        """Announce the host and learn what the broker still has of it.

        Raises:
            BusUnavailableError: The connection is lost.
            HostTakenError: A newer sidecar has the name.
        """
        self._connection.set_handler(self)
        if self._presence is not None and not self._connection.retains:
            raise BusUnavailableError(f"{self._shown}: the broker keeps no retained messages", refused=True)
        if self._host is not None:
            await self._announce_host(self._host)
        if self._announcer is not None:
            await self._announcer.start()
            if self._host is not None:
                self._take_up(self._host)

    async def finish(self) -> None:
        """Leave as is right: without a word in the name of another, with one for our own.

        - a relay or replay: DISCONNECT; it has no will.
        - the host has told that it stops: `offline`, then DISCONNECT, which drops the will.
        - anything else (cancelled, failed): nothing, so that the broker sends the will. A sidecar that runs on and
          connects again says `online` by itself.
        """
        if self._announcer is not None:
            await self._announcer.finish(goodbye=self._connection.error is None)
        if self._connection.error is not None:
            return
        if self._host is None:
            self._connection.disconnect()
        elif self._stopping:
            self._leaving = True
            with contextlib.suppress(TimeoutError, BusError):
                async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                    # First, so that nothing unread is in the socket when it closes: the reset that this causes
                    # can overtake the goodbye.
                    await self._connection.unsubscribe(self._own_filters())
                    await self._send(self._topics.bridge(self._host), OFFLINE)
            self._connection.disconnect()

    async def resume(self, acked: EventId | None) -> EventId | None:
        """Give `acked` back: MQTT cannot tell what it has."""
        return acked

    def publish(self, events: Sequence[Event]) -> Awaitable[Sequence[Rejection]]:
        """Send events in order; see the port.

        An event that the broker still had retained when we connected is left out, because nobody needs it again;
        a broker that forgot gets it.
        """
        call = self._window.open_call()
        if self._connection.error is None:
            for event in events:
                self._submit(event, call)
        self._window.close_call()
        return call.future

    async def wait_lost(self) -> NoReturn:
        """Wait until the connection is lost; see the port."""
        await self._connection.wait_lost()

    def forget_finished(self, now_ms: float) -> None:
        """Remove the retained state of jobs that finished long ago.

        Args:
            now_ms: Unix milliseconds.
        """
        due = [topic for topic, since_ms in self._finished_ms.items() if self._is_old(since_ms, now_ms)]
        for topic in due:
            self._forget(topic)

    # What the connection tells

    def on_ack(self, mid: int, reason: ReasonCode) -> None:
        """Settle a message."""
        self._window.acknowledge(mid, reason)

    def on_message(self, message: MQTTMessage) -> None:
        """Look at what is said in the name of this host."""
        if self._mark is not None:
            self._mark.hear()
        if self._announcer is not None and self._announcer.take(message):
            return
        if self._host is not None and message.topic == self._topics.bridge(self._host):
            self._read_bridge(message)
        else:
            self._read_event(message)

    def on_tick(self, now_s: float) -> None:
        """Look at what is overdue."""
        self._window.check_overdue(now_s)
        if self._announcer is not None:
            self._announcer.on_tick(now_s)
        if now_s >= self._forget_check_at:
            self._forget_check_at = now_s + FORGET_CHECK_S
            self.forget_finished(time.time() * 1000)

    def on_lost(self, error: BusError) -> None:
        """Fail every call under way."""
        self._window.abandon(error)

    # Inside

    async def _announce_host(self, host: str) -> None:
        codes = await self._connection.subscribe([*self._own_filters(), self._topics.states(host)])
        readable = all(code.value < reasons.FAILURE for code in codes)
        self._mark = Mark(self._connection)
        self._send(self._topics.bridge(host), ONLINE)
        if not readable or not await self._mark.wait():
            logger.warning(
                "nothing comes back from the broker: a second sidecar under this host name would go unnoticed",
                extra={"destination": self._shown, "host": host},
            )
        await self._connection.unsubscribe([self._topics.states(host)])

    def _own_filters(self) -> list[str]:
        assert self._host is not None  # noqa: S101 - for the type checker
        more = [] if self._announcer is None else self._announcer.filters
        return [self._topics.host(self._host), self._topics.bridge(self._host), *more]

    def _send(self, topic: str, payload: bytes) -> Awaitable[Sequence[Rejection]]:
        """Send a retained message of the bridge's own."""
        call = self._window.open_call()
        if self._connection.error is None:
            self._window.send(Message(call, topic, payload, retain=True, event=None))
        self._window.close_call()
        return call.future

    def send_extra(self, topic: str, payload: bytes, *, retain: bool, on_refused: Callable[[str], None]) -> None:
        """Send a message without which the bridge can do; a refusal is told in words and stops nothing."""
        if self._connection.error is not None:
            return
        if not self._connection.fits(topic, payload):
            on_refused(f"{topic}: Packet too large")
            return
        call = self._window.open_call()
        self._window.send(Message(call, topic, payload, retain=retain, event=None, on_refused=on_refused))
        self._window.close_call()

    def _forget(self, topic: str) -> None:
        """Remove what is retained of a job: first its device, then its state."""
        if self._announcer is not None:
            self._announcer.forget(topic)
        finished = self._finished_ms.pop(topic, None) is not None
        if self._retained.pop(topic, None) is not None or finished:
            self._send(topic, b"")

    def _announce(self, event: Event) -> None:
        if self._announcer is None:
            return
        self._take_up(event.host)
        self._announcer.see(event)
        for topic in self._announcer.settle(event, self._finished_ms):
            self._forget(topic)

    def _take_up(self, host: str) -> None:
        """See to the finished jobs that were retained of a host of ours: nobody may speak of them again."""
        assert self._announcer is not None  # noqa: S101 - for the type checker
        for event in self._recalled.pop(host, ()):
            topic = self._topics.state(host, event.job)
            if self._retained.get(topic) != event.id:
                continue  # it has something newer by now
            self._finished_ms[topic] = event.observed_ms
            if not self._is_old(event.observed_ms, time.time() * 1000):
                self._announcer.see(event)

    def _submit(self, event: Event, call: Call) -> None:
        if isinstance(event, HostEvent):
            topic = self._topics.host(event.host)
            self._stopping = self._stopping or (event.stopping and event.host == self._host)
        else:
            topic = self._topics.state(event.host, event.job)
        if self._retained.get(topic) == event.id:
            self._announce(event)
            return
        try:
            payload = to_json(event).encode()
        except ValueError as error:  # a number that is not finite, half a surrogate pair
            call.rejections.append(Rejection(event, f"cannot be written as JSON: {error}"))
            return
        if not self._connection.fits(topic, payload):
            limit = self._connection.maximum_packet_bytes
            call.rejections.append(Rejection(event, f"Packet too large: the broker takes {limit} bytes at most"))
            return
        kept = self._keep(topic, event)
        self._window.send(Message(call, topic, payload, retain=kept, event=event))
        if kept:
            self._announce(event)

    def _keep(self, topic: str, event: Event) -> bool:
        """Note that the topic has this event now and say whether the broker shall retain it."""
        if self._presence is None:
            return False
        was_retained = self._retained.pop(topic, None) is not None or topic in self._finished_ms
        if isinstance(event, HostEvent) or event.state not in FINISHED_STATES:
            self._finished_ms.pop(topic, None)
            return True
        if self._host is not None and not was_retained and self._is_old(event.observed_ms, time.time() * 1000):
            return False  # forgotten before: for those who listen, not to be kept again
        self._finished_ms[topic] = event.observed_ms
        return True

    def _is_old(self, since_ms: float, now_ms: float) -> bool:
        return now_ms - since_ms >= self._forget_after_ms

    def _read_bridge(self, message: MQTTMessage) -> None:
        if message.retain:
            return
        if message.payload == ONLINE:
            if self._mark is not None:
                self._mark.reach()
        elif message.payload == OFFLINE and not self._leaving and self._host is not None:
            self._send(self._topics.bridge(self._host), ONLINE)  # the late will of an older connection

    def _read_event(self, message: MQTTMessage) -> None:
        try:
            event = from_json(bytes(message.payload))
        except EventFormatError:
            return
        if message.retain:
            self._note_retained(message.topic, event)
        host = self._host
        if host is not None and isinstance(event, HostEvent) and message.topic == self._topics.host(host):
            self._check_owner(event.owner, retained=message.retain)

    def _note_retained(self, topic: str, event: Event) -> None:
        self._retained[topic] = event.id
        if not isinstance(event, HostEvent) and event.state in FINISHED_STATES:
            if self._host is not None:
                self._finished_ms[topic] = event.observed_ms
            if self._announcer is not None:
                self._recalled.setdefault(event.host, []).append(event)

    def _check_owner(self, owner: str, *, retained: bool) -> None:
        """Leave for good when a newer sidecar speaks in this host's name."""
        presence = self._presence
        if presence is None or owner == presence.owner or owner in self._older_owners:
            return
        if retained and not presence.held:
            self._older_owners.add(owner)
            return
        self._connection.lose(
            HostTakenError(
                f"{self._shown}: a newer sidecar publishes as host {self._host!r}, so this one stops publishing "
                f"there; give each its own --host"
            )
        )
