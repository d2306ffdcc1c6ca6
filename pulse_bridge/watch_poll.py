"""When each file is looked at next."""

import asyncio
import heapq
from typing import Final

from pulse_bridge.watch_file import WatchedFile

SLACK_S: Final = 0.01
"""Files due within so many seconds are looked at together, so that thousands do not mean thousands of wake-ups."""

NEVER: Final = float("inf")


class PollQueue:
    """Files in the order in which they are due. Instants are seconds of the event loop's clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, WatchedFile]] = []
        self._count = 0
        self._earlier = asyncio.Event()

    def schedule(self, file: WatchedFile, at: float) -> None:
        """Have a file looked at then, and at no other time; `NEVER` takes it out."""
        file.due_at = at
        if at == NEVER:
            return
        if not self._heap or at < self._heap[0][0]:
            self._earlier.set()
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, file))

    def pop_due(self, now: float) -> WatchedFile | None:
        """Take the next file that is due by now; None if there is none."""
        while self._heap and self._heap[0][0] <= now + SLACK_S:
            due_at, _, file = heapq.heappop(self._heap)
            if due_at == file.due_at:  # else it was scheduled anew after this
                file.due_at = NEVER
                return file
        return None

    async def wait(self) -> None:
        """Wait until a file may be due."""
        self._earlier.clear()
        loop = asyncio.get_running_loop()
        timeout_s = self._heap[0][0] - loop.time() if self._heap else None
        if timeout_s is not None and timeout_s <= SLACK_S:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._earlier.wait()
        except TimeoutError:
            return
