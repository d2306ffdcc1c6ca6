"""Which files there are: searching folders at the start and again and again, and following the kernel's hints."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from pulse_bridge.threads import run_in_daemon_thread
from pulse_bridge.watch_context import Context
from pulse_bridge.watch_file import WatchedFile
from pulse_bridge.watch_folders import Child, Folder, Folders, Probe, identity_of, probe_folder
from pulse_bridge.watch_inotify import APPEARED, CLOSE_WRITE, FOLDER_LOST, ISDIR
from pulse_bridge.watch_paths import (
    CONTEXT_NAME,
    STATUS_NAME,
    FilePath,
    JobNames,
    Search,
    States,
    Target,
    job_name,
)

logger = logging.getLogger(__name__)

MAX_INLINE_FOLDERS: Final = 200
"""So many new folders are searched within one hint; the rest is left to a search that yields to others."""


class Finder:
    """Knows every file that has been found, and collects in `affected` those that should be read now.

    Args:
        targets: What the user asked for.
        folders: Where folders are made known and watched.
        interval_s: Seconds between looks at a file that is new.
    """

    def __init__(self, targets: Sequence[Target], folders: Folders, interval_s: float) -> None:
        self._targets: Final = targets
        self.folders: Final = folders
        self._interval_s: Final = interval_s
        self._names: Final = JobNames(targets)
        self._contexts: dict[str, Context] = {}
        self._told: set[str] = set()
        self.files: dict[str, WatchedFile] = {}
        self.by_job: dict[str, WatchedFile] = {}
        self.affected: dict[WatchedFile, None] = {}
        self.search_wanted = asyncio.Event()

    async def search(self, pause: Callable[[], Awaitable[None]]) -> None:
        """Look everywhere for what is new.

        Args:
            pause: Called between folders, so that what was found is read and others get their turn.
        """
        self.folders.refresh_mounts()
        for target in self._targets:
            if self._open_root(target) is None:
                pass
            elif isinstance(target, Search):
                await self._walk(target, pause)
            await pause()

    async def _walk(self, search: Search, pause: Callable[[], Awaitable[None]]) -> None:
        """Search below a root: real folders first, so that a job is never named after a link to its folder."""
        seen: set[tuple[int, int]] = set()
        real = [Child(search.root, search.start, is_link=False)]
        links: list[Child] = []
        while real or links:
            child = real.pop() if real else links.pop(0)
            if child.is_link and identity_of(child.path) in seen:
                continue  # to where we have been: a loop, or the same job again
            folder = self.folders.open(child.path)
            if folder.remote:
                probe = await run_in_daemon_thread(partial(probe_folder, child.path, None))
            else:
                probe = probe_folder(child.path, self._known_mtime_ns(folder, search, child.states))
            if probe is not None:
                seen.add(probe.identity)
            for below in self._take_probe(search, folder, child.states, probe):
                (links if below.is_link else real).append(below)
            await pause()

    def enter(self, target: Target) -> None:
        """Look now for what a target names, as far as it can be done at once."""
        if self._open_root(target) is not None and isinstance(target, Search):
            self._descend(target, Child(target.root, target.start, is_link=False))

    def _open_root(self, target: Target) -> Folder | None:
        """Watch the folder that a target starts in, or the nearest one above it that is there."""
        if isinstance(target, FilePath):
            self._add_file(target, target.path, None)
        known = self.folders.get(target.root)
        if known is not None and not self._is_there(target.root):
            self._lose(known)  # moved away together with a folder above it, say
        while True:
            path, missing = target.root, ""
            while not self._is_there(path):
                parent, missing = os.path.split(path)
                if parent == path:
                    return None
                path = parent
            folder = self.folders.open(path)
            if not missing:
                folder.root_of.add(target)
                if isinstance(target, FilePath):
                    self._add_file(target, target.path, folder)
                return folder
            folder.waiting.setdefault(missing, set()).add(target)
            if not os.path.isdir(os.path.join(path, missing)):  # else it came before the watch was set
                return None

    def _is_there(self, path: str) -> bool:
        """Say whether a folder is there; a known one on a file system that may hang is asked in a thread."""
        known = self.folders.get(path)
        return (known is not None and known.remote) or os.path.isdir(path)

    def _descend(self, search: Search, child: Child) -> None:
        stack = [child]
        for _ in range(MAX_INLINE_FOLDERS):
            if not stack:
                return
            child = stack.pop()
            folder = self.folders.open(child.path)
            if folder.remote:
                break
            probe = probe_folder(child.path, None)
            stack += [
                below for below in self._take_probe(search, folder, child.states, probe) if not below.is_link
            ]
            if any(below.is_link for below in folder.children.get(search, {}).values()):
                self.search_wanted.set()
        self.search_wanted.set()

    @staticmethod
    def _known_mtime_ns(folder: Folder, search: Search, states: States) -> int | None:
        return None if folder.remote or folder.states.get(search) != states else folder.mtime_ns

    def _take_probe(self, search: Search, folder: Folder, states: States, probe: Probe | None) -> list[Child]:
        """Take in a listing and give the folders to go on to."""
        if probe is None:
            self._lose(folder)
            return []
        if probe.folders is None:
            return list(folder.children[search].values())
        if probe.refusal is not None and folder.path not in self._told:
            self._told.add(folder.path)
            logger.warning("folder cannot be searched", extra={"path": folder.path, "reason": probe.refusal})
        folder.states[search] = states
        # Another search that passes here too has yet to see this listing.
        folder.mtime_ns = probe.mtime_ns if len(folder.states) == 1 else None
        before = folder.children.get(search, {})
        children: dict[str, Child] = {}
        for name, is_link in probe.folders:
            child = before.get(name)
            if child is not None and child.is_link == is_link:
                children[name] = child
            elif search.is_open(below := search.advance(states, name)):
                children[name] = Child(os.path.join(folder.path, name), below, is_link)
        folder.children[search] = children
        for name in probe.names:
            known = folder.files.get(name)
            if known is not None and known.absent:
                self.affected[known] = None  # a file that is gone is not polled
            elif known is None and search.accepts(states, name):
                self._add_file(search, os.path.join(folder.path, name), folder)
        return list(children.values())

    def _add_file(self, target: Target, path: str, folder: Folder | None) -> None:
        """Make a file known, or known again."""
        file = self.files.get(path)
        if file is None:
            file = self._new_file(target, path)
            self.affected[file] = None
        if folder is None:
            return
        file.remote = folder.remote
        name = os.path.basename(path)
        if folder.files.get(name) is not file:
            folder.files[name] = file
            self.affected[file] = None

    def _new_file(self, target: Target, path: str) -> WatchedFile:
        job = self._names.name(target, path)
        if job != (plain := job_name(target, path)):
            logger.warning(
                "two files have one job name, the second gets its path",
                extra={"taken": plain, "job": job, "path": path},
            )
        folder_path = os.path.dirname(path)
        context = self._contexts.get(folder_path)
        if context is None:
            context = self._contexts[folder_path] = Context(folder_path)
        file = WatchedFile(
            job,
            path,
            context,
            explicit=isinstance(target, FilePath),
            remote=False,
            interval_s=self._interval_s,
        )
        self.files[path] = self.by_job[job] = file
        return file

    def follow(self, folder: Folder, mask: int, name: str) -> None:
        """Follow one hint about an entry of a folder."""
        if mask & FOLDER_LOST:
            self._lose(folder)
            return
        file = folder.files.get(name)
        if file is not None:
            self.affected[file] = None
        elif name.endswith(".tmp"):
            return  # a writer's, several times for each write
        if mask & APPEARED:
            self._enter_waiting(folder, name)
        if mask & ISDIR:
            self._follow_folder(folder, mask, name)
            if file is None and name == STATUS_NAME and mask & APPEARED:
                self._follow_new_file(folder, name)  # it will be refused, which tells the user what is wrong
        elif name == CONTEXT_NAME:
            self._refresh_context(folder)
        elif file is None and mask & (APPEARED | CLOSE_WRITE):
            self._follow_new_file(folder, name)

    def _enter_waiting(self, folder: Folder, name: str) -> None:
        for target in folder.waiting.pop(name, ()):
            self.enter(target)
        if folder.idle:
            self.folders.drop(folder)

    def _follow_folder(self, folder: Folder, mask: int, name: str) -> None:
        path = os.path.join(folder.path, name)
        known = self.folders.get(path)
        if not mask & APPEARED:
            if known is not None:
                self._lose(known)
            return
        if known is not None:  # found before this hint was read, or another folder under the same name
            self.affected.update(dict.fromkeys(known.files.values()))
        for search, states in list(folder.states.items()):
            below = search.advance(states, name)
            if search.is_open(below):
                child = folder.children[search][name] = Child(path, below, is_link=False)
                self._descend(search, child)

    def _follow_new_file(self, folder: Folder, name: str) -> None:
        path = os.path.join(folder.path, name)
        for search, states in list(folder.states.items()):
            if search.accepts(states, name):
                self._add_file(search, path, folder)
                return
        if os.path.islink(path) and os.path.isdir(path):
            self.search_wanted.set()

    def _refresh_context(self, folder: Folder) -> None:
        for file in folder.files.values():
            file.context.refresh()
            self.affected[file] = None

    def _lose(self, folder: Folder) -> None:
        """Forget a folder that is no more, have its files looked at, and wait for what started there."""
        targets: dict[Target, None] = {}
        for lost in self.folders.drop(folder):
            self.affected.update(dict.fromkeys(lost.files.values()))
            targets.update(dict.fromkeys(lost.root_of))
            for waiting in lost.waiting.values():
                targets.update(dict.fromkeys(waiting))
        for target in targets:
            self.enter(target)
