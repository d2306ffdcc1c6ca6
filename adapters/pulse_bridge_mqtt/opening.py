"""Opens a paho client's socket (DNS, TCP, TLS) without hindering the event loop or the exit of the process."""

import asyncio
import socket
import threading
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pulse_bridge_mqtt import failures
from pulse_bridge_mqtt.endpoint import Endpoint, Identity
from pulse_bridge_mqtt.tls import build_context
from pulse_bridge_mqtt.websocket import tcp_socket

RECEIVE_MAXIMUM: Final = 10_000
"""The most messages that a broker has on their way to us unacknowledged; with 3.1.1 its own limit holds, often 20.

What is above it waits in the broker's queue. mosquitto's default queue has room for 1000 and drops the rest, of a
snapshot, too: with it and this, 11,000 retained jobs come whole with MQTT 5, and 1,020 with 3.1.1 (measured).
"""
CONNECT_TIMEOUT_S: Final = 3.0
"""For one address of the broker."""
OPEN_TIMEOUT_S: Final = 6.0
"""For finding and trying all its addresses."""


async def open_socket(client: Client, endpoint: Endpoint, identity: Identity) -> None:
    """Open the client's socket in a daemon thread of its own. CONNECT is queued in the client, not yet sent.

    A thread, because paho blocks; its own and a daemon, because a resolver that never answers must not hold up a
    pool or the end of the process; CONNECT unsent, because an attempt that was given up meanwhile must not show
    up at the broker a minute later.

    Raises:
        BusUnavailableError: There is no way to the broker now.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.on_socket_open = _send_at_once
    client.on_socket_register_write = _leave_queued

    def hand_over(error: Exception | None) -> None:
        if opened.done():  # given up meanwhile
            discard_socket(client)
        elif error is not None:
            opened.set_exception(error)
        else:
            opened.set_result(None)

    def connect() -> None:
        error: Exception | None = None
        try:
            if endpoint.tls:
                client.tls_set_context(build_context(endpoint.options))
            _connect(client, endpoint, identity)
        except Exception as caught:  # noqa: BLE001 - carried to whoever waits for this thread
            error = caught
        try:
            loop.call_soon_threadsafe(hand_over, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            discard_socket(client)

    threading.Thread(target=connect, name="mqtt-connect", daemon=True).start()
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await opened
    except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
        discard_socket(client)
        raise failures.unreachable(endpoint, error) from error
    except BaseException:
        discard_socket(client)
        raise
    client.on_socket_register_write = None


def _connect(client: Client, endpoint: Endpoint, identity: Identity) -> None:
    host, port, keepalive_s = endpoint.host, endpoint.port, endpoint.options.keepalive_s
    if not endpoint.version_5:
        client.connect(host, port, keepalive_s)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho does not say
    if identity.reads:
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
    if identity.expiry_s is not None:
        properties.SessionExpiryInterval = identity.expiry_s
    client.connect(host, port, keepalive_s, clean_start=identity.expiry_s is None, properties=properties)


def discard_socket(client: Client) -> None:
    """Close the client's socket, if it has one, without a DISCONNECT."""
    opened = client.socket()
    if opened is not None:
        opened.close()


def _send_at_once(_client: Client, _userdata: Any, opened: Any) -> None:  # noqa: ANN401 - paho's signature
    """Turn Nagle's algorithm off: it would hold an event back until the one before is acknowledged."""
    tcp = tcp_socket(opened)
    if tcp is not None:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _leave_queued(_client: Client, _userdata: Any, _socket: Any) -> None:  # noqa: ANN401 - paho's signature
    """Keep paho from writing in the thread; with such a callback it leaves that to the loop."""
