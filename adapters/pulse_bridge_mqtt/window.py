"""What is on its way to the broker: the in-flight window, and the calls that wait for it.

Our own, because paho's would keep a queue that it carries over connections.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.bus import Rejection
from pulse_bridge.errors import BusError, BusUnavailableError
from pulse_bridge.event import Event
from pulse_bridge_mqtt import reasons
from pulse_bridge_mqtt.connection import Connection
from pulse_bridge_mqtt.failures import fail

MAX_IN_FLIGHT: Final = 100
"""Two batches. More is slower: paho does 15,800 messages/s with 20 in flight and 6,300 with 1,000."""
PUBACK_TIMEOUT_S: Final = 10.0


class Call:
    """One call to publish: it is done when the broker has answered for each of its messages."""

    __slots__ = ("future", "outstanding", "rejections")

    def __init__(self, future: asyncio.Future[Sequence[Rejection]]) -> None:
        self.future = future
        self.outstanding = 0
        self.rejections: list[Rejection] = []


class Message:
    """One message of a call. Without an event it is one that the bridge itself sends.

    Args:
        on_refused: Takes the broker's reason, in words, where the bridge can do without the message.
    """

    __slots__ = ("call", "event", "on_refused", "payload", "retain", "sent_at", "topic")

    def __init__(
        self,
        call: Call,
        topic: str,
        payload: bytes,
        *,
        retain: bool,
        event: Event | None,
        on_refused: Callable[[str], None] | None = None,
    ) -> None:
        self.call = call
        self.topic = topic
        self.payload = payload
        self.retain = retain
        self.event = event
        self.on_refused = on_refused
        self.sent_at = 0.0


class Window:
    """Sends messages in order, never more unacknowledged than the broker takes, and settles calls in order."""

    def __init__(self, connection: Connection, shown: str) -> None:
        self._connection = connection
        self._shown = shown
        self._loop = asyncio.get_running_loop()
        self._size = min(MAX_IN_FLIGHT, connection.receive_maximum)
        self._in_flight: dict[int, Message] = {}  # by packet identifier, oldest first
        self._queue: deque[Message] = deque()
        self._calls: deque[Call] = deque()

    def open_call(self) -> Call:
        """Begin a call; close it with `close_call` when its messages have been sent."""
        call = Call(self._loop.create_future())
        if self._connection.error is not None:
            fail(call.future, self._connection.error)
        self._calls.append(call)
        return call

    def close_call(self) -> None:
        """Settle what is done already: a call may have had nothing to send."""
        self._settle()

    def send(self, message: Message) -> None:
        """Write the message to the socket in this call, or as soon as the window allows."""
        message.call.outstanding += 1
        if self._queue or len(self._in_flight) >= self._size:
            self._queue.append(message)
        else:
            self._write(message)

    def acknowledge(self, mid: int, reason: ReasonCode) -> None:
        """Take the broker's answer to a message and send what it makes room for."""
        message = self._in_flight.pop(mid, None)
        if message is None:
            return
        if reason.value >= reasons.FAILURE and not self._reject(message, reason):
            return
        message.call.outstanding -= 1
        while self._queue and len(self._in_flight) < self._size and self._connection.error is None:
            self._write(self._queue.popleft())
        self._settle()

    def check_overdue(self, now_s: float) -> None:
        """Lose the connection when the oldest message has waited too long; `now_s` is the loop's clock."""
        oldest = next(iter(self._in_flight.values()), None)
        if oldest is not None and now_s - oldest.sent_at > PUBACK_TIMEOUT_S:
            self._connection.lose(
                BusUnavailableError(f"{self._shown}: the broker has not acknowledged for {PUBACK_TIMEOUT_S:.0f} s")
            )

    def abandon(self, error: BusError) -> None:
        """Fail every call that is not done."""
        self._in_flight.clear()
        self._queue.clear()
        while self._calls:
            fail(self._calls.popleft().future, error)

    def _write(self, message: Message) -> None:
        message.sent_at = self._loop.time()
        mid = self._connection.publish(message.topic, message.payload, retain=message.retain)
        self._in_flight[mid] = message

    def _reject(self, message: Message, reason: ReasonCode) -> bool:
        """Note that a message was refused; False if that is no matter of this message alone."""
        if message.event is not None and reason.value in reasons.REJECTING:
            message.call.rejections.append(Rejection(message.event, str(reason)))
            return True
        if message.on_refused is not None:
            message.on_refused(f"{message.topic}: {reason}")
            return True
        self._connection.lose(
            BusUnavailableError(
                f"{self._shown}: the broker refused to take {message.topic}: {reason}",
                refused=reason.value in reasons.REFUSING,
            )
        )
        return False

    def _settle(self) -> None:
        """Give results in the order of the calls, whichever was answered first."""
        while self._calls and not self._calls[0].outstanding:
            call = self._calls.popleft()
            if not call.future.done():  # its caller may have been cancelled
                call.future.set_result(call.rejections)
