"""A channel to each server that has keys of ours: one, except on a cluster."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, NoReturn

from pulse_bridge_redis.channel import Channel
from pulse_bridge_redis.connection import connect
from pulse_bridge_redis.options import Address, Target
from pulse_bridge_redis.packing import Word
from pulse_bridge_redis.topology import Topology, find_topology

_KEY_AT: Final = {"EVAL": 3, "EVALSHA": 3}
"""Where a command's first key stands; behind the command's name, as a rule."""


class Channels:
    """Finds the channel of each key.

    Args:
        channels: By address, as the topology names them.
    """

    def __init__(self, channels: Mapping[Address | None, Channel], topology: Topology) -> None:
        self._channels = channels
        self._all = list(channels.values())
        self._topology = topology

    def of(self, key: str) -> Channel:
        """Give the channel to the server that has a key."""
        return self._all[0] if len(self._all) == 1 else self._channels[self._topology.address_of(key)]

    def ask(self, *command: Word, vital: bool = True) -> asyncio.Future[Any]:
        """Send a command that names a key; see `Channel.ask`."""
        key = command[_KEY_AT.get(str(command[0]), 1)]
        return self.of(str(key)).ask(*command, vital=vital)

    async def ask_each(self, *command: Word, vital: bool = True) -> list[Any]:
        """Send a command without a key to every server, and give the replies; see `Channel.ask`."""
        return await asyncio.gather(*(channel.ask(*command, vital=vital) for channel in self._all))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the connections live; an error in it ends one of them."""
        self._all[0].start(work)

    async def wait_lost(self) -> NoReturn:
        """Wait until one connection is lost, and raise why: a batch may need them all."""
        tasks = [asyncio.ensure_future(channel.wait_lost()) for channel in self._all]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await done.pop()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise AssertionError

    async def close(self) -> None:
        """End them all."""
        for channel in self._all:
            await channel.close()


async def open_channels(target: Target) -> Channels:
    """Find the servers and connect to each.

    Raises:
        BusUnavailableError: Not possible now, or refused; try again.
    """
    topology = await find_topology(target)
    channels: dict[Address | None, Channel] = {}
    async with AsyncExitStack() as stack:
        for address in topology.nodes:
            channels[address] = Channel(await connect(target, address), target)
            stack.push_async_callback(channels[address].close)
        stack.pop_all()
    return Channels(channels, topology)
