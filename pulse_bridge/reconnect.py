"""The one loop that reconnects."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pulse_bridge.errors import BusUnavailableError

logger = logging.getLogger(__name__)

ConnectionT = TypeVar("ConnectionT")


@dataclass(frozen=True)
class Backoff:
    """How long to wait between attempts: full jitter, doubling.

    Args:
        first_s: The first wait is between 0 and this.
        max_s: No wait is longer. A refusal (a password, a right) waits between half of this and this, because
            only a person ends it and a log of failed logins helps nobody.
        sleep: Waits so many seconds.
    """

    first_s: float = 0.2
    max_s: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def wait_s(self, state: RetryCallState) -> float:
        """Give the seconds to wait after a failed attempt, as tenacity asks for them."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, BusUnavailableError) and error.refused:
            return self.refused_s()
        return wait_random_exponential(multiplier=self.first_s, max=self.max_s)(state)

    def refused_s(self) -> float:
        """Give the seconds to wait after a refusal."""
        return random.uniform(self.max_s / 2, self.max_s)

    def anew_s(self, error: BusUnavailableError) -> float:
        """Give the seconds to wait after a connection that had been of use."""
        return self.refused_s() if error.refused else random.uniform(0, self.first_s)


class Progress:
    """Tells the loop that a connection was of use, so that its loss starts the waits anew.

    Args:
        destination: As shown to a person, without a secret.
    """

    def __init__(self, destination: str) -> None:
        self.reconnects = 0
        self._destination = destination
        self._made = False
        self._said: set[bool] = set()

    def made(self) -> None:
        """Note that the bus took or gave something."""
        if not self._made:
            self._made = True
            logger.info("connected", extra={"destination": self._destination, "reconnects": self.reconnects})
            self._said.clear()

    def lost(self, error: BusUnavailableError) -> bool:
        """Note the end of a connection, said once in an outage and once more when it becomes a refusal.

        Returns:
            Whether the connection had been of use.
        """
        was_useful, self._made = self._made, False
        self.reconnects += 1
        if error.refused not in self._said:
            self._said.add(error.refused)
            logger.warning(
                "refused; trying again now and then" if error.refused else "unavailable; trying again",
                extra={"destination": self._destination, "reason": str(error)},
            )
        return was_useful


class _StartAnewError(Exception):
    """Ends tenacity's loop after a useful connection, because it counts attempts for ever."""

    def __init__(self, loss: BusUnavailableError) -> None:
        self.loss = loss
        super().__init__(str(loss))


async def keep_connected(
    connect: Callable[[], AbstractAsyncContextManager[ConnectionT]],
    session: Callable[[ConnectionT], Awaitable[None]],
    progress: Progress,
    backoff: Backoff,
) -> None:
    """Connect and run a session on it, again whenever the connection is lost, until a session returns.

    Args:
        connect: Makes the connection; called for each attempt.
        session: Returns when all is done; raises BusUnavailableError when the connection is lost.
        progress: Told by the session when the connection is of use.
    """
    while True:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(BusUnavailableError),
                wait=backoff.wait_s,
                sleep=backoff.sleep,
                reraise=True,
            ):
                with attempt:
                    await _attempt(connect, session, progress)
        except _StartAnewError as ended:
            await backoff.sleep(backoff.anew_s(ended.loss))
        else:
            return


async def _attempt(
    connect: Callable[[], AbstractAsyncContextManager[ConnectionT]],
    session: Callable[[ConnectionT], Awaitable[None]],
    progress: Progress,
) -> None:
    try:
        async with connect() as connection:
            await session(connection)
    except BusUnavailableError as error:
        if progress.lost(error):
            raise _StartAnewError(error) from error
        raise
