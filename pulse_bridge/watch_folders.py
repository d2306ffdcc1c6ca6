"""The folders that are looked at: what is known of each, and the kernel's watch on it."""

import logging
import os
import stat
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from pulse_bridge.mounts import Mounts, is_remote
from pulse_bridge.watch_file import RACY_NS, WatchedFile
from pulse_bridge.watch_inotify import Hints
from pulse_bridge.watch_paths import STATUS_NAME, Search, States, Target

logger = logging.getLogger(__name__)


class Child(NamedTuple):
    """A folder below another: how far a search's patterns have come there, and whether it is a link."""

    path: str
    states: States
    is_link: bool


class Probe(NamedTuple):
    """What a look at a folder gave.

    Args:
        identity: Device and inode.
        mtime_ns: Its modification time; None where that proves nothing because it is too fresh.
        folders: The folders in it, each with whether it is a link; None where nothing has changed.
        names: The other entries, and folders where a status file should be.
        refusal: Why it could not be listed, if it could not.
    """

    identity: tuple[int, int]
    mtime_ns: int | None
    folders: list[tuple[str, bool]] | None
    names: list[str]
    refusal: str | None = None


def identity_of(path: str) -> tuple[int, int] | None:
    """Give a folder's device and inode; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, say


def probe_folder(path: str, known_mtime_ns: int | None) -> Probe | None:
    """List a folder, unless its modification time is the known one; None where there is no folder."""
    now_ns = time.time_ns()
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    identity = (status.st_dev, status.st_ino)
    if known_mtime_ns == status.st_mtime_ns:
        return Probe(identity, known_mtime_ns, None, [])
    folders, names = [], []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                is_folder = _is_folder(entry)
                if is_folder:
                    folders.append((entry.name, entry.is_symlink()))
                if not is_folder or entry.name == STATUS_NAME:
                    names.append(entry.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Probe(identity, None, [], [], error.strerror or str(error))
    folders.sort()
    names.sort()
    settled = status.st_mtime_ns < now_ns - RACY_NS
    return Probe(identity, status.st_mtime_ns if settled else None, folders, names)


@dataclass(eq=False)
class Folder:
    """One folder.

    Args:
        real_path: The path with no link in it.
        remote: Its file system gives no hints and may be slow.
        wd: The number of the kernel's watch on it, if it has one.
        mtime_ns: Modification time at the last listing, where that proves that nothing has changed.
        children: For each search that passes through here, the folders below that it goes on to.
        states: For each such search, how far its patterns have come here.
        files: The watched files in it by name.
        root_of: What starts here.
        waiting: What starts below and is not there yet, by the name of the next folder on the way.
    """

    path: str
    real_path: str
    remote: bool
    wd: int | None = None
    mtime_ns: int | None = None
    children: dict[Search, dict[str, Child]] = field(default_factory=dict)
    states: dict[Search, States] = field(default_factory=dict)
    files: dict[str, WatchedFile] = field(default_factory=dict)
    root_of: set[Target] = field(default_factory=set)
    waiting: dict[str, set[Target]] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Say whether nothing needs this folder."""
        return not (self.states or self.files or self.root_of or self.waiting)


class Folders:
    """Every folder that is looked at."""

    def __init__(self) -> None:
        self.hints: Hints | None = None
        """Where watches are set; None where the kernel gives no hints."""
        self._mounts = Mounts.read()
        self._by_path: dict[str, Folder] = {}
        self._by_wd: dict[int, list[Folder]] = {}
        self._told_types: set[str] = set()

    def get(self, path: str) -> Folder | None:
        """Give the folder if it is known."""
        return self._by_path.get(path)

    def of_watch(self, wd: int) -> tuple[Folder, ...]:
        """Give the folders that a watch is on: more than one where links lead to the same folder."""
        return tuple(self._by_wd.get(wd, ()))

    def refresh_mounts(self) -> None:
        """Read anew which file system is where."""
        self._mounts = Mounts.read()

    def open(self, path: str, real_path: str | None = None) -> Folder:
        """Give a folder, made known and watched if it can be.

        A folder is watched before it is listed, so that nothing falls between. Asking the kernel each time costs
        2 µs and finds out whether another folder has taken its place.

        Args:
            real_path: The path with no link in it, where that is known.
        """
        folder = self._by_path.get(path)
        if folder is None:
            folder = Folder(path, real_path or os.path.realpath(path), remote=False)
            self._by_path[path] = folder
        folder.remote = self._is_remote(folder)
        wd = None if self.hints is None or folder.remote else self.hints.watch(path)
        if wd != folder.wd:
            self._unwatch(folder)
            folder.wd, folder.mtime_ns = wd, None  # it may be another folder under the old name
            if wd is not None:
                self._by_wd.setdefault(wd, []).append(folder)
        return folder

    def drop(self, folder: Folder) -> list[Folder]:
        """Forget a folder and those below it, and give them all."""
        dropped, stack = [], [folder]
        while stack:
            current = stack.pop()
            if self._by_path.get(current.path) is not current:
                continue
            del self._by_path[current.path]
            self._unwatch(current)
            dropped.append(current)
            for children in current.children.values():
                stack += [below for child in children.values() if (below := self._by_path.get(child.path))]
        return dropped

    def _unwatch(self, folder: Folder) -> None:
        if folder.wd is None:
            return
        sharing = self._by_wd.get(folder.wd, [])
        if folder in sharing:
            sharing.remove(folder)
        if not sharing:
            self._by_wd.pop(folder.wd, None)
            if self.hints is not None:
                self.hints.unwatch(folder.wd)
        folder.wd = None

    def _is_remote(self, folder: Folder) -> bool:
        fs_type = self._mounts.fs_type(folder.real_path)
        if fs_type is None or not is_remote(fs_type):
            return False
        if fs_type not in self._told_types:
            self._told_types.add(fs_type)
            logger.info(
                "this file system gives no hints, its files are polled",
                extra={"path": folder.path, "fs_type": fs_type},
            )
        return True
