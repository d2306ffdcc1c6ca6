"""How often and how long a subscriber's verb is tried before it is given up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pulse_bridge.relay import first_of

ResultT = TypeVar("ResultT")


class OverdueError(Exception):
    """A verb took longer than its time limit and was cancelled."""


class EndedError(Exception):
    """A verb ended as if somebody had cancelled it, or asked for the end of the program."""


@dataclass(frozen=True)
class Patience:
    """What is borne of a verb that raises or hangs.

    Args:
        limit_s: A call that takes longer is cancelled and has failed.
        attempts: So often a verb is called before it is given up.
        first_s: The first wait between two calls is between 0 and this; it doubles.
        max_s: No wait is longer.
        sleep: Waits so many seconds.
    """

    limit_s: float = 30.0
    attempts: int = 5
    first_s: float = 0.2
    max_s: float = 5.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def call(
        self,
        verb: Callable[[], Awaitable[ResultT]],
        *,
        stop: asyncio.Event,
        on_failure: Callable[[BaseException], None],
    ) -> ResultT:
        """Call a verb until it succeeds.

        Args:
            stop: Once it is set nothing is called again.
            on_failure: Told of each failure that another call follows.

        Returns:
            What the verb gave.

        Raises:
            Exception: The last failure; give it up.
        """

        def is_over(state: RetryCallState) -> bool:
            return state.attempt_number >= self.attempts or stop.is_set()

        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if error is not None:
                on_failure(error)

        async def sleep(seconds: float) -> None:
            await first_of(stop.wait(), self.sleep(seconds))

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_random_exponential(multiplier=self.first_s, max=self.max_s),
            stop=is_over,
            before_sleep=tell,
            sleep=sleep,
            reraise=True,
        )
        return await attempts(self.call_once, verb)

    async def call_once(self, verb: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Call a verb within the time limit.

        Raises:
            OverdueError: It took too long.
            EndedError: It ended in a way that is no failure of its own, and none of our doing.
            Exception: What it raises.
        """
        try:
            async with asyncio.timeout(self.limit_s) as limit:
                return await verb()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise OverdueError(f"it took longer than {self.limit_s:g} s") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise EndedError("it was cancelled from within") from error
        except SystemExit as error:
            raise EndedError("it asked for the end of the program") from error
        except BaseException as error:
            if isinstance(error, Exception | KeyboardInterrupt | GeneratorExit):
                raise
            raise EndedError(f"it raised {type(error).__name__}") from error
