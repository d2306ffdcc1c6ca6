"""Reading on one connection: what is retained, then what comes."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.bus import Batch
from pulse_bridge.errors import BusError, BusUnavailableError, EventFormatError
from pulse_bridge.event import Event, from_json
from pulse_bridge.group_store import GroupStore
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.cursor import Cursor
from pulse_bridge_mqtt.inbox import Inbox
from pulse_bridge_mqtt.mark import Mark
from pulse_bridge_mqtt.snapshot import Snapshot
from pulse_bridge_mqtt.topics import Topics

logger = logging.getLogger(__name__)

MAX_BATCH_EVENTS: Final = 500


class Habits:
    """What a bus has learnt about its broker, kept over connections.

    Attributes:
        takes_marks: The connection was never lost while a mark was awaited; some brokers end one that publishes
            where it may not.
        foreign_messages: So many messages were no events.
    """

    def __init__(self) -> None:
        self.takes_marks = True
        self.foreign_messages = 0


class MqttConsumer:
    """The port's Consumer on an open connection.

    Args:
        reader: The slug that stands for it in topics: its group's, or a random one.
        cursor: Where to begin.
        resumes: The broker goes on with the session of the cursor; if not, there is a snapshot first.
        store: Where the cursor and the state are kept; None for a reader without a group.
        shown: The bus for sentences, without a secret.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        reader: str,
        *,
        cursor: Cursor,
        resumes: bool,
        store: GroupStore | None,
        habits: Habits,
        shown: str,
    ) -> None:
        self.saved: Mapping[str, str] = store.saved if store else {}
        self._connection = connection
        self._filters = topics.everything
        self._mark_topic = topics.mark(reader)
        self._cursor = cursor
        self._begun = resumes
        self._store = store
        self._habits = habits
        self._shown = shown
        self._inbox = Inbox(connection, keeps=store is not None)
        self._snapshot: Snapshot | None = None  # while it is gathered
        self._known_topics: set[str] | None = None  # since the snapshot on this connection, if there was one
        self._mark: Mark | None = None
        self._has_uncommitted = False
        connection.set_handler(self)

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield events as they come; see the port."""
        if not self._begun:
            events = await self._gather()
            self._begun = True
            yield Batch(events, snapshot=True)
        while True:
            await self._inbox.wait()
            if events := self._take():
                yield Batch(events, snapshot=False)

    async def commit(self, changes: Mapping[str, str | None] = {}) -> None:
        """Store the cursor and the changed state, then let the broker forget what is behind the cursor."""
        if self._store:
            self._store.commit(str(self._cursor) if self._begun else "", changes)
            self.saved = self._store.saved
        self._has_uncommitted = False
        self._inbox.release()

    # What the connection tells

    def on_message(self, message: MQTTMessage) -> None:
        """Put a message where it belongs."""
        if self._mark is not None:
            self._mark.hear()
        if message.topic == self._mark_topic:
            self._acknowledge(message)
            if self._mark is not None:
                self._mark.reach()
                self._snapshot = None  # what comes behind it is news
        elif self._snapshot is not None:
            # At once: the broker holds back the rest until then, and it retains the message anyway.
            self._acknowledge(message)
            event = self._read(message)
            if event is not None:
                self._snapshot.add(message.topic, event, retained=message.retain)
        else:
            self._inbox.put(message)

    def on_ack(self, mid: int, reason: ReasonCode) -> None:
        """Pass over the answer to a mark: what counts is whether it comes back."""

    def on_tick(self, now_s: float) -> None:
        """Pass over the time: paho's keepalive finds a dead connection."""

    def on_lost(self, error: BusError) -> None:  # noqa: ARG002 - the connection keeps it
        """Wake whoever waits for a batch."""
        self._inbox.wake()

    # Inside

    async def _gather(self) -> list[Event]:
        """Subscribe, and gather what is so."""
        self._snapshot = gathered = Snapshot()
        codes = await self._connection.subscribe([*self._filters, self._mark_topic], qos=1)
        self._check_granted(codes)
        self._mark = Mark(self._connection)
        marks = self._habits.takes_marks and codes[-1].value < reasons.FAILURE
        if marks:
            self._connection.publish(self._mark_topic, b"", retain=False)
        try:
            await self._mark.wait()
        except BusUnavailableError:
            self._habits.takes_marks = not marks
            raise
        self._snapshot = self._mark = None
        self._known_topics = gathered.topics
        events = gathered.events()
        self._cursor.begin_at(event.id for event in events)
        if missing := gathered.missing():
            logger.warning(
                "the broker has not given everything that is so: its queue may be too small (max_queued_messages"
                " of mosquitto)",
                extra={"destination": self._shown, "missing_jobs": missing},
            )
        return events

    def _check_granted(self, codes: Sequence[ReasonCode]) -> None:
        for topic_filter, code in zip(self._filters, codes, strict=False):
            if code.value >= reasons.FAILURE:
                raise BusUnavailableError(
                    f"{self._shown}: the broker refused to give {topic_filter}: {code}", refused=True
                )

    def _take(self) -> list[Event]:
        """Take from the inbox what is news, and move the cursor behind it."""
        events = []
        for message in self._inbox.take(MAX_BATCH_EVENTS):
            event = self._read(message)
            if event is not None and self._is_new(message, event):
                events.append(event)
        self._has_uncommitted = self._has_uncommitted or bool(events)
        if not self._has_uncommitted:
            self._inbox.release()  # nobody will commit what nobody got
        return events

    def _is_new(self, message: MQTTMessage, event: Event) -> bool:
        is_new = self._cursor.advance(event.id)
        if self._known_topics is None:
            return is_new
        topic = message.topic
        if message.retain and topic not in self._known_topics:
            is_new = True  # the broker found it after our mark, behind others with higher numbers
        self._known_topics.add(topic)
        return is_new

    def _read(self, message: MQTTMessage) -> Event | None:
        if not message.payload:
            return None  # a retained message was cleared
        try:
            return from_json(bytes(message.payload))
        except EventFormatError as error:
            if not self._habits.foreign_messages:
                logger.warning(
                    "messages that are no events are passed over",
                    extra={"destination": self._shown, "topic": message.topic, "reason": str(error)},
                )
            self._habits.foreign_messages += 1
            return None

    def _acknowledge(self, message: MQTTMessage) -> None:
        if message.qos:
            self._connection.acknowledge([message.mid])
