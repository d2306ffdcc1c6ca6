"""Reads what a broker retains, so that no answer of the broker's that somebody waits for is lost by it.

What mosquitto queues for a client beyond its limit it drops, answers to that client among it (measured with
2.0.11, 20,000 jobs and 2,000 configurations of devices; its issue 3542 says so of later versions, too). A
publisher gives up a connection whose PUBACK does not come, so it publishes nothing while it reads, or it reads on
another.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.errors import BusError
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection, open_connection
from pulse_bridge_mqtt.endpoint import Endpoint, Identity
from pulse_bridge_mqtt.mark import QUIET_S, Mark
from pulse_bridge_mqtt.topics import Topics

READ_AT_ONCE: Final = 500

Take = Callable[[MQTTMessage], None]


class ReadRetained(Protocol):
    """Reads what is retained; see `read_retained`."""

    def __call__(self, filters: Sequence[str], take: Take) -> Awaitable[bool]:
        """Read it."""


async def unsubscribe_behind(connection: Connection, filters: Sequence[str], heard: Callable[[], int]) -> None:
    """End subscriptions as soon as everything has come that the broker had queued for them at QoS 0.

    The answer stands behind it in the queue; where that was full, the answer is lost, and asked for again.

    Args:
        heard: Gives the number of messages that came on the connection.

    Raises:
        BusUnavailableError: The connection is lost.
    """
    answers: list[asyncio.Task[None]] = []
    try:
        while not any(answer.done() for answer in answers):
            answers.append(asyncio.create_task(connection.unsubscribe(filters)))
            before = -1
            while before != heard() and not any(answer.done() for answer in answers):
                before = heard()
                await asyncio.wait(answers, timeout=QUIET_S, return_when=asyncio.FIRST_COMPLETED)
        for answer in answers:
            if answer.done():
                await answer
    finally:
        for answer in answers:
            answer.cancel()
            with suppress(asyncio.CancelledError, BusError):
                await answer


async def read_retained(endpoint: Endpoint, topics: Topics, filters: Sequence[str], take: Take) -> bool:
    """Hand on each message that a broker retains on some topics, on a connection of its own.

    A broker may drop what it cannot send soon, without a word: what did not come may be there all the same. Up to
    `READ_AT_ONCE` messages come whole from every broker that keeps to its defaults.

    Args:
        take: Called with each, in the loop.

    Returns:
        Whether that could be read at all.

    Raises:
        BusUnavailableError: There is no broker, or it says no.
    """
    mark_topic = topics.mark(secrets.token_hex(5))
    async with open_connection(endpoint, Identity()) as connection:
        reader = _Reader(Mark(connection), mark_topic, take)
        connection.set_handler(reader)
        codes = await connection.subscribe([*filters, mark_topic])
        reached = await _reach(connection, reader.mark, mark_topic)
        connection.disconnect()
    return reached and all(code.value < reasons.FAILURE for code in codes)


async def _reach(connection: Connection, mark: Mark, mark_topic: str) -> bool:
    """Wait for the mark, and for a second one where the first was dropped with the rest."""
    for _ in range(2):
        connection.publish(mark_topic, b"", retain=False)
        if await mark.wait():
            return True
    return False


class _Reader:
    def __init__(self, mark: Mark, mark_topic: str, take: Take) -> None:
        self.mark = mark
        self._mark_topic = mark_topic
        self._take = take

    def on_message(self, message: MQTTMessage) -> None:
        self.mark.hear()
        if message.topic == self._mark_topic:
            self.mark.reach()
        elif message.retain:
            self._take(message)

    def on_ack(self, mid: int, reason: ReasonCode) -> None:
        """Pass over an answer: what counts is whether the mark comes back."""

    def on_tick(self, now_s: float) -> None:
        """Pass over the time."""

    def on_lost(self, error: BusError) -> None:
        """Leave it to whoever waits for the connection."""
