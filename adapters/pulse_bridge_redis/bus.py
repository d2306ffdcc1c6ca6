"""Redis as a bus."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

from pulse_bridge.bus import Consumer, Presence, Publisher, Query
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import BusError
from pulse_bridge.event import Event
from pulse_bridge_redis.history import read_history
from pulse_bridge_redis.keys import Layout
from pulse_bridge_redis.options import Target
from pulse_bridge_redis.publisher import open_publisher


class RedisBus:
    """One Redis or Valkey server, or one prefix on it.

    Args:
        url: `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://` with TLS, or `redis+unix:///PATH`.

    Raises:
        ConfigError: Something in the URL is wrong. Nothing is connected yet.
    """

    name = "redis"

    def __init__(self, url: BusUrl) -> None:
        self._target = Target.of(url)
        self._layout = Layout(self._target.options.prefix, self._target.partitions)
        self._told: set[str] = set()

    def publisher(self, presence: Presence | None) -> AbstractAsyncContextManager[Publisher]:
        """Connect to publish; see the port."""
        return open_publisher(self._target, self._layout, presence, self._told)

    def consumer(self, group: str | None) -> AbstractAsyncContextManager[Consumer]:  # noqa: ARG002 - none yet
        """Refuse: following Redis live is not built."""
        return _NoConsumer(str(self))

    def history(self, query: Query) -> AsyncIterator[Event]:
        """Yield past events in the order of the stream, on a connection of its own; see the port."""
        return read_history(self._target, self._layout, query)

    def __str__(self) -> str:
        return str(self._target.url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class _NoConsumer(AbstractAsyncContextManager[Consumer]):
    def __init__(self, shown: str) -> None:
        self._shown = shown

    async def __aenter__(self) -> NoReturn:
        raise BusError(f"{self._shown} cannot be followed live by this version; its history can be read")

    async def __aexit__(self, *_: object) -> None:
        return None
