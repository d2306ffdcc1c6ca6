"""One source, any number of viewers: each is given what changed since it was last given something.

There are no queues. A viewer has a position, and nothing is kept for it: one that comes late gets the newest state
of what changed meanwhile. Viewers at the same position get the same bytes, made once.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from pulse_bridge_web.board import Board
from pulse_bridge_web.frames import KEEP_ALIVE, Frame, FrameMaker, Text

FRAME_S: Final = 0.25
"""No viewer is told more often; less often where telling all of them takes longer than half of that."""

KEEP_ALIVE_S: Final = 15.0
"""A viewer to whom nothing has happened is told so: else it, and what is between us, takes the line for dead."""

_VIEWERS_AT_ONCE: Final = 10
"""So many are served before others on the event loop have their turn."""


@dataclass(eq=False, slots=True)
class Viewer:
    """One who looks.

    Args:
        packed: It takes compressed frames.
        position: The change up to which it knows everything; None before its first frame.
        gap: It asked to go on from a position that is not known here.
    """

    packed: bool
    position: int | None = None
    gap: bool = False
    gone: bool = False
    waiting: "asyncio.Future[Text | None] | None" = field(default=None, repr=False)


class Hub:
    """Hands frames out.

    Args:
        clock: Gives monotonic seconds.
    """

    def __init__(
        self,
        board: Board,
        maker: FrameMaker,
        *,
        frame_s: float = FRAME_S,
        keep_alive_s: float = KEEP_ALIVE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.viewers: set[Viewer] = set()
        self._board = board
        self._maker = maker
        self._frame_s = frame_s
        self._keep_alive_s = keep_alive_s
        self._clock = clock
        self._news = asyncio.Event()
        self._making = asyncio.Lock()
        self._state: tuple[Text, int, float] | None = None
        self._first: dict[bool, Frame] = {}
        self._issued: deque[int] = deque(maxlen=8)
        self._waves: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Serve viewers for the length of the block, and send them off at its end."""
        self._waves = asyncio.create_task(self._make_waves())
        try:
            yield
        finally:
            for viewer in list(self.viewers):
                self.leave(viewer)
            self._waves.cancel()
            with suppress(asyncio.CancelledError):
                await self._waves

    def note(self) -> None:
        """Note that the board may have changed."""
        self._news.set()

    def revive(self) -> None:
        """Go on where making a frame has failed: the next one is another.

        Raises:
            Exception: What the failure was.
        """
        ended = self._waves
        if ended is not None and ended.done():
            self._waves = asyncio.create_task(self._make_waves())
            self.note()  # what was not handed out
            ended.result()

    def join(self, last_event_id: str | None, *, packed: bool) -> Viewer:
        """Take a viewer in; one that says what it knows goes on from there if that is possible."""
        viewer = Viewer(packed)
        if last_event_id:
            viewer.position = self._board.position(last_event_id)
            viewer.gap = viewer.position is None
        self.viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Let a viewer go."""
        viewer.gone = True
        self.viewers.discard(viewer)
        _give(viewer, None)

    async def next(self, viewer: Viewer) -> Text | None:
        """Wait for what is to be sent to a viewer next: the newest that there is. None at its end."""
        if viewer.gone:
            return None
        if viewer.position is None:
            frame = await self._first_frame(gap=viewer.gap)
            viewer.position = frame.upto
            return await frame.bytes(packed=viewer.packed)
        if viewer.position < self._board.change:
            self._news.set()
        viewer.waiting = asyncio.get_running_loop().create_future()
        return await viewer.waiting

    async def state(self) -> Text:
        """Give everything as JSON; it is made once a frame's time at most, however many ask."""
        return (await self._newest_state())[0]

    async def _newest_state(self) -> tuple[Text, int]:
        async with self._making:
            state = self._state
            if state is None or not self._is_fresh(state[1], state[2]):
                text, upto = await self._maker.state()
                state = self._state = (text, upto, self._clock())
                self._first.clear()
                self._issued.append(upto)
            return state[:2]

    def _is_fresh(self, upto: int, made_at_s: float) -> bool:
        board = self._board
        has_begun = upto >= max(board.told_from, board.connection_change)
        return has_begun and self._clock() - made_at_s < self._frame_s

    async def _first_frame(self, *, gap: bool) -> Frame:
        text, upto = await self._newest_state()
        async with self._making:
            frame = self._first.get(gap)
            if frame is None or frame.upto != upto:
                frame = self._first[gap] = await self._maker.snapshot(text, upto, gap=gap)
            return frame

    async def _make_waves(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._keep_alive_s):
                    await self._news.wait()
            except TimeoutError:
                await self._hand_out(Frame(KEEP_ALIVE, self._board.change))
                continue
            self._news.clear()
            begun_s = self._clock()
            await self._hand_out_changes()
            spent_s = self._clock() - begun_s
            # Others get their turn within a wave, too: a long one is no reason for a long pause.
            await asyncio.sleep(max(self._frame_s - spent_s, min(spent_s, self._frame_s)))

    async def _hand_out_changes(self) -> None:
        frames: dict[int, Frame] = {}
        known = frozenset(self._issued)
        for number, viewer in enumerate(
            [viewer for viewer in self.viewers if viewer.waiting is not None], start=1
        ):
            position = viewer.position
            if position is None or position >= self._board.change:
                continue
            since = position if position in known else self._rounded(position)
            frame = frames.get(since)
            if frame is None:
                frame = frames[since] = await self._frame_since(since)
                self._issued.append(frame.upto)
            await self._give_frame(viewer, frame)
            if number % _VIEWERS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _rounded(self, position: int) -> int:
        """Give a position at or before another, so that few different frames are made for those who are late."""
        behind = self._board.change - position
        earlier = max(0, self._board.change - (1 << behind.bit_length()))
        begun = self._board.told_from
        return max(earlier, begun) if position >= begun else position

    async def _frame_since(self, position: int) -> Frame:
        if position < self._board.told_from:
            return await self._first_frame(gap=False)
        return await self._maker.since(position)

    async def _hand_out(self, frame: Frame) -> None:
        for viewer in [viewer for viewer in self.viewers if viewer.position == frame.upto]:
            await self._give_frame(viewer, frame)

    async def _give_frame(self, viewer: Viewer, frame: Frame) -> None:
        content = await frame.bytes(packed=viewer.packed)
        if viewer.waiting is not None:
            viewer.position = frame.upto
            _give(viewer, content)


def _give(viewer: Viewer, content: Text | None) -> None:
    waiting, viewer.waiting = viewer.waiting, None
    if waiting is not None and not waiting.done():
        waiting.set_result(content)
