"""What the broker delivered and nobody has taken yet, and what of it the broker knows we have."""

import asyncio
from collections import deque
from typing import Final

from paho.mqtt.client import MQTTMessage

from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.failures import renew

MAX_WAITING: Final = 10_000
"""A reader without a group may be so many messages behind; then the broker has to keep what follows."""


class Inbox:
    """Messages in the order of delivery.

    The acknowledgement is the only brake: a broker sends no more than a number of messages that are not
    acknowledged (`RECEIVE_MAXIMUM`, or its own), so memory is bounded, while the socket is always read and so the
    keepalive works.

    Args:
        keeps: Acknowledge only by `release`, so that the broker keeps what was not released. If not, a message is
            acknowledged when it comes, up to `MAX_WAITING`: a broker drops what it cannot deliver soon.
    """

    def __init__(self, connection: Connection, *, keeps: bool) -> None:
        self._connection = connection
        self._keeps = keeps
        self._waiting: deque[MQTTMessage] = deque()
        self._unacknowledged: deque[int] = deque()  # packet identifiers of those that wait
        self._taken: list[int] = []  # those of what was taken and not released
        self._changed = asyncio.Event()

    def put(self, message: MQTTMessage) -> None:
        """Take a message in."""
        self._waiting.append(message)
        if message.qos:
            self._unacknowledged.append(message.mid)
            self._acknowledge_what_fits()
        self._changed.set()

    def wake(self) -> None:
        """Have `wait` look at the connection."""
        self._changed.set()

    async def wait(self) -> None:
        """Wait until something can be taken.

        Raises:
            BusError: Nothing can, and the connection is lost.
        """
        while not self._waiting:
            if self._connection.error is not None:
                raise renew(self._connection.error)
            self._changed.clear()
            await self._changed.wait()

    def take(self, limit: int) -> list[MQTTMessage]:
        """Give the oldest messages."""
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if self._keeps:
            for message in taken:
                if message.qos:
                    self._taken.append(self._unacknowledged.popleft())
        else:
            self._acknowledge_what_fits()
        return taken

    def release(self) -> None:
        """Let the broker forget what was taken so far."""
        taken, self._taken = self._taken, []
        self._connection.acknowledge(taken)

    def _acknowledge_what_fits(self) -> None:
        if self._keeps or len(self._waiting) > MAX_WAITING:
            return
        mids, self._unacknowledged = self._unacknowledged, deque()
        self._connection.acknowledge(mids)
