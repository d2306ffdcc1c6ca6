"""The terminal itself: its modes, its size, its keys, and writing to it without ever waiting on a slow line."""

import asyncio
import contextlib
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pulse_bridge.cli.keys import ESCAPE_S, Keys
from pulse_bridge.cli.watch_screen import PLAIN, RICH, Frame, Glyphs, Size, paint

# The other screen, no cursor, no wrapping: what is too wide must not push the next line down.
_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE: Final = "\x1b[m\x1b[?2026l\x1b[?7h\x1b[?25h\x1b[?1049l"
_CANCEL: Final = "\x18"
"""Ends a sequence that was cut off. Source: ECMA-48 §8.3.6."""

_STUCK_S: Final = 1.0
"""So long the end waits for a terminal that takes nothing (Ctrl-S, a lost line)."""

_DEFAULT_SIZE: Final = Size(80, 24)
_MIN_SIZE: Final = Size(10, 2)
_PIECE_BYTES: Final = 4096


def choose_glyphs(environ: Mapping[str, str], encoding: str) -> Glyphs:
    """Choose what a terminal can show; the Linux console's font has few symbols."""
    is_plain = environ.get("TERM") == "linux" or encoding.lower().replace("-", "") != "utf8"
    return PLAIN if is_plain else RICH


class Screen:
    """The screen that a program has to itself, until the block ends in whatever way.

    Args:
        on_key: Called with each key; not if standard input is no terminal.
        on_change: Called when all must be drawn anew.
        on_resume: Called when the program goes on after it was suspended.
        on_hangup: Called when the terminal is closed.
    """

    def __init__(
        self,
        *,
        on_key: Callable[[str], None],
        on_change: Callable[[], None],
        on_resume: Callable[[], None],
        on_hangup: Callable[[], None],
    ) -> None:
        self._on_key = on_key
        self._on_change = on_change
        self._on_resume = on_resume
        self._on_hangup = on_hangup
        self._output = sys.stdout.fileno()
        self._input = _keyboard()
        self._saved: list[Any] | None = termios.tcgetattr(self._input) if self._input is not None else None
        self._keys = Keys()
        self._escape: asyncio.TimerHandle | None = None
        self._shown: Frame | None = None
        self._torn = False
        self._stuck = False
        self._colour = not os.environ.get("NO_COLOR")

    @property
    def has_keys(self) -> bool:
        """Say whether there is a keyboard."""
        return self._input is not None

    def size(self) -> Size:
        """Give the terminal's size now."""
        with contextlib.suppress(OSError):
            width, height = os.get_terminal_size(self._output)
            if width and height:
                return Size(max(_MIN_SIZE.width, width), max(_MIN_SIZE.height, height))
        return _DEFAULT_SIZE

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Have the screen; at the end it is left as it was found.

        Raises:
            OSError: The terminal is gone.
        """
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            self._writer = stack.enter_context(_writer(self._output))
            stack.callback(self._leave)
            self._enter()
            for number, handler in self._handlers().items():
                loop.add_signal_handler(number, handler)
                stack.callback(loop.remove_signal_handler, number)
            if self._input is not None:
                loop.add_reader(self._input, self._read)
                stack.callback(self._stop_reading)
            yield

    def _handlers(self) -> dict[signal.Signals, Callable[[], None]]:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGWINCH: self._renew,
            signal.SIGCONT: self._resume,
        }
        # What is ignored stays so: nohup, and a shell without job control.
        if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
            handlers[signal.SIGTSTP] = self._suspend
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            handlers[signal.SIGHUP] = self._on_hangup
        return handlers

    def _enter(self) -> None:
        if self._input is not None:
            _take_keys(self._input)
        self._write_now(_ENTER)
        self._shown = None

    def _leave(self) -> None:
        with contextlib.suppress(OSError, termios.error):  # it is gone: nothing to be left clean
            self._write_now(_CANCEL + _LEAVE if self._torn else _LEAVE)
            if self._input is not None and self._saved is not None:
                termios.tcsetattr(self._input, termios.TCSANOW, self._saved)

    def print_after(self, text: str) -> None:
        """Write a text where the shell goes on, once the screen is left; not to a terminal that takes nothing."""
        with contextlib.suppress(OSError), _writer(self._output) as self._writer:
            if not self._stuck:
                self._write_now(text)

    def _suspend(self) -> None:
        """Give the terminal back and stop as Ctrl-Z stops any program; goes on at SIGCONT."""
        loop = asyncio.get_running_loop()
        self._leave()
        loop.remove_signal_handler(signal.SIGTSTP)
        signal.raise_signal(signal.SIGTSTP)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        self._resume()

    def _resume(self) -> None:
        """Take the terminal again: whoever had it meanwhile left it in their modes."""
        with contextlib.suppress(OSError, termios.error):
            self._enter()
        self._on_resume()

    def _renew(self) -> None:
        self._shown = None
        self._on_change()

    async def draw(self, frame: Frame) -> None:
        """Show a frame; returns when the terminal has taken it, so that a slow one gets fewer.

        Raises:
            OSError: The terminal is gone.
        """
        data = paint(self._shown, frame, colour=self._colour).encode(errors="replace")
        self._shown = frame
        while data:
            data = data[self._write_some(data) :]
            self._torn = bool(data)
            if data:
                await _writable(self._writer)

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._writer, data[:_PIECE_BYTES])
        except BlockingIOError:
            return 0

    def _write_now(self, text: str) -> None:
        data = text.encode(errors="replace")
        poll = select.poll()
        poll.register(self._writer, select.POLLOUT)
        taken_s = time.monotonic()
        while data and (rest_s := taken_s + _STUCK_S - time.monotonic()) > 0:
            if poll.poll(rest_s * 1000) and (count := self._write_some(data)):
                data = data[count:]
                taken_s = time.monotonic()
        self._stuck = bool(data)

    # Keys

    def _read(self) -> None:
        assert self._input is not None  # noqa: S101 - it is what was waited for
        try:
            data = os.read(self._input, 1024)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:  # the terminal is gone; the hang-up itself, or writing, ends us
            self._stop_reading()
            return
        if self._escape:
            self._escape.cancel()
        self._tell(self._keys.feed(data))
        if self._keys.is_waiting:
            self._escape = asyncio.get_running_loop().call_later(ESCAPE_S, self._escape_alone)

    def _escape_alone(self) -> None:
        self._tell(self._keys.flush())

    def _tell(self, keys: list[str]) -> None:
        for key in keys:
            if key == "ctrl-l":
                self._renew()
            else:
                self._on_key(key)

    def _stop_reading(self) -> None:
        if self._input is not None:
            asyncio.get_running_loop().remove_reader(self._input)
        if self._escape:
            self._escape.cancel()


def _keyboard() -> int | None:
    try:
        fd = sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):
        return None  # closed
    return fd if os.isatty(fd) else None


def _take_keys(fd: int) -> None:
    """Have each key at once and unseen. Ctrl-C and Ctrl-Z stay signals; SIGQUIT would leave a torn screen."""
    modes = termios.tcgetattr(fd)
    modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
    modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
    modes[6][termios.VQUIT] = bytes([os.fpathconf(fd, "PC_VDISABLE")])
    termios.tcsetattr(fd, termios.TCSANOW, modes)


@contextmanager
def _writer(fd: int) -> Iterator[int]:
    """Open the terminal once more, to write without waiting: the mode of `fd` itself is shared with the shell."""
    try:
        own = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        own = os.dup(fd)  # a terminal without a name here, as in some containers
    try:
        yield own
    finally:
        os.close(own)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
