"""Runs an open paho client in the asyncio loop.

paho's own loops are not used: they wait with select(), which fails beyond descriptor 1023, and they connect again
by themselves, which is the relay's business.
"""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Final

from paho.mqtt.client import Client

from pulse_bridge_mqtt.websocket import tcp_socket

TICK_S: Final = 1.0
MAX_PACKETS_AT_ONCE: Final = 200
"""Read in one turn of the loop; others must have theirs."""
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)  # Linux has it


class Driver:
    """Reads and writes for a client whenever its socket can, and ticks about once a second.

    Args:
        on_read: Called after something was read, outside paho's callbacks and locks.
        on_tick: Called with the loop's clock, in seconds.
        on_failure: Called with whatever was raised in one of these or in paho; nothing is raised into the loop.
    """

    def __init__(
        self,
        client: Client,
        *,
        on_read: Callable[[], None],
        on_tick: Callable[[float], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._on_read = on_read
        self._on_tick = on_tick
        self._on_failure = on_failure
        self._fd: int | None = None
        self._poll = select.poll()
        self._writer_added = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch the socket, and write what the client has queued."""
        opened = self._client.socket()
        if opened is None:
            self._on_failure(ConnectionError("the socket was closed at once"))
            return
        self._client.on_socket_close = self._stop_watching  # paho closes it by itself when it fails
        self._fd = opened.fileno()
        self._loop.add_reader(self._fd, self._read)
        self._poll.register(self._fd, select.POLLIN)
        self._timer = self._loop.call_later(TICK_S, self._tick)
        self._write()

    def stop(self) -> None:
        """Leave the socket alone. Can be repeated."""
        self._stop_watching()
        self._client.on_socket_close = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def watch_writable(self) -> None:
        """Have what the socket did not take written when it does; to be called after each write."""
        wanted = self._client.want_write()
        if self._fd is None or wanted == self._writer_added:
            return
        self._writer_added = wanted
        if wanted:
            self._loop.add_writer(self._fd, self._write)
        else:
            self._loop.remove_writer(self._fd)

    def _read(self) -> None:
        if self._fd is None:
            return
        try:
            self._client.loop_read()  # one packet
            for _ in range(MAX_PACKETS_AT_ONCE - 1):
                if not self._has_more():
                    break
                self._client.loop_read()
            else:
                self._loop.call_soon(self._read)  # what TLS holds is announced by nobody
            self._acknowledge_tcp()
            self._on_read()
            if self._client.want_write():
                self._client.loop_write()
            self.watch_writable()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must end this connection and be seen
            self._on_failure(error)

    def _write(self) -> None:
        try:
            self._client.loop_write()
            self.watch_writable()
        except Exception as error:  # noqa: BLE001 - as above
            self._on_failure(error)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        try:
            self._client.loop_misc()
            self._on_tick(self._loop.time())
            self.watch_writable()
        except Exception as error:  # noqa: BLE001 - as above
            self._on_failure(error)

    def _has_more(self) -> bool:
        """Say whether there is something to read: in the socket, or in TLS, which the socket does not announce."""
        if self._fd is None:
            return False
        pending = getattr(self._client.socket(), "pending", None)
        return bool((pending is not None and pending()) or self._poll.poll(0))

    def _acknowledge_tcp(self) -> None:
        """Send the TCP acknowledgement for what was read now instead of up to 40 ms later.

        mosquitto leaves Nagle's algorithm on: its second PUBACK waits for our TCP acknowledgement of the first,
        and the kernel holds that back while we have nothing to say. Measured on batches of two: the slowest tenth
        took 42 ms, and 1.5 ms with this. The kernel forgets the option, so it is set on each read.
        Source: tcp(7), TCP_QUICKACK.
        """
        tcp = tcp_socket(self._client.socket())
        if _QUICKACK is not None and tcp is not None:
            tcp.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _stop_watching(self, *_from_paho: object) -> None:
        """Leave the descriptor alone before it is closed: its number may be another socket's next."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._poll.unregister(self._fd)
            self._fd = None
            self._writer_added = False
