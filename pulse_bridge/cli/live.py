"""A table that keeps itself up to date and follows keys, on a screen of its own as `top` has it."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from pulse_bridge.bus import Batch, Bus
from pulse_bridge.cli.output import say
from pulse_bridge.cli.table import draw_table, last_rows, list_jobs
from pulse_bridge.cli.watch_detail import draw_job
from pulse_bridge.cli.watch_help import draw_help
from pulse_bridge.cli.watch_history import READING, read_job
from pulse_bridge.cli.watch_past import Pasts
from pulse_bridge.cli.watch_rows import JobKey
from pulse_bridge.cli.watch_scene import MAX_NOTES, Drawn, Scene
from pulse_bridge.cli.watch_screen import Frame, Size, as_text
from pulse_bridge.cli.watch_state import Browse, press
from pulse_bridge.cli.watch_terminal import Screen, choose_glyphs
from pulse_bridge.cli.watch_words import Link
from pulse_bridge.clock import read_clocks
from pulse_bridge.event import JobEvent
from pulse_bridge.fleet import Fleet
from pulse_bridge.log import TextFormatter

MIN_INTERVAL_S: Final = 0.1
"""Between two frames: a person sees no more, and what is painted rarely does not flicker."""

NOTE_S: Final = 30.0
"""How long a note is shown; what lasts is said of the host."""


def _press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class LiveTable:
    """Shows what `take` is given until `run` is cancelled. Logs go below the table, for it covers the rest.

    Args:
        lasting: A line that stays below the table, if any.
        bus: Is asked for the past of a job that is looked at; without one, only what was seen is shown.
        title: Where the jobs come from, without a secret.
        leave: Called when the person wants to leave; by default as if by Ctrl-C.
    """

    def __init__(
        self,
        lasting: str = "",
        *,
        bus: Bus | None = None,
        title: str = "",
        leave: Callable[[], None] = _press_ctrl_c,
    ) -> None:
        self.fleet = Fleet()
        self._lasting = [lasting] if lasting else []
        self._bus = bus
        self._title = title
        self._leave = leave
        self._glyphs = choose_glyphs(os.environ, sys.stdout.encoding)
        self._notes: deque[tuple[float, str]] = deque(maxlen=MAX_NOTES)
        self._changed = asyncio.Event()
        self._painting = False
        self._link: Link | None = None
        self._pasts = Pasts()
        self._asking: tuple[JobKey, asyncio.Task[None]] | None = None
        self._meanwhile: list[JobEvent] = []
        self._browse = Browse()
        self._listed: Sequence[JobKey] = ()
        self._listing = self._browse.listing
        self._page_rows = 1

    # What comes from the bus

    def take(self, batch: Batch) -> None:
        """Show a batch's events with the next frame."""
        at = read_clocks()
        if batch.snapshot and self._link is None:
            self.fleet.connect(at.now_s)
        for event in batch.events:
            if self.fleet.apply(event, at, snapshot=batch.snapshot) and isinstance(event, JobEvent):
                self._pasts.add(event)
                if self._asking and self._asking[0] == (event.host, event.job):
                    self._meanwhile.append(event)
        if batch.events or batch.snapshot:
            self._changed.set()

    def note(self, sentence: str) -> None:
        """Show a line below the table; before there is one, write it to standard error."""
        if self._painting:
            self._notes.append((time.time(), sentence))
            self._changed.set()
        else:
            say(sentence)

    def connected(self) -> None:
        """Count silence from now on."""
        at = read_clocks()
        again = self._link is not None and self._link.again
        self.fleet.connect(at.now_s)
        self._link = Link(connected=True, since_s=at.wall_s, again=again)
        self._changed.set()

    def disconnected(self, reason: str) -> None:
        """Show everything as the last known."""
        before = self._link
        if before is not None and not before.connected:
            self._link = before._replace(reason=reason)
        else:
            again = before is not None
            self._link = Link(connected=False, reason=reason, since_s=time.time(), again=again)
            self._pasts.forget_asked()
        self._changed.set()

    def missed(self) -> None:
        """Ask the bus again for the past."""
        self._pasts.forget_asked()

    def _resumed(self) -> None:
        """Count silence anew: who was suspended did not listen."""
        at = read_clocks()
        self.fleet.connect(at.now_s)
        if self._link is not None and self._link.connected:
            self._link = self._link._replace(again=True)
        self._changed.set()

    # What the person does

    def _press(self, key: str) -> None:
        is_written = self._browse.typing and len(key) == 1
        if self._listing != self._browse.listing and not is_written:
            # Keys came faster than frames: this one means the list that those before it have made.
            self._list(list_jobs(self._scene(keys=True), self._browse))
        self._browse = press(self._browse, key, self._listed, self._page_rows)
        if self._browse.over:
            self._leave()
        self._changed.set()

    def _list(self, listed: Sequence[JobKey]) -> None:
        self._listed, self._listing = listed, self._browse.listing

    def _ask_for_past(self) -> None:
        """Have the past read of the job that is looked at, unless it is known; of another job no longer."""
        browse = self._browse
        is_looked_at = browse.page == "job" or (browse.page == "help" and browse.back == "job")
        key = browse.selected if is_looked_at else None
        if self._asking and self._asking[0] != key:
            self._asking[1].cancel()
            self._pasts.of(self._asking[0]).why = ""
            self._asking = None
        if key is None or self._bus is None or self._asking:
            return
        past = self._pasts.of(key)
        if not past.asked and (self._link is None or self._link.connected):
            past.why = READING
            self._meanwhile = []
            self._asking = key, asyncio.ensure_future(self._read_past(self._bus, key))

    async def _read_past(self, bus: Bus, key: JobKey) -> None:
        self._pasts.put(key, await read_job(bus, key), self._meanwhile)
        self._asking = None
        self._changed.set()

    # The screen

    async def run(self) -> None:
        """Paint after each change and once a second; the last frame stays on the ordinary screen."""
        await self._changed.wait()
        screen = Screen(
            on_key=self._press, on_change=self._changed.set, on_resume=self._resumed, on_hangup=self._leave
        )
        try:
            with contextlib.suppress(OSError), self._logs_below(), screen.shown():
                self._painting = True
                await self._paint(screen)
        finally:
            self._painting = False
            if self._asking:
                self._asking[1].cancel()
            self._print_last(screen)

    async def _paint(self, screen: Screen) -> None:
        while True:
            self._changed.clear()
            self._ask_for_past()
            await screen.draw(self._draw(screen.size(), keys=screen.has_keys))
            await asyncio.sleep(MIN_INTERVAL_S)
            rest_s = 1.0 - time.time() % 1.0
            # Not by wait_for: before Python 3.12 it loses a cancellation that comes together with the change.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._changed.wait()

    def _draw(self, size: Size, *, keys: bool) -> Frame:
        drawn = self._draw_page(self._scene(keys=keys), self._browse, size)
        self._page_rows, self._browse = drawn.page_rows, drawn.browse
        self._list(drawn.listed)
        return drawn.frame

    def _draw_page(self, scene: Scene, browse: Browse, size: Size) -> Drawn:
        if browse.page == "job" and browse.selected:
            return draw_job(scene, browse, self._listed, size)
        if browse.page == "help":
            return draw_help(scene, browse, self._listed, size)
        return draw_table(scene, browse, size)

    def _scene(self, *, keys: bool) -> Scene:
        at = read_clocks()
        selected = self._browse.selected
        return Scene(
            fleet=self.fleet,
            at=at,
            link=self._link or Link(),
            title=self._title,
            lasting=self._lasting,
            notes=[sentence for noted_s, sentence in self._notes if at.wall_s - noted_s < NOTE_S],
            keys=keys,
            glyphs=self._glyphs,
            past=self._pasts.of(selected) if selected and self._browse.page == "job" else None,
        )

    def _print_last(self, screen: Screen) -> None:
        if self.fleet.jobs:
            scene = replace(self._scene(keys=False), notes=())
            lines = as_text(last_rows(scene, self._browse, screen.size()))
            screen.print_after("".join(f"{text}\n" for text in lines))

    @contextmanager
    def _logs_below(self) -> Iterator[None]:
        if not sys.stderr.isatty():
            yield  # they go to a file and disturb nobody
            return
        root = logging.getLogger()
        before = root.handlers[:]
        root.handlers[:] = [_Notes(self.note)]
        try:
            yield
        finally:
            root.handlers[:] = before


class _Notes(logging.Handler):
    """Hands on log records as lines."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note
        self.setFormatter(TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on one record."""
        self._note(self.format(record).splitlines()[0])
