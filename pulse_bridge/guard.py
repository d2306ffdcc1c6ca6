"""Calls a subscriber's verbs; nothing that it raises, or does not finish, gets past here.

This is the one place that logs what somebody else's code raised and goes on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from pulse_bridge.bus import Batch, Rejection
from pulse_bridge.clock import Instant
from pulse_bridge.jsonl import DeadLetters
from pulse_bridge.patience import OverdueError, Patience
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


class Guard:
    """Stands around one subscriber.

    Args:
        name: The subscriber's, for logs and dead letters.
        letters: Takes the events that the subscriber cannot.
        stop: Once it is set, nothing is called again.
    """

    def __init__(
        self, subscriber: Subscriber, name: str, *, letters: DeadLetters, patience: Patience, stop: asyncio.Event
    ) -> None:
        self._subscriber = subscriber
        self._name = name
        self._letters = letters
        self._patience = patience
        self._stop = stop
        self._failing: set[str] = set()
        self._given_up: set[str] = set()

    async def connect(self, saved: Mapping[str, str], at: Instant) -> None:
        """Begin a connection."""
        await self._bear("on_connect", lambda: self._subscriber.on_connect(saved, at), otherwise=None)

    async def disconnect(self, reason: str) -> None:
        """End a connection."""
        await self._bear(
            "on_disconnect", lambda: self._subscriber.on_disconnect(reason), otherwise=None, attempts=1
        )

    async def note_commit(self) -> None:
        """Tell that all that was given back is stored. Called once: what it does may not be repeated."""
        await self._bear("on_commit", self._subscriber.on_commit, otherwise=None, attempts=1)

    async def tick(self, at: Instant) -> Changes:
        """Call `on_tick`; gives what is to be stored."""
        return await self._bear(
            "on_tick",
            lambda: _checked("on_tick", self._subscriber.on_tick(at)),
            otherwise=NOTHING,
            # One that is given up is not waited for each time.
            attempts=1 if "on_tick" in self._given_up else self._patience.attempts,
        )

    async def stop(self, at: Instant) -> Changes:
        """Call `on_stop`; gives what is to be stored."""
        return await self._bear(
            "on_stop",
            lambda: _checked("on_stop", self._subscriber.on_stop(at)),
            otherwise=NOTHING,
            attempts=1,
        )

    async def take(self, batch: Batch, at: Instant) -> Changes | None:
        """Give it a batch; what it cannot take becomes dead letters.

        Returns:
            What to store with the cursor; None where a stop came first and the batch must come again.
        """
        try:
            changes = await self._patience.call(
                lambda: self._on_batch(batch, at),
                stop=self._stop,
                on_failure=lambda error: self._note_failure("on_batch", error),
            )
        except Exception as error:  # noqa: BLE001 - isolated here
            return None if self._stop.is_set() else await self._take_one_by_one(batch, at, error)
        self._failing.discard("on_batch")
        return changes

    async def _take_one_by_one(self, batch: Batch, at: Instant, error: Exception) -> Changes | None:
        """Give each event alone, so that one that nobody can take costs no other.

        Args:
            error: What the whole batch failed with.
        """
        changes: dict[str, str | None] = {}
        rejections: list[Rejection] = []
        overdue = 0
        for index, event in enumerate(batch.events):
            # What hangs again and again is the subscriber and not the event.
            if len(batch.events) > 1 and overdue < self._patience.attempts:
                one = Batch([event], batch.snapshot, 0 if index else batch.lost)
                found = await self._try_once(one, at)
                if self._stop.is_set():
                    return None
                if not isinstance(found, Exception):
                    changes |= found
                    overdue = 0
                    continue
                error = found
                overdue = overdue + 1 if isinstance(error, OverdueError) else 0
            rejections.append(Rejection(event, reason_of(error)))
        self._give_up("on_batch", error)
        if rejections:
            self._letters.add(self._name, rejections)
        return changes

    async def _try_once(self, batch: Batch, at: Instant) -> Changes | Exception:
        try:
            return await self._patience.call_once(lambda: self._on_batch(batch, at))
        except Exception as error:  # noqa: BLE001 - isolated here
            return error

    async def _on_batch(self, batch: Batch, at: Instant) -> Changes:
        return await _checked("on_batch", self._subscriber.on_batch(batch, at))

    async def _bear(
        self, verb: str, call: Callable[[], Awaitable[ResultT]], *, otherwise: ResultT, attempts: int | None = None
    ) -> ResultT:
        """Call a verb; if it cannot be done at all, say so once and go on."""
        try:
            if attempts == 1:
                result = await self._patience.call_once(call)
            else:
                result = await self._patience.call(
                    call, stop=self._stop, on_failure=lambda error: self._note_failure(verb, error)
                )
        except Exception as error:  # noqa: BLE001 - isolated here
            self._give_up(verb, error)
            return otherwise
        self._failing.discard(verb)
        self._given_up.discard(verb)
        return result

    def _note_failure(self, verb: str, error: BaseException) -> None:
        if verb not in self._failing:
            self._failing.add(verb)
            logger.warning(
                "a subscriber failed; it is called again",
                extra={"subscriber": self._name, "verb": verb, "reason": reason_of(error)},
            )

    def _give_up(self, verb: str, error: Exception) -> None:
        if verb not in self._given_up:
            self._given_up.add(verb)
            logger.error(
                "a subscriber fails; what it cannot do is passed over",
                exc_info=error,
                extra={"subscriber": self._name, "verb": verb, "reason": reason_of(error)},
            )


async def _checked(verb: str, call: Awaitable[Changes]) -> Changes:
    """Await what is to be stored; anything else would fail only at the bus, and look like the bus's fault.

    Raises:
        TypeError: It is no mapping of text to text or None.
    """
    changes: object = await call
    if not isinstance(changes, Mapping):
        raise TypeError(f"{verb} gave back {type(changes).__name__} and no mapping of what to store; return {{}}")
    for name, value in changes.items():
        if not isinstance(name, str) or not (value is None or isinstance(value, str)):
            raise TypeError(f"{verb} gave back {name!r}: {type(value).__name__}; only text can be stored, or None")
    return changes


def reason_of(error: BaseException) -> str:
    """Say what was raised, in one line's words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
