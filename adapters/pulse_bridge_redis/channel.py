"""Commands out, replies in, in the same order, on one connection that is used once.

Everything that a publisher says goes through here, the host key's timer and the sweep included, so that no reply
is ever taken for another's. Whoever stops waiting leaves its reply to be read and dropped in its turn. After the
first error that leaves anything in doubt the connection is ended and never touched again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, NoReturn

from redis.exceptions import RedisError, ResponseError

from pulse_bridge.errors import BusError, BusUnavailableError
from pulse_bridge_redis.connection import RedisConnection, unavailable
from pulse_bridge_redis.options import Target
from pulse_bridge_redis.packing import Word, pack

logger = logging.getLogger(__name__)

REPLY_TIMEOUT_S: Final = 10.0


class _Awaited(NamedTuple):
    """A reply that is still to come.

    Args:
        finish: Turns the reply into the future's result.
        vital: An error reply ends the connection, because what comes after builds on it.
    """

    future: asyncio.Future[Any]
    finish: Callable[[Any], Any]
    vital: bool
    deadline: float


class Channel:
    """One connection's commands and replies.

    Args:
        connection: Connected, and nobody else's.
        reply_timeout_s: The oldest reply may be outstanding so long before the connection counts as lost.
    """

    def __init__(
        self, connection: RedisConnection, target: Target, *, reply_timeout_s: float = REPLY_TIMEOUT_S
    ) -> None:
        self._connection = connection
        self._target = target
        self._reply_timeout_s = reply_timeout_s
        self._loop = asyncio.get_running_loop()
        self._awaited: deque[_Awaited] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._error: BusError | None = None
        self._lost: asyncio.Future[BusError] = self._loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self.start(self._read())

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the connection lives; an error in it ends the connection."""
        task = self._loop.create_task(work)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    def ask(self, *command: Word, vital: bool = True) -> asyncio.Future[Any]:
        """Send one command.

        Args:
            vital: An error reply ends the connection. If not, it is only this command's.

        Returns:
            The reply as redis-py parses RESP2, or a BusError on awaiting.
        """
        return self.send(pack(*command), _as_it_is, vital=vital)

    def send(
        self, packed: bytes, finish: Callable[[Any], Any], *, vital: bool = True, replies: int = 1
    ) -> asyncio.Future[Any]:
        """Write now; what is packed may be several commands.

        Args:
            finish: Called with each reply in turn; what it gives for the last is the future's result.
            replies: The number of commands, 1 or more.
        """
        future = self._loop.create_future()
        if self._error is not None:
            _fail(future, self._error)
            return future
        self._connection.write(packed)
        deadline = self._loop.time() + self._reply_timeout_s
        for _ in range(replies - 1):
            self._awaited.append(_Awaited(self._loop.create_future(), finish, vital, deadline))
        self._awaited.append(_Awaited(future, finish, vital, deadline))
        if self._watch is None:
            self._watch = self._loop.call_at(deadline, self._look_for_overdue)
        return future

    def lose(self, error: BusError) -> None:
        """End the connection; only the first reason counts."""
        if self._error is not None:
            return
        self._error = error
        self._lost.set_result(error)
        self._connection.cut()
        if self._watch is not None:
            self._watch.cancel()
        while self._awaited:
            _fail(self._awaited.popleft().future, error)
        for task in self._tasks:
            task.cancel()

    async def wait_lost(self) -> NoReturn:
        """Wait until the connection is lost, and raise why."""
        raise await asyncio.shield(self._lost)

    async def close(self) -> None:
        """End the connection and everything that runs on it."""
        self.lose(BusUnavailableError(f"{self._target.url}: the connection was closed"))
        await self._connection.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                reply = await self._connection.read_response()
            except ResponseError as error:
                self._refuse(error)
            except (RedisError, OSError) as error:
                self.lose(_caused(unavailable(error, self._target), error))
                return
            else:
                # Taken from the queue only now, so that a fault in `finish` fails this future with the others.
                result = self._awaited[0].finish(reply)
                future = self._awaited.popleft().future
                if not future.done():
                    future.set_result(result)

    def _refuse(self, reply: ResponseError) -> None:
        error = _caused(unavailable(reply, self._target), reply)
        if self._awaited and not self._awaited[0].vital:
            _fail(self._awaited.popleft().future, error)
        else:
            self.lose(error)

    def _look_for_overdue(self) -> None:
        self._watch = None
        if not self._awaited:
            return
        deadline = self._awaited[0].deadline
        if deadline > self._loop.time():
            self._watch = self._loop.call_at(deadline, self._look_for_overdue)
            return
        self.lose(
            BusUnavailableError(f"{self._target.url} has not answered for {self._reply_timeout_s:g} seconds")
        )

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, BusError):
            logger.error("a fault of our own ended the connection", exc_info=error)
            error = _caused(BusUnavailableError(f"{self._target.url}: a fault of our own: {error!r}"), error)
        self.lose(error)


def _as_it_is(reply: Any) -> Any:  # noqa: ANN401 - whatever Redis answers
    return reply


def _fail(future: asyncio.Future[Any], error: BusError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # `wait_lost` says it too; nobody need await every reply


def _caused(error: BusUnavailableError, cause: BaseException) -> BusUnavailableError:
    error.__cause__ = cause
    return error
