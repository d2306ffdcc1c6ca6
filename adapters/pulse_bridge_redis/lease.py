"""The right to be a group's one holder: redis-py's own `Lock`, with its token as the fence.

The lock goes by itself some seconds after its holder's last sign of life. Whoever lost it may not know yet, so
nothing is stored on the strength of having held it: the script that commits compares the token.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, LockNotOwnedError, RedisError

from pulse_bridge.errors import BusUnavailableError
from pulse_bridge_redis.connection import RedisConnection, connect, unavailable
from pulse_bridge_redis.options import Address, Target

logger = logging.getLogger(__name__)

LEASE_S: Final = 10.0
EXTEND_S: Final = 3.0
STANDBY_S: Final = 0.1
"""How often one that stands by tries."""

_REPLY_TIMEOUT_S: Final = 5.0
_RELEASE_S: Final = 2.0


class _OneConnection(ConnectionPool):
    """Lends the lock our own connection, which is connected already, and never another."""

    def __init__(self, connection: RedisConnection) -> None:
        super().__init__(max_connections=1, protocol=2)
        self._only = connection

    async def get_connection(
        self,
        command_name: str | None = None,  # noqa: ARG002 - redis-py's signature
        *keys: Any,  # noqa: ANN401, ARG002
        **options: Any,  # noqa: ANN401, ARG002
    ) -> RedisConnection:
        return self._only

    async def release(self, connection: Any) -> None:  # noqa: ANN401
        """Do nothing: there is nobody else to lend it to."""


class Lease:
    """A lock that is held, and extended until it is given up.

    Args:
        shown: The group and where it is, for a person.
    """

    def __init__(self, lock: Lock, token: str, target: Target, shown: str) -> None:
        self.token = token
        self.shown = shown
        self._lock = lock
        self._target = target
        self._stop = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep())

    def lost(self) -> BusUnavailableError:
        """Say that somebody else has it, or may."""
        return BusUnavailableError(f"{self.shown}: the lease ran out; another replica may have taken over")

    async def wait_lost(self) -> None:
        """Wait until it is lost, or given up.

        Raises:
            BusUnavailableError: It is lost; so is the right to commit.
        """
        await asyncio.shield(self._keeper)

    async def give_up(self) -> bool:
        """Let the next one have it at once.

        Returns:
            Whether it is free, as far as we are concerned. If not, it will run out.
        """
        self._stop.set()  # not cancelled: a reply that is still to come would be taken for the release's
        try:
            async with asyncio.timeout(_RELEASE_S):
                await asyncio.gather(self._keeper, return_exceptions=True)
                await self._lock.release()
        except LockNotOwnedError:
            return True
        except (RedisError, OSError):
            logger.debug("the lease is left to run out", exc_info=True)
            return False
        return True

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EXTEND_S):
                    await self._stop.wait()
                    return
            try:
                await self._lock.reacquire()
            except LockError as error:
                raise self.lost() from error
            except (RedisError, OSError) as error:
                raise unavailable(error, self._target) from error


@asynccontextmanager
async def hold_lease(
    target: Target, address: Address | None, key: str, group: str, abandoned: dict[str, str]
) -> AsyncIterator[Lease]:
    """Wait for a group's lease, however long another replica has it, and give it up in the end.

    Args:
        address: Of the server that has the key.
        key: The lock's.
        abandoned: Group to the token of a lease that could not be given up, for its connection was lost. Who had
            it is gone, so its successor in this process need not wait until it runs out.

    Raises:
        BusUnavailableError: The connection is lost while waiting, or was refused.
    """
    shown = f"the group {group!r} on {target.url}"
    connection = await connect(target, address, reply_timeout_s=_REPLY_TIMEOUT_S)
    token = uuid.uuid4().hex
    is_free = False
    try:
        client = Redis(connection_pool=_OneConnection(connection))
        lock = Lock(client, key, timeout=LEASE_S, sleep=STANDBY_S, thread_local=False)
        try:
            await _take(lock, token, group, shown, abandoned)
        except (RedisError, OSError) as error:
            raise unavailable(error, target) from error
        lease = Lease(lock, token, target, shown)
        try:
            yield lease
        finally:
            is_free = await lease.give_up()
    finally:
        if not is_free:
            abandoned[group] = token
        await connection.abort()


async def _take(lock: Lock, token: str, group: str, shown: str, abandoned: dict[str, str]) -> None:
    if group in abandoned:
        with suppress(LockNotOwnedError):
            await lock.do_release(abandoned[group].encode())
        del abandoned[group]
    if await lock.acquire(blocking=False, token=token):
        return
    logger.info("standing by: another replica has the group", extra={"group": shown})
    await lock.acquire(blocking=True, token=token)
    logger.info("took over the group", extra={"group": shown})
