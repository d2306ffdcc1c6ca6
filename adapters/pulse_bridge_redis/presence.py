"""A host's sign of life: a key with the sidecar's owner in it, which expires by itself.

A host name belongs to the newest sidecar. So who starts takes the key, whoever had it, and who finds another
owner there later leaves and never takes it back.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from pulse_bridge.bus import Presence
from pulse_bridge.errors import HostTakenError
from pulse_bridge_redis.keys import Keys

EXPIRE_S: Final = 30
REFRESH_S: Final = 10.0

_HOLD: Final = """\
local owner = redis.call('GET', KEYS[1])
if ARGV[3] == '1' and owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""
_RELEASE: Final = """\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


Ask = Callable[..., Awaitable[Any]]
"""Sends a command, given as its words, and gives the reply: `Channel.ask`."""


async def hold(ask: Ask, keys: Keys, presence: Presence, *, held: bool, shown: str) -> None:
    """Set the host's key for another 30 s.

    Args:
        held: We have had the name: another owner there is a newer sidecar. If not, take it.
        shown: The destination, without a secret.

    Raises:
        HostTakenError: A newer sidecar has the name.
    """
    if presence.host is None:
        return
    key = keys.host(presence.host)
    if not await ask("EVAL", _HOLD, 1, key, presence.owner, EXPIRE_S, int(held)):
        raise HostTakenError(
            f"a newer sidecar uses the host name {presence.host!r} on {shown}; this one stops publishing there: "
            "give one of the two another name with --host"
        )


async def release(ask: Ask, keys: Keys, presence: Presence) -> None:
    """Delete the host's key, if it is still ours."""
    if presence.host is not None:
        await ask("EVAL", _RELEASE, 1, keys.host(presence.host), presence.owner)
