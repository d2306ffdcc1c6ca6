"""A table that keeps itself up to date on the terminal, on a screen of its own as `top` has it."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live

from pulse_bridge.bus import Batch
from pulse_bridge.cli.output import say
from pulse_bridge.cli.table import FleetTable
from pulse_bridge.clock import read_clocks
from pulse_bridge.fleet import Fleet
from pulse_bridge.log import TextFormatter

MIN_INTERVAL_S: Final = 0.1
"""Between two frames: a person sees no more, and what is painted rarely does not flicker."""

NOTE_S: Final = 30.0
"""How long a note is shown; what lasts is said of the host."""

_MAX_NOTES: Final = 4


class LiveTable:
    """Shows what `take` is given until `run` is cancelled. Logs go below the table, for it covers the rest.

    Args:
        lasting: A line that stays below the table, if any.
    """

    def __init__(self, lasting: str = "") -> None:
        self.fleet = Fleet()
        self._lasting = [lasting] if lasting else []
        self._console = Console(file=sys.stdout, highlight=False)
        self._notes: deque[tuple[float, str]] = deque(maxlen=_MAX_NOTES)
        self._changed = asyncio.Event()
        self._painting = False

    def take(self, batch: Batch) -> None:
        """Show a batch's events with the next frame."""
        at = read_clocks()
        if batch.snapshot:
            self.fleet.connect(at.now_s)
        for event in batch.events:
            self.fleet.apply(event, at, snapshot=batch.snapshot)
        self._changed.set()

    def note(self, sentence: str) -> None:
        """Show a line below the table; before there is one, write it to standard error."""
        if self._painting:
            self._notes.append((time.time(), sentence))
            self._changed.set()
        else:
            say(sentence)

    async def run(self) -> None:
        """Paint after each change and once a second; the last frame stays on the ordinary screen."""
        await self._changed.wait()
        try:
            with (
                self._logs_below(),
                self._resizes_seen(),
                Live(self._frame(), console=self._console, screen=True, auto_refresh=False) as live,
            ):
                self._painting = True
                while True:
                    self._changed.clear()
                    live.update(self._frame(), refresh=True)
                    await asyncio.sleep(MIN_INTERVAL_S)
                    rest_s = 1.0 - time.time() % 1.0
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), rest_s)
        finally:
            self._painting = False
            if self.fleet.jobs:
                self._console.print(self._last_frame())

    def _frame(self) -> FleetTable:
        at = read_clocks()
        notes = [sentence for noted_s, sentence in self._notes if at.wall_s - noted_s < NOTE_S]
        return FleetTable(self.fleet, at, [*self._lasting, *notes])

    def _last_frame(self) -> FleetTable:
        return FleetTable(self.fleet, read_clocks(), cut=False)

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

    @contextmanager
    def _resizes_seen(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._changed.set)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)


class _Notes(logging.Handler):
    """Hands on log records as lines."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note
        self.setFormatter(TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on one record."""
        self._note(self.format(record).splitlines()[0])
