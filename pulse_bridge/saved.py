"""What a group has saved on a bus, read by somebody who does not hold the group."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pulse_bridge.bus import Bus
from pulse_bridge.errors import ConfigError


@runtime_checkable
class KeepsSaved(Protocol):
    """A bus that can show a group's state without taking the group; what a bus may have beyond the port."""

    async def saved(self, group: str) -> Mapping[str, str]:
        """Give what the group's last commit stored; empty if it never ran. Takes no lease and changes nothing.

        Raises:
            BusUnavailableError: It cannot be read now.
        """


async def read_saved(bus: Bus, group: str) -> Mapping[str, str]:
    """Give what a group's last commit stored.

    Raises:
        ConfigError: This bus cannot show it.
        BusUnavailableError: It cannot be read now.
    """
    if not isinstance(bus, KeepsSaved):
        raise ConfigError(f"{bus}: what a subscriber has saved cannot be read from this bus")
    return await bus.saved(group)
