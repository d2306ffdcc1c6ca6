"""Who holds a group, where its readers may be on different machines.

A group's cursor and state lie on one machine, and its session at the broker is one. A second reader of the group
elsewhere would end the first one's connection, be ended by it in turn, and each would miss what the other got. The
one that is ended is not told why: not by 3.1.1, nor by mosquitto 2.0.11 with MQTT 5 (measured; §3.1.4 would have
it say 0x8E). So a retained message says who holds the group, and is read before each connection, on a connection
of its own that disturbs nobody. Whoever begins anew takes the group; whoever had it finds that out and leaves for
good.
"""

import logging
import secrets
import socket

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.errors import BusError, BusUnavailableError
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import open_connection
from pulse_bridge_mqtt.endpoint import Endpoint, Identity
from pulse_bridge_mqtt.mark import Mark

logger = logging.getLogger(__name__)


def new_holder() -> str:
    """Name a store that begins: random, and the machine for a person."""
    return f"{secrets.token_hex(4)} {socket.gethostname()}"


async def find_other_holder(endpoint: Endpoint, topic: str, holder: str, *, take: bool) -> str | None:
    """Say who else holds the group, or None.

    Args:
        topic: Where it stands.
        holder: Ours.
        take: Take the group, whoever has it.

    Raises:
        BusUnavailableError: There is no broker, or it says no.
    """
    async with open_connection(endpoint, Identity()) as connection:
        reader = _Reader(topic, holder, Mark(connection))
        connection.set_handler(reader)
        (code,) = await connection.subscribe([topic], qos=1)
        connection.publish(topic, holder.encode(), retain=take)
        try:
            marked = await reader.mark.wait()
        except BusUnavailableError:
            marked = False  # some brokers end a connection that publishes where it may not
        found = reader.found
        if found is None and marked and not take:
            connection.publish(topic, holder.encode(), retain=True)  # a broker that forgot what it retained
            await connection.unsubscribe([topic])  # its answer comes behind what was sent before
        connection.disconnect()
    if not marked or code.value >= reasons.FAILURE:
        logger.warning(
            "the broker does not take our word for who holds the group: a second one elsewhere would go unnoticed",
            extra={"destination": str(endpoint), "topic": topic},
        )
    return None if take or found in (None, holder) else found


class _Reader:
    """Reads what stands on the topic, and our own message behind it."""

    def __init__(self, topic: str, holder: str, mark: Mark) -> None:
        self.mark = mark
        self.found: str | None = None
        self._topic = topic
        self._holder = holder

    def on_message(self, message: MQTTMessage) -> None:
        self.mark.hear()
        if message.topic != self._topic:
            return
        holder = bytes(message.payload).decode(errors="replace")
        if message.retain:
            self.found = holder
        elif holder == self._holder:
            self.mark.reach()

    def on_ack(self, mid: int, reason: ReasonCode) -> None:
        """Pass over an answer: what counts is whether it comes back."""

    def on_tick(self, now_s: float) -> None:
        """Pass over the time."""

    def on_lost(self, error: BusError) -> None:
        """Leave it to whoever waits for the connection."""
