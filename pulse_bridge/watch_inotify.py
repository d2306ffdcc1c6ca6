"""The kernel's hints that a folder has changed. Without them everything is found by polling, later.

Source: inotify(7). `inotify_simple` is imported when it is needed, for other platforms do not have it.
"""

import errno
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

logger = logging.getLogger(__name__)

CLOSE_WRITE: Final = 0x00000008
MOVED_FROM: Final = 0x00000040
MOVED_TO: Final = 0x00000080
CREATE: Final = 0x00000100
DELETE: Final = 0x00000200
DELETE_SELF: Final = 0x00000400
MOVE_SELF: Final = 0x00000800
UNMOUNT: Final = 0x00002000
Q_OVERFLOW: Final = 0x00004000
IGNORED: Final = 0x00008000
_ONLYDIR: Final = 0x01000000
ISDIR: Final = 0x40000000

FOLDER_LOST: Final = DELETE_SELF | MOVE_SELF | UNMOUNT | IGNORED
APPEARED: Final = CREATE | MOVED_TO
_MASK: Final = CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF | _ONLYDIR
_READ_BYTES: Final = 16 * 1024
_LIMITS: Final = (errno.ENOSPC, errno.ENOMEM)


class Hint(NamedTuple):
    """One event of the kernel: the watch, what happened, and the entry's name in the folder (may be empty)."""

    wd: int
    mask: int
    cookie: int
    name: str


class Hints(Protocol):
    """A source of hints: the kernel, or a fake of it in tests."""

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when there are hints."""

    def watch(self, folder: str) -> int | None:
        """Watch a folder and give the watch's number, the same if it is watched already; None if it cannot be."""

    def unwatch(self, wd: int) -> None:
        """Give up a watch, if it is still there."""

    def read(self) -> Sequence[Hint]:
        """Give the hints that are there, without waiting."""

    def close(self) -> None:
        """Give up all watches."""


class KernelHints:
    """Hints from inotify.

    Raises:
        OSError: The kernel has no inotify, or the user's limit of instances is reached.
    """

    def __init__(self) -> None:
        import inotify_simple  # noqa: PLC0415 - there is one on Linux only

        self._inotify: Any = inotify_simple.INotify(nonblocking=True)
        self._parse: Callable[[bytes], Sequence[Hint]] = inotify_simple.parse_events
        self._told = False

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when there are hints."""
        number: int = self._inotify.fileno()
        return number

    def watch(self, folder: str) -> int | None:
        """Watch a folder; None if it is not there, or where a limit is reached, which is told once."""
        try:
            wd: int = self._inotify.add_watch(folder, _MASK)
        except OSError as error:
            if error.errno in _LIMITS and not self._told:
                self._told = True
                logger.warning(
                    "no more folders can be watched, the others are polled; raise fs.inotify.max_user_watches",
                    extra={"path": folder, "reason": error.strerror},
                )
            return None
        return wd

    def unwatch(self, wd: int) -> None:
        """Give up a watch, if it is still there."""
        with suppress(OSError):
            self._inotify.rm_watch(wd)

    def read(self) -> Sequence[Hint]:
        """Give the hints that are there, without waiting."""
        try:
            # inotify_simple's own `read` asks the kernel twice more: how much there is, and whether.
            return self._parse(os.read(self._inotify.fileno(), _READ_BYTES))
        except BlockingIOError:
            return ()

    def close(self) -> None:
        """Give up all watches."""
        self._inotify.close()


def open_hints() -> Hints | None:
    """Ask the kernel for hints; None, and one log line, where it has none to give."""
    try:
        return KernelHints()
    except (ImportError, OSError) as error:
        logger.warning("the kernel gives no hints, files are polled", extra={"reason": str(error)})
        return None
