"""Looks at status files as the sidecar would, and watches for a while how they are written."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from typing import Final

from pulse_bridge.doctor_files import FileFacts, LookFacts
from pulse_bridge.doctor_silent import find_silent, leads_to
from pulse_bridge.errors import PulseFileError
from pulse_bridge.mounts import Mounts
from pulse_bridge.pulse import Signature, parse, read_file
from pulse_bridge.threads import run_in_daemon_thread
from pulse_bridge.watch_find import Finder
from pulse_bridge.watch_folders import Folders
from pulse_bridge.watch_inotify import CLOSE_WRITE, MOVED_TO, Hint, Hints, KernelHints
from pulse_bridge.watch_paths import Target, parse_paths

SEARCH_S: Final = 10.0
"""So long a search may take; a sidecar has more patience."""

LOOK_S: Final = SEARCH_S + 5.0
"""So long the search may take with all that is read behind it."""

LOOK_EACH_S: Final = 0.05
MAX_RELATIVES: Final = 200
"""So many `.json` files are read in search of one that is PULSE under another name."""

MAX_RELATIVE_FOLDERS: Final = 2000
"""So many folders are gone through for it."""

_HALF_READ: Final = 3
"""A file that cannot be parsed is read so often before that counts: a writer may be at work."""


@dataclass
class CountingHints:
    """The kernel's hints, and how often the kernel had none to give.

    Args:
        inner: None where the kernel gave no instance at all.
        refused: Folders that could not be watched though they are there.
    """

    inner: Hints | None
    folders: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def fileno(self) -> int:
        """Give the descriptor, -1 where there is none."""
        return self.inner.fileno() if self.inner else -1

    def watch(self, folder: str) -> int | None:
        """Watch a folder, and note what came of it."""
        self.folders.add(folder)
        wd = self.inner.watch(folder) if self.inner else None
        if wd is None and os.path.isdir(folder):  # noqa: PTH112 - a string
            self.refused.add(folder)
        return wd

    def unwatch(self, wd: int) -> None:
        """Give up a watch."""
        if self.inner:
            self.inner.unwatch(wd)

    def read(self) -> Sequence[Hint]:
        """Give what has come."""
        return self.inner.read() if self.inner else ()

    def close(self) -> None:
        """Give up all."""
        if self.inner:
            self.inner.close()


def open_counting_hints() -> CountingHints:
    """Ask the kernel; whatever it refuses is counted."""
    try:
        return CountingHints(KernelHints())
    except (ImportError, OSError):
        return CountingHints(None)


async def look_in_time(
    paths: Sequence[str], *, watch_s: float, hints: CountingHints
) -> tuple[LookFacts, Mapping[str, str]]:
    """Look as `look` does, but for where a file system does not answer: whoever asks it waits for ever.

    Returns:
        What was found, and of each path in it the one with no link in it.
    """
    mounts = Mounts.read()
    silent = await run_in_daemon_thread(partial(find_silent, mounts))
    met = {path: leads_to(parse_paths([path])[0].root, silent) for path in paths}

    def look_here() -> tuple[LookFacts, Mapping[str, str]]:
        clear = [path for path in paths if not met[path]]
        facts = asyncio.run(look(clear, watch_s=watch_s, hints=hints))
        return facts, real_paths(facts)

    points = set().union(*met.values())
    try:
        # A link may lead to a dead file system all the same.
        async with asyncio.timeout(LOOK_S + watch_s):
            facts, real = await run_in_daemon_thread(look_here)
    except TimeoutError:
        facts, real, points = LookFacts(targets={}, files=[], mounts=mounts, complete=False), {}, set(silent)
    complete = facts.complete and not points
    return replace(facts, complete=complete, silent={point: silent[point] for point in sorted(points)}), real


async def look(paths: Sequence[str], *, watch_s: float, hints: CountingHints) -> LookFacts:
    """Search for status files, read each, and watch how those of running jobs are written.

    Args:
        paths: As `run` takes them; each is right.
        watch_s: How long to watch; not at all where nothing runs.
        hints: Open; whoever opened them closes them.
    """
    targets = parse_paths(paths)
    folders = Folders()
    folders.hints = hints
    finder = Finder(targets, folders, 1.0)
    complete = await _search(finder)
    found = [await run_in_daemon_thread(partial(read_facts, *file)) for file in _named(finder)]
    if watch_s and any(facts.pulse is not None and facts.pulse.status == "running" for facts in found):
        found = await _watch(found, finder, hints, watch_s)
    roots = {target.root for target in targets}
    relatives = await run_in_daemon_thread(partial(find_relatives, roots)) if not found else []
    return LookFacts(
        targets=dict(zip(paths, (parse_paths([path])[0] for path in paths), strict=True)),
        files=found,
        searched=len(hints.folders),
        refused=await run_in_daemon_thread(partial(_refused, roots | hints.folders)),
        relatives=relatives,
        mounts=Mounts.read(),
        complete=complete,
    )


async def _search(finder: Finder) -> bool:
    async def pause() -> None:
        await asyncio.sleep(0)

    try:
        async with asyncio.timeout(SEARCH_S):
            await finder.search(pause)
    except TimeoutError:
        return False
    return True


def _named(finder: Finder) -> list[tuple[str, str]]:
    return sorted((file.job, file.path) for file in finder.files.values())


def read_facts(job: str, path: str) -> FileFacts:
    """Read one file."""
    facts = FileFacts(job, path)
    for attempt in range(_HALF_READ):
        try:
            found = read_file(path)
            if found is None:
                return facts
            content, signature = found
            facts = replace(facts, written_at_s=signature.mtime_ns / 1e9)
            return replace(facts, pulse=parse(content, path))
        except PulseFileError as error:
            if attempt == _HALF_READ - 1:
                return replace(facts, refusal=str(error))
    return facts


async def _watch(
    found: Sequence[FileFacts], finder: Finder, hints: CountingHints, watch_s: float
) -> list[FileFacts]:
    """Watch how files are written: a rename arrives, or the file that stands there is written to."""
    hints.read()
    facts = {file.path: file for file in found}
    polled = {path: _signature(path) for path, file in facts.items() if _unwatched(path, finder)}
    loop = asyncio.get_running_loop()
    end_s = loop.time() + watch_s
    while (left_s := end_s - loop.time()) > 0:
        await asyncio.sleep(min(LOOK_EACH_S, left_s))
        for hint in hints.read():
            for folder in finder.folders.of_watch(hint.wd):
                path = os.path.join(folder.path, hint.name)  # noqa: PTH118 - strings
                if path in facts:
                    facts[path] = _note(facts[path], in_place=bool(hint.mask & CLOSE_WRITE), mask=hint.mask)
        for path, before in polled.items():
            after = await run_in_daemon_thread(partial(_signature, path))
            if before and after and before != after:
                same = before.inode == after.inode
                facts[path] = _note(facts[path], in_place=same, mask=0 if same else MOVED_TO)
            polled[path] = after
    for path in polled:
        # A file system can give a file that replaces another the number of the one before that.
        facts[path] = replace(facts[path], in_place=facts[path].in_place and not facts[path].replaced)
    return list(facts.values())


def _note(facts: FileFacts, *, in_place: bool, mask: int) -> FileFacts:
    return replace(facts, in_place=facts.in_place or in_place, replaced=facts.replaced or bool(mask & MOVED_TO))


def _unwatched(path: str, finder: Finder) -> bool:
    folder = finder.folders.get(os.path.dirname(path))  # noqa: PTH120 - a string
    return folder is None or folder.wd is None


def _signature(path: str) -> Signature | None:
    try:
        return Signature.of(os.stat(path))  # noqa: PTH116 - a string
    except OSError:
        return None


def _refused(folders: Iterable[str]) -> dict[str, str]:
    """List each folder once more, and give those that cannot be."""
    refused = {}
    for folder in sorted(folders):
        try:
            with os.scandir(folder):
                pass
        except FileNotFoundError:
            continue
        except OSError as error:
            refused[folder] = (error.strerror or str(error)).lower()
    return refused


def find_relatives(roots: Iterable[str]) -> list[str]:
    """Find files below folders that read as PULSE though they have another name than is searched for."""
    found: list[str] = []
    read = 0
    walked = chain.from_iterable(os.walk(root) for root in sorted(roots))
    for folder, _, names in islice(walked, MAX_RELATIVE_FOLDERS):
        for name in sorted(names):
            if not name.endswith(".json"):
                continue
            read += 1
            if read > MAX_RELATIVES:
                return found
            path = os.path.join(folder, name)  # noqa: PTH118 - strings
            if read_facts("", path).pulse is not None:
                found.append(path)
    return found


def real_paths(facts: LookFacts) -> dict[str, str]:
    """Give each path with no link in it."""
    targets: Iterable[Target] = facts.targets.values()
    paths = {target.root for target in targets} | {file.path for file in facts.files}
    return {path: os.path.realpath(path) for path in paths}
