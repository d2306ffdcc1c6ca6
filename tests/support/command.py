"""The command line as a user runs it: in a process of its own with a home of its own, or called in this one."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pulse_bridge.cli import main
from pulse_bridge.event import Event
from pulse_bridge.journal import open_journal
from tests.support.processes import WAIT_S


@dataclass(frozen=True)
class Home:
    """A user's folder, in which commands are run; nothing of the machine's own configuration is seen.

    Args:
        folder: Current folder, home and state folder at once.
    """

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """Give the environment that commands are run in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PULSE_BRIDGE_")}
        own = {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state"), "TMPDIR": str(self.folder)}
        return kept | own | {"PULSE_BRIDGE_HOST": "node1"}

    @property
    def journal(self) -> Path:
        """Give the default journal's file."""
        return self.folder / "state" / "pulse-bridge" / "node1.db"

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a command with both its outputs piped."""
        return subprocess.Popen(
            [sys.executable, "-m", "pulse_bridge", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environ,
        )

    @contextmanager
    def started(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Start a command; it is ended at the end of the block if it has not ended by itself."""
        with self.start(*arguments) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def run(self, *arguments: str) -> "Result":
        """Run a command to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=WAIT_S)
        return Result(process.returncode, out.decode(), err.decode())

    def fill_journal(self, events: Sequence[Event]) -> None:
        """Put events into the default journal; they get the ids 1, 2, and so on."""
        with open_journal(self.journal) as journal:
            journal.append(events)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


class Caller:
    """Calls the command line in this process, which is faster; for commands that end by themselves."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(home.folder)
        for name in [name for name in os.environ if name.startswith("PULSE_BRIDGE_")]:
            monkeypatch.delenv(name)
        for name, value in home.environ.items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str) -> Result:
        """Run a command to its end."""
        self._monkeypatch.setattr(sys, "argv", ["pulse-bridge", *arguments])
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        captured = self._capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)
