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

import pyte

from tests.support.processes import WAIT_S, wait_until_blocking

_OWN_SCREEN = "\x1b[?1049h"
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]")
ROWS = 30


class Terminal:
    """Runs `pulse-bridge ARGUMENTS` on a pseudo-terminal.

    Args:
        columns: Its width in characters.
        rows: Its height.
        keyboard: Standard input is the terminal, too.
        command: Runs this instead.
        environ: Replaces the environment.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        columns: int = 120,
        rows: int = ROWS,
        keyboard: bool = True,
        command: Sequence[str] = (),
        environ: Mapping[str, str],
        term: str = "xterm-256color",
        cwd: Path,
    ) -> None:
        self._arguments = arguments
        self._emulator = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._emulator)
        self._emulated = 0
        self._keyboard = keyboard
        self._command = command
        self._environ = {**environ, "TERM": term}
        self._cwd = cwd
        self._received = b""

    def __enter__(self) -> Self:
        self._master, slave = os.openpty()
        self._set_size(slave)
        self.process = subprocess.Popen(
            self._command or [sys.executable, "-m", "pulse_bridge", *self._arguments],
            stdin=slave if self._keyboard else subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            env=self._environ,
            cwd=self._cwd,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing else gives it a terminal
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

    def _set_size(self, fd: int) -> None:
        size = struct.pack("HHHH", self._emulator.lines, self._emulator.columns, 0, 0)
        fcntl.ioctl(fd, termios.TIOCSWINSZ, size)

    def resize(self, columns: int, rows: int = ROWS) -> None:
        """Give the terminal another size."""
        self._emulate()
        self._emulator.resize(rows, columns)
        self._set_size(self._master)
        self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    @property
    def modes(self) -> list[object]:
        """The terminal's modes, as a shell would find them."""
        return list(termios.tcgetattr(self._master))

    @property
    def raw(self) -> str:
        """Everything that the command wrote."""
        return self._received.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """What the screen shows, row by row, as a terminal's emulator has drawn it."""
        self._emulate()
        return [line.rstrip() for line in self._emulator.display]

    @property
    def screen(self) -> str:
        """What is to be seen; of a command that only prints lines, all of them."""
        return "\n".join(self.lines) if _OWN_SCREEN in self.raw else plain(self.raw)

    def style_of(self, text: str) -> pyte.screens.Char:
        """Give the first character of a text on the screen, with its colours and so on."""
        for number, line in enumerate(self.lines):
            if text in line:
                return self._emulator.buffer[number][line.index(text)]
        raise AssertionError(f"{text!r} is not on the screen:\n{self.screen}")

    def _emulate(self) -> None:
        """Draw what has come. Not while it comes, because that is another thread."""
        received = self._received
        self._stream.feed(received[self._emulated :])
        self._emulated = len(received)

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
