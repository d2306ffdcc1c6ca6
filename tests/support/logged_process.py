"""One of our commands in a process of its own, whose log is read as it is written."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.processes import WAIT_S, wait_until_blocking


class LoggedProcess:
    """A long-running command, that can be stopped cleanly or killed.

    Args:
        arguments: Behind `pulse-bridge`.
        log: The file that gets what it writes; outlives the process.
        state_folder: The user's state folder; that of the machine where absent.
    """

    def __init__(self, arguments: Sequence[str], log: Path, *, state_folder: Path | None = None) -> None:
        self.command = [sys.executable, "-m", "pulse_bridge", *arguments]
        self.log = log
        self._environ = os.environ | ({"XDG_STATE_HOME": str(state_folder)} if state_folder else {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.launch()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    def launch(self) -> Self:
        """Start the process and wait for nothing."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ
            )
        return self

    def wait_for_message(self, message: str, count: int = 1) -> dict[str, Any]:
        """Wait until a message stands in the log `count` times; gives the last."""

        def said() -> bool:
            ended = self.process.poll()
            assert ended is None or len(self.messages(message)) >= count, f"ended {ended}: {self.log.read_text()}"
            return len(self.messages(message)) >= count

        wait_until_blocking(said, f"the log has {message!r} {count} times")
        return self.messages(message)[-1]

    def messages(self, message: str) -> list[dict[str, Any]]:
        """Give the log's lines with a message."""
        if not self.log.exists():
            return []
        lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        return [found for found in map(json.loads, lines) if found["message"] == message]

    def stop(self) -> int:
        """End cleanly with SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; gives the exit code."""
        code = self.process.wait(WAIT_S)
        self._process = None
        return code

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(WAIT_S)
        self._process = None
