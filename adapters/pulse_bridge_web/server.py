"""Listens on one TCP port, in the event loop that is there, with no signal handlers of its own."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from pulse_bridge.errors import ConfigError
from pulse_bridge.listening import explain_refusal
from pulse_bridge_web.connection import Connection
from pulse_bridge_web.gate import HEADER_BYTES
from pulse_bridge_web.room import Room

logger = logging.getLogger(__name__)

STOP_S: Final = 1.0
"""So long answers at hand may go on after a stop."""

_SEND_BUFFER_BYTES: Final = 131_072
"""What the kernel holds for a client: what stands there grows old, and is not counted as our memory."""

_KEEP_ALIVE_S: Final = 15
_SPARE_FILES: Final = 128
"""Files that this process may need beside its connections."""


def listen(bind: str, port: int, *, has_token: bool, shown: str) -> socket.socket:
    """Open the listening socket. Blocks where `bind` is a name.

    Raises:
        ConfigError: It cannot listen there, or everybody could read it without a token.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        _refuse_open_door(str(address[0]), f"bind={bind}", has_token=has_token, shown=shown)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            sock.bind(address)
            sock.listen(1024)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise ConfigError(f"{shown}: {explain_refusal(error, bind, port)}") from error
    return sock


def adopt(fd: int, *, has_token: bool, shown: str) -> socket.socket:
    """Take on a socket that listens already; the descriptor itself stays with whoever opened it.

    Raises:
        ConfigError: It is no such socket, or everybody could read it without a token.
    """
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError as error:
        raise ConfigError(f"{shown}: fd={fd} is no socket that was passed on: {error.strerror}") from error
    try:
        _refuse_other_sockets(sock, fd, shown)
        _refuse_open_door(str(sock.getsockname()[0]), f"fd={fd}", has_token=has_token, shown=shown)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    except ConfigError:
        sock.close()
        raise
    return sock


def _refuse_other_sockets(sock: socket.socket, fd: int, shown: str) -> None:
    is_tcp = sock.family in {socket.AF_INET, socket.AF_INET6} and sock.type == socket.SOCK_STREAM
    if not is_tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigError(f"{shown}: fd={fd} is no TCP socket that listens; pass one on, or leave fd out")


def _refuse_open_door(address: str, option: str, *, has_token: bool, shown: str) -> None:
    if not has_token and not ip_address(address.partition("%")[0]).is_loopback:
        raise ConfigError(
            f"{shown}: {option} lets other machines read every job: name an environment variable that holds"
            " a token with token_env=NAME, or a file with token_file=PATH"
        )


def affordable(connections: int) -> int:
    """Give how many connections there may be, so that this process keeps files for its work."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return connections
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if resource.RLIM_INFINITY in (limit, most) or limit >= wanted:
        return connections
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))
        limit = min(wanted, most)
    return max(1, min(connections, limit - _SPARE_FILES))


@asynccontextmanager
async def serve(
    app: ASGIApp, sock: socket.socket, room: Room, headers: list[tuple[bytes, bytes]]
) -> AsyncIterator[None]:
    """Answer requests for the length of the block; what is still open behind it is cut off.

    Args:
        headers: Of every answer, also of those that the application does not give.
    """
    config = Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    config.load()
    state = ServerState()
    state.default_headers = headers
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(config, state, room=room), sock=sock, backlog=1024
    )
    try:
        yield
    finally:
        server.close()
        await _end(state)


async def _end(state: ServerState) -> None:
    connections = [connection for connection in state.connections if isinstance(connection, Connection)]
    for connection in connections:
        connection.shutdown()
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=STOP_S)
    for connection in connections:
        await connection.abort()
    # Each notices that its client is gone.
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=STOP_S)
    for task in state.tasks:
        task.cancel()
