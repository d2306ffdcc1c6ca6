"""One target's way: its messages in order, each tried until it arrives or is given up."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pulse_bridge.clock import Instant, read_clocks
from pulse_bridge_alerts.notice import Message
from pulse_bridge_alerts.outgoing import Outgoing
from pulse_bridge_alerts.sending import Sender, SendError
from pulse_bridge_alerts.targets import Target
from pulse_bridge_alerts.undelivered import Undelivered

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1000
"""So many messages wait for one target; when there are more, the oldest is given up."""


@dataclass(frozen=True)
class Stamina:
    """How long a message is tried.

    Args:
        timeout_s: For one attempt.
        give_up_after_s: Counted from when the message was given to us; each has at least one attempt.
        refused_after_s: The same for one that the sink refuses in a way that time will hardly mend.
        first_s: The first wait between attempts is between 0 and this; it doubles.
        max_s: No wait is longer, save where the sink asks for more time.
        sleep: Waits so many seconds.
        clock: Reads both clocks.
    """

    timeout_s: float = 10.0
    give_up_after_s: float = 3600.0
    refused_after_s: float = 30.0
    first_s: float = 1.0
    max_s: float = 300.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], Instant] = read_clocks

    def wait_s(self, state: RetryCallState) -> float:
        """Give the seconds to wait after a failed attempt, as tenacity asks for them."""
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, SendError) else 0.0
        drawn_s: float = wait_random_exponential(multiplier=self.first_s, max=self.max_s)(state)
        return max(drawn_s, min(asked_s, self.give_up_after_s))

    def is_over(self, state: RetryCallState, since_s: float) -> bool:
        """Say whether a message that waits since then is given up after its last failure."""
        error = state.outcome.exception() if state.outcome else None
        is_final = isinstance(error, SendError) and error.final
        limit_s = min(self.refused_after_s, self.give_up_after_s) if is_final else self.give_up_after_s
        return self.clock().now_s - since_s >= limit_s


class _Waiting(NamedTuple):
    message: Message
    since_s: float


class Lane:
    """Delivers to one target.

    Args:
        word: Gives what is sent for a message, at the moment of sending.
        finish: Told of each message that is done with.
        forget: Told of each that was withdrawn.
    """

    def __init__(
        self,
        target: Target,
        sender: Sender,
        *,
        word: Callable[[Message], Outgoing],
        finish: Callable[[Message], None],
        forget: Callable[[Message], None],
        undelivered: Undelivered,
        stamina: Stamina,
    ) -> None:
        self._target = target
        self._sender = sender
        self._word = word
        self._finish = finish
        self._forget = forget
        self._undelivered = undelivered
        self._stamina = stamina
        self._waiting: deque[_Waiting] = deque()
        self._added = asyncio.Event()
        self._is_failing = False
        self._given_up = 0
        self._work: asyncio.Task[None] | None = None
        self._is_sending = False
        self._is_withdrawn = False
        self._at_rest = asyncio.Event()
        self._at_rest.set()

    def add(self, message: Message) -> None:
        """Put a message behind the others."""
        if len(self._waiting) >= MAX_WAITING:
            self._give_up(self._waiting.popleft().message, "too many messages wait for this target")
        self._waiting.append(_Waiting(message, self._stamina.clock().now_s))
        self._added.set()
        if self._work is None:
            self._at_rest.clear()

    def withdraw(self) -> None:
        """Forget every message; one that is being sent at this moment has this one attempt, and no other."""
        for waiting in self._waiting:
            self._forget(waiting.message)
        self._waiting.clear()
        if self._work is not None:
            self._is_withdrawn = True
            if not self._is_sending:
                self._work.cancel()

    async def wait_at_rest(self) -> None:
        """Wait until everything is delivered or given up, or the next one waits to be tried again."""
        await self._at_rest.wait()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._added.clear()
            while self._waiting:
                await self._deliver_until_withdrawn(self._waiting.popleft())
            self._at_rest.set()
            await self._added.wait()

    async def _rest(self, seconds: float) -> None:
        self._at_rest.set()
        await self._stamina.sleep(seconds)

    async def _deliver_until_withdrawn(self, waiting: _Waiting) -> None:
        self._is_withdrawn = False
        self._work = asyncio.ensure_future(self._deliver(waiting))
        try:
            await asyncio.wait({self._work})
        finally:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            if self._work.cancelled():
                self._forget(waiting.message)
            self._work = None

    async def _deliver(self, waiting: _Waiting) -> None:
        stamina = self._stamina
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(SendError),
            wait=stamina.wait_s,
            stop=lambda state: self._is_withdrawn or stamina.is_over(state, waiting.since_s),
            sleep=self._rest,
            reraise=True,
        )
        try:
            await attempts(self._attempt, waiting.message)
        except SendError as error:
            if self._is_withdrawn:
                self._forget(waiting.message)
            else:
                self._give_up(waiting.message, error.reason)
        except Exception as error:  # noqa: BLE001 - one that fails in itself must not be the end of all others
            # Without a traceback, because a library's error can hold the URL.
            self._give_up(waiting.message, f"it failed in itself ({type(error).__name__})")
        else:
            self._note_success()
            self._finish(waiting.message)

    async def _attempt(self, message: Message) -> None:
        self._is_sending = True
        self._at_rest.clear()
        try:
            await self._sender.send(self._word(message))
        except SendError as error:
            if not self._is_failing:
                self._is_failing = True
                logger.warning("a target does not take alerts; trying again", extra=self._shown(error.reason))
            raise
        finally:
            self._is_sending = False

    def _note_success(self) -> None:
        if self._is_failing:
            self._is_failing = False
            logger.info("a target takes alerts again", extra={**self._shown(), "undelivered": self._given_up})

    def _give_up(self, message: Message, reason: str) -> None:
        self._given_up += len(message.notices) + message.more
        self._undelivered.add(message, reason)
        if self._given_up == len(message.notices) + message.more:  # once, then counted
            logger.error(
                "alerts cannot be delivered to a target; they are kept",
                extra={**self._shown(reason), "undelivered": self._given_up, "path": str(self._undelivered.path)},
            )
        self._finish(message)

    def _shown(self, reason: str | None = None) -> dict[str, str]:
        shown = {"target": self._target.name, "url": self._target.shown}
        return shown if reason is None else {**shown, "reason": reason}
