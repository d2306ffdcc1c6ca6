"""Listens on one TCP port and answers each request in a thread of its own."""

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

from pulse_bridge.errors import ConfigError
from pulse_bridge.listening import explain_refusal

logger = logging.getLogger(__name__)

_NOTICE_STOP_S: Final = 0.05
"""How often the listener looks whether it is to end."""


class _Handler(WSGIRequestHandler):
    """One request."""

    timeout = 30.0
    """Seconds for which a client may say, or take, nothing before its thread is freed."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's signature
        """Say nothing: a scrape every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """The listener."""

    daemon_threads = True
    request_queue_size = 128  # the default of 5 makes a sixth client at one moment wait for a second or more
    allow_reuse_port = False  # two programs on one port would share its requests

    def __init__(self, family: socket.AddressFamily, bind: str, port: int) -> None:
        self.address_family = family
        super().__init__((bind, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking DNS for our own name, which may take long and is of no use."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - of the base
        """Pass over a client that went away; what fails in the application is answered before this."""
        logger.debug("a request was cut short", extra={"client": str(client_address)})


@asynccontextmanager
async def serve(app: WSGIApplication, bind: str, port: int, *, shown: str) -> AsyncIterator[None]:
    """Answer requests with an application for the length of the block.

    Args:
        bind: Address or name to listen on.
        shown: What the user wrote, for the sentence of a refusal.

    Raises:
        ConfigError: It cannot listen there.
    """
    server = await asyncio.to_thread(_listen, bind, port, shown)
    server.set_app(app)
    # Not of the loop's pool, which is for work that ends, and waits for it when the loop is closed.
    thread = threading.Thread(
        target=server.serve_forever, args=(_NOTICE_STOP_S,), name="pulse-bridge-prometheus", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.shutdown()  # blocks for _NOTICE_STOP_S at most
        server.server_close()
        thread.join()


def _listen(bind: str, port: int, shown: str) -> _Server:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _Server(family, str(address[0]), port)
    except OSError as error:
        raise ConfigError(f"{shown}: {explain_refusal(error, bind, port)}") from error
