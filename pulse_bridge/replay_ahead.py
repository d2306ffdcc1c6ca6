"""Reads ahead, so that what is due waits for no reading."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from pulse_bridge.event import Event


class ReadAhead:
    """Events that another task reads, in order; made by `read_ahead`.

    Args:
        most: So many may lie read and not taken.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._read: deque[Event] = deque()
        self._came = asyncio.Event()
        self._has_room = asyncio.Event()
        self._end: BaseException | None = None

    @property
    def has_next(self) -> bool:
        """Say whether the next one can be had without a wait."""
        return bool(self._read)

    def __aiter__(self) -> Self:
        """Give itself."""
        return self

    async def __anext__(self) -> Event:
        """Give the next event.

        Raises:
            Exception: What the reading raised, behind everything that was read before.
        """
        while not self._read:
            if self._end is not None:
                raise self._end
            self._came.clear()
            await self._came.wait()
        self._has_room.set()
        return self._read.popleft()

    async def fill(self, events: AsyncGenerator[Event]) -> None:
        """Read to the end."""
        try:
            async for event in events:
                self._read.append(event)
                self._came.set()
                while len(self._read) >= self._most:
                    self._has_room.clear()
                    await self._has_room.wait()
        except Exception as error:  # noqa: BLE001 - handed on to whoever takes
            self._end = error
        else:
            self._end = StopAsyncIteration()
        finally:
            await events.aclose()
            self._came.set()


@asynccontextmanager
async def read_ahead(events: AsyncGenerator[Event], most: int) -> AsyncIterator[ReadAhead]:
    """Hold a task that reads; it ends with the block.

    Args:
        most: So many events may lie read and not taken.
    """
    ahead = ReadAhead(most)
    task = asyncio.create_task(ahead.fill(events))
    try:
        yield ahead
    finally:
        task.cancel()
        await asyncio.wait({task})
