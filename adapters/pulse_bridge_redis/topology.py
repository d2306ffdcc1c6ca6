"""Which server has which keys: the one that the URL names, the primary that sentinels name, a cluster's nodes.

Asked anew at each connect. Where it changes meanwhile, Redis answers READONLY or MOVED, or closes: the connection
counts as lost, and the next one asks again.

Source: Redis documentation, "Guidelines for Sentinel clients"; Redis Cluster specification, "Client first
connection and handling of redirections".
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.crc import key_slot
from redis.exceptions import RedisError

from pulse_bridge.errors import BusUnavailableError, ConfigError
from pulse_bridge_redis.connection import CONNECT_TIMEOUT_S, connect, tls_arguments, unavailable
from pulse_bridge_redis.options import Address, Target
from pulse_bridge_redis.packing import pack

_REPLY_TIMEOUT_S: Final = 5.0
_SLOTS: Final = 16384


class Topology(NamedTuple):
    """Ranges of slots and who has them, by first slot; one range where there is no cluster.

    Args:
        first_slots: In order.
        addresses: Of the primaries; None for what the URL itself names.
    """

    first_slots: Sequence[int]
    addresses: Sequence[Address | None]

    def address_of(self, key: str) -> Address | None:
        """Say which server has a key."""
        if len(self.addresses) == 1:
            return self.addresses[0]
        return self.addresses[bisect_right(self.first_slots, key_slot(key.encode())) - 1]

    @property
    def nodes(self) -> list[Address | None]:
        """Give each server once, in order."""
        return list(dict.fromkeys(self.addresses))


async def find_topology(target: Target) -> Topology:
    """Ask who has the keys.

    Raises:
        BusUnavailableError: Nobody can tell now.
    """
    if target.service is not None:
        return Topology([0], [await _ask_sentinels(target, target.service)])
    if target.is_cluster:
        return await _ask_cluster(target)
    return Topology([0], [None])


async def _ask_sentinels(target: Target, service: str) -> Address:
    login: dict[str, Any] = {
        "username": target.options.sentinel_username,
        "password": _sentinel_password(target),
        "socket_timeout": _REPLY_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
    }
    if target.uses_tls:
        login |= {"ssl": True, **tls_arguments(target)}
    sentinels = Sentinel(target.seeds, sentinel_kwargs=login)  # type: ignore[no-untyped-call]  # redis-py's
    try:
        host, port = await sentinels.discover_master(service)
    except MasterNotFoundError as error:
        raise BusUnavailableError(f"{target.url}: no sentinel names a primary for {service!r} now") from error
    except (RedisError, OSError) as error:
        raise unavailable(error, target) from error
    finally:
        for sentinel in sentinels.sentinels:
            await sentinel.aclose()
    return Address(host, int(port))


def _sentinel_password(target: Target) -> str | None:
    try:
        return target.resolve_sentinel_password()
    except ConfigError as error:
        raise BusUnavailableError(str(error), refused=True) from error


async def _ask_cluster(target: Target) -> Topology:
    failure: BusUnavailableError | None = None
    for seed in target.seeds:
        try:
            return _topology_of(await _slots(target, seed), seed, target)
        except BusUnavailableError as error:
            failure = failure or error
    assert failure is not None  # noqa: S101 - there is a seed at least
    raise failure


async def _slots(target: Target, seed: Address) -> Any:  # noqa: ANN401 - what Redis answers
    connection = await connect(target, seed, reply_timeout_s=_REPLY_TIMEOUT_S)
    try:
        connection.write(pack("CLUSTER", "SLOTS"))
        return await connection.read_response()
    except (RedisError, OSError) as error:
        raise unavailable(error, target) from error
    finally:
        await connection.abort()


def _topology_of(ranges: Any, seed: Address, target: Target) -> Topology:  # noqa: ANN401 - what Redis answers
    """Read the answer to CLUSTER SLOTS: first slot, last slot, then the primary and its replicas.

    Source: Redis commands, CLUSTER SLOTS: an empty host is the one that was asked.
    """
    found = sorted((first, last, primary) for first, last, primary, *_ in ranges)
    covered = 0
    for first, last, _ in found:
        if first != covered:
            break
        covered = last + 1
    if covered != _SLOTS:
        raise BusUnavailableError(f"{target.url} is a cluster without anybody for slot {covered}")
    return Topology(
        [first for first, _, _ in found],
        [Address((primary[0] or b"").decode() or seed.host, primary[1]) for _, _, primary in found],
    )
