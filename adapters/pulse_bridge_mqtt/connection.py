"""One MQTT connection: a paho client of its own, with its answers and errors translated.

Nothing of paho outlives a connection, and its queue stays empty: the journal is the queue.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pulse_bridge.errors import BusError, BusUnavailableError, HostTakenError
from pulse_bridge_mqtt import failures, reasons
from pulse_bridge_mqtt.driver import Driver
from pulse_bridge_mqtt.endpoint import Endpoint, Identity
from pulse_bridge_mqtt.opening import discard_socket, open_socket
from pulse_bridge_mqtt.websocket import make_client

CONNACK_TIMEOUT_S: Final = 3.0
DEFAULT_RECEIVE_MAXIMUM: Final = 65_535
_LENGTH_STEPS: Final = (0x7F, 0x3FFF, 0x1F_FFFF)
"""Bodies larger than these need one more byte for their length. Source: MQTT 5 §1.5.5."""


class Handler(Protocol):
    """Who is told what happens on a connection. Called from the loop, never from inside paho."""

    def on_ack(self, mid: int, reason: ReasonCode) -> None:
        """Take the broker's PUBACK for a message."""

    def on_message(self, message: MQTTMessage) -> None:
        """Take a message that the broker delivered."""

    def on_tick(self, now_s: float) -> None:
        """Look at what is overdue, about once a second; `now_s` is the loop's clock."""

    def on_lost(self, error: BusError) -> None:
        """Give up what is under way, for this reason."""


@asynccontextmanager
async def open_connection(endpoint: Endpoint, identity: Identity) -> AsyncIterator["Connection"]:
    """Connect, and close the socket at the end in any case.

    Without `Connection.disconnect` before, the broker finds us vanished and publishes the will.

    Raises:
        BusUnavailableError: There is no broker, or it says no (`refused`).
    """
    client = _make_client(endpoint, identity)
    await open_socket(client, endpoint, identity)
    connection = Connection(client, endpoint, for_host=identity.will_topic is not None)
    try:
        await connection.log_in()
        yield connection
    finally:
        connection.close()


def _make_client(endpoint: Endpoint, identity: Identity) -> Client:
    reasons.accept_too_large_in_puback()
    client = make_client(
        endpoint.websocket_path,
        client_id=identity.client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if endpoint.version_5 else MQTTProtocolVersion.MQTTv311,
        clean_session=None if endpoint.version_5 else identity.expiry_s is None,
        # Would make paho connect again by itself, blocking, on one of the refusals.
        reconnect_on_failure=False,
        manual_ack=identity.reads,
    )
    client.max_inflight_messages = 0  # no window and so no queue of paho's; the publisher keeps the window
    if identity.will_topic is not None:
        client.will_set(identity.will_topic, identity.will_payload, qos=1, retain=True)
    if endpoint.url.username is not None:
        client.username_pw_set(endpoint.url.username, endpoint.password())
    return client


