"""Redis as a bus."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

from pulse_bridge.bus import Consumer, Presence, Publisher, Query
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.event import Event
from pulse_bridge_redis.consumer import open_consumer
from pulse_bridge_redis.group import read_group
from pulse_bridge_redis.history import read_history
from pulse_bridge_redis.job_entries import ABSENT
from pulse_bridge_redis.keys import Layout
from pulse_bridge_redis.options import Target
from pulse_bridge_redis.publisher import open_publisher


class RedisBus:
    """One Redis or Valkey server, or one prefix on it.

    Args:
        url: `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://` with TLS, `redis+unix:///PATH`,
            `redis+sentinel://HOST/NAME`, or `redis+cluster://HOST`.

    Raises:
        ConfigError: Something in the URL is wrong. Nothing is connected yet.
    """

    name = "redis"

    def __init__(self, url: BusUrl) -> None:
        self._target = Target.of(url)
        self._layout = Layout(self._target.options.prefix, self._target.partitions)
        reads_jobs = self._target.options.stream == "jobs"
        self.keeps_signs_of_life = not reads_jobs
        """Silence in its past says something of a host; see `pulse_bridge.replay_life`."""
        self.history_note = ABSENT if reads_jobs else None
        """What a person who reads its past must know."""
        self._told: set[str] = set()
        self._abandoned: dict[str, str] = {}

    def publisher(self, presence: Presence | None) -> AbstractAsyncContextManager[Publisher]:
        """Connect to publish; see the port."""
        return open_publisher(self._target, self._layout, presence, self._told)

    def consumer(self, group: str | None) -> AbstractAsyncContextManager[Consumer]:
        """Connect to read live; see the port. Entering waits while another replica has the group."""
        return open_consumer(self._target, self._layout, group, self._abandoned)

    def history(self, query: Query) -> AsyncIterator[Event]:
        """Yield past events in the order of the stream, on a connection of its own; see the port."""
        return read_history(self._target, self._layout, query)

    async def saved(self, group: str) -> Mapping[str, str]:
        """Give what a group's last commit stored, whoever holds it; see `pulse_bridge.saved`."""
        return await read_group(self._target, self._layout, group)

    def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        """Tell what is wrong with the server, or could become so; see `pulse_bridge.doctor`."""
        from pulse_bridge_redis.examine import examine  # noqa: PLC0415 - nothing else needs it

        return examine(self._target, self._layout, examination)

    def __str__(self) -> str:
        return str(self._target.url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"
