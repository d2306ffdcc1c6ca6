"""What `pulse-bridge doctor` finds out about a broker: limits, rights, who is there, what jobs left behind.

What is published to find out is not retained, goes where no reader takes it for an event, and is empty.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.doctor import Cure, Examination, Finding, count
from pulse_bridge.errors import BusError, BusUnavailableError
from pulse_bridge_mqtt import examine_checks as checks
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection, open_connection
from pulse_bridge_mqtt.endpoint import Endpoint, Identity
from pulse_bridge_mqtt.examine_checks import Limits, Retained
from pulse_bridge_mqtt.mark import Mark
from pulse_bridge_mqtt.reading import READ_AT_ONCE, read_retained
from pulse_bridge_mqtt.topics import Topics

_CLEARED: Final = b""
_LARGE: Final = b" " * checks.EVENT_BYTES
_CLEAN: Final = "--clean removes them, after asking: 'pulse-bridge doctor --clean'"


class _Reader:
    """Takes what a broker retains, and answers to what is published."""

    def __init__(self, connection: Connection, mark_topic: str) -> None:
        self.payloads: dict[str, bytes] = {}
        self._connection = connection
        self._mark_topic = mark_topic
        self._mark = Mark(connection)
        self._answers: dict[int, ReasonCode] = {}
        self._awaited: dict[int, Callable[[ReasonCode], None]] = {}
        connection.set_handler(self)

    async def read(self, filters: Sequence[str]) -> list[str]:
        """Read all that is retained; give the filters that were refused."""
        codes = await self._connection.subscribe([*filters, self._mark_topic], qos=1)
        self._connection.publish(self._mark_topic, b"", retain=False)
        await self._mark.wait()
        refused = zip(filters, codes, strict=False)
        return [name for name, code in refused if code.value >= reasons.FAILURE]

    async def publish(self, topic: str, payload: bytes, *, retain: bool) -> ReasonCode:
        """Publish, and wait for the answer.

        Raises:
            BusUnavailableError: The connection is lost, perhaps because this may not be published.
        """
        waiter = self._connection.make_waiter()
        mid = self._connection.publish(topic, payload, retain=retain)
        if mid in self._answers:
            return self._answers[mid]
        self._awaited[mid] = waiter.set_result
        reason: ReasonCode = await waiter
        return reason

    def on_message(self, message: MQTTMessage) -> None:
        """Keep what is there."""
        self._mark.hear()
        if message.qos:
            self._connection.acknowledge([message.mid])
        if message.topic == self._mark_topic:
            self._mark.reach()
        elif message.payload:
            self.payloads[message.topic] = bytes(message.payload)
        else:
            self.payloads.pop(message.topic, None)

    def on_ack(self, mid: int, reason: ReasonCode) -> None:
        """Hand an answer to whoever waits for it."""
        self._answers[mid] = reason
        if (tell := self._awaited.pop(mid, None)) is not None:
            tell(reason)

    def on_tick(self, now_s: float) -> None:
        """Pass over the time."""

    def on_lost(self, error: BusError) -> None:
        """Pass over it: whoever waits is told."""


async def examine(endpoint: Endpoint, topics: Topics, examination: Examination) -> AsyncIterator[Finding]:
    """Look at a broker.

    Raises:
        BusUnavailableError: There is no way in.
    """
    filters = [*topics.everything, f"{topics.prefix}/+/bridge"]
    discovery = f"{endpoint.options.homeassistant_prefix}/device/+/config"
    async with open_connection(endpoint, Identity(reads=True)) as connection:
        yield examination.fine("the login works")
        limits = Limits(connection.maximum_packet_bytes, connection.retains)
        reader = _Reader(connection, topics.mark(_random_reader()))
        # Events first: of what a broker drops because its queue is full, they are missed most.
        refused = await reader.read([*filters, discovery, checks.VERSION_TOPIC, checks.DROPPED_TOPIC])
        retained = Retained(dict(reader.payloads))
        connection.disconnect()
    for finding in (*checks.check_limits(limits, examination), *checks.check_broker(retained, examination)):
        yield finding
    refused_topic = await _try_publishing(endpoint, topics, examination) if examination.publishes else None
    refused = [name for name in refused if name in filters]
    for finding in (
        *checks.check_rights(refused, refused_topic, endpoint.url.username, examination),
        *checks.check_host(retained, topics, examination),
    ):
        yield finding
    left = checks.find_leftovers(retained, topics, endpoint.options.forget_after_s, examination)
    orphans = checks.find_orphans(retained, topics, left)
    # Their states may be there, and only not have come with the rest.
    present = await _read_exactly(endpoint, topics, [state for state in orphans.values() if state not in left])
    orphans = {topic: state for topic, state in orphans.items() if state not in present}
    for finding in _tell_what_is_left(endpoint, topics, retained, examination, left=left, orphans=orphans):
        yield finding


def _random_reader() -> str:
    return secrets.token_hex(5)


async def _try_publishing(endpoint: Endpoint, topics: Topics, examination: Examination) -> tuple[str, str] | None:
    """Publish what nobody takes for an event; give a topic that was refused, and why.

    On a connection of its own, because some brokers end one that publishes where it may not.
    """
    job = f"doctor-{_random_reader()}"
    mark = topics.mark(_random_reader())
    topic = topics.state(examination.host, job)
    try:
        async with open_connection(endpoint, Identity()) as connection:
            publisher = _Reader(connection, mark)
            reason = await publisher.publish(topic, _CLEARED, retain=False)
            if reason.value >= reasons.FAILURE:
                return topic.replace(job, "+"), str(reason)
            if connection.fits(mark, _LARGE):
                size = await publisher.publish(mark, _LARGE, retain=False)
                if size.value == reasons.PACKET_TOO_LARGE:
                    return mark, checks.TOO_LARGE
            connection.disconnect()
    except BusUnavailableError as error:
        return topic.replace(job, "+"), str(error).removeprefix(f"{endpoint}: ")
    return None


async def _read_exactly(endpoint: Endpoint, topics: Topics, names: Sequence[str]) -> dict[str, bytes]:
    """Read what is retained on some topics, in portions that come whole from every broker with its defaults.

    Raises:
        BusUnavailableError: It cannot be read, so nothing can be said of what is not there.
    """
    found: dict[str, bytes] = {}

    def keep(message: MQTTMessage) -> None:
        found[message.topic] = bytes(message.payload)

    for start in range(0, len(names), READ_AT_ONCE):
        if not await read_retained(endpoint, topics, names[start : start + READ_AT_ONCE], keep):
            raise BusUnavailableError(f"{endpoint}: the broker does not let us read what it retains")
    return found


def _tell_what_is_left(
    endpoint: Endpoint,
    topics: Topics,
    retained: Retained,
    examination: Examination,
    *,
    left: Sequence[str],
    orphans: Mapping[str, str],
) -> list[Finding]:
    found = []
    if left:
        sentence = f"{count(len(left), 'topic')} retained for jobs or hosts that are no more: {checks.some(left)}"
        question = f"Remove {count(len(left), 'retained topic')} from {endpoint}: {checks.some(left)}?"
        cure = Cure(question, lambda: _clear(endpoint, topics, retained, left, ()))
        found.append(Finding("advice", examination.subject, sentence, _CLEAN, cure))
    if orphans:
        names = checks.some(orphans)
        sentence = f"Home Assistant is told of {count(len(orphans), 'device')} that nobody publishes: {names}"
        question = f"Remove {count(len(orphans), 'device')} of Home Assistant from {endpoint}: {names}?"
        spare = [state for state in orphans.values() if state not in left]
        cure = Cure(question, lambda: _clear(endpoint, topics, retained, list(orphans), spare))
        # Before the states: Home Assistant complains of an entity whose state went first.
        found.insert(0, Finding("advice", examination.subject, sentence, _CLEAN, cure))
    return found


async def _clear(
    endpoint: Endpoint, topics: Topics, seen: Retained, left: Sequence[str], absent: Collection[str]
) -> str:
    """Clear what is still as it was seen.

    Args:
        left: The topics to clear.
        absent: State topics that must not be there now: a job that came back keeps its device.

    Raises:
        BusUnavailableError: There is no way in, or the broker refuses.
    """
    cleared = 0
    present = await _read_exactly(endpoint, topics, [*left, *absent])
    back = {topic for topic in absent if topic in present}
    async with open_connection(endpoint, Identity()) as connection:
        reader = _Reader(connection, topics.mark(_random_reader()))
        for topic in left:
            payload = seen.payloads[topic]
            if present.get(topic) != payload or checks.shown_topic(payload) in back:
                continue
            reason = await reader.publish(topic, _CLEARED, retain=True)
            if reason.value >= reasons.FAILURE:
                raise BusUnavailableError(f"{endpoint}: the broker does not let us clear {topic}: {reason}")
            cleared += 1
        connection.disconnect()
    return f"{count(cleared, 'retained topic')} removed from {endpoint}"
