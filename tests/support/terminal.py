"""A command on a terminal of its own, and what a person sees there."""

import contextlib
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.processes import WAIT_S, wait_until_blocking

_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]")
_HOME = "\x1b[H"
ROWS = 30


class Terminal:
    """Runs `pulse-bridge ARGUMENTS` on a pseudo-terminal.

    Args:
        columns: Its width in characters.
        environ: Replaces the environment.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        columns: int = 120,
        environ: Mapping[str, str],
        term: str = "xterm-256color",
        cwd: Path,
    ) -> None:
        self._arguments = arguments
        self._columns = columns
        self._environ = {**environ, "TERM": term}
        self._cwd = cwd
        self._received = b""

    def __enter__(self) -> Self:
        self._master, slave = os.openpty()
        self.resize(self._columns, fd=slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pulse_bridge", *self._arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self._environ,
            cwd=self._cwd,
            start_new_session=True,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        os.close(self._master)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the last one to have it open has gone
            while chunk := os.read(self._master, 65_536):
                self._received += chunk

    def resize(self, columns: int, *, fd: int | None = None) -> None:
        """Give the terminal another width."""
        fcntl.ioctl(
            self._master if fd is None else fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0)
        )
        if fd is None:
            self.process.send_signal(signal.SIGWINCH)

    @property
    def raw(self) -> str:
        """Everything that the command wrote."""
        return self._received.decode(errors="replace")

    @property
    def screen(self) -> str:
        """What the newest complete frame shows."""
        frames = self.raw.split(_HOME)
        is_whole = len(frames) <= 2 or frames[-1].count("\n") >= ROWS - 1
        return plain(frames[-1 if is_whole else -2])

    def wait_for(self, text: str) -> None:
        """Wait until a text is on the screen."""

        def shown() -> bool:
            assert self.process.poll() is None or text in plain(self.raw), f"ended: {self.raw}"
            return text in self.screen

        wait_until_blocking(shown, f"{text!r} is on the screen")

    def wait(self) -> int:
        """Wait for the end; gives the exit code."""
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code


def plain(text: str) -> str:
    """Take a terminal's escapes out of a text."""
    return _ESCAPE.sub("", text).replace("\r\n", "\n")
