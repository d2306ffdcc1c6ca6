"""Starts real servers on free loopback ports and ends them by their own pid."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

WAIT_S = 20.0


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require_binary(name: str) -> str:
    """Give a program's path; a missing one fails in CI and skips elsewhere."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        sentence = f"{name} is not installed: apt-get install {name}"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    return path


async def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition, looking every 5 ms.

    Raises:
        AssertionError: It did not come to hold; says `what`.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {what}"
        await asyncio.sleep(0.005)


async def wait_until_async(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition that itself must be awaited."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {what}"
        await asyncio.sleep(0.02)


def wait_until_blocking(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition outside an event loop."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {what}"
        time.sleep(0.005)


def listens(port: int) -> bool:
    """Say whether something accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A real server as a process of its own, that can be killed, stopped and started again on its port."""

    def __init__(self, command: Sequence[str], port: int, log: Path) -> None:
        self.command = list(command)
        self.port = port
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it listens."""
        assert self._process is None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        process = self._process

        def ready() -> bool:
            assert process.poll() is None, f"{self.command[0]} ended: {self.log.read_text()[-2000:]}"
            return listens(self.port)

        wait_until_blocking(ready, f"{self.command[0]} listens on {self.port}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it by its own pid (SIGKILL: as a crash) and wait until it is gone."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(timeout=WAIT_S)
        self._process = None

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.end(how)
        self.start()


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="pb-") as name:
        yield Path(name)
