"""What a consumer group keeps in Redis: its cursors and its saved state, in one hash, committed by one script.

The hash and the lease are keys of the first partition, so that they lie in one slot. There is one lease for the
whole group, not one for each partition: the saved state speaks of all hosts together, so two holders at once
would each store half of it over the other's. The hash never expires, because it is state; the lease does.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from pulse_bridge.errors import BusUnavailableError
from pulse_bridge_redis.channels import Channels, open_channels
from pulse_bridge_redis.cursor import Cursor
from pulse_bridge_redis.keys import Layout
from pulse_bridge_redis.lease import Lease, hold_lease
from pulse_bridge_redis.options import Target
from pulse_bridge_redis.packing import Word
from pulse_bridge_redis.topology import Topology

_CURSOR: Final = "cursor:"
_SAVED: Final = "saved:"

_COMMIT: Final = """\
-- KEYS: group, lease; ARGV: token; number of fields to set; each with its value; fields to remove
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local last_value = 2 + 2 * tonumber(ARGV[2])
for at = 3, last_value, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
for at = last_value + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[at]) end
return 1
"""


class Group:
    """One group's hash, for as long as the lease is held.

    Args:
        fields: What the hash holds.

    Raises:
        BusUnavailableError: A cursor in it is none; a person must act.
    """

    def __init__(
        self, channels: Channels, key: str, lease_key: str, lease: Lease, fields: Mapping[str, str]
    ) -> None:
        self._channels = channels
        self._key = key
        self._lease_key = lease_key
        self._lease = lease
        self.saved: Mapping[str, str] = _named(fields, _SAVED)
        try:
            self._stored = {int(name): Cursor.parse(text) for name, text in _named(fields, _CURSOR).items()}
        except ValueError as error:
            raise BusUnavailableError(
                f"{lease.shown}: {key} holds no cursor of ours ({error}); delete it to begin anew", refused=True
            ) from error

    async def wait_lost(self) -> None:
        """Wait until the lease is lost, and raise why."""
        await self._lease.wait_lost()

    def cursor(self, partition: int) -> Cursor | None:
        """Give a partition's cursor as it was last committed."""
        return self._stored.get(partition)

    async def commit(self, cursors: Mapping[int, Cursor], changes: Mapping[str, str | None]) -> None:
        """Store cursors and changes atomically. Written to the socket in the call, as of this moment.

        Args:
            cursors: By partition.
            changes: Values to store; None removes one.

        Raises:
            BusUnavailableError: Nothing is known to be stored; with the lease lost, nothing is.
        """
        moved = {number: cursor for number, cursor in cursors.items() if self._stored.get(number) != cursor}
        if not (moved or changes):
            return
        values: list[Word] = []
        for number, cursor in moved.items():
            values += (f"{_CURSOR}{number}", str(cursor))
        for name, value in changes.items():
            if value is not None:
                values += (_SAVED + name, value)
        removed = [_SAVED + name for name, value in changes.items() if value is None]
        head = ("EVAL", _COMMIT, 2, self._key, self._lease_key, self._lease.token)
        if not await self._channels.ask(*head, len(values) // 2, *values, *removed):
            raise self._lease.lost()
        self._stored.update(moved)
        merged = {**self.saved, **changes}
        self.saved = {name: value for name, value in merged.items() if value is not None}


@asynccontextmanager
async def open_group(
    target: Target,
    layout: Layout,
    topology: Topology,
    channels: Channels,
    group: str,
    *,
    abandoned: dict[str, str],
) -> AsyncIterator[Group]:
    """Wait for the group's lease, and hold it.

    Args:
        channels: Carry the commits.
        abandoned: See `hold_lease`.

    Raises:
        BusUnavailableError: Not possible now, or refused; try again.
    """
    keys = layout.all()[0]
    key, lease_key = keys.group(group), keys.lease(group)
    async with hold_lease(target, topology.address_of(lease_key), lease_key, group, abandoned) as lease:
        yield Group(channels, key, lease_key, lease, await _read_fields(channels, key))


async def read_group(target: Target, layout: Layout, group: str) -> Mapping[str, str]:
    """Give what a group has saved, without its lease.

    Raises:
        BusUnavailableError: Not possible now, or refused; try again.
        ConfigError: The prefix is in use with another layout.
    """
    channels = await open_channels(target)
    try:
        layout.require(await channels.ask("HMGET", layout.meta, *layout.meta_fields), str(target.url))
        return _named(await _read_fields(channels, layout.all()[0].group(group)), _SAVED)
    finally:
        await channels.close()


async def _read_fields(channels: Channels, key: str) -> dict[str, str]:
    flat: Sequence[bytes] = await channels.ask("HGETALL", key)
    words = [word.decode(errors="replace") for word in flat]
    return dict(zip(words[::2], words[1::2], strict=True))


def _named(fields: Mapping[str, str], start: str) -> dict[str, str]:
    return {name.removeprefix(start): value for name, value in fields.items() if name.startswith(start)}