class Connection:
    """An open socket to a broker and, once `log_in` has returned, an MQTT connection on it.

    Attributes:
        receive_maximum: The most QoS 1 messages that the broker takes unacknowledged. Source: MQTT 5 §3.2.2.3.3.
        maximum_packet_bytes: The largest packet that the broker takes, None where it does not say.
            Source: MQTT 5 §3.2.2.3.6.
        retains: The broker keeps retained messages. Source: MQTT 5 §3.2.2.3.5.
        session_present: The broker goes on with a session of ours. Source: MQTT 5 §3.2.2.1.1.
        error: Why the connection is lost or closed, None while it is neither.
    """

    def __init__(self, client: Client, endpoint: Endpoint, *, for_host: bool) -> None:
        self.receive_maximum = DEFAULT_RECEIVE_MAXIMUM
        self.maximum_packet_bytes: int | None = None
        self.retains = True
        self.session_present = False
        self.error: BusError | None = None
        self._client = client
        self._endpoint = endpoint
        self._for_host = for_host
        self._loop = asyncio.get_running_loop()
        self._handler: Handler | None = None
        self._inbox: list[tuple[int, ReasonCode] | MQTTMessage] = []
        self._waiters: set[asyncio.Future[Any]] = set()
        self._answers: dict[int, asyncio.Future[Sequence[ReasonCode]]] = {}
        self._connack: asyncio.Future[None] = self.make_waiter()
        self._lost: asyncio.Future[BusError] = self._loop.create_future()
        self._closed = False
        self._driver = Driver(client, on_read=self._deliver, on_tick=self._tick, on_failure=self._lose_to_failure)

    async def log_in(self) -> None:
        """Send CONNECT and wait for the broker's answer.

        Raises:
            BusUnavailableError: It says no, or nothing.
        """
        client = self._client
        client.on_connect = self._note_connack
        client.on_publish = self._note_ack
        client.on_message = self._note_message
        client.on_subscribe = client.on_unsubscribe = self._note_answer
        client.on_disconnect = self._note_disconnect
        self._driver.start()
        try:
            async with asyncio.timeout(CONNACK_TIMEOUT_S):
                await self._connack
        except TimeoutError as error:
            raise BusUnavailableError(f"{self._endpoint}: the broker does not answer CONNECT") from error

    def set_handler(self, handler: Handler) -> None:
        """Say who is told what happens; what came before is told first."""
        self._handler = handler
        self._deliver()

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """Write one QoS 1 message to the socket, in the call.

        Returns:
            The packet identifier that its PUBACK will carry. A failure loses the connection instead of raising.
        """
        info = self._client.publish(topic, payload, 1, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.lose(BusUnavailableError(f"{self._endpoint}: cannot send: {info.rc.name}"))
        self._driver.watch_writable()
        return info.mid

    def acknowledge(self, mids: Iterable[int]) -> None:
        """Send PUBACK for messages that were delivered, in the order of their delivery. Nothing, if lost."""
        for mid in mids:
            if self.error is not None:
                return
            self._client.ack(mid, 1)
        self._driver.watch_writable()

    async def subscribe(self, filters: Sequence[str], qos: int = 0) -> Sequence[ReasonCode]:
        """Subscribe and give the broker's answer to each filter.

        Raises:
            BusUnavailableError: The connection is lost.
        """
        _, mid = self._client.subscribe([(topic_filter, qos) for topic_filter in filters])
        return await self._answer(mid)

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """End subscriptions.

        Raises:
            BusUnavailableError: The connection is lost.
        """
        _, mid = self._client.unsubscribe(list(filters))
        await self._answer(mid)

    def fits(self, topic: str, payload: bytes) -> bool:
        """Say whether the broker takes a PUBLISH of this size."""
        limit = self.maximum_packet_bytes
        if limit is None:
            return True
        body_bytes = len(topic) + len(payload) + 5  # two lengths of 2, and no properties. Source: MQTT 5 §3.3
        length_bytes = 1 + sum(body_bytes > step for step in _LENGTH_STEPS)
        return 1 + length_bytes + body_bytes <= limit

    def make_waiter(self) -> "asyncio.Future[Any]":
        """Make a future that fails when the connection is lost."""
        waiter: asyncio.Future[Any] = self._loop.create_future()
        self._waiters.add(waiter)
        waiter.add_done_callback(self._waiters.discard)
        if self.error is not None:
            failures.fail(waiter, self.error)
        return waiter

    async def wait_lost(self) -> NoReturn:
        """Wait until the connection is lost.

        Raises:
            BusError: It is, and why.
        """
        raise failures.renew(await asyncio.shield(self._lost))  # a caller that is cancelled must not cancel it

    def lose(self, error: BusError) -> None:
        """Give the connection up; the first reason counts. Can be called anywhere, inside paho too."""
        if self.error is None:
            self.error = error
            self._loop.call_soon(self.close)

    def disconnect(self) -> None:
        """Say goodbye, so that the broker drops the will, and close.

        A socket that takes no more bytes now loses the goodbye, and the will is sent.
        """
        if self.error is None:
            self._client.on_disconnect = None
            self._client.disconnect()
        self.close()

    def close(self) -> None:
        """Close the socket, without a goodbye if there was none. Can be repeated."""
        if self._closed:
            return
        self._closed = True
        client = self._client
        client.on_disconnect = None
        if isinstance(self.error, HostTakenError):
            client.disconnect()  # the will would say offline in the name of the newer sidecar
        self._driver.stop()
        discard_socket(client)
        # Ends the cycle between paho and us, so that memory goes without the collector.
        client.on_connect = client.on_publish = client.on_message = None
        client.on_subscribe = client.on_unsubscribe = None
        if self.error is None:
            self.error = BusUnavailableError(f"{self._endpoint}: the connection is closed")
        for waiter in list(self._waiters):
            failures.fail(waiter, self.error)
        if self._handler is not None:
            self._handler.on_lost(self.error)
        self._lost.set_result(self.error)

    def _tick(self, now_s: float) -> None:
        if self._handler is not None:
            self._handler.on_tick(now_s)

    def _lose_to_failure(self, error: Exception) -> None:
        failure = BusUnavailableError(f"{self._endpoint}: failed while handling a packet: {error!r}")
        failure.__cause__ = error
        self.lose(failure)

    def _deliver(self) -> None:
        """Hand on what paho collected; outside its callbacks, so that handlers may publish and fail freely."""
        if self._handler is None:
            return
        inbox, self._inbox = self._inbox, []
        for item in inbox:
            if isinstance(item, MQTTMessage):
                self._handler.on_message(item)
            else:
                self._handler.on_ack(*item)

    async def _answer(self, mid: int | None) -> Sequence[ReasonCode]:
        self._driver.watch_writable()
        waiter = self.make_waiter()
        if mid is None:
            self.lose(BusUnavailableError(f"{self._endpoint}: the connection was closed"))
        else:
            self._answers[mid] = waiter
        answer: Sequence[ReasonCode] = await waiter
        return answer

    # Called by paho, with its locks held: note and return

    def _note_connack(
        self,
        _client: Client,
        _userdata: object,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.value >= reasons.FAILURE:
            self.lose(failures.refused_by_broker(self._endpoint, reason))
            return
        self.session_present = flags.session_present
        self.receive_maximum = getattr(properties, "ReceiveMaximum", DEFAULT_RECEIVE_MAXIMUM)
        self.maximum_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        self.retains = getattr(properties, "RetainAvailable", 1) == 1
        if getattr(properties, "MaximumQoS", 1) < 1:
            self.lose(BusUnavailableError(f"{self._endpoint}: the broker takes no QoS 1 messages", refused=True))
        elif not self._connack.done():
            self._connack.set_result(None)

    def _note_ack(
        self, _client: Client, _userdata: object, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        self._inbox.append((mid, reason))

    def _note_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._inbox.append(message)

    def _note_answer(
        self, _client: Client, _userdata: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        waiter = self._answers.pop(mid, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(codes)

    def _note_disconnect(
        self, _client: Client, _userdata: object, flags: DisconnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self.lose(failures.ended_by_broker(self._endpoint, reason, for_host=self._for_host))
        elif self._connack.done():
            self.lose(BusUnavailableError(f"{self._endpoint}: the connection was lost"))
        else:
            self.lose(failures.closed_unanswered(self._endpoint))
