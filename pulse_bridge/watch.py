"""Watches status files: polling is the truth, the kernel's events only the hint to look now.

From the wake-up to the sink everything happens in one callback, with no await between: a state that is
overwritten before it is read is gone for good. Files on network file systems, which give no hints and may hang,
are looked at in a thread instead.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

from pulse_bridge.threads import run_in_daemon_thread
from pulse_bridge.watch_file import Reading, Sighting, WatchedFile, read_if_changed, read_now
from pulse_bridge.watch_find import Finder
from pulse_bridge.watch_folders import Folders
from pulse_bridge.watch_inotify import Q_OVERFLOW, Hint, Hints, open_hints
from pulse_bridge.watch_paths import parse_paths
from pulse_bridge.watch_poll import NEVER, PollQueue

__all__ = ["Sighting", "Watcher"]

logger = logging.getLogger(__name__)

SECOND_LOOK_S: Final = 0.05
"""A file that is no PULSE may be half-written: only one that is none so much later is malformed."""

_MAX_ROUNDS: Final = 16
_BURST_S: Final = 0.02
"""Hints that follow each other so closely belong to one burst."""
_TURN_S: Final = 0.005
_MAX_THREAD_FILES: Final = 256


class Watcher:
    """Finds the files that PATHs name and tells a sink whenever one may have changed.

    Args:
        paths: Files, folders (searched for `training_status.json`), globs, or NAME=FILE; there or to come.
        sink: Called in the event loop with what was just read. What it raises ends `run`.
        poll_s: Seconds between two looks at a file that changes; doubled up to `quiet_poll_s` while it does not.
        quiet_poll_s: The most seconds between two looks at a file.
        search_s: Seconds between two searches for files that no hint has told of.
        use_inotify: Ask the kernel for hints where it has some.

    Raises:
        ConfigError: A PATH cannot be meant; the sentence names it and the remedy.
    """

    def __init__(
        self,
        paths: Sequence[str],
        sink: Callable[[Sequence[Sighting]], None],
        *,
        poll_s: float = 2.0,
        quiet_poll_s: float = 10.0,
        search_s: float = 10.0,
        use_inotify: bool = True,
    ) -> None:
        self._targets: Final = parse_paths(paths)
        self._sink: Final = sink
        self._poll_s: Final = poll_s
        self._quiet_poll_s: Final = quiet_poll_s
        self._search_s: Final = search_s
        self._use_inotify: Final = use_inotify
        self._local: Final = PollQueue()
        self._remote: Final = PollQueue()
        self._folders: Final = Folders()
        self._finder: Final = Finder(self._targets, self._folders, poll_s)
        self._now: Callable[[], float] = lambda: 0.0
        self._turn_began_at = 0.0
        self._hinted_at_s = 0.0
        self._failure: asyncio.Future[None] | None = None
        self.ready: Final = asyncio.Event()

    @property
    def malformed(self) -> int:
        """Say how many files cannot be used now."""
        return sum(file.malformed for file in self._finder.files.values())

    def look(self, job: str) -> Sighting | None:
        """Read a job's file now; None if there is no such job, or the file cannot be used now.

        Of a file on a network file system it gives the last known state and has it read as soon as may be.
        """
        file = self._finder.by_job.get(job)
        if file is None:
            return None
        if file.remote:
            # Reading may hang, so a thread looks, and what it finds is a sighting of its own.
            if not file.looking:
                self._remote.schedule(file, self._now())
        else:
            file.context.refresh()
            self._take(file, read_now(file.path))
        return file.sighting()

    async def look_at_remote(self) -> None:
        """Read all files on network file systems now; takes as long as those do."""
        for file in self._finder.files.values():
            if file.remote and not file.looking:
                self._remote.schedule(file, self._now())
        while await self._look_at_remote():
            pass

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._failure = loop.create_future()
        with ExitStack() as stack:
            self._open_hints(loop, stack)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._search_forever())
                group.create_task(self._poll_local())
                group.create_task(self._poll_remote())
                await self._failure

    def _open_hints(self, loop: asyncio.AbstractEventLoop, stack: ExitStack) -> None:
        hints = open_hints() if self._use_inotify else None
        if hints is None:
            return
        self._folders.hints = hints
        stack.callback(hints.close)
        loop.add_reader(hints.fileno(), self._on_hints, hints)
        stack.callback(loop.remove_reader, hints.fileno())

    def _on_hints(self, hints: Hints) -> None:
        try:
            # In a burst, what came while the last was on its way is read before anything else has its turn.
            # Outside of one, the broker may be waiting for our processor.
            for _ in range(_MAX_ROUNDS):
                found = hints.read()
                if not found:
                    return
                self._follow(found)
                self._give(self._read_affected())
                before_s, self._hinted_at_s = self._hinted_at_s, self._now()
                if self._hinted_at_s - before_s > _BURST_S:
                    return
        except Exception as error:  # noqa: BLE001 - a callback has no caller: run() raises it
            self._fail(error)

    def _follow(self, hints: Sequence[Hint]) -> None:
        for hint in hints:
            if hint.mask & Q_OVERFLOW:
                self._look_everywhere()
            for folder in self._folders.of_watch(hint.wd):
                self._finder.follow(folder, hint.mask, hint.name)

    def _fail(self, error: Exception) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def _look_everywhere(self) -> None:
        """Make good for hints that were lost: look at every file and search every folder now."""
        logger.info("the kernel's hints overflowed, every file is looked at")
        now = self._now()
        for file in self._finder.files.values():
            if file.due_at != NEVER:
                self._queue_of(file).schedule(file, now)
        self._finder.search_wanted.set()

    def _read_affected(self) -> list[Sighting]:
        """Read what the finder holds to have changed, each file once."""
        sightings: list[Sighting] = []
        now = self._now()
        affected = list(self._finder.affected)
        self._finder.affected.clear()
        for file in affected:
            if file.remote:
                self._remote.schedule(file, now)
                continue
            if file.takes == 0:
                file.context.refresh()
            sighting = self._take(file, read_now(file.path))
            if sighting is not None:
                sightings.append(sighting)
            file.interval_s = self._poll_s
            if file.due_at > now + self._poll_s and not self._forgotten(file):
                self._local.schedule(file, now + self._poll_s)
        return sightings

    def _take(self, file: WatchedFile, reading: Reading) -> Sighting | None:
        """Take in a reading; one that was refused is looked at again shortly, and malformed if it stays so."""
        sighting = file.take(reading)
        if file.suspect is None:
            file.suspect_at = NEVER
            return sighting
        now = self._now()
        file.suspect_at = min(file.suspect_at, now)
        if file.malformed or now - file.suspect_at >= SECOND_LOOK_S * 0.8:
            file.condemn()
        else:
            self._queue_of(file).schedule(file, file.suspect_at + SECOND_LOOK_S)
        return sighting

    def _give(self, sightings: Sequence[Sighting]) -> None:
        if sightings:
            self._sink(sightings)

    @staticmethod
    def _forgotten(file: WatchedFile) -> bool:
        """Say whether a file needs no polling: it is gone, and would be found again."""
        return file.absent and not file.explicit

    def _queue_of(self, file: WatchedFile) -> PollQueue:
        return self._remote if file.remote else self._local

    async def _search_forever(self) -> None:
        while True:
            self._finder.search_wanted.clear()
            self._turn_began_at = self._now()
            await self._finder.search(self._pause)
            self._give(self._read_affected())
            if not self.ready.is_set():
                await self._look_at_remote()
                self.ready.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._search_s):
                    await self._finder.search_wanted.wait()

    async def _pause(self) -> None:
        """Read what was found, and let others have their turn if this one has been long."""
        self._give(self._read_affected())
        if self._now() - self._turn_began_at > _TURN_S:
            await asyncio.sleep(0)
            self._turn_began_at = self._now()

    async def _poll_local(self) -> None:
        while True:
            await self._local.wait()
            began_at = now = self._now()
            sightings: list[Sighting] = []
            while now - began_at < _TURN_S and (file := self._local.pop_due(now)) is not None:
                if file.remote:
                    self._remote.schedule(file, now)
                    continue
                file.context.refresh()
                sighting = self._take_poll(file, read_if_changed(file.path, file.known))
                if sighting is not None:
                    sightings.append(sighting)
                now = self._now()
            self._give(sightings)

    async def _poll_remote(self) -> None:
        while True:
            await self._remote.wait()
            await self._look_at_remote()

    async def _look_at_remote(self) -> bool:
        """Look in a thread at the files that are due, and say whether there were any."""
        files: list[tuple[WatchedFile, int]] = []
        while len(files) < _MAX_THREAD_FILES and (file := self._remote.pop_due(self._now())) is not None:
            file.looking = True
            files.append((file, file.takes))
        if not files:
            return False
        readings = await run_in_daemon_thread(partial(_look_at, [file for file, _ in files]))
        sightings: list[Sighting] = []
        for (file, takes), reading in zip(files, readings, strict=True):
            file.looking = False
            if file.takes == takes and (sighting := self._take_poll(file, reading)) is not None:
                sightings.append(sighting)
        self._give(sightings)
        return True

    def _take_poll(self, file: WatchedFile, reading: Reading | None) -> Sighting | None:
        """Take in what polling found (None: nothing new), and say when to look next."""
        sighting = file.relabelled() if reading is None else self._take(file, reading)
        quiet = sighting is None and file.suspect is None
        file.interval_s = min(file.interval_s * 2, self._quiet_poll_s) if quiet else self._poll_s
        if file.due_at == NEVER and not self._forgotten(file):
            self._queue_of(file).schedule(file, self._now() + file.interval_s)
        return sighting


def _look_at(files: Sequence[WatchedFile]) -> list[Reading | None]:
    """Look at files of a slow file system; runs in a thread."""
    readings = []
    for file in files:
        file.context.refresh()
        readings.append(read_if_changed(file.path, file.known))
    return readings
