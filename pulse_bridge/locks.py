"""A lock file that says who holds it, so that a refusal can name the holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HeldError(Exception):
    """Somebody else holds the lock.

    Args:
        pid: Theirs, or None where the file does not say.
    """

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        super().__init__(f"held by pid {pid}")


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold a lock for the block; the kernel lets go of it if the process dies.

    The file stays: to remove it would let two holders in, each on a file of its own.

    Raises:
        HeldError: Somebody else holds it.
        OSError: The file cannot be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(fd, 32).decode(errors="replace").strip()
            raise HeldError(int(text) if text.isdigit() else None) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
