"""A real Redis server of the test's own."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, cast

from redis import Redis
from redis.exceptions import AuthenticationError, BusyLoadingError

from tests.support.processes import Server, free_port, require_binary, wait_until_blocking

RawRedis = Any
"""redis-py's own client; its hints give each answer as a union that no test could use."""


class RedisServer(Server):
    """A redis-server that can be killed, stopped and started again on its port, with its data if it keeps any.

    Args:
        folder: Where it runs, logs and keeps its data; `dump.rdb` and `appendonlydir` lie in it.
        port: TCP port of 127.0.0.1.
        appendonly: Keep an append-only file, written to disk every second.
        config: More settings as `redis.conf` names them, each with its words.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        appendonly: bool = False,
        config: Sequence[tuple[str, ...]] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        port = port or free_port()
        settings: list[tuple[str, ...]] = [
            ("bind", "127.0.0.1"),
            ("port", str(port)),
            ("dir", str(folder)),
            ("save", ""),
            ("appendonly", "yes" if appendonly else "no"),
            ("appendfsync", "everysec"),
            *config,
        ]
        command = [require_binary("redis-server")]
        for name, *words in settings:
            command += [f"--{name}", *words]
        super().__init__(command, port, folder / "redis.log")

    @property
    def url(self) -> str:
        """Give the URL of its TCP port, without TLS."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def dump(self) -> Path:
        """Give the file that `save` writes.

        To go back in time put an older one there while the server is stopped; not with `appendonly`, which then
        is what counts.
        """
        return self.folder / "dump.rdb"

    @contextmanager
    def client(
        self, *, db: int = 0, username: str | None = None, password: str | None = None
    ) -> Iterator[RawRedis]:
        """Give a plain client whose answers are text."""
        client = Redis(
            host="127.0.0.1", port=self.port, db=db, username=username, password=password, decode_responses=True
        )
        try:
            yield client
        finally:
            client.close()

    def start(self) -> None:
        """Start and wait until it has loaded its data."""
        super().start()

        def loaded() -> bool:
            try:
                with self.client() as client:
                    client.ping()
            except AuthenticationError:
                return True
            except BusyLoadingError:
                return False
            return True

        wait_until_blocking(loaded, "redis-server has loaded its data")

    def pause(self) -> None:
        """Stop its process where it is (SIGSTOP): connections stay, answers do not come; `resume` or end it."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it as it is: one that is paused does not get to answer first."""
        os.kill(self.pid, signal.SIGKILL)
        super().kill()

    def save(self) -> bytes:
        """Write everything to `dump.rdb` now, and give the file's content."""
        with self.client() as client:
            client.save()
        return self.dump.read_bytes()

    def stream(self, key: str = "pulse:events", **options: Any) -> list[dict[str, str]]:
        """Give the fields of a stream's entries, in order."""
        with self.client(**options) as client:
            entries = cast("list[tuple[str, dict[str, str]]]", client.xrange(key))
        return [fields for _, fields in entries]

    def clients(self) -> list[dict[str, str]]:
        """List the connections to it, the one that asks left out."""
        with self.client() as client:
            own = str(client.client_id())
            return [one for one in client.client_list() if one["id"] != own]


class Proxy:
    """Stands between a client and a server, and can swallow what the server says.

    Use as an async context manager; `url` leads to it.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._writers: list[asyncio.StreamWriter] = []
        self.swallowing = False
        self.swallowed_bytes = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        await self._listener.wait_closed()

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        self._writers += (writer, server_writer)
        with suppress(OSError):
            await asyncio.gather(
                self._pass_on(reader, server_writer, swallow=False),
                self._pass_on(server_reader, writer, swallow=True),
            )

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, swallow: bool) -> None:
        while data := await reader.read(65536):
            if swallow and self.swallowing:
                self.swallowed_bytes += len(data)
                continue
            writer.write(data)
            await writer.drain()
        writer.close()


@contextmanager
def running(server: RedisServer) -> Iterator[RedisServer]:
    """Run a server for the length of a block."""
    server.start()
    try:
        yield server
    finally:
        server.end()
