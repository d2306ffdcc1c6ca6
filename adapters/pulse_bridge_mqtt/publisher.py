"""Publishing on one connection: what goes to which topic."""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.bus import Presence, Rejection
from pulse_bridge.errors import BusError, BusUnavailableError, EventFormatError
from pulse_bridge.event import Event, EventId, HostEvent, from_json, to_json
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.host_name import HostName
from pulse_bridge_mqtt.keeping import Keeping
from pulse_bridge_mqtt.reading import unsubscribe_behind
from pulse_bridge_mqtt.topics import Topics
from pulse_bridge_mqtt.window import Call, Message, Window

if TYPE_CHECKING:
    from pulse_bridge_mqtt.announcer import Announcer

logger = logging.getLogger(__name__)

MAX_BATCH_EVENTS: Final = 50
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
        self._name: HostName | None = None
        if presence is not None and presence.host is not None:
            self._name = HostName(
                connection,
                topics,
                presence.host,
                presence,
                older_owners=older_owners,
                send=self._send,
                shown=shown,
            )
        self._shown = shown
        self._announcer: Announcer | None = None
        self._keeping = Keeping(self._host, forget_after_s)
        self._heard_messages = 0
        self._forget_check_at = math.inf
        self._stopping = False

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
        if self._name is not None:
            await self._take_name(self._name)
        if self._announcer is not None:
            await self._announcer.start()
        if self._host is not None:
            self._take_up(self._host)
        self._forget_check_at = 0.0  # not before a job's device is known, which has to go first

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
        if self._name is not None and self._stopping:
            await self._name.leave([] if self._announcer is None else self._announcer.filters)
        if self._name is None or self._stopping:
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
        for topic in self._keeping.due(now_ms):
            self.forget(topic)

    @property
    def finished(self) -> Collection[str]:
        """The topics of jobs that are finished and retained."""
        return self._keeping.finished

    # What the connection tells

    def on_ack(self, mid: int, reason: ReasonCode) -> None:
        """Settle a message."""
        self._window.acknowledge(mid, reason)

    def on_message(self, message: MQTTMessage) -> None:
        """Look at what is said in the name of this host."""
        self._heard_messages += 1
        if self._name is not None and self._name.hear(message):
            return
        if self._announcer is None or not self._announcer.take(message):
            self.read_event(message)

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

    async def _take_name(self, name: HostName) -> None:
        """Say that the host is here; then read its jobs, because a broker that has many may drop an answer."""
        audible = await name.take()
        states = [self._topics.states(name.host)]
        (code,) = await self._connection.subscribe(states)
        await unsubscribe_behind(self._connection, states, lambda: self._heard_messages)
        if not audible or code.value >= reasons.FAILURE:
            logger.warning(
                "nothing comes back from the broker: a second sidecar under this host name would go unnoticed",
                extra={"destination": self._shown, "host": name.host},
            )

    def _send(self, topic: str, payload: bytes) -> Awaitable[Sequence[Rejection]]:
        """Send a retained message of the bridge's own."""
        call = self._window.open_call()
        if self._connection.error is None:
            self._window.send(Message(call, topic, payload, retain=True, event=None))
        self._window.close_call()
        return call.future

    def send_extra(self, topic: str, payload: bytes, *, on_refused: Callable[[str], None]) -> None:
        """Send a retained message without which events can do; a refusal is told in words and stops nothing."""
        if self._connection.error is not None:
            return
        if not self._connection.fits(topic, payload):
            on_refused(f"{topic}: Packet too large")
            return
        call = self._window.open_call()
        self._window.send(Message(call, topic, payload, retain=True, event=None, on_refused=on_refused))
        self._window.close_call()

    def forget(self, topic: str) -> None:
        """Remove what is retained of a job: first its device, then its state.

        Args:
            topic: Of its state.
        """
        if self._announcer is not None:
            self._announcer.forget(topic)
        if self._keeping.forget(topic):
            self._send(topic, b"")

    def _announce(self, event: Event) -> None:
        if self._announcer is None:
            return
        self._take_up(event.host)
        self._announcer.see(event)
        self._announcer.settle(event)

    def _take_up(self, host: str) -> None:
        """See to the finished jobs that were retained of a host of ours."""
        if self._announcer is None:
            return
        for event in self._keeping.recall(host, time.time() * 1000):
            self._announcer.see(event)

    def _submit(self, event: Event, call: Call) -> None:
        if isinstance(event, HostEvent):
            topic = self._topics.host(event.host)
            self._stopping = self._stopping or (event.stopping and event.host == self._host)
        else:
            topic = self._topics.state(event.host, event.job)
        if self._keeping.has(topic, event):
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
        kept = self._presence is not None and self._keeping.keep(topic, event, time.time() * 1000)
        self._window.send(Message(call, topic, payload, retain=kept, event=event))
        if kept:
            self._announce(event)

    def read_event(self, message: MQTTMessage) -> None:
        """Learn from an event that the broker has, or that another says in this host's name."""
        try:
            event = from_json(bytes(message.payload))
        except EventFormatError:
            return
        if message.retain:
            self._keeping.find(message.topic, event, recall=self._announcer is not None)
        if self._name is not None and isinstance(event, HostEvent):
            self._name.check_owner(message.topic, event, retained=message.retain)
