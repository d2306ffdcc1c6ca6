"""paho's client over a websocket, with its mistakes mended."""

import socket
from typing import Any

from paho.mqtt.client import Client, _WebsocketWrapper
from paho.mqtt.enums import CallbackAPIVersion


def make_client(websocket_path: str | None, **options: Any) -> Client:  # noqa: ANN401 - paho's own
    """Make a paho client.

    Args:
        websocket_path: None for plain TCP or TLS.
        options: Of paho's `Client`.
    """
    if websocket_path is None:
        return Client(CallbackAPIVersion.VERSION2, **options)
    client = _WebsocketClient(CallbackAPIVersion.VERSION2, transport="websockets", **options)
    client.ws_set_options(path=websocket_path)
    return client


def tcp_socket(opened: object) -> socket.socket | None:
    """Find the TCP socket in what paho calls its socket."""
    tcp = getattr(opened, "_socket", opened)
    return tcp if isinstance(tcp, socket.socket) else None


class _WebsocketClient(Client):
    """Closes the socket when the handshake fails; paho drops the reference and leaves that to the collector."""

    def _create_socket(self) -> "_Websocket":
        opened = self._create_socket_connection()
        try:
            if self._ssl:
                opened = self._ssl_wrap_socket(opened)
            opened.settimeout(self._connect_timeout)
            return _Websocket(opened, self._host, self._port, self._ssl, self._websocket_path, None)
        except BaseException:
            opened.close()
            raise


class _Websocket(_WebsocketWrapper):
    """Frames MQTT's bytes.

    The handshake blocks, as paho's whole `connect` does, which is why `opening.py` gives it a thread. Reading asks
    the socket for no more than paho asks for, so nothing is hidden from the loop (TLS apart, see `pending`).
    """

    def _send_impl(self, data: bytes | bytearray) -> int:
        """Send a frame or raise.

        paho's own answers 0 for a frame that was sent in part, upon which the client forgets the packet, and takes
        the rest of that frame for the next packet: as soon as a socket is full for a moment, what follows is lost
        and the stream is no MQTT any more. With this error it keeps the packet and asks again.
        """
        sent = super()._send_impl(data)
        if self._sendbuffer:
            raise BlockingIOError
        return sent

    def _create_frame(self, opcode: int, data: bytearray, do_masking: int = 1) -> bytearray:  # noqa: ARG002 - as paho's
        """Mask answers to pings, too: a server must close upon a frame that is not. Source: RFC 6455 §5.1."""
        return super()._create_frame(opcode, bytearray(data), 1)
